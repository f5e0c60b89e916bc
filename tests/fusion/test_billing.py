"""What a fusion says it took is what the ledger has of its calls, however they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress

import msgspec
import pytest
from msgspec.structs import replace
from panels import ANALYSIS, Made, Picky, last_verdict, member, request_of

from junctor.chat import (
    ChatRequest,
    Decision,
    Drafted,
    Escalation,
    Event,
    Finished,
    JunctorError,
    Model,
    ModelCard,
    Routed,
    Started,
    Text,
    UpstreamRefused,
    Usage,
)
from junctor.fusion.billing import Bill, billed
from junctor.pool.choice import Policy
from junctor.pool.metered import Metered, Spent

pytestmark = pytest.mark.anyio

EVEN = dict.fromkeys("abcdj", 0.8)
POEM = "Roses are red, violets are blue, and this goes on for a while without an answer to compare."
ESSAY = "There is much to be said for it, and much against it, and in the end it depends on your needs."
BROKEN = {"fail": "upstream_broken"}
HANGS = ({"text": "Let me think about that for a while. "}, {"text": "42", "delay_s": 3600})
"It has begun to answer."


def test_bills_add_up_in_every_kind_of_token() -> None:
    one = Bill(Usage(1, 2, 3, cache_written_tokens=4, reasoning_tokens=5), 0.5)
    both = one + Bill(Usage(10, 20, 30, estimated=True), 0.25)
    assert both == Bill(Usage(11, 22, 33, estimated=True, cache_written_tokens=4, reasoning_tokens=5), 0.75)


class Ledger:
    """What all calls came to."""

    def __init__(self) -> None:
        self.calls = list[Spent]()

    def meter(self, *models: Model) -> list[Model]:
        return [Metered(model, lambda _, spent: self.calls.append(spent)) for model in models]

    @property
    def total(self) -> tuple[int, int, float]:
        read = sum(call.input_tokens for call in self.calls)
        written = sum(call.output_tokens for call in self.calls)
        return read, written, pytest.approx(sum(call.usd for call in self.calls))


async def ask(made: Made, request: ChatRequest | None = None) -> list[Event]:
    try:
        return await made.ask(request)
    except JunctorError:
        return []


def analysing(*steps: dict[str, object]) -> Model:
    """It compares, and then does this."""
    analysis = {"when": "Reply with the JSON", "text": msgspec.json.encode(ANALYSIS).decode()}
    return member("j", analysis, {"turn": True, **steps[0]}, *steps[1:])


VOTES: dict[str, Sequence[Model]] = {
    "whole": [member("a", "42"), member("b", "41", usd=3), member("c", "40")],
    "spared": [member("a", "42"), member("b", "42"), member("c", *HANGS, usd=9)],
    "cut": [member("a", "42"), member("b", "41"), member("c", *HANGS, usd=9)],
    "failed midway": [member("a", "42"), member("b", POEM, BROKEN, usd=9), member("c", "41")],
    "failed at once": [member("a", "42"), member("b", BROKEN), member("c", "41")],
    "said nothing": [member("a", "42"), member("b", {"thought": POEM}, usd=9), member("c", "41")],
    "all fail": [member("a", POEM, BROKEN), member("b", {"thought": POEM}), member("c", BROKEN)],
}


@pytest.mark.parametrize("path", VOTES)
async def test_what_becomes_of_members_is_paid_for(path: str) -> None:
    ledger = Ledger()
    made = Made(ledger.meter(*VOTES[path]), mode="vote", abilities=EVEN, deadline_ms=300)
    events = await ask(made)
    verdict = made.verdict
    members = verdict.members
    read, written = sum(it.input_tokens for it in members), sum(it.output_tokens for it in members)
    assert (read, written, verdict.usd) == ledger.total
    assert verdict.usd == pytest.approx(sum(it.usd for it in members))
    for usage in (event for event in events if isinstance(event, Usage)):
        assert (usage.input_tokens, usage.output_tokens) == (read, written)


async def test_a_member_that_is_asked_again_is_paid_for_twice() -> None:
    ledger = Ledger()
    a = member(
        "a",
        {"turn": True, "usage": {"input_tokens": 50, "output_tokens": 7}, **BROKEN},
        {"turn": True, "text": "42"},
    )
    made = Made(ledger.meter(a, member("b", "41")), mode="vote", policy=Policy(attempts=2))
    await ask(made)
    assert len(ledger.calls) == 3
    assert made.verdict.usd == ledger.total[2]


JUDGES: dict[str, Model] = {
    "a verdict": Picky("j", likes="41"),
    "garbage": Picky("j", says="I will not say."),
    "fails": member("j", {"text": "Let me "}, BROKEN),
    "hangs": member("j", *HANGS),
}


@pytest.mark.parametrize("judge", JUDGES)
async def test_what_becomes_of_a_judgement_is_paid_for(judge: str) -> None:
    ledger = Ledger()
    models = ledger.meter(member("a", "42"), member("b", "41"), JUDGES[judge])
    made = Made(models, members=("a", "b"), judge="j", abilities=EVEN, policy=Policy(attempts=1, total_s=0.5))
    await ask(made)
    verdict = made.verdict
    assert verdict.rulings
    assert verdict.usd == ledger.total[2]
    assert verdict.usd == pytest.approx(sum(it.usd for it in (*verdict.members, *verdict.rulings)))


WRITERS: dict[str, Model] = {
    "writes": analysing({"text": "New."}),
    "fails at once": analysing(BROKEN),
    "fails midway": analysing({"text": "New. "}, BROKEN),
    "hangs midway": analysing(*HANGS),
    "no analysis": member("j", "Neither JSON nor anything else."),
}


@pytest.mark.parametrize("writer", WRITERS)
async def test_what_becomes_of_writing_is_paid_for(writer: str) -> None:
    ledger = Ledger()
    models = ledger.meter(member("a", POEM), member("b", ESSAY), WRITERS[writer])
    made = Made(models, members=("a", "b"), judge="j", mode="merge", policy=Policy(attempts=1, total_s=0.5))
    await ask(made)
    assert made.verdict.usd == ledger.total[2]


async def test_a_second_round_that_is_cut_is_paid_for_by_its_own_prompt() -> None:
    ledger = Ledger()
    a = member("a", {"turn": True, "text": "41"}, {"turn": True, **HANGS[0]}, HANGS[1])
    b = member("b", {"turn": True, "text": "42"}, {"turn": True, "text": "The answer is 42."})
    made = Made(ledger.meter(a, b), mode="debate", abilities=EVEN, deadline_ms=300)
    await ask(made)
    assert (len(ledger.calls), made.verdict.usd) == (4, ledger.total[2])


@pytest.mark.parametrize("stage", ["members", "judge", "writer"])
async def test_a_client_that_leaves_pays_for_what_was_begun_and_leaves_nothing_running(stage: str) -> None:
    ledger = Ledger()
    says = {"members": ("42", POEM), "judge": ("42", "41"), "writer": (POEM, ESSAY)}[stage]
    slow = member("j", *HANGS)
    writer = analysing(*HANGS)
    third = {"members": member("j", *HANGS), "judge": slow, "writer": writer}[stage]
    models = ledger.meter(member("a", says[0]), member("b", says[1]), third)
    seats = ("a", "b", "j") if stage == "members" else ("a", "b")
    made = Made(
        models, members=seats, judge="j", abilities=EVEN, mode="merge" if stage == "writer" else "auto"
    )
    before = len(asyncio.all_tasks())

    async def read() -> None:
        async for _ in made.fusion.answer(request_of()):
            pass

    task = asyncio.create_task(read())
    for _ in range(50):
        await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(asyncio.all_tasks()) == before
    assert 0 < made.verdict.usd == ledger.total[2]
    if stage == "members":
        third_seat = made.verdict.members[2]
        assert (third_seat.status, made.verdict.saved_answers) == ("cut", 0)
        assert "before it had answered" in (third_seat.reason or "")


async def test_a_reader_that_stops_between_two_events_leaves_nothing_running() -> None:
    ledger = Ledger()
    made = Made(ledger.meter(member("a", "42"), member("b", *HANGS)), abilities=EVEN)
    before = len(asyncio.all_tasks())
    async with aclosing(made.fusion.answer(request_of())) as events:
        async for event in events:
            if isinstance(event, Drafted):
                break
    assert len(asyncio.all_tasks()) == before
    assert made.verdict.usd == ledger.total[2]


DECISION = Decision(
    id="dec_2",
    request_id="req_1",
    candidates=(),
    chosen="",
    rule="",
    mode="balanced",
    floor=None,
    features={},
    path="cascade",
    took_us=1.0,
    saved_usd=0.0,
    artefact="",
    escalation=Escalation(ladder="", floor=0.9, confidence=0.9, prompts=9, usd=500.0),
)


class Router:
    """Has others answer for it, as `auto` does: the first that can. What it says of the cost is wrong."""

    card = ModelCard(name="auto", window=8192)
    asks_others = True

    def __init__(self, *models: Model) -> None:
        self._models = models

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        for model in self._models:
            yield Routed(replace(DECISION, chosen=model.card.name))
            with suppress(UpstreamRefused):
                async for event in model.answer(request):
                    yield event
                return


def asking(ledger: Ledger, kind: str, *steps: str | dict[str, object]) -> Model:
    """A member that asks others: first one that fails, for a router."""
    refused = {"text": POEM}, {"fail": "upstream_refused"}
    if kind == "router":
        return Router(*ledger.meter(member("x", *refused, usd=50), member("y", *steps, usd=5)))
    pool = ledger.meter(member("x", *refused, usd=50), member("y", *steps, usd=5), member("z", "41", usd=7))
    return Made(pool, mode="vote", abilities=dict.fromkeys("xyz", 0.8)).fusion


@pytest.mark.parametrize("kind", ["router", "fusion"])
@pytest.mark.parametrize(
    "steps", [("42",), HANGS, ({"text": POEM}, {"fail": "upstream_refused"})], ids=["whole", "cut", "failed"]
)
async def test_a_member_that_asks_others_costs_what_all_their_calls_do(
    kind: str, steps: tuple[str | dict[str, object], ...]
) -> None:
    """Whatever it says of itself: the ledger never hears of that."""
    ledger = Ledger()
    inner = asking(ledger, kind, *steps)
    named = {"auto": inner} if kind == "router" else {"fusion": inner}
    models = [*ledger.meter(member("a", "42"), member("b", "40")), *named.values()]
    made = Made(models, mode="vote", abilities=EVEN, deadline_ms=300, name="outer")
    events = await ask(made)
    verdict, (read, written, usd) = made.verdict, ledger.total
    assert len(ledger.calls) > 3
    assert verdict.usd == usd
    third = verdict.members[2]
    assert third.usd == pytest.approx(sum(it.usd for it in ledger.calls if it.model not in "ab"))
    assert [(it.input_tokens, it.output_tokens) for it in events if isinstance(it, Usage)] == [
        (read, written)
    ]


async def test_a_member_that_asks_others_and_is_called_off_costs_what_they_had_come_to() -> None:
    """Not its estimate, and not nothing."""
    for kind in ("router", "fusion"):
        ledger = Ledger()
        inner = asking(ledger, kind, *HANGS)
        models = [*ledger.meter(member("a", "42"), member("b", "42")), inner]
        made = Made(models, mode="best-of", quorum=2, grace_ms=50, abilities=EVEN, name="outer")
        await ask(made)
        assert made.verdict.members[2].status == "cut"
        assert made.verdict.members[2].usd > 0
        assert made.verdict.usd == ledger.total[2]


async def test_a_judge_that_has_others_answer_for_it_is_paid_for() -> None:
    """A router has no price of its own."""
    ledger = Ledger()
    judge = Router(*ledger.meter(member("y", {"fail": "upstream_refused"}), Picky("x", likes="41")))
    models = [*ledger.meter(member("a", "42"), member("b", "41")), judge]
    made = Made(models, members=("a", "b"), judge="auto", abilities=EVEN)
    verdict = last_verdict(await made.ask())
    assert [ruling.usd for ruling in verdict.rulings] == pytest.approx([110e-6] * 2)
    assert verdict.usd == ledger.total[2]
    assert verdict.usd == pytest.approx(sum(it.usd for it in (*verdict.members, *verdict.rulings)))


async def test_a_bill_says_what_the_meter_does_in_every_kind_of_token() -> None:
    class Counting:
        card = member("a").card

        async def answer(self, _: ChatRequest) -> AsyncGenerator[Event, None]:
            yield Started("a")
            yield Text("42")
            yield Usage(1000, 10, 500, cache_written_tokens=3, reasoning_tokens=7)
            yield Finished("stop")

    ledger, bills = Ledger(), list[Bill]()
    model = billed(*ledger.meter(Counting()), bills.append)
    assert [event async for event in model.answer(request_of())][-1] == Finished("stop")
    assert [bill.usage for bill in bills] == [
        Usage(1000, 10, 500, cache_written_tokens=3, reasoning_tokens=7)
    ]
    assert [bill.usd for bill in bills] == [call.usd for call in ledger.calls]


async def test_calls_of_a_reader_are_not_those_of_the_model_that_it_reads() -> None:
    """The bill is of who is asked, not of what is asked in the same task meanwhile."""
    ledger, bills = Ledger(), list[Bill]()
    model, other = ledger.meter(member("a", "4", "2"), member("b", "41"))
    async for _ in billed(model, bills.append).answer(request_of()):
        async for _ in other.answer(request_of()):
            pass
    assert len(ledger.calls) > 2
    assert len(bills) == 1
