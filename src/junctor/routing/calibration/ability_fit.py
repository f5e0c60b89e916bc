"""Outcomes -> abilities and levels, with standard errors. Pure, with numpy.

An item response model whose items' difficulties are predicted from their features (predictor.py):

    log odds(m, q) = ease[m, q] + temperature * (ability[m] + knack[m] - shift - shift[kind of q])

The artefact guesses how hard questions of a new kind are, and may be wrong for all of them or for a kind:
hence the shifts. A model may be better at these questions than at others: hence the knacks. Everything is
normal before the data: abilities around where name, card or price place them, knacks and shifts around 0. So
models of known ability anchor the scale, as far as they have no knack; a pool without one gets wide errors:
the answers then say which models are better, and by how much, but less how good they all are.

What holds for prompts of any sort is the ability. What holds for prompts like these is the level: ability and
knack, less the shifts. Of levels the answers tell far more.

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

_STEPS = 50
_solve = cast(Callable[[Floats, Floats], Floats], np.linalg.solve)
_invert = cast(Callable[[Floats], Floats], np.linalg.inv)


@dataclass(frozen=True)
class Spreads:
    """Standard deviations before the data, logits. Almost 0 leaves something out."""

    shift: float = 1.0
    "Of what all questions together are harder than predicted."
    kind: float = 0.7
    "Of what a kind among them is."
    knack: float = 0.6
    """Of what a model is better at these questions than its ability says. Between sorts of benchmark
    questions it was 0.3 to 0.8, 0.6 on average (lab/transfer_abilities.py)."""


SPREADS = Spreads()


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
class Estimates:
    """Of so many quantities, logits."""

    logits: Floats
    errors: Floats


@dataclass(frozen=True)
class Fitted:
    """What m models can do, and what these questions are."""

    abilities: Estimates
    "(m,), for prompts of any sort."
    levels: Estimates
    "(m,), for prompts like these."
    shift: Estimates
    "(1,): what these questions are harder than predicted, on average."
    kind_shifts: Floats
    "(kinds,): what each kind is."

    def abilities_at(self, kinds: NDArray[np.int64]) -> Floats:
        """(m, n): abilities less what questions of these kinds are harder than predicted."""
        return self.abilities.logits[:, None] - self.kind_shifts[kinds][None, :]


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


def fit_abilities(
    answered: Answered, prior: Sequence[float], prior_errors: Sequence[float], spreads: Spreads = SPREADS
) -> Fitted:
    """What a model can do, for each. A prior error of almost 0 holds an ability where it is."""
    count, kinds = len(prior), answered.kind_count
    centre = np.concatenate([np.array(prior), np.zeros(count + 1 + kinds)])
    spread = [*prior_errors, *[spreads.knack] * count, spreads.shift, *[spreads.kind] * kinds]
    weight = np.diag(np.array(spread) ** -2.0)
    design, rows, questions = _design(answered, count)
    wanted, ease = answered.scores[rows, questions], answered.ease[rows, questions]
    at = centre.copy()
    bend: Floats = weight
    for _ in range(_STEPS):
        p = _sigmoid(ease + design @ at)
        slope: Floats = design.T @ (p - wanted) + weight @ (at - centre)
        bend = (design * (p * (1 - p))[:, None]).T @ design + weight
        step: Floats = _solve(bend, slope)
        at = at - np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-8:
            break
    p = _sigmoid(ease + design @ at)
    by_question = np.zeros((answered.ease.shape[1], len(at)))
    np.add.at(by_question, questions, design * (p - wanted)[:, None])
    cover = _invert(bend)
    sandwich: Floats = cover @ (by_question.T @ by_question + weight) @ cover
    return _read_off(answered, at, cover, sandwich)


def _read_off(answered: Answered, at: Floats, cover: Floats, sandwich: Floats) -> Fitted:
    """From parameters and their covariances, by the one and the other way, to what they say."""
    count, kinds = len(answered.ease), answered.kind_count
    shares = np.bincount(answered.kinds, minlength=kinds) / max(1, len(answered.kinds))
    ability = np.eye(count, len(at))
    shift = np.concatenate([np.zeros(2 * count), [1.0], shares])[None, :]

    def estimate(what: Floats) -> Estimates:
        """Linear combinations of the parameters, a row each."""
        variances = np.maximum(((what @ cover) * what).sum(axis=1), ((what @ sandwich) * what).sum(axis=1))
        return Estimates(what @ at, np.sqrt(variances))

    return Fitted(
        abilities=estimate(ability),
        levels=estimate(ability + np.eye(count, len(at), count) - shift),
        shift=estimate(shift),
        kind_shifts=at[2 * count] + at[2 * count + 1 :],
    )


def _design(answered: Answered, count: int) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """For each answer its row of the design, its model and its question."""
    rows, questions = np.nonzero(~np.isnan(answered.scores))
    design = np.zeros((len(rows), 2 * count + 1 + answered.kind_count))
    every = np.arange(len(rows))
    design[every, rows] = answered.temperature
    design[every, count + rows] = answered.temperature
    design[:, 2 * count] = -answered.temperature
    design[every, 2 * count + 1 + answered.kinds[questions]] = -answered.temperature
    return design, rows, questions


def predict(answered: Answered, logits: Floats) -> Floats:
    """(m, n) probabilities. `logits`: (m, n) or (m, 1), what is added to the ease, before the temperature."""
    return _sigmoid(answered.ease + answered.temperature * logits)


def log_losses(answered: Answered, p: Floats) -> Floats:
    """For each question the mean log loss over the models that answered it, of these (m, n) probabilities."""
    p = np.clip(p, 1e-6, 1 - 1e-6)
    losses = -(answered.scores * np.log(p) + (1 - answered.scores) * np.log(1 - p))
    return np.nanmean(losses, axis=0)


def _sigmoid(logits: Floats) -> Floats:
    return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
