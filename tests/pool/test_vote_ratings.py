"""Votes that ratings teach, on answers made up so that the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from junctor.pool.vote import Rated, Vote, is_settled, stand
from junctor.pool.vote_prior import prior_weights
from junctor.pool.vote_ratings import learn_from_ratings, log_likelihoods

RIGHT = 0
PLAIN = prior_weights([0.5, 0.5, 0.5])


def make_up(accuracies: list[float], prompts: int, seed: int) -> list[tuple[int, ...]]:
    """For each prompt what each model answers: 0 is right, and there are five ways to be wrong."""
    rng = np.random.default_rng(seed)
    wrong = rng.integers(1, 6, (prompts, len(accuracies)))
    return [tuple(row) for row in np.where(rng.random(wrong.shape) < accuracies, RIGHT, wrong).tolist()]


def rate(vote: Vote, answers: list[tuple[int, ...]], *, stops: bool = False) -> list[Rated]:
    """Each as this vote answers it, and whether that is right."""
    rated = []
    for row in answers:
        heard: dict[int, int | None] = {}
        for at, answer in enumerate(row):
            heard[at] = answer
            if stops and is_settled(vote, heard):
                break
        told = tuple(heard.get(at) for at in range(len(row)))
        top = stand(vote, told).top
        assert top is not None
        rated.append(Rated(told, top, float(row[top] == RIGHT)))
    return rated


def score(vote: Vote, answers: list[tuple[int, ...]]) -> float:
    return float(np.mean([row[stand(vote, row).top or 0] == RIGHT for row in answers]))


@pytest.mark.parametrize("stops", [False, True])
def test_ratings_tell_who_is_right_more_often(stops: bool) -> None:
    """Though they say only whether the answer that was given is right, and not everybody was waited for."""
    train, test = make_up([0.5, 0.9, 0.5], 400, 1), make_up([0.5, 0.9, 0.5], 3000, 2)
    vote = learn_from_ratings(PLAIN, rate(PLAIN, train, stops=stops))
    assert vote.weights[1] > max(vote.weights[0], vote.weights[2]) + 0.5
    assert score(vote, test) > score(PLAIN, test) + 0.05


def test_who_is_taken_for_the_best_and_is_not_loses_that() -> None:
    """A vote that gives the worst member's answers is cured by what is said of them."""
    boaster = prior_weights([0.95, 0.5, 0.5])
    train, test = make_up([0.2, 0.7, 0.7], 300, 3), make_up([0.2, 0.7, 0.7], 3000, 4)
    vote = learn_from_ratings(boaster, rate(boaster, train))
    assert vote.weights[0] < min(vote.weights[1:])
    assert score(vote, test) > score(boaster, test) + 0.3


def test_a_few_ratings_do_not_turn_it_round() -> None:
    vote = learn_from_ratings(PLAIN, rate(PLAIN, make_up([0.1, 0.9, 0.5], 4, 5)))
    assert max(abs(new - old) for new, old in zip(vote.weights, PLAIN.weights, strict=True)) < 1.0


def test_of_a_member_that_was_never_heard_nothing_is_learnt() -> None:
    """It moves with the scale of all."""
    rated = [Rated((0, 1, None), 0, float(at % 3 > 0)) for at in range(90)]
    vote = learn_from_ratings(PLAIN, rated)
    scale = vote.weights[2] / PLAIN.weights[2]
    assert 0.5 < scale < 1.5
    assert vote.weights[1] < vote.weights[2] < vote.weights[0]


def test_how_often_ratings_are_good_can_be_learnt_alone() -> None:
    """It decides nothing: the answers stand to each other as before."""
    start = prior_weights([0.4, 0.6, 0.8])
    rated = rate(start, make_up([0.2, 0.3, 0.2], 300, 6))
    vote = learn_from_ratings(start, rated, weigh=False)
    scale = vote.weights[2] / start.weights[2]
    assert np.allclose(vote.weights, scale * np.array(start.weights), atol=1e-3)
    assert log_likelihoods(vote, rated).sum() > log_likelihoods(start, rated).sum()


def test_half_good_is_half_of_each() -> None:
    """Of a score between them both are weighed."""
    halves = learn_from_ratings(PLAIN, [Rated((0, 1, 2), 0, 0.5)] * 80)
    both = [Rated((0, 1, 2), 0, score) for score in (0.0, 1.0)] * 40
    assert halves.weights == pytest.approx(learn_from_ratings(PLAIN, both).weights, abs=1e-3)
    assert log_likelihoods(PLAIN, both).mean() == pytest.approx(
        log_likelihoods(PLAIN, [Rated((0, 1, 2), 0, 0.5)])[0]
    )


fused = (
    st.lists(st.none() | st.integers(0, 3), min_size=3, max_size=3)
    .filter(any)
    .flatmap(
        lambda row: st.builds(
            Rated,
            st.just(tuple(row)),
            st.sampled_from([at for at, answer in enumerate(row) if answer is not None]),
            st.floats(0, 1),
        )
    )
)


@settings(deadline=None, max_examples=60)
@given(st.lists(fused, min_size=1, max_size=30), st.lists(st.floats(0, 4), min_size=3, max_size=3))
def test_whatever_is_said_more_votes_never_hurt_and_what_was_learnt_fits_better(
    rated: list[Rated], weights: list[float]
) -> None:
    """All weights are finite and not below zero; where none had to be cut, what is learnt is likelier."""
    start = Vote(tuple(weights), two=0.3, three=0.1, none=1.0)
    vote = learn_from_ratings(start, rated)
    assert np.isfinite([*vote.weights, vote.two, vote.three, vote.none]).all()
    assert min(*vote.weights, vote.two, vote.three) >= 0
    if min(*vote.weights, vote.two, vote.three) > 0:
        assert log_likelihoods(vote, rated).sum() >= log_likelihoods(start, rated).sum() - 1e-3
