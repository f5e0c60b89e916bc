"""Outcomes -> abilities with standard errors. Pure, with numpy.

An item response model whose items' difficulties are predicted from their features (predictor.py):

    log odds(m, q) = ease[m, q] + temperature * (ability[m] - shift - shift[kind of q])

The artefact guesses how hard questions of a new kind are, and may be wrong for all of them or for a kind:
hence the shifts. Everything is normal before the data: abilities around where name, card or price place them,
shifts around 0. So models of known ability anchor the scale, and a pool without one gets wide errors: the
answers then say which models are better, and by how much, but less how good they all are.

Maximum a posteriori by Newton's method. Errors are the larger of two: the curvature's, and the sandwich's
clustered by question (Huber 1967): a question that is harder than predicted is so for all models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from junctor.routing.calibration.outcomes import Floats
from junctor.routing.calibration.study import Study

SHIFT_ERROR, KIND_ERROR = 1.0, 0.7
"Standard deviations of the shifts, logits: of all questions together, and of a kind among them."
_STEPS = 50
_solve = cast(Callable[[Floats, Floats], Floats], np.linalg.solve)
_invert = cast(Callable[[Floats], Floats], np.linalg.inv)


@dataclass(frozen=True)
class Answered:
    """m models, n questions, as arrays."""

    ease: Floats
    "(m, n)"
    scores: Floats
    "(m, n), 0..1; NaN where there is no answer."
    kinds: NDArray[np.int64]
    "(n,), 0 .. kinds - 1"
    kind_count: int
    temperature: float

    def pick(self, which: NDArray[np.int64]) -> Answered:
        """Some of the questions."""
        return Answered(
            self.ease[:, which], self.scores[:, which], self.kinds[which], self.kind_count, self.temperature
        )


@dataclass(frozen=True)
class Fitted:
    """Abilities, and the shifts of these questions."""

    abilities: Floats
    errors: Floats
    shifts: Floats
    "(kinds,): what each kind is harder than predicted, logits."


def read_answered(study: Study) -> Answered:
    """The arrays of a study."""
    names = sorted(set(study.kinds))
    scores = [[np.nan if score is None else score for score in it.scores] for it in study.models]
    return Answered(
        ease=np.array([it.ease for it in study.models]),
        scores=np.array(scores, float),
        kinds=np.array([names.index(kind) for kind in study.kinds], np.int64),
        kind_count=len(names),
        temperature=study.temperature,
    )


def fit_abilities(answered: Answered, prior: Sequence[float], prior_errors: Sequence[float]) -> Fitted:
    """An ability for each model. A prior error of almost 0 holds an ability where it is."""
    count, kinds = len(prior), answered.kind_count
    centre = np.concatenate([np.array(prior), np.zeros(1 + kinds)])
    spread = np.concatenate([np.array(prior_errors), [SHIFT_ERROR], np.full(kinds, KIND_ERROR)])
    weight = np.diag(spread**-2.0)
    design, rows, questions = _design(answered, count)
    wanted, ease = answered.scores[rows, questions], answered.ease[rows, questions]
    at = centre.copy()
    bend: Floats = weight
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(ease + design @ at, -30, 30)))
        slope: Floats = design.T @ (p - wanted) + weight @ (at - centre)
        bend = (design * (p * (1 - p))[:, None]).T @ design + weight
        step: Floats = _solve(bend, slope)
        at = at - np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-8:
            break
    p = 1 / (1 + np.exp(-np.clip(ease + design @ at, -30, 30)))
    by_question = np.zeros((answered.ease.shape[1], len(at)))
    np.add.at(by_question, questions, design * (p - wanted)[:, None])
    cover = _invert(bend)
    sandwich: Floats = cover @ (by_question.T @ by_question + weight) @ cover
    errors = np.sqrt(np.maximum(np.diag(cover), np.diag(sandwich)))
    return Fitted(at[:count], errors[:count], at[count] + at[count + 1 :])


def _design(answered: Answered, count: int) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """For each answer its row of the design, its model and its question."""
    rows, questions = np.nonzero(~np.isnan(answered.scores))
    design = np.zeros((len(rows), count + 1 + answered.kind_count))
    every = np.arange(len(rows))
    design[every, rows] = answered.temperature
    design[:, count] = -answered.temperature
    design[every, count + 1 + answered.kinds[questions]] = -answered.temperature
    return design, rows, questions


def log_losses(answered: Answered, fitted: Fitted) -> Floats:
    """For each question the mean log loss over the models that answered it."""
    shifts = fitted.shifts[answered.kinds]
    logits = answered.ease + answered.temperature * (fitted.abilities[:, None] - shifts[None, :])
    p = np.clip(1 / (1 + np.exp(-np.clip(logits, -30, 30))), 1e-6, 1 - 1e-6)
    losses = -(answered.scores * np.log(p) + (1 - answered.scores) * np.log(1 - p))
    return np.nanmean(losses, axis=0)
