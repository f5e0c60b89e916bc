"""Ladders and models for tests of cascades."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from junctor.chat import ChatRequest, ModelCard, Price
from junctor.pool.scripted import ScriptedModel, parse_script
from junctor.pool.vote import Vote
from junctor.routing.ladder import FORMAT, SIGNALS, Ladder, Promise, Rung

CHEAP = ("cheap-a", "cheap-b", "cheap-c")
STRONG = "strong"
UNTIL_SURE = (0.9, 0.0, -1.0, *(0.0 for _ in SIGNALS[3:]))
"Go on until an answer is right with a probability of 0.9."
NEVER = (-1.0, *(0.0 for _ in SIGNALS[1:]))
"Stop at once."


def a_ladder(
    *,
    rungs: Sequence[Sequence[str]] = (CHEAP[:2], CHEAP[2:]),
    gains: tuple[float, ...] = UNTIL_SURE,
    caution: float = 0.2,
    strongest: str = STRONG,
    promised: bool = True,
) -> Ladder:
    """Models of equal worth: an answer alone is right with 0.5, one that two agree on with about 0.95."""
    asked = 0
    made = list[Rung]()
    for rung in rungs:
        asked += len(rung)
        made.append(Rung(tuple(rung), Vote((0.5,) * asked, 2.5, 1.0, 0.5), {"balanced": gains}))
    promise = Promise(price=0.05, saved=0.5, quality=0.8, strongest_quality=0.8, low=0.01)
    return Ladder(
        format=FORMAT,
        version="ladder-1-test",
        strongest=strongest,
        rungs=tuple(made),
        last=Vote((*((0.5,) * asked), 1.0), 2.5, 1.0, 0.5),
        caution=caution,
        floor=0.98,
        confidence=0.95,
        prompts=500,
        promises={"balanced": promise} if promised else {},
    )


def scripted(name: str, *steps: dict[str, object], usd: float | None = None, **card: object) -> ScriptedModel:
    """A fake that costs 1 USD per million tokens if it is cheap, else 30; without steps it says 42."""
    price = usd or (30.0 if name == STRONG else 1.0)
    made = ModelCard(
        name=name,
        price=Price(input=price, output=price, source="test"),
        ability=0.9 if name == STRONG else 0.7,
        window=8192,
        skills=frozenset({"tools", "json"}),
    )
    made = msgspec.structs.replace(made, **card)
    return ScriptedModel(made, parse_script(list(steps) or [{"text": "42"}]))


def request_of(text: str = "How many legs do 3 cats and 15 hens have?", **more: object) -> ChatRequest:
    """One that looks checkable."""
    messages = msgspec.Raw(msgspec.json.encode([{"role": "user", "content": text}]))
    return ChatRequest(model="auto", id="req_1", messages=messages, **more)  # pyright: ignore[reportArgumentType]
