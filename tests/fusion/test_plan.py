"""A fusion as it is configured, and as a request has it."""

from __future__ import annotations

import pytest

from junctor.chat import BadRequest, FusionOptions
from junctor.fusion.plan import Plan, for_request

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
