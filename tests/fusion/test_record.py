"""The record of a fusion: sums, states and what is shown."""

from __future__ import annotations

import pytest
from panels import member

from junctor.chat import Ruling, UpstreamTimeout, Usage
from junctor.fusion.ballot import Standpoint
from junctor.fusion.billing import Bill
from junctor.fusion.panel import Seat
from junctor.fusion.plan import Plan
from junctor.fusion.record import Record, begin
from junctor.fusion.roll import Roll
from junctor.fusion.weights import Weights
from junctor.pool.fan_out import Reply

MODELS = {name: member(name, usd=usd) for name, usd in (("a", 1.0), ("b", 10.0), ("j", 100.0))}
CARDS = {name: model.card for name, model in MODELS.items()}
PLAN = Plan(name="fusion", members=("a", "b", "a"))


def seats(left_out: str | None = None) -> tuple[Seat, ...]:
    asked = Seat(name="a", request=None, usd=0.001)  # pyright: ignore[reportArgumentType]
    dear = Seat(name="b", request=None, usd=0.01, left_out=left_out)  # pyright: ignore[reportArgumentType]
    return asked, dear, asked


def record_of(*, left_out: str | None = None, verbatim: bool = True) -> Record:
    weights = Weights({"a": 0.6, "b": 0.9})
    return Record(PLAN, Roll(seats(left_out), CARDS, weights, prompt_tokens=1000, verbatim=verbatim))


def test_all_calls_add_up_and_are_compared_with_the_best_member_alone() -> None:
    record = record_of()
    record.roll.pay(Bill(Usage(1000, 1000), 0.002), 0)
    record.roll.hear(0, "42", 0.5)
    record.roll.pay(Bill(Usage(1000, 1000), 0.02), 1)
    record.roll.hear(1, "42", 0.7)
    record.roll.pay(Bill(Usage(10, 5), 0.0015))
    record.judged("j", [Ruling(order=(1, 0), preferred=1)], [2, 0])
    record.roll.pay(Bill(Usage(1000, 3, estimated=True), 0.001), 2)
    record.roll.spare(2, 0.7)
    verdict = record.verdict
    assert verdict.usd == pytest.approx(0.002 + 0.02 + 0.0015 + 0.001)
    assert verdict.cost_multiple == pytest.approx(verdict.usd / 0.02)
    assert record.roll.spent.usage == Usage(3010, 2008, estimated=True)
    assert (verdict.asked, verdict.awaited, verdict.saved_answers) == (3, 2, 1)
    assert verdict.rulings[0].order == (0, 2)
    assert verdict.rulings[0].preferred == 0
    assert verdict.best_member == "b"


def test_who_is_left_out_is_never_the_best_and_costs_nothing() -> None:
    record = record_of(left_out="excluded by `never`")
    verdict = record.verdict
    assert (record.roll.best, verdict.best_member, verdict.asked) == (0, "a", 2)
    assert (verdict.members[1].status, verdict.members[1].reason) == ("left_out", "excluded by `never`")
    assert verdict.usd == 0


def test_a_member_without_an_answer_failed_or_was_late() -> None:
    record = record_of()
    error = UpstreamTimeout("too slow " * 50, model="a")
    failed = record.roll.fail(0, Reply(at=0, model="a", error=error, took_s=1.0))
    record.roll.fail(1, Reply(at=1, model="b", error=error, took_s=1.0, is_late=True))
    one, two, _ = record.verdict.members
    assert (one.status, one.usd, two.status) == ("failed", 0, "cut")
    assert len(failed.failed or "") == 240


def test_a_failure_in_a_second_round_leaves_the_answer_of_the_first() -> None:
    record = record_of()
    record.roll.hear(0, "42", 0.5)
    record.roll.fail(0, Reply(at=0, model="a", error=UpstreamTimeout("x", model="a"), took_s=1.0))
    record.roll.hear(1, "42", 0.5)
    record.roll.hear(1, "41", 0.5)
    one, two, _ = record.verdict.members
    assert (one.status, one.answer) == ("answered", "42")
    assert (two.answer, two.took_ms) == ("41", 1000)


def test_answers_are_shown_short_or_not_at_all() -> None:
    long = "x" * 200
    for verbatim, shown in ((True, "x" * 79 + "…"), (False, None)):
        record = record_of(verbatim=verbatim)
        draft = record.roll.hear(0, long, 0.1)
        record.count([Standpoint(answer=long, members=(0,), p=0.9)], (1.0, 1.0, 1.0), "prior")
        assert draft.answer == record.verdict.members[0].answer == record.verdict.clusters[0].answer == shown
        assert record.verdict.members[0].cluster == 0


def test_a_decision_names_whose_answer_it_is_or_who_writes() -> None:
    decision = begin(
        PLAN,
        seats(),
        Weights({"b": 0.9}),
        decision_id="dec_1",
        request_id="req_1",
        prompt_tokens=9,
        took_us=1.0,
    )
    assert (decision.chosen, decision.path, [it.name for it in decision.candidates]) == (
        "b",
        "fusion",
        ["a", "b"],
    )
    record = record_of()
    assert record.decide(decision).chosen == "b"
    record.settle("vote", "2 of 3 answers agree", 0)
    assert (record.decide(decision).chosen, record.decide(decision).rule) == (
        "a",
        "auto: 2 of 3 answers agree",
    )
    record.write("j", "written by j")
    assert record.decide(decision).chosen == "j"


def test_what_goes_wrong_adds_up() -> None:
    record = record_of()
    record.degrade("one")
    record.degrade("two")
    assert record.verdict.degraded == "one; two"
