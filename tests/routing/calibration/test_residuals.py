"""What abilities do not explain of the user's own prompts is kept for the prompts around them."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from junctor.routing.abilities import Abilities, Ability
from junctor.routing.calibration.ability_fit import Answered, predict
from junctor.routing.calibration.residuals import add_neighbours, make_neighbours, move_all, pick
from junctor.routing.features import NAMES
from junctor.routing.neighbours import MOST_PROMPTS, Neighbours

EASY, HARD = 0.7, -0.7


def drawn(count: int, *, seed: int = 0) -> tuple[list[tuple[float, ...]], Answered, np.ndarray]:
    """Two sorts of prompts that look different; the second model is good at the one and bad at the other."""
    rng = np.random.default_rng(seed)
    sort = rng.random(count) < 0.5
    named = rng.normal(0, 0.4, (count, len(NAMES))) + np.where(sort[:, None], 1.0, -1.0)
    chance = np.array([np.full(count, 0.6), np.where(sort, 0.9, 0.2)])
    scores = (rng.random((2, count)) < chance).astype(float)
    answered = Answered(np.zeros((2, count)), scores, np.zeros(count, np.int64), 1, 1.0)
    return [tuple(each) for each in named.tolist()], answered, sort


def abilities_of(answered: Answered) -> Abilities:
    means = np.nanmean(answered.scores, axis=1)
    return Abilities(
        artefact="router-1",
        models=tuple(
            Ability(
                model=name,
                identity=name,
                logits=0,
                error=0.1,
                p=0.5,
                p_error=0.1,
                score=0.5,
                prompts=answered.scores.shape[1],
                level=float(np.log(mean / (1 - mean))),
            )
            for name, mean in zip("ab", means, strict=True)
        ),
    )


def test_predictions_move_towards_what_like_prompts_told() -> None:
    named, answered, _ = drawn(200)
    p = predict(answered, np.zeros((2, 1)) + 0.3)
    fresh, _, sort = drawn(100, seed=1)
    moved = move_all(make_neighbours(named, answered, p), fresh, np.full((2, 100), 0.5))
    assert moved[1, sort].mean() > 0.65
    assert moved[1, ~sort].mean() < 0.35
    assert abs(moved[0].mean() - 0.5) < 0.05


def test_without_neighbours_nothing_moves_and_of_some_models_the_first_do() -> None:
    named, answered, _ = drawn(80)
    p = np.full((2, 80), 0.5)
    assert move_all(None, named, p) is p
    near = make_neighbours(named, answered, p)
    assert move_all(near, named, p[:1]).tolist() == move_all(near, named, p)[:1].tolist()


def test_the_mean_stays_where_the_level_has_it() -> None:
    """Also where the hard prompts are of many sorts, four of each, so that few tell how hard these are."""
    rng = np.random.default_rng(0)
    sorts = np.concatenate([np.zeros(180, int), 1 + np.arange(120) // 4])
    named = (rng.normal(0, 3, (31, len(NAMES)))[sorts] + rng.normal(0, 0.3, (300, len(NAMES)))).tolist()
    scores = (rng.random((2, 300)) < np.where(sorts, 0.2, 0.9)).astype(float)
    answered = Answered(np.zeros((2, 300)), scores, np.zeros(300, np.int64), 1, 1.0)
    level = np.log(answered.scores.mean(1) / (1 - answered.scores.mean(1)))[:, None]
    p = predict(answered, level)
    moved = move_all(make_neighbours(named, answered, p), named, p)
    assert moved.mean(1) == pytest.approx(p.mean(1), abs=0.02)
    assert moved[:, 200:].mean() < p.mean() - 0.05


def test_what_is_stored_is_what_was_measured_with_gaps_and_at_most_so_many() -> None:
    named, answered, _ = drawn(2 * MOST_PROMPTS + 7)
    answered.scores[0, 5:] = np.nan
    stored = add_neighbours(abilities_of(answered), named, answered)
    assert stored.neighbourhood is not None
    assert len(stored.neighbourhood.prompts) == MOST_PROMPTS
    gaps, whole = (each.residuals for each in stored.models)
    assert len(gaps) == len(whole) == MOST_PROMPTS
    assert sum(each is not None for each in gaps) <= 5
    assert all(each is not None and -1 <= each <= 1 for each in whole)
    assert msgspec.json.decode(msgspec.json.encode(stored), type=Abilities) == stored
    Neighbours(stored.neighbourhood, [gaps, whole]).shifts(named[0])


def test_some_prompts_are_picked_in_their_order() -> None:
    assert pick([(1.0,), (2.0,), (3.0,)], np.array([2, 0])) == [(3.0,), (1.0,)]
