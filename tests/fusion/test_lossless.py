"""Stopping early gives the answer of waiting for all: whole fusions against the rule as it is documented.

Members answer in random orders, fail, talk, are cut short, or call tools. What should come out is worked out
from all their answers, without a line of the product's vote.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from math import fsum, log

import msgspec
import pytest
from panels import Made, Picky, last_verdict, member, request_of

from junctor.chat import (
    ChatRequest,
    Event,
    Finished,
    Model,
    Price,
    Started,
    Text,
    ToolCall,
    UpstreamBroken,
    Usage,
)
from junctor.fusion.weights import Weights
from junctor.pool.vote import Vote

pytestmark = pytest.mark.anyio

TURNS_APART = 8
"Of the event loop, between two members' answers: no clock is asked."
TALK = "There is much to be said for it, and much against it, and in the end it depends on your needs."
TOOLS = msgspec.Raw(b'[{"type":"function","function":{"name":"f"}}]')
NUMBERS = ("41", "42", "43")
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.6, 1.17, 1.17, 2.05)


class Timed:
    """Says one thing after so many turns of the event loop; as a judge it likes one answer, at once."""

    def __init__(self, name: str, says: str, rank: int, likes: str) -> None:
        self.card = msgspec.structs.replace(member(name).card, price=Price(input=1, output=1, source="test"))
        self._says = says
        self._rank = rank
        self._judge = Picky(name, likes=likes, writes="merged")

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        if b"<<<" in bytes(request.messages):
            async for event in self._judge.answer(request):
                yield event
            return
        for _turn in range(self._rank * TURNS_APART):
            await asyncio.sleep(0)
        if self._says == "fail":
            raise UpstreamBroken("scripted", model=self.card.name)
        yield Started(self.card.name)
        if self._says.startswith("f("):
            yield ToolCall(0, id="call_1", name="f", arguments=self._says[2:-1])
        else:
            yield Text(TALK if self._says in ("talk", "cut") else self._says)
        yield Usage(10, 5)
        yield Finished("length" if self._says == "cut" else "stop")


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One request to one fusion."""

    mode: str
    vote: Vote
    says: tuple[str, ...]
    ranks: tuple[int, ...]
    judge: bool
    "Whether one is named: else the best of the members that answered, and gave neither of the two answers."
    likes: str
    accuracy: float
    has_tools: bool

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"m{at}" for at in range(len(self.says)))


def draw(rng: random.Random) -> Case:
    size = rng.randint(1, 6)
    has_tools = rng.random() < 0.3
    kinds = [*NUMBERS, *NUMBERS, "talk", "cut", "fail"]
    if has_tools:
        kinds += ['f({"a":1})', 'f({"a":2})', 'f({"a": 1})'] * 2
    ranks = list(range(1, size + 1))
    rng.shuffle(ranks)
    if rng.random() < 0.3:
        kinds = [it for it in kinds if it != "talk"]
    weights = [rng.choice(WEIGHTS) if rng.random() < 0.8 else round(rng.random() * 3, 6) for _ in range(size)]
    weights[rng.randrange(size)] += 1.17
    return Case(
        mode=rng.choice(["auto", "auto", "vote"]),
        vote=Vote(tuple(weights), two=rng.choice([0.0, 0.36]), three=rng.choice([0.0, 0.1]), none=1.8),
        says=tuple(rng.choice(kinds) for _ in range(size)),
        ranks=tuple(ranks),
        judge=rng.random() < 0.6,
        likes=rng.choice([*NUMBERS, "nobody's"]),
        accuracy=rng.choice([0.5, 0.6, 0.75, 0.9]),
        has_tools=has_tools,
    )


# The rule.


def worth(case: Case, members: Sequence[int]) -> float:
    bonuses = [case.vote.two] * (len(members) >= 2) + [case.vote.three] * (len(members) >= 3)
    return fsum([*bonuses, *(case.vote.weights[at] for at in members)])


def ranking(case: Case, values: Mapping[int, str]) -> list[tuple[str, list[int]]]:
    """Equal answers, the likeliest first; of equal worth the one that the first member gave."""
    groups: dict[str, list[int]] = {}
    for at in sorted(values):
        groups.setdefault(values[at], []).append(at)
    return sorted(groups.items(), key=lambda it: (-worth(case, it[1]), it[1][0]))


def expect(case: Case) -> str:
    """What is answered: a value, `talk` for a member's own words, `merged`, or `nothing`."""
    came = {at: said for at, said in enumerate(case.says) if said != "fail"}
    if not came:
        return "nothing"
    if case.has_tools:
        calls = {at: said.replace(" ", "") for at, said in came.items() if said.startswith("f(")}
        whole = {at: calls.get(at, "words") for at, said in came.items() if said != "cut"}
        first = ranking(case, whole)[0][0] if whole else "words"
        if first != "words":
            return first
        came = {at: said for at, said in came.items() if at not in calls}
    if len(came) == 1:
        return next(iter(came.values())).replace("cut", "talk")
    values = {at: said for at, said in came.items() if said in NUMBERS}
    talked = [at for at, said in came.items() if said == "talk"]
    told = fsum(case.vote.weights[at] for at in values)
    open_ = fsum(case.vote.weights[at] for at in talked)
    if not values:
        return "merged" if case.mode == "auto" else "talk"
    if case.mode == "auto" and (told < open_ or (told == open_ == 0 and len(values) < len(talked))):
        return "merged"
    ranked = ranking(case, values)
    sides = {at for _, members in ranked[:2] for at in members}
    if case.mode == "vote" or len(ranked) < 2 or (not case.judge and came.keys() <= sides):
        return ranked[0][0]
    ahead = worth(case, ranked[0][1]) - worth(case, ranked[1][1])
    rivals = {value for value, _ in ranked[:2]}
    if ahead < log(case.accuracy / (1 - case.accuracy)) and case.likes in rivals:
        return case.likes
    return ranked[0][0]


# The product.


async def run(case: Case) -> tuple[str, int]:
    """What it answers, and how many members it called off."""
    models: list[Model] = [
        Timed(*it, case.likes) for it in zip(case.names, case.says, case.ranks, strict=True)
    ]
    judge = Picky("j", likes=case.likes, writes="merged")
    made = Made(
        [*models, judge],
        members=case.names,
        judge="j" if case.judge else None,
        judge_accuracy=case.accuracy,
        mode=case.mode,
        weights=Weights(votes={case.names: case.vote}),
    )
    try:
        events = await made.ask(request_of(tools=TOOLS if case.has_tools else None))
    except UpstreamBroken:
        return "nothing", 0
    calls = [event for event in events if isinstance(event, ToolCall)]
    text = "".join(event.text for event in events if isinstance(event, Text))
    said = f"f({calls[0].arguments})".replace(" ", "") if calls else text
    return "talk" if said == TALK else said, last_verdict(events).saved_answers


@pytest.mark.parametrize("seed", range(8))
async def test_stopping_early_answers_as_waiting_for_all_would(seed: int) -> None:
    rng = random.Random(seed)
    spared = 0
    for _ in range(150):
        case = draw(rng)
        answered, saved = await run(case)
        assert answered == expect(case), case
        spared += saved
    assert spared > 20, "it does stop early"
