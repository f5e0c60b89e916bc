"""The learner of ratings: when what it has learnt is better, and when it only looks so."""

from __future__ import annotations

import random

import pytest

from junctor.pool.vote import Rated
from junctor.pool.vote_prior import prior_weights
from junctor.routing.calibration.learn_ratings import learn_pool
from junctor.routing.calibration.learner import learn_ratings
from junctor.routing.calibration.ratings import RatedPool

START = prior_weights([0.9, 0.6, 0.6])


def pool_of(rated: list[Rated]) -> RatedPool:
    return RatedPool(members=("boaster", "a", "b"), start=START, in_force=START, rated=tuple(rated))


def contested(score: float) -> Rated:
    """The first member against all others."""
    return Rated((0, 1, 2), 0, score)


AGREED = Rated((0, 0, 0), 0, 1.0)


def test_a_member_that_others_rightly_contradict_weighs_less() -> None:
    """And that is better, on ratings held back."""
    learnt = learn_pool(pool_of([AGREED, contested(0.0)] * 40))
    assert learnt.comparison.switches
    assert learnt.comparison.prompts == 80
    assert learnt.vote.weights[0] < min(learnt.vote.weights[1:])


def test_ratings_that_have_nothing_to_do_with_answers_change_nothing() -> None:
    """However often they are good or bad: that alone is no reason."""
    draw, rows = random.Random(1), ((0, 1, 2), (0, 0, 1), (0, 0, 0)) * 40
    for good in (0.2, 0.5, 0.9):
        rated = [Rated(answers, 0, float(draw.random() < good)) for answers in rows]
        assert not learn_pool(pool_of(rated)).comparison.switches


@pytest.mark.anyio
async def test_it_is_a_process_of_its_own() -> None:
    pools = [pool_of([AGREED, contested(0.0)] * 30), pool_of([AGREED] * 50)]
    assert await learn_ratings(pools) == [learn_pool(pool) for pool in pools]
