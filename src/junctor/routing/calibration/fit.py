"""The two fits a ladder is made of: the vote, and a rule that weighs its state. Pure, with numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from junctor.pool.vote import Vote
from junctor.routing.calibration.outcomes import Floats, Outcomes

VOTE_PENALTY, RULE_PENALTY = 1.0, 150.0
"Ridge penalties."
_solve = cast(Callable[[Floats, Floats], Floats], np.linalg.solve)
_einsum = cast(Callable[..., Any], np.einsum)


def fit_vote(outcomes: Outcomes, models: list[int]) -> Vote:
    """A conditional logit over the distinct answers, by Newton's method.

    One alternative for each model whose answer can be compared, of the weight 1 / (models with that answer),
    so that a distinct answer counts once; and `none`.
    """
    size = len(models)
    same = _agreement(outcomes, models)
    counts = same.sum(axis=2)
    given = counts > 0
    design = np.zeros((outcomes.prompts, size, size + 3))
    design[:, :, :size] = same
    design[:, :, size], design[:, :, size + 1] = counts >= 2, counts >= 3
    none = np.zeros(size + 3)
    none[-1] = 1.0
    right = (outcomes.scores[models].T > 0.5) & given
    rights = right.sum(axis=1, keepdims=True)
    target = right / np.maximum(rights, 1)
    target_none = (rights[:, 0] == 0).astype(float)
    weights: Floats = np.zeros(size + 3)
    for _ in range(25):
        shares, share_none = _vote_shares(design, counts, given, weights)
        slope: Floats = _einsum("nk,nkp->p", shares - target, design) + VOTE_PENALTY * weights
        slope += (share_none - target_none).sum() * none
        mean = _einsum("nk,nkp->np", shares, design) + share_none[:, None] * none
        bend = _einsum("nk,nkp,nkq->pq", shares, design, design, optimize=True)
        bend += share_none.sum() * np.outer(none, none) - mean.T @ mean + VOTE_PENALTY * np.eye(size + 3)
        step: Floats = _solve(bend, slope)
        weights = weights - step
        if np.abs(step).max() < 1e-6:
            break
    told = [round(float(weight), 6) for weight in weights]
    return Vote(tuple(told[:size]), *told[size:])


def _agreement(outcomes: Outcomes, models: list[int]) -> Floats:
    """(n, k, k): 1 where two models gave the same answer, a model with itself included."""
    # None becomes NaN, which equals nothing.
    patterns = np.array(outcomes.patterns(models), float).reshape(outcomes.prompts, len(models))
    return (patterns[:, :, None] == patterns[:, None, :]).astype(float)


def _vote_shares(
    design: Floats, counts: Floats, given: NDArray[np.bool_], weights: Floats
) -> tuple[Floats, Floats]:
    logits = np.where(given, design @ weights, -1e9)
    highest = np.maximum(logits.max(axis=1), weights[-1])
    odds = np.exp(logits - highest[:, None]) / np.maximum(counts, 1) * given
    none = np.exp(weights[-1] - highest)
    total = odds.sum(axis=1) + none
    return odds / total[:, None], none / total


def fit_ridge(signals: Floats, wanted: Floats) -> Floats:
    """Weights for the signals as they are; the penalty is on standardised ones, not on the constant."""
    if len(wanted) == 0:
        return np.zeros(int(signals.shape[1]))
    means, spread = cast(Floats, signals.mean(axis=0)), cast(Floats, signals.std(axis=0)) + 1e-6
    means[0], spread[0] = 0.0, 1.0
    scaled = (signals - means) / spread
    penalty = RULE_PENALTY * np.eye(signals.shape[1])
    penalty[0, 0] = 1e-6
    weights: Floats = _solve(scaled.T @ scaled + penalty, scaled.T @ wanted) / spread
    weights[0] -= float(weights[1:] @ means[1:])
    return weights
