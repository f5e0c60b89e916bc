"""Which calls a fusion may make for one request."""

from __future__ import annotations

import msgspec
import pytest

from junctor.chat import BadRequest, Constraints, FusionMode, FusionOptions
from junctor.fusion.plan import Plan, for_request
from junctor.gateway.fused import Fused, as_asked, judges_asked, label_of, members_asked, paths_of_judging

FUSED = Fused(
    members=("a", "b", "b"), able=frozenset("abc"), presets=frozenset({"few"}), judge="c", max_usd=1.0
)
PRESETS = {"few": Fused(members=("c",), mode="vote", max_completion_tokens=9)}
OPTIONS = [
    FusionOptions(),
    FusionOptions(preset="few"),
    FusionOptions(preset="few", analysis_models=("a",), mode="merge"),
    FusionOptions(analysis_models=("c", "c"), model="a", max_usd=0.5, max_completion_tokens=7),
    FusionOptions(max_usd=0.0),
]


@pytest.mark.parametrize("options", [None, *OPTIONS])
def test_a_request_changes_a_fusion_here_as_it_does_where_it_is_asked(options: FusionOptions | None) -> None:
    """The gateway and the room of fusions do not know each other, and must mean the same."""

    def plan_of(name: str, fused: Fused) -> Plan:
        return Plan(
            name=name,
            members=fused.members,
            judge=fused.judge,
            mode=fused.mode,
            max_usd=fused.max_usd,
            max_completion_tokens=fused.max_completion_tokens,
        )

    presets = {name: plan_of(name, fused) for name, fused in PRESETS.items()}
    here = as_asked(FUSED, PRESETS, options)
    assert plan_of("fusion", here) == for_request(plan_of("fusion", FUSED), presets, options)
    assert here.able == FUSED.able


def test_a_preset_that_is_none_is_refused() -> None:
    """So is one whose members may not take part in this fusion."""
    presets = PRESETS | {"deep": Fused(members=("fusion",))}
    for name in ("fwe", "deep"):
        with pytest.raises(BadRequest, match=f"there is no preset `{name}`; there are `few`"):
            as_asked(FUSED, presets, FusionOptions(preset=name))


def test_the_requests_limits_leave_some_members() -> None:
    assert members_asked(FUSED, Constraints()) == ["a", "b", "b"]
    assert members_asked(FUSED, Constraints(only=("b",))) == ["b", "b"]
    assert members_asked(FUSED, Constraints(never=("b",))) == ["a"]


def test_a_judge_that_the_requests_limits_rule_out_leaves_it_to_a_member() -> None:
    judged = msgspec.structs.replace(FUSED, judge="j")
    assert judges_asked(judged, Constraints()) == ["j"]
    assert judges_asked(judged, Constraints(never=("j",))) == ["a", "b", "b"]
    assert judges_asked(judged, Constraints(only=("b",))) == ["b", "b"]


@pytest.mark.parametrize(
    ("mode", "questions"), [("vote", []), ("debate", []), ("best-of", [4]), ("merge", [3]), ("auto", [3, 4])]
)
def test_a_judge_is_asked_in_both_orders_and_once_more_for_the_form(
    mode: FusionMode, questions: list[int]
) -> None:
    paths = paths_of_judging(mode, 3, 100, 50)
    assert [sum(each.times for each in path) for path in paths] == questions
    assert all(each.reads > 100 + 2 * 50 for path in paths for each in path)
    assert paths_of_judging(mode, 1, 100, 50) == ()


def test_the_cost_of_members_of_its_own_is_remembered_apart() -> None:
    assert label_of("fusion", FUSED, None) == "fusion"
    asked = [as_asked(FUSED, PRESETS, options) for options in OPTIONS]
    labels = [label_of("fusion", fused, options) for fused, options in zip(asked, OPTIONS, strict=True)]
    assert "fusion" not in labels
    assert len(set(labels)) == 4, "max_usd alone changes nothing"
