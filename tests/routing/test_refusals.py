"""What a caller is told whose limits cannot be kept."""

from __future__ import annotations

import pytest

from junctor.chat import BadRequest, Constraints
from junctor.routing.refusals import STRONGEST_SHARE, check_names, does_not_fit, no_model_fits


@pytest.mark.parametrize(
    ("constraint", "limits", "max_tokens", "says"),
    [
        ("max_usd", Constraints(max_usd=1), None, "loosen `junctor.max_usd`"),
        ("max_tokens", Constraints(), 100_000, "lower `max_tokens`"),
        ("window", Constraints(), 100_000, "lower `max_tokens`, or shorten the prompt"),
        ("window", Constraints(), None, "shorten the prompt"),
        ("needs.vision", Constraints(needs=("vision",)), None, "loosen `junctor.needs`"),
        ("needs.vision", Constraints(), None, "leave out what needs vision"),
        ("quality", Constraints(quality=0.9), None, "loosen `junctor.quality`"),
        ("quality", Constraints(), None, "lower `routing.quality` in junctor.toml"),
        (STRONGEST_SHARE, Constraints(), None, "wait until the key's share allows it"),
    ],
)
def test_what_may_help_goes_by_the_names_that_a_caller_has_for_it(
    constraint: str, limits: Constraints, max_tokens: int | None, says: str
) -> None:
    """There is no field `window`: what a caller can change is `max_tokens`, or the prompt."""
    error = no_model_fits([("ant", (constraint, "1 < 2"))], limits, max_tokens)
    assert error.message.endswith(f"ant: {constraint} (1 < 2). What may help: {says}")


def test_the_refusal_of_a_named_model_says_the_limit_its_figure_and_the_field() -> None:
    error = does_not_fit("ant", ("needs.vision", "lacks the skill vision"), Constraints(needs=("vision",)), 1)
    assert error.param == "junctor.needs"
    assert "`ant`" in error.message
    assert "needs.vision: lacks the skill vision" in error.message
    assert does_not_fit("ant", ("max_usd", "2 > 1"), Constraints(), None).param == "junctor.max_usd"


def test_an_unknown_name_is_answered_with_what_was_meant_or_with_all_there_are() -> None:
    with pytest.raises(
        BadRequest, match=r"`junctor.never` names `sonnt`.*did you mean `sonnet`\?"
    ) as refused:
        check_names(Constraints(never=("sonnt",)), ["haiku", "sonnet"])
    assert refused.value.param == "junctor.never"
    with pytest.raises(BadRequest, match="there are: haiku, sonnet"):
        check_names(Constraints(only=("zz",)), ["sonnet", "haiku"])
    check_names(Constraints(only=("haiku",), never=("sonnet",)), ["sonnet", "haiku"])
