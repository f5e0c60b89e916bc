"""A fusion as it is configured, and as a request has it."""

from __future__ import annotations

import msgspec
import pytest

from junctor.chat import BadRequest, Constraints, FusionOptions
from junctor.fusion.plan import Plan, for_request, keep_to

PLAN = Plan(name="fusion", members=("a", "b", "c"), mode="vote", quorum=2)
CHEAP = Plan(name="cheap", members=("a", "a"), mode="merge")


def test_what_a_request_leaves_out_is_as_configured() -> None:
    assert for_request(PLAN, {}, None) is PLAN
    assert for_request(PLAN, {}, FusionOptions()) is PLAN
    plan = for_request(PLAN, {}, FusionOptions(analysis_models=("c",), model="j", deadline_ms=5))
    assert (plan.members, plan.judge, plan.deadline_ms, plan.quorum) == (("c",), "j", 5, 2)


def test_a_preset_is_taken_first_and_the_other_fields_change_it() -> None:
    plan = for_request(PLAN, {"cheap": CHEAP}, FusionOptions(preset="cheap", mode="vote"))
    assert (plan.name, plan.members, plan.mode) == ("fusion", ("a", "a"), "vote")


def test_an_unknown_preset_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadRequest, match="there is no preset `dear`; there are `cheap`") as caught:
        for_request(PLAN, {"cheap": CHEAP}, FusionOptions(preset="dear"))
    assert caught.value.param == "fusion.preset"


@pytest.mark.parametrize(
    ("limits", "judge"),
    [
        (Constraints(), "j"),
        (Constraints(only=("a", "j")), "j"),
        (Constraints(only=("a",)), None),
        (Constraints(never=("j",)), None),
    ],
)
def test_a_judge_whom_the_caller_rules_out_is_none(limits: Constraints, judge: str | None) -> None:
    assert keep_to(Plan(name="x", members=("a",), judge="j"), limits).judge == judge


def test_of_two_limits_on_the_cost_the_lower_one_holds() -> None:
    plan = Plan(name="x", members=("a",), max_usd=0.5)
    assert keep_to(plan, Constraints(max_usd=0.1)).max_usd == 0.1
    assert keep_to(plan, Constraints(max_usd=0.9)).max_usd == 0.5
    assert keep_to(msgspec.structs.replace(plan, max_usd=None), Constraints()).max_usd is None
