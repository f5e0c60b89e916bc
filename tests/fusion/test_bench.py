"""Who judges, and what becomes of it."""

from __future__ import annotations

import pytest
from panels import Picky, member, metered, request_of

from junctor.chat import UpstreamBroken, Usage
from junctor.fusion.ballot import weigh_ruling
from junctor.fusion.bench import Bench, Role
from junctor.fusion.billing import Books
from junctor.fusion.panel import Seat
from junctor.fusion.plan import Plan
from junctor.fusion.record import Record
from junctor.fusion.roll import Roll
from junctor.fusion.weights import Weights
from junctor.pool.choice import Policy
from junctor.pool.resilient import Resilience

pytestmark = pytest.mark.anyio

ABILITIES = {"a": 0.9, "b": 0.6, "c": 0.7}


def bench_of(judge: Picky | None = None, **plan: object) -> tuple[Bench, Record]:
    models = {name: member(name) for name in ABILITIES} | ({"j": judge} if judge else {})
    made = Plan(name="fusion", members=("a", "b", "c"), judge="j" if judge else None, **plan)  # pyright: ignore[reportArgumentType]
    seats = [Seat(name=name, request=request_of()) for name in made.members]
    weights = Weights(ABILITIES, {}, {"j": 0.8})
    books = Books({name: metered(model) for name, model in models.items()}, Resilience(Policy(attempts=1)))
    record = Record(made, Roll(seats, books.cards, weights, prompt_tokens=100, verbatim=True))
    return Bench(made, seats, books, record, weights, 100), record


def test_the_judge_that_is_named_judges_and_writes() -> None:
    bench, _ = bench_of(Picky("j"))
    assert bench.judge_of([0, 1, 2], [0, 1, 2]) == bench.writer_of([0, 1, 2]) == "j"
    assert bench.weigh("j") == bench.least_lead == weigh_ruling(0.8)


def test_else_the_best_member_that_is_not_shown_judges_and_the_best_of_all_writes() -> None:
    bench, _ = bench_of(judge_accuracy=0.7)
    assert bench.judge_of([0, 1], [0, 1, 2]) == "c"
    assert bench.judge_of([0, 1], [0, 1]) is None, "who has not answered may hang"
    assert bench.judge_of([1, 2], [0, 1, 2]) == bench.writer_of([0, 1, 2]) == "a"
    assert bench.writer_of([1, 2]) == "c", "who has not answered may hang"
    assert bench.judge_of([0, 1, 2], [0, 1, 2]) is None
    assert bench.weigh("a") == weigh_ruling(0.7)


async def test_a_preference_comes_back_as_the_members_seat() -> None:
    bench, record = bench_of(Picky("j", likes="this"))
    opinion = await bench.compare("j", {2: "this one", 0: "another"}, request_of(), 10)
    assert (opinion.preferred, opinion.failed) == (2, None)
    assert {ruling.preferred for ruling in record.verdict.rulings} == {2}
    assert record.roll.spent.usage == Usage(200, 20)


async def test_an_analysis_comes_with_the_members_names() -> None:
    bench, record = bench_of(Picky("j"))
    analysis, failure = await bench.analyse("j", [("a", "one"), ("b", "two")], request_of(), 10)
    assert failure is None
    assert record.verdict.analysis == analysis
    assert analysis is not None


async def test_nothing_is_asked_that_max_usd_does_not_allow() -> None:
    judge = Picky("j", usd=1e6)
    bench, _ = bench_of(judge, max_usd=0.5)
    assert (
        await bench.compare("j", {0: "x", 1: "y"}, request_of(), 10)
    ).failed == "max_usd leaves nothing for it"
    assert (await bench.analyse("j", [("a", "x")], request_of(), 10))[1] == "max_usd leaves nothing for it"
    assert not judge.requests


def test_what_is_done_without_a_judge_or_a_writer() -> None:
    """It is not said as if a member were missing: the judge may well be one."""
    bench, record = bench_of(Picky("j"))
    chosen, because = bench.do_without("judge", "j", "it is away", leader=1)
    assert (chosen, because) == (1, "the judge j failed (it is away), so the leading answer is given")
    assert record.verdict.degraded == "the judge j failed: it is away"
    bench, record = bench_of(Picky("j"), on_judge_failure="best")
    assert bench.do_without("judge", "j", "away", leader=1)[0] == 1, "the best member has not answered"
    record.roll.hear(0, "42", 0.1)
    chosen, because = bench.do_without("writer", "j", "away" * 1000, leader=1)
    assert chosen == 0
    assert because.startswith("the writer j failed (awayaway")
    assert because.endswith("), so the best member's answer is given")
    assert len(because) < 400


@pytest.mark.parametrize(("role", "said"), [("judge", "gave no verdict"), ("writer", "wrote nothing")])
def test_without_a_judge_or_a_writer_it_fails_where_it_is_to_fail_then(role: Role, said: str) -> None:
    bench, _ = bench_of(Picky("j"), on_judge_failure="error")
    with pytest.raises(UpstreamBroken, match=f"the {role} `j` {said}: away"):
        bench.do_without(role, "j", "away", leader=1)
