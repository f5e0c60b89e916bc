"""Votes: pure functions of answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from junctor.pool.vote import Vote, stand

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


def test_two_weaker_models_outvote_a_stronger_one() -> None:
    vote = Vote((1.0, 0.7, 0.7), two=0.5, three=0.0, none=0.0)
    assert stand(vote, [1, 2, 2]).top == 1
