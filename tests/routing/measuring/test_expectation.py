"""What a ladder is expected to be worth: on one scale with each model alone."""

from __future__ import annotations

import msgspec
import pytest

from junctor.routing.ladder import Promise
from junctor.routing.measuring.expectation import on_its_prompts
from ladders import a_ladder

PROMISE = Promise(price=0.05, saved=0.5, quality=0.97, strongest_quality=0.9, low=0.01)
LADDER = msgspec.structs.replace(
    a_ladder(rungs=(("cheap-a", "cheap-b"),)),
    promises={"balanced": PROMISE, "cost": msgspec.structs.replace(PROMISE, quality=0.95)},
)
SCORES = {
    "cheap-a": (1.0, 0.0, 1.0, 0.0),
    "cheap-b": (1.0, None, None, 0.0),
    "strong": (1.0, 1.0, 1.0, 0.0),
    "beside": (None, None, None, 1.0),
    "silent": (None,) * 4,
}


def test_each_model_is_measured_against_the_strongest_on_the_prompts_that_both_answered() -> None:
    """The strongest has just what the promise says of it, and one that has gaps is not favoured by them."""
    found = on_its_prompts(LADDER, SCORES, judged_by_strongest=False)
    assert found is not None
    assert found.quality == {"balanced": 0.97, "cost": 0.95}
    assert found.models == {
        "cheap-a": pytest.approx(0.65),
        "cheap-b": pytest.approx(0.9),
        "strong": pytest.approx(0.9),
        "beside": 1.0,
    }


def test_scores_of_other_models_are_not_the_ladders() -> None:
    for name in ("cheap-a", "strong"):
        others = {key: value for key, value in SCORES.items() if key != name}
        assert on_its_prompts(LADDER, others, judged_by_strongest=False) is None


def test_without_a_promise_nothing_was_climbed() -> None:
    bare = msgspec.structs.replace(LADDER, promises={})
    assert on_its_prompts(bare, SCORES, judged_by_strongest=False) is None
