"""The Model in the pool."""

from __future__ import annotations

import asyncio

import pytest
from panels import Made, last_verdict, member, request_of

from junctor.chat import Constraints, NoModelFits
from junctor.pool.choice import Policy

pytestmark = pytest.mark.anyio


def test_a_fusion_can_what_one_of_its_members_can() -> None:
    members = [
        member("a", skills=frozenset({"tools"}), window=100),
        member("b", skills=frozenset({"vision"}), window=900),
    ]
    card = Made(members, name="both").fusion.card
    assert (card.name, card.window, card.skills) == ("both", 900, {"tools", "vision"})


async def test_members_are_tried_again_as_the_pool_s_models_are() -> None:
    flaky = member("a", {"turn": True, "fail": "upstream_unreachable"}, {"turn": True, "text": "42"})
    made = Made([flaky, member("b")], policy=Policy(attempts=2))
    verdict = last_verdict(await made.ask())
    assert [it.status for it in verdict.members] == ["answered", "answered"]
    assert len(flaky.requests) == 2


async def test_a_callers_limit_on_the_time_bounds_the_wait() -> None:
    slow = member("b", {"text": "41", "delay_s": 3600})
    made = Made([member("a"), slow], abilities={"a": 0.5, "b": 0.9})
    verdict = last_verdict(await made.ask(request_of(constraints=Constraints(max_total_ms=80))))
    assert [it.status for it in verdict.members] == ["answered", "cut"]


async def test_a_fusion_of_fusions_costs_what_all_calls_cost() -> None:
    inner = Made([member("a", "41"), member("b", "42")], name="inner", mode="merge", judge="a")
    outer = Made([inner.fusion, member("c", "7")], abilities={"inner": 0.5, "c": 0.5}, mode="vote")
    verdict = last_verdict(await outer.ask())
    assert verdict.members[0].usd == inner.verdict.usd > 0
    assert verdict.usd == pytest.approx(inner.verdict.usd + verdict.members[1].usd)


async def test_a_request_that_no_member_may_answer_raises_at_once_and_leaves_no_decision() -> None:
    made = Made([member("a", window=1)])
    with pytest.raises(NoModelFits):
        await made.ask()
    assert not made.decisions


async def test_a_caller_who_leaves_calls_off_all_members() -> None:
    slow = member("a", {"text": "42", "delay_s": 3600})
    made = Made([slow, member("b", {"text": "41", "delay_s": 3600})])
    before = asyncio.all_tasks()
    task = asyncio.create_task(made.ask())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [it.status for it in made.verdict.members] == ["cut", "cut"]
    assert made.verdict.saved_answers == 0, "they could have changed everything"
    # Clients of other tests may be closing just now: only tasks that run our code count.
    left = [task.get_coro() for task in asyncio.all_tasks() - before]
    assert not [it for it in left if "/junctor/" in getattr(it, "cr_code", it).co_filename]
