"""Votes of which nothing has been learnt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.pool.vote import stand
from junctor.pool.vote_prior import CAUTION, PRIOR, TIE, Shrunk, fold, prior_weights, shrink

abilities = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def test_members_of_unknown_ability_have_a_plain_vote_in_which_the_first_wins_ties() -> None:
    vote = prior_weights([0.5] * 4)
    assert len(set(vote.weights)) == 1
    assert stand(vote, [1, 2, 3, 2]).top == 1
    assert stand(vote, [1, 2, 3, 4]).top == 0
    assert stand(vote, [None, 2, 3, 4]).top == 1


def test_the_best_members_answer_has_to_be_outvoted() -> None:
    """One weaker member alone never does it; several that agree do."""
    vote = prior_weights([0.55, 0.75, 0.55, 0.53])
    assert stand(vote, [1, 2, 3, 4]).top == 1
    assert stand(vote, [1, 2, 1, 1]).top == 0


def test_a_far_better_member_is_not_outvoted_by_three_weak_ones() -> None:
    """The pool in which a majority loses eleven points."""
    assert stand(prior_weights([0.9, 0.45, 0.4, 0.42]), [1, 2, 2, 2]).top == 0


@given(st.lists(st.floats(0.02, 0.98), min_size=1, max_size=8, unique=True))
def test_better_members_never_weigh_less(values: list[float]) -> None:
    ranked = sorted(values)
    assert list(prior_weights(ranked).weights) == sorted(prior_weights(ranked).weights)


@given(abilities)
def test_no_weight_is_below_zero(values: list[float]) -> None:
    """So that a vote can be settled before all have answered."""
    vote = prior_weights(values)
    assert min(*vote.weights, vote.two, vote.three) >= 0


def test_differences_that_may_be_noise_are_not_believed() -> None:
    """Nobody's answer has to be outvoted then; the best member's wins ties."""
    unsure = prior_weights([0.48, 0.56, 0.45], [0.1, 0.1, 0.1])
    assert unsure.weights == pytest.approx(prior_weights([0.5] * 3).weights, abs=TIE + 1e-9)
    assert stand(unsure, [1, 2, 3]).top == 1
    assert stand(unsure, [1, 2, 1]).top == 0
    shrunk = shrink([1.0, -1.0], [0.5, 0.5])
    assert shrunk == Shrunk((0.75, -0.75), 0.75)


def test_the_handicap_grows_with_certainty() -> None:
    even = [0.0, 0.0]
    weights = [fold(PRIOR, even, Shrunk((0.0, 0.0), each), 1).weights for each in (0.0, 0.5, 1.0)]
    assert [right - left for left, right in weights] == pytest.approx([0, CAUTION / 4, CAUTION])


def test_a_single_member_has_a_vote() -> None:
    assert prior_weights([0.9]).weights == (PRIOR.count,)
