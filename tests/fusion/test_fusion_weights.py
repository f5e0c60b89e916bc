"""Weights: learnt ones first, then those that abilities suggest."""

from __future__ import annotations

from junctor.fusion.weights import PRIOR, Weights
from junctor.pool.vote import Vote

LEARNT = Vote((0.2, 2.0, 0.9), two=0.5, three=0.1, none=1.0)


def test_what_was_learnt_for_these_members_is_taken_in_whatever_order_they_stand() -> None:
    weights = Weights({"a": 0.9}, {("a", "b", "c"): LEARNT})
    vote, source = weights.vote_for(["c", "a", "b"])
    assert (vote.weights, vote.two, source) == ((0.9, 0.2, 2.0), 0.5, "calibrated")
    assert weights.best(["c", "a", "b"]) == 2


def test_fewer_members_take_theirs_from_what_was_learnt_of_more() -> None:
    vote, source = Weights({}, {("a", "b", "c"): LEARNT}).vote_for(["c", "b"])
    assert (vote.weights, source) == ((0.9, 2.0), "calibrated for 3 models")


def test_a_member_more_than_was_calibrated_takes_all_back_to_the_prior() -> None:
    weights = Weights({"a": 0.9, "d": 0.5}, {("a", "b", "c"): LEARNT})
    assert weights.vote_for(["a", "d"])[1] == PRIOR
    assert weights.vote_for(["a", "a"])[1] == PRIOR


def test_without_a_calibration_an_abler_member_weighs_more_and_is_the_best() -> None:
    weights = Weights({"a": 0.5, "b": 0.95})
    vote, source = weights.vote_for(["a", "b", "a"])
    assert source == PRIOR
    assert vote.weights[1] > 2 * vote.weights[0] == 2 * vote.weights[2]
    assert weights.best(["a", "b", "a"]) == 1


def test_of_equals_the_first_is_the_best() -> None:
    assert Weights({}).best(["x", "y"]) == 0


def test_a_judge_that_was_measured_is_worth_that_and_another_what_is_stated() -> None:
    weights = Weights({}, {}, {"j": 0.81})
    assert (weights.judge_accuracy("j", 0.6), weights.judge_accuracy("k", 0.6)) == (0.81, 0.6)


def test_ratings_speak_where_no_calibration_does() -> None:
    """A calibration goes before them, also one of more members than these."""
    rated = {("a", "b"): Vote((1.5, 0.5), two=0.3, three=0.1, none=1.0)}
    vote, source = Weights({"a": 0.2, "b": 0.9}, {}, rated=rated).vote_for(["b", "a"])
    assert (vote.weights, source) == ((0.5, 1.5), "rated")
    both = Weights({}, {("a", "b", "c"): LEARNT}, rated=rated)
    assert both.vote_for(["b", "a"])[1] == "calibrated for 3 models"
    assert Weights({}, rated=rated).vote_for(["a", "c"])[1] == PRIOR
