"""The last part: an answer, between two states of the record."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from panels import Picky, member, metered, request_of

from junctor.chat import Event, Finished, Routed, Started, Text, Thought, Usage
from junctor.fusion.billing import Books
from junctor.fusion.panel import Seat
from junctor.fusion.plan import Plan
from junctor.fusion.record import Record, begin
from junctor.fusion.roll import Roll
from junctor.fusion.telling import NotWritten, Teller
from junctor.fusion.weights import Weights
from junctor.pool.choice import Policy
from junctor.pool.fan_out import Ask, ask_all
from junctor.pool.resilient import Resilience

pytestmark = pytest.mark.anyio


def teller_of(model: Picky) -> tuple[Teller, Record]:
    seats = [Seat(name=model.card.name, request=request_of())]
    plan, weights = Plan(name="fusion", members=("w",)), Weights()
    record = Record(plan, Roll(seats, {"w": model.card}, weights, prompt_tokens=9, verbatim=True))
    decision = begin(
        plan, seats, weights, decision_id="dec_1", request_id="req_1", prompt_tokens=9, took_us=1.0
    )
    return Teller(
        Books({"w": metered(model)}, Resilience(Policy(attempts=1))), seats, record, decision
    ), record


async def test_a_new_answer_is_passed_on_and_paid_for() -> None:
    model = Picky("w", writes="New.")
    teller, record = teller_of(model)
    events = [event async for event in teller.write(replace(request_of(), model="w"))]
    assert [type(event) for event in events] == [Routed, Started, Text, Usage, Routed, Finished]
    assert record.roll.spent.usage == Usage(100, 10)


async def test_a_member_s_answer_is_given_without_being_asked_again() -> None:
    model = Picky("w", writes="42")
    teller, record = teller_of(model)
    replies = [reply async for reply in ask_all([Ask(model, request_of())])]
    record.roll.hear(0, "42", 0.1)
    record.settle("vote", "it is", 0)
    events = list(teller.give({0: replies[0]}))
    assert [type(event) for event in events] == [Routed, Started, Text, Usage, Routed, Finished]
    assert len(model.requests) == 1


async def test_a_writer_that_fails_before_its_first_words_has_written_nothing() -> None:
    teller, _ = teller_of(member("w", {"fail": "upstream_broken"}))  # pyright: ignore[reportArgumentType]
    with pytest.raises(NotWritten):
        [event async for event in teller.write(replace(request_of(), model="w"))]


async def test_a_writer_without_usage_is_counted() -> None:
    model = member("w", "One, two, three")
    teller, record = teller_of(model)  # pyright: ignore[reportArgumentType]
    events = [event async for event in teller.write(replace(request_of(), model="w"))]
    (usage,) = [event for event in events if isinstance(event, Usage)]
    assert usage.output_tokens > 0
    assert record.roll.spent.usd > 0


@pytest.mark.parametrize(
    "steps",
    [
        ({"thought": "Let me think.", "finish": "length"},),
        ({"thought": "Let me think."}, {"fail": "upstream_broken"}),
        ({"text": "  "},),
    ],
)
async def test_a_writer_that_has_only_thought_has_not_begun(steps: tuple[dict[str, object], ...]) -> None:
    """What it thought is not seen either: what follows is another's answer."""
    teller, _ = teller_of(member("w", *steps))  # pyright: ignore[reportArgumentType]
    seen = list[Event]()
    with pytest.raises(NotWritten):
        async for event in teller.write(replace(request_of(), model="w")):
            seen.append(event)
    assert [type(event) for event in seen] == [Routed]


async def test_thoughts_come_with_the_first_words() -> None:
    teller, _ = teller_of(member("w", {"thought": "Hm."}, {"text": "New."}))  # pyright: ignore[reportArgumentType]
    events = [event async for event in teller.write(replace(request_of(), model="w"))]
    assert [type(event) for event in events] == [
        Routed,
        Started,
        Thought,
        Text,
        Usage,
        Routed,
        Finished,
    ]
