"""Abilities and levels of simulated models, whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from junctor.routing.calibration.ability_fit import (
    SPREADS,
    Answered,
    Spreads,
    fit_abilities,
    log_losses,
    predict,
)

TEMPERATURE = 0.94
TRUTH = (-0.8, 0.3, 1.2)
NO_KNACK = Spreads(knack=1e-4)


def simulate(
    seed: int,
    *,
    shift: float = 0.0,
    kind_spread: float = 0.0,
    noise: float = 0.0,
    knacks: float = 0.0,
    questions: int = 300,
) -> tuple[Answered, np.ndarray]:
    """Three models, and their levels; questions `shift` harder than predicted, and varying about that."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(0.3, 0.8, questions)
    kinds = rng.integers(0, 12, questions)
    harder = shift + kind_spread * rng.normal(size=12)[kinds] + noise * rng.normal(size=questions)
    able = np.array(TRUTH) + knacks * rng.normal(size=3)
    logits = ease + TEMPERATURE * (able[:, None] - harder)
    scores = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(float)
    return Answered(np.tile(ease, (3, 1)), scores, kinds, 12, TEMPERATURE), able - harder.mean()


@pytest.mark.parametrize("shift", [0.0, 1.0, -1.0])
def test_abilities_are_recovered_within_two_standard_errors(shift: float) -> None:
    """In 95 % of 60 simulations of 3 models, whatever the questions' difficulty: at least 90 % are."""
    hits = list[bool]()
    for seed in range(60):
        answered, _ = simulate(seed, shift=shift, kind_spread=0.5)
        fitted = fit_abilities(answered, TRUTH[1:2] * 3, [1.5] * 3).abilities
        hits.extend(np.abs(fitted.logits - TRUTH) <= 2 * fitted.errors)
    assert np.mean(hits) > 0.9


@pytest.mark.parametrize("errors", [(1.5, 1.5, 1.5), (0.4, 1.5, 1.5)])
def test_levels_are_sharp_and_hold_without_an_anchor_and_with_one_that_misleads(
    errors: tuple[float, ...],
) -> None:
    """The questions are two logits harder than predicted, and the known model has a knack for them, too."""
    hits, widths = list[bool](), list[float]()
    for seed in range(60):
        answered, levels = simulate(seed, shift=2.0, kind_spread=0.3, knacks=0.6)
        fitted = fit_abilities(answered, [TRUTH[0], 0.0, 0.0], errors).levels
        hits.extend(np.abs(fitted.logits - levels) <= 2 * fitted.errors)
        widths.extend(fitted.errors)
    assert np.mean(hits) > 0.9
    assert np.mean(widths) < 0.25


def test_models_with_a_knack_for_these_questions_widen_the_errors_of_abilities() -> None:
    """The known one's misleads about the others; to leave knacks out is to be too sure."""
    hits = dict[Spreads, list[bool]]({SPREADS: [], NO_KNACK: []})
    for seed in range(60):
        answered, _ = simulate(seed, shift=1.0, knacks=0.6)
        for spreads, inside in hits.items():
            fitted = fit_abilities(answered, [TRUTH[0], 0.0, 0.0], [0.1, 1.5, 1.5], spreads).abilities
            inside.extend(np.abs(fitted.logits - TRUTH)[1:] <= 2 * fitted.errors[1:])
    assert np.mean(hits[SPREADS]) > 0.9
    assert np.mean(hits[NO_KNACK]) < 0.6


def test_differences_are_sharp_although_the_scale_is_not_anchored() -> None:
    """Questions one logit harder than predicted move all abilities, hardly their differences."""
    differences = [
        np.diff(fit_abilities(simulate(seed, shift=1.0)[0], [0.0] * 3, [1.5] * 3).levels.logits)
        for seed in range(20)
    ]
    assert np.mean(differences, axis=0) == pytest.approx(np.diff(TRUTH), abs=0.15)
    assert np.std(differences, axis=0).max() < 0.35


def test_a_model_that_is_known_anchors_the_others() -> None:
    hard, _ = simulate(4, shift=1.5)
    free = fit_abilities(hard, [0.0] * 3, [1.5] * 3).abilities
    anchored = fit_abilities(hard, [TRUTH[0], 0.0, 0.0], [0.1, 1.5, 1.5]).abilities
    assert np.all(np.abs(anchored.logits[1:] - TRUTH[1:]) < np.abs(free.logits[1:] - TRUTH[1:]))
    assert np.all(anchored.errors < free.errors)


def test_more_questions_make_it_surer_and_missing_answers_less() -> None:
    many, _ = simulate(5, questions=1000)
    few = many.pick(np.arange(100))
    sure, unsure = (fit_abilities(each, TRUTH, [0.3, 3.0, 3.0]) for each in (many, few))
    assert np.all(sure.levels.errors < 0.7 * unsure.levels.errors)
    assert np.all(sure.abilities.errors < unsure.abilities.errors)
    many.scores[2, 50:] = np.nan
    gaps = fit_abilities(many, TRUTH, [0.3, 3.0, 3.0]).levels
    assert gaps.errors[2] > 1.4 * sure.levels.errors[2]
    assert gaps.errors[1] < 1.1 * sure.levels.errors[1]


def test_questions_that_surprise_all_models_alike_widen_the_errors() -> None:
    """Hence errors clustered by question: with noise of 1.5 logits the curvature alone is too sure."""
    hits = list[bool]()
    for seed in range(60):
        answered, _ = simulate(seed, noise=1.5)
        fitted = fit_abilities(answered, [TRUTH[0], 0.0, 0.0], [0.05, 1.5, 1.5], NO_KNACK).abilities
        # Noise flattens the odds: what is recovered is the ability as seen through it.
        hits.extend(np.abs(fitted.logits[1:] - np.array(TRUTH[1:])) <= 2 * fitted.errors[1:] + 0.45)
    assert np.mean(hits) > 0.9


def test_a_model_that_is_always_right_has_a_finite_ability() -> None:
    perfect, _ = simulate(6)
    perfect.scores[2] = 1.0
    fitted = fit_abilities(perfect, [0.0] * 3, [1.5] * 3).levels
    assert 2 < fitted.logits[2] < 8
    assert fitted.errors[2] > fitted.errors[1]


def test_what_questions_are_harder_is_told_of_each_kind_and_on_average() -> None:
    """Half of the kinds one logit harder; models of known ability, without knacks, tell."""
    answered, _ = simulate(8, questions=2000)
    hard = answered.kinds < 6
    logits = answered.ease + TEMPERATURE * (np.array(TRUTH)[:, None] - hard)
    scores = (np.random.default_rng(0).random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(float)
    told = Answered(answered.ease, scores, answered.kinds, 12, TEMPERATURE)
    fitted = fit_abilities(told, TRUTH, [0.01] * 3, NO_KNACK)
    assert fitted.kind_shifts[:6].mean() == pytest.approx(1.0, abs=0.15)
    assert fitted.kind_shifts[6:].mean() == pytest.approx(0.0, abs=0.15)
    assert fitted.shift.logits[0] == pytest.approx(hard.mean(), abs=0.15)
    assert (
        fitted.abilities_at(told.kinds)[0, 0]
        == fitted.abilities.logits[0] - fitted.kind_shifts[told.kinds[0]]
    )


def test_the_truth_predicts_better_than_a_mistake() -> None:
    answered, levels = simulate(7)
    right = fit_abilities(answered, TRUTH, [1e-4] * 3, NO_KNACK)
    wrong = fit_abilities(answered, TRUTH[::-1], [1e-4] * 3, NO_KNACK)
    told, mistaken = (
        log_losses(answered, predict(answered, each.abilities_at(answered.kinds))).mean()
        for each in (right, wrong)
    )
    assert told < mistaken - 0.05
    assert log_losses(answered, predict(answered, levels[:, None])).mean() < mistaken - 0.05
