"""Votes: pure functions of answers."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from math import exp

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from junctor.pool.vote import Vote, is_settled, stand

Partial = tuple[Vote, dict[int, int | None]]
"A vote, and what has been answered so far, by place."

VOTE = Vote((1.0, 0.5, 0.25, 0.1), two=0.5, three=0.25, none=0.0)
answers = st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=1, max_size=4)


@given(answers)
def test_shares_are_probabilities(given_answers: list[int | None]) -> None:
    """Those of distinct answers and `none` add up to 1; an answer that cannot be compared has none."""
    standing = stand(VOTE, given_answers)
    distinct = dict(zip(given_answers, standing.shares, strict=True))
    assert sum(share for answer, share in distinct.items() if answer is not None) < 1
    assert all(share == 0 for answer, share in distinct.items() if answer is None)
    assert standing.p_top >= standing.p_second
    assert (standing.top is None) == all(answer is None for answer in given_answers)


@given(answers)
def test_what_answers_are_called_does_not_matter(given_answers: list[int | None]) -> None:
    renamed = [None if answer is None else f"answer {answer}" for answer in given_answers]
    assert stand(VOTE, renamed) == stand(VOTE, given_answers)


def test_agreement_makes_an_answer_likelier() -> None:
    together, apart = stand(VOTE, [7, 7, 8]), stand(VOTE, [7, 9, 8])
    assert together.top == apart.top == 0
    assert together.p_top > apart.p_top
    assert (together.agreeing, together.distinct, together.parsed) == (2 / 3, 2 / 3, 1)


def test_one_alone_has_no_bonus_two_have_one_and_three_have_both() -> None:
    vote = Vote((0.0,) * 4, two=1.0, three=2.0, none=0.0)
    odds = [exp(0), exp(1), exp(3)]
    for agreeing, odd in enumerate(odds, 1):
        assert stand(vote, [7] * agreeing).p_top == pytest.approx(odd / (odd + 1))


def test_two_weaker_models_outvote_a_stronger_one() -> None:
    vote = Vote((1.0, 0.7, 0.7), two=0.5, three=0.0, none=0.0)
    assert stand(vote, [1, 2, 2]).top == 1


def test_of_answers_that_are_worth_the_same_the_first_models_is_taken() -> None:
    """Also where the order of a sum would have told them apart: 0.1 + 0.2 + 0.3 is not 0.3 + 0.2 + 0.1."""
    vote = Vote((0.3, 0.1, 0.2, 0.2, 0.1, 0.3), two=0.1, three=0.1, none=0.0)
    assert stand(vote, [1, 2, 1, 2, 1, 2]).top == 0
    assert stand(vote, [2, 1, 2, 1, 2, 1]).top == 0


# Settled: nothing that is still open can change it.

worths = st.one_of(st.sampled_from([0.0, 0.1, 0.2, 0.3, 1.0]), st.floats(0, 5))
said = st.one_of(st.none(), st.integers(0, 2))


@st.composite
def votes_in_progress(draw: st.DrawFn, weight: st.SearchStrategy[float] = worths) -> Partial:
    """A vote of 1 to 4 models, some of which have answered."""
    size = draw(st.integers(1, 4))
    vote = Vote(
        tuple(draw(st.lists(weight, min_size=size, max_size=size))),
        two=draw(worths),
        three=draw(worths),
        none=draw(st.floats(-2, 2)),
    )
    return vote, draw(st.dictionaries(st.integers(0, size - 1), said))


def winners(vote: Vote, answers: Mapping[int, int | None]) -> set[int | None]:
    """The likeliest answers over all that may still come: answers equal to a known one, new ones, none."""
    still_open = [at for at in range(len(vote.weights)) if at not in answers]
    known = {answer for answer in answers.values() if answer is not None}
    possible = [None, *known, *(100 + at for at in still_open)]
    found = set[int | None]()
    for choice in product(possible, repeat=len(still_open)):
        whole = {**answers, **dict(zip(still_open, choice, strict=True))}
        top = stand(vote, [whole[at] for at in range(len(vote.weights))]).top
        found.add(None if top is None else whole[top])
    return found


@settings(max_examples=600)
@given(votes_in_progress())
def test_settled_is_what_no_completion_can_change(case: Partial) -> None:
    """Both ways round, against all completions: no early stop changes an answer, and none comes late."""
    vote, answers = case
    assert is_settled(vote, answers) == (len(winners(vote, answers)) == 1)


@settings(max_examples=300)
@given(votes_in_progress(st.floats(-2, 3)))
@example((Vote((1.0, 0.5, -2.0), 0.1, 0.1, 0.0), {0: 1, 1: 2}))
def test_weights_below_zero_never_settle_a_vote_wrongly(case: Partial) -> None:
    vote, answers = case
    assert not is_settled(vote, answers) or len(winners(vote, answers)) == 1


@settings(max_examples=300)
@given(votes_in_progress(), st.data())
def test_stopping_early_gives_the_answer_of_waiting_for_all(case: Partial, data: st.DataObject) -> None:
    """In whatever order they come."""
    vote, _ = case
    size = len(vote.weights)
    whole = data.draw(st.lists(said, min_size=size, max_size=size))
    heard = dict[int, int | None]()
    for at in data.draw(st.permutations(range(size))):
        heard[at] = whole[at]
        if is_settled(vote, heard):
            break
    early, late = stand(vote, [heard.get(at) for at in range(size)]).top, stand(vote, whole).top
    assert (early is None) == (late is None)
    assert early is None or late is None or whole[early] == whole[late]


def test_a_majority_is_settled_before_the_last_answer() -> None:
    """Plain votes: three of five, and two of four where the tie would be theirs."""
    five, four = Vote((1.0,) * 5, 0, 0, 0), Vote((1.0,) * 4, 0, 0, 0)
    assert is_settled(five, {4: 7, 2: 7, 3: 7})
    assert not is_settled(five, {4: 7, 2: 7, 3: 8})
    assert is_settled(four, {0: 7, 1: 7, 2: 8})
    assert not is_settled(four, {2: 7, 3: 7, 1: 8})
    assert not is_settled(four, {0: None, 1: None, 2: None})


def test_a_lead_has_to_be_kept_as_well() -> None:
    """Three of four cannot be caught up; how far they stay ahead hangs on the fourth."""
    vote = Vote((1.0,) * 4, 0, 0, 0)
    assert is_settled(vote, {0: 7, 1: 7, 2: 7}, 1.5)
    assert not is_settled(vote, {0: 7, 1: 7, 2: 7}, 2.5)
    assert not is_settled(vote, {0: 7, 1: 7, 2: 8}, 0.5)
