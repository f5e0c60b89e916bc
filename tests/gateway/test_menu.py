"""What a key may ask for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from priced_pool import CHEAP, NAMED, ROUTED, request

from junctor.chat import BadRequest, ChatRequest, Constraints, FusionOptions, ModelForbidden
from junctor.gateway.fused import Fused
from junctor.gateway.keys import Caller
from junctor.gateway.menu import Menu

ABLE = frozenset({"auto", "cheap", "dear", "unknown"})
PRESETS = frozenset({"fusion", "twice", "general-budget", "thrice"})
THRICE = Fused(members=("unknown",) * 3)
FUSED = {
    "fusion": Fused(members=("dear", "cheap", "auto"), able=ABLE, presets=PRESETS),
    "twice": Fused(members=("cheap", "cheap"), judge="dear", able=ABLE),
    "both": Fused(members=("twice", "unknown"), able=ABLE | {"twice"}),
}
MENU = Menu(
    NAMED,
    ROUTED,
    fused=FUSED,
    presets=FUSED | {"general-budget": Fused(members=("unknown", "cheap")), "thrice": THRICE},
)


def caller(*models: str) -> Caller:
    return Caller(key_id="k", name="ann", models=models, is_held=True)


def test_a_key_without_a_list_may_use_every_model() -> None:
    asked = request("dear")
    assert MENU.permit(caller(), "dear", asked) is asked
    assert MENU.permit(caller(), "auto", asked) is asked


def test_a_key_may_use_the_models_of_its_list_alone() -> None:
    asked = request("cheap")
    assert MENU.permit(caller("cheap"), "cheap", asked) is asked
    with pytest.raises(ModelForbidden, match="may not use the model `dear`; it may use: `cheap`") as caught:
        MENU.permit(caller("cheap"), "dear", request("dear"))
    assert (caught.value.status, caught.value.code, caught.value.param) == (403, "model_not_allowed", "model")


def test_a_router_chooses_among_the_keys_models() -> None:
    assert MENU.permit(caller("cheap", "unknown"), "auto", request()).constraints.only == ("cheap", "unknown")
    assert MENU.permit(caller("cheap", "auto"), "auto", request()).constraints.only == ("cheap",)


def test_a_caller_can_narrow_that_and_not_widen_it() -> None:
    both = caller("cheap", "unknown")
    narrowed = MENU.permit(both, "auto", request(only=("cheap", "dear"), never=("unknown",)))
    assert narrowed.constraints == Constraints(only=("cheap",), never=("unknown",))
    with pytest.raises(ModelForbidden, match="asks for `dear` only"):
        MENU.permit(both, "auto", request(only=("dear",)))


def test_a_key_for_the_router_alone_may_not_name_a_model() -> None:
    asked = request()
    assert MENU.permit(caller("auto"), "auto", asked) is asked
    with pytest.raises(ModelForbidden):
        MENU.permit(caller("auto"), "cheap", request("cheap"))


def test_a_key_whose_models_have_left_the_pool_gets_none() -> None:
    """And not, by an empty list, all of them."""
    with pytest.raises(ModelForbidden, match="nothing to choose from"):
        MENU.permit(caller("gone"), "auto", request())


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("cheap",),
        ("auto",),
        ("auto", "dear"),
        ("safe",),
        ("gone",),
        ("fusion",),
        ("twice", "auto"),
        ("auto", "gone"),
        ("cheap", "dear", "unknown"),
    ],
)
@pytest.mark.parametrize("name", ["cheap", "dear", "safe", "auto", "fusion", "twice", "both"])
def test_what_it_permits_is_what_it_lets_pass(names: tuple[str, ...], name: str) -> None:
    """One rule, asked in two ways."""
    try:
        MENU.permit(caller(*names), name, request(name))
    except ModelForbidden:
        assert not MENU.permits(caller(*names), name)
    else:
        assert MENU.permits(caller(*names), name)


def test_a_key_for_a_router_and_a_fusion_has_all_that_the_router_chooses_from() -> None:
    """It names no model that would narrow the choice."""
    asked = request()
    assert MENU.permit(caller("auto", "fusion"), "auto", asked) is asked


def fused(options: FusionOptions | None = None, name: str = "fusion", **limits: Any) -> ChatRequest:
    return msgspec.structs.replace(request(name, **limits), fusion=options)


def test_a_fusion_is_told_from_models_by_its_name_or_alias() -> None:
    names = {"fusion", "openrouter/fusion", "claude-junctor-twice", "auto", "cheap", "nonsense"}
    assert {name for name in names if MENU.is_fusion(name)} == {
        "fusion",
        "openrouter/fusion",
        "claude-junctor-twice",
    }
    own = Menu({"openrouter/fusion": [CHEAP]}, {}, fused={"fusion": Fused(members=("openrouter/fusion",))})
    assert not own.is_fusion("openrouter/fusion"), "a model of that name goes before the alias"


def test_a_key_that_names_a_fusion_has_it_with_all_its_members() -> None:
    asked = fused()
    assert MENU.permit(caller("fusion"), "fusion", asked) is asked
    assert MENU.permit(caller("fusion", "cheap"), "fusion", asked) is asked


def test_a_key_that_names_models_has_a_fusion_of_these() -> None:
    """Without those that may ask others: nobody narrows what `auto` chooses from, once it is a member."""
    assert MENU.permit(caller("cheap"), "fusion", fused()).constraints.only == ("cheap",)
    narrowed = MENU.permit(caller("cheap", "dear"), "fusion", fused(never=("x",)))
    assert narrowed.constraints == Constraints(only=("dear", "cheap"), never=("x",))
    assert MENU.permit(caller("auto", "cheap"), "fusion", fused()).constraints.only == ("cheap",)
    every = MENU.permit(caller("cheap", "dear", "unknown"), "fusion", fused())
    assert every.constraints.only == ("dear", "cheap", "auto")
    with pytest.raises(ModelForbidden, match="nothing to choose from"):
        MENU.permit(caller("unknown"), "fusion", fused())
    with pytest.raises(ModelForbidden, match="asks for `dear` only"):
        MENU.permit(caller("cheap"), "fusion", fused(only=("dear",)))


def test_a_fusion_within_a_fusion_is_asked_where_all_its_members_and_its_judge_may_be() -> None:
    assert MENU.permit(caller("unknown", "cheap"), "both", fused(name="both")).constraints.only == (
        "unknown",
    )
    both = MENU.permit(caller("dear", "cheap"), "both", fused(name="both"))
    assert both.constraints.only == ("twice",)
    named = MENU.permit(caller("unknown", "twice"), "both", fused(name="both"))
    assert named.constraints.only == ("twice", "unknown"), "a fusion that is named comes with its members"


def test_a_judge_that_the_key_may_not_use_gives_way_to_the_best_member_that_it_may() -> None:
    asked = MENU.permit(caller("cheap"), "twice", fused(name="twice"))
    assert asked.fusion == FusionOptions(model="cheap")
    options = FusionOptions(analysis_models=("unknown", "cheap"), mode="vote")
    own = MENU.permit(caller("cheap", "unknown"), "twice", fused(options, "twice"))
    assert own.fusion == msgspec.structs.replace(options, model="unknown")
    whole = fused(FusionOptions(mode="vote"), "twice")
    assert MENU.permit(caller("twice"), "twice", whole) is whole
    assert MENU.permit(caller("cheap", "dear"), "twice", fused(name="twice")).fusion is None


def test_a_judge_that_the_key_may_use_is_among_those_that_it_narrows_a_fusion_to() -> None:
    """Only the caller's own `only` may rule it out."""
    both = caller("cheap", "dear")
    assert MENU.permit(both, "twice", fused(name="twice")).constraints.only == ("cheap", "dear")
    assert MENU.permit(both, "twice", fused(name="twice", only=("cheap",))).constraints.only == ("cheap",)


@pytest.mark.parametrize(
    ("options", "param"),
    [
        (FusionOptions(analysis_models=("cheap", "dear")), "fusion.analysis_models"),
        (FusionOptions(analysis_models=("auto",)), "fusion.analysis_models"),
        (FusionOptions(model="dear"), "fusion.model"),
        (FusionOptions(preset="thrice"), "fusion.preset"),
    ],
)
@pytest.mark.parametrize("names", [("cheap",), ("fusion",), ("cheap", "auto")])
def test_whom_a_request_names_the_key_must_name(
    names: tuple[str, ...], options: FusionOptions, param: str
) -> None:
    """Also where it names the fusion: else it could be used to ask any one of its members."""
    with pytest.raises(ModelForbidden, match="may not use") as caught:
        MENU.permit(caller(*names), "fusion", fused(options))
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (FusionOptions(analysis_models=("chaep",)), "`chaep` cannot take part.*did you mean `cheap`"),
        (FusionOptions(analysis_models=("dera",)), "`dera` cannot take part in a fusion; known: cheap$"),
        (FusionOptions(model="nonsense"), "`nonsense` cannot take part"),
        (FusionOptions(preset="general-bugdet"), "no preset `general-bugdet`; did you mean `general-budget`"),
        (FusionOptions(preset="bohh"), "no preset `bohh`; known: fusion, twice, general-budget$"),
    ],
)
def test_a_slip_is_met_with_a_suggestion_of_what_the_key_may_use(options: FusionOptions, words: str) -> None:
    """And never with the name of anything else."""
    with pytest.raises(BadRequest, match=words) as caught:
        MENU.permit(caller("cheap"), "fusion", fused(options))
    assert caught.value.status == 400
    assert caught.value.param is not None
    assert caught.value.param.startswith("fusion.")


def test_a_model_that_is_there_and_cannot_take_part_is_no_secret_to_whom_may_use_it() -> None:
    options = FusionOptions(analysis_models=("caching",))
    with pytest.raises(BadRequest, match="cannot take part"):
        MENU.permit(caller("caching", "cheap"), "fusion", fused(options))
    with pytest.raises(ModelForbidden, match="`caching`"):
        MENU.permit(caller("cheap"), "fusion", fused(options))


def test_a_preset_is_permitted_as_the_fusion_that_it_is() -> None:
    budget = fused(FusionOptions(preset="general-budget"))
    assert MENU.permit(caller("cheap"), "fusion", budget).constraints.only == ("cheap",)
    assert MENU.permit(caller("general-budget"), "fusion", budget) is budget
