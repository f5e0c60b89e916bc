"""Members, judges and fusions for tests."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any

import msgspec

from junctor.chat import (
    ChatRequest,
    Decision,
    Event,
    Finished,
    FusionOptions,
    Model,
    ModelCard,
    Price,
    Routed,
    Started,
    Text,
    Usage,
    Verdict,
)
from junctor.fusion.fusion import Fusion
from junctor.fusion.plan import Plan
from junctor.fusion.weights import Weights
from junctor.pool.choice import Policy
from junctor.pool.metered import Metered
from junctor.pool.resilient import Resilience
from junctor.pool.scripted import ScriptedModel, parse_script

QUESTION = "How many legs do 3 cats and 15 hens have? End with `The answer is N.`"


def member(name: str, *steps: str | dict[str, object], usd: float = 1.0, **card: object) -> ScriptedModel:
    """A scripted model; a step that is a text is what it says. `usd`: per million tokens, both ways."""
    made = ModelCard(
        name=name,
        price=Price(input=usd, output=usd, source="test"),
        window=8192,
        skills=frozenset({"tools", "json"}),
    )
    script = [{"text": step} if isinstance(step, str) else step for step in steps or ("42",)]
    return ScriptedModel(msgspec.structs.replace(made, **card), parse_script(script))


def metered(model: Model) -> Model:
    """As the pool has it. One that has others answer for it has no meter of its own."""
    asks_others = isinstance(model, Fusion) or getattr(model, "asks_others", False)
    return model if asks_others or isinstance(model, Metered) else Metered(model, lambda _, spent: None)


def request_of(text: str = QUESTION, **more: object) -> ChatRequest:
    messages = msgspec.Raw(msgspec.json.encode([{"role": "user", "content": text}]))
    return ChatRequest(model="fusion", id="req_1", messages=messages, **more)  # pyright: ignore[reportArgumentType]


class Made:
    """A fusion of these models, and what it has decided."""

    def __init__(
        self,
        models: Iterable[Model],
        *,
        abilities: Mapping[str, float] | None = None,
        weights: Weights | None = None,
        keeps_answers: bool = True,
        presets: Mapping[str, Plan] | None = None,
        policy: Policy | None = None,
        **plan: object,
    ) -> None:
        pool = {model.card.name: metered(model) for model in models}
        wanted: dict[str, object] = {"name": "fusion", "members": tuple(pool), **plan}
        self.decisions = list[Decision]()
        self.fusion = Fusion(
            Plan(**wanted),  # pyright: ignore[reportArgumentType]
            pool,
            Resilience(policy or Policy(attempts=1)),
            presets=presets or {},
            weights=weights or Weights(abilities),
            save_decision=self.decisions.append,
            new_id=lambda: "dec_1",
            keeps_answers=keeps_answers,
        )

    async def ask(self, request: ChatRequest | None = None, **options: object) -> list[Event]:
        """All events of one answer."""
        request = request or request_of()
        if options:
            request = msgspec.structs.replace(request, fusion=FusionOptions(**options))  # pyright: ignore[reportArgumentType]
        async with asyncio.timeout(30):
            return [event async for event in self.fusion.answer(request)]

    @property
    def verdict(self) -> Verdict:
        """Of the one request so far."""
        (decision,) = self.decisions
        assert decision.fusion is not None
        return decision.fusion


def last_verdict(events: Iterable[Event]) -> Verdict:
    """As the stream has it at its end."""
    decisions = [event.decision for event in events if isinstance(event, Routed)]
    assert decisions[-1].fusion is not None
    return decisions[-1].fusion


_ANSWER = re.compile(r"<<<ANSWER (\w) (\w+)>>>\n(.*?)\n<<<END OF ANSWER \1 \2>>>", re.DOTALL)
ANALYSIS = {
    "consensus": ["both like it"],
    "contradictions": [],
    "partial_coverage": [],
    "unique_insights": [],
    "blind_spots": ["its price"],
}


class Picky:
    """A judge that prefers the answer that holds some words; it writes, too, and can be made to fail."""

    def __init__(
        self,
        name: str,
        likes: str = "",
        *,
        says: str | None = None,
        writes: str = "A new one.",
        usd: float = 1.0,
        window: int = 8192,
    ) -> None:
        self.card = member(name, usd=usd, window=window).card
        self.requests = list[ChatRequest]()
        self._likes = likes
        self._says = says
        self._writes = writes

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        self.requests.append(request)
        messages = msgspec.json.decode(request.messages)
        shown = {label: text for label, _, text in _ANSWER.findall(str(messages[-1]["content"]))}
        yield Started(self.card.name)
        yield Text(self._say(messages, shown))
        yield Usage(100, 10)
        yield Finished("stop")

    def _say(self, messages: list[dict[str, Any]], shown: Mapping[str, str]) -> str:
        if not shown or (
            "You judge" not in messages[0]["content"] and "JSON object" not in messages[-1]["content"]
        ):
            return self._writes
        if self._says is not None:
            return self._says
        if "Which answer is best" not in messages[-1]["content"]:
            return msgspec.json.encode(ANALYSIS).decode()
        liked = [label for label, text in shown.items() if self._likes and self._likes in text]
        return msgspec.json.encode({"best": liked[0] if len(liked) == 1 else "tie"}).decode()
