"""Abilities of simulated models, whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from junctor.routing.calibration.ability_fit import Answered, fit_abilities, log_losses

TEMPERATURE = 0.94
TRUTH = (-0.8, 0.3, 1.2)


def simulate(
    seed: int, *, shift: float = 0.0, kind_spread: float = 0.0, noise: float = 0.0, questions: int = 300
) -> Answered:
    """Three models; questions `shift` harder than predicted, kinds and questions varying about that."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(0.3, 0.8, questions)
    kinds = rng.integers(0, 12, questions)
    harder = shift + kind_spread * rng.normal(size=12)[kinds] + noise * rng.normal(size=questions)
    logits = ease + TEMPERATURE * (np.array(TRUTH)[:, None] - harder)
    scores = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(float)
    return Answered(np.tile(ease, (3, 1)), scores, kinds, 12, TEMPERATURE)


@pytest.mark.parametrize("shift", [0.0, 1.0, -1.0])
def test_abilities_are_recovered_within_two_standard_errors(shift: float) -> None:
    """In 95 % of 60 simulations of 3 models, whatever the questions' difficulty: at least 90 % are."""
    hits = list[bool]()
    for seed in range(60):
        answered = simulate(seed, shift=shift, kind_spread=0.5)
        fitted = fit_abilities(answered, TRUTH[1:2] * 3, [1.5] * 3)
        hits.extend(np.abs(fitted.abilities - TRUTH) <= 2 * fitted.errors)
    assert np.mean(hits) > 0.9


def test_differences_are_sharp_although_the_scale_is_not_anchored() -> None:
    """Questions one logit harder than predicted move all abilities, hardly their differences."""
    differences = [
        np.diff(fit_abilities(simulate(seed, shift=1.0), [0.0] * 3, [1.5] * 3).abilities)
        for seed in range(20)
    ]
    assert np.mean(differences, axis=0) == pytest.approx(np.diff(TRUTH), abs=0.15)
    assert np.std(differences, axis=0).max() < 0.35


def test_a_model_that_is_known_anchors_the_others() -> None:
    hard = simulate(4, shift=1.5)
    free = fit_abilities(hard, [0.0] * 3, [1.5] * 3)
    anchored = fit_abilities(hard, [TRUTH[0], 0.0, 0.0], [0.1, 1.5, 1.5])
    assert np.all(np.abs(anchored.abilities[1:] - TRUTH[1:]) < np.abs(free.abilities[1:] - TRUTH[1:]))
    assert np.all(anchored.errors < free.errors)


def test_more_questions_make_it_surer_and_missing_answers_less() -> None:
    many = simulate(5, questions=1000)
    few = many.pick(np.arange(100))
    sure, unsure = (fit_abilities(each, TRUTH, [0.3, 3.0, 3.0]).errors for each in (many, few))
    assert np.all(sure < unsure)
    many.scores[2, 50:] = np.nan
    gaps = fit_abilities(many, TRUTH, [0.3, 3.0, 3.0])
    assert gaps.errors[2] > 1.4 * sure[2]
    assert gaps.errors[1] < 1.1 * sure[1]


def test_questions_that_surprise_all_models_alike_widen_the_errors() -> None:
    """Hence errors clustered by question: with noise of 1.5 logits the curvature alone is too sure."""
    hits = list[bool]()
    for seed in range(60):
        fitted = fit_abilities(simulate(seed, noise=1.5), [TRUTH[0], 0.0, 0.0], [0.05, 1.5, 1.5])
        # Noise flattens the odds: what is recovered is the ability as seen through it.
        hits.extend(np.abs(fitted.abilities[1:] - np.array(TRUTH[1:])) <= 2 * fitted.errors[1:] + 0.45)
    assert np.mean(hits) > 0.9


def test_a_model_that_is_always_right_has_a_finite_ability() -> None:
    perfect = simulate(6)
    perfect.scores[2] = 1.0
    fitted = fit_abilities(perfect, [0.0] * 3, [1.5] * 3)
    assert 2 < fitted.abilities[2] < 8
    assert fitted.errors[2] > fitted.errors[1]


def test_the_truth_predicts_better_than_a_mistake() -> None:
    answered = simulate(7)
    right = fit_abilities(answered, TRUTH, [1e-4] * 3)
    wrong = fit_abilities(answered, TRUTH[::-1], [1e-4] * 3)
    assert log_losses(answered, right).mean() < log_losses(answered, wrong).mean() - 0.05
