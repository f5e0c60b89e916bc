"""Answers of which it is known whether they are right -> what each model's vote is worth.

Pure, with numpy, which the server does not need: imported by the learner's process and the lab alone.

A conditional logit over the distinct answers (McFadden 1974), by Newton's method. With a few hundred prompts
and a few members, weights that are free overfit: one fit in ten makes a pool worse than its best member by
more than half a point. So three things hold them back, each as much as the data leave open:

    abilities   shrunk to their mean as far as their differences may be noise (vote_prior.py)
    weights     a ridge draws what members have in common to `PRIOR`, and what they have not to nothing
    caution     the best member has a handicap, the larger the surer it is who is best

docs/fusion.md says what that comes to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from junctor.pool.vote import Answer, Vote
from junctor.pool.vote_prior import PRIOR, Shrunk, Terms, fold, shrink

Floats = NDArray[np.float64]

OWN_PENALTY, TERMS_PENALTY, NONE_PENALTY = 30.0, 10.0, 0.1
"Ridge penalties: of a member's own weight, of the terms, and of `none`: how hard the prompts are."
_STEPS = 100
_LONGEST_STEP = 2.0
"So far a logit may move at once: further off, the curve that Newton's method goes by is another."
_solve = cast(Callable[[Floats, Floats], Floats], np.linalg.solve)
_einsum = cast(Callable[..., Any], np.einsum)


class FittedVote(msgspec.Struct, frozen=True, kw_only=True):
    """A vote, and what it was learnt from."""

    vote: Vote
    best: int
    "The member that was right most often; of equals the first."
    shrunk: Shrunk
    "The members' abilities on these prompts."
    prompts: int


@dataclass(frozen=True)
class Rights:
    """How probable it is of each answer that it is right; one of them is, or none: they add up to 1."""

    answers: Floats
    "(n, k): shared evenly by the models that gave it."
    none: Floats
    "(n,)"


@dataclass(frozen=True)
class Ballots:
    """What k models answered to n prompts, as a vote sees it."""

    same: Floats
    "(n, k, k): 1 where two models gave the same answer, a model with itself included; 0 without an answer."
    right: NDArray[np.bool_]
    "(n, k): answers that can be compared, and are right."

    @property
    def rights(self) -> Rights:
        """What is right of them, for certain."""
        rights = self.right.sum(axis=1)
        return Rights(self.right / np.maximum(rights, 1)[:, None], (rights == 0).astype(float))

    @property
    def counts(self) -> Floats:
        """(n, k): how many gave this model's answer; 0: it has none that can be compared."""
        return cast(Floats, self.same.sum(axis=2))

    @property
    def agreement(self) -> Floats:
        """(n, k, k + 2): who gave this model's answer, whether two did, whether three did."""
        counts = self.counts[:, :, None]
        return np.concatenate([self.same, (counts >= 2).astype(float), (counts >= 3).astype(float)], axis=2)


def fit_weights(
    answers: Sequence[Sequence[Answer | None]], right: NDArray[np.bool_], prior: Terms = PRIOR
) -> FittedVote:
    """Learn a vote from m models' answers to the same n prompts, 1 or more.

    `answers`: m rows of n, None where nothing can be compared; `right`: (m, n), whether it is right.
    """
    size, prompts = right.shape
    shrunk = _measure(right)
    best = int(right.sum(axis=1).argmax())
    ballots = read_ballots(answers, right)
    abilities = ballots.same @ np.array(shrunk.abilities)
    features = np.concatenate([ballots.agreement, ballots.counts[:, :, None], abilities[:, :, None]], axis=2)
    common = [prior.two, prior.three, prior.count, prior.slope, prior.none]
    weights = fit_logit(
        ballots.counts,
        ballots.rights,
        features,
        centre=np.array([0.0] * size + common),
        penalties=np.array([OWN_PENALTY] * size + [TERMS_PENALTY] * 4 + [NONE_PENALTY]),
    )
    told = [round(float(weight), 6) for weight in weights]
    two, three, count, slope, none = told[size:]
    terms = Terms(two=two, three=three, count=count, slope=slope, none=none)
    return FittedVote(vote=fold(terms, told[:size], shrunk, best), best=best, shrunk=shrunk, prompts=prompts)


def _measure(right: NDArray[np.bool_]) -> Shrunk:
    """Abilities, and the noise of their differences: that a prompt is hard for all is none."""
    prompts = right.shape[1]
    p = (right.sum(axis=1) + 1) / (prompts + 2)
    apart = right - right.mean(axis=0, keepdims=True)
    noise = apart.var(axis=1) / prompts / (p * (1 - p)) ** 2
    return shrink(np.log(p / (1 - p)).tolist(), noise.tolist())


def read_ballots(answers: Sequence[Sequence[Answer | None]], right: NDArray[np.bool_]) -> Ballots:
    """Which answers are equal; shapes as in `fit_weights`."""
    patterns = np.array([_number(row) for row in zip(*answers, strict=True)], float).reshape(right.T.shape)
    # None has become NaN, which equals nothing.
    same = (patterns[:, :, None] == patterns[:, None, :]).astype(float)
    return Ballots(same, right.T & ~np.isnan(patterns))


def _number(answers: Sequence[Answer | None]) -> list[float]:
    numbers = dict[Answer, int]()
    return [np.nan if each is None else numbers.setdefault(each, len(numbers)) for each in answers]


def fit_logit(
    counts: Floats, rights: Rights, features: Floats, *, centre: Floats, penalties: Floats
) -> Floats:
    """The weights of p features of each answer (n, k, p), and as the last one that of `none`.

    One alternative for each model whose answer can be compared, of the weight 1 / (models with that answer:
    `counts`), so that a distinct answer counts once; and `none`. The ridge is centred on `centre`.
    """
    weights = centre.copy()
    for _ in range(_STEPS):
        shares, none = share_out(counts, features, weights)
        slope = penalties * (weights - centre)
        slope[:-1] += _einsum("nk,nkp->p", shares - rights.answers, features)
        slope[-1] += (none - rights.none).sum()
        mean = np.column_stack([_einsum("nk,nkp->np", shares, features), none])
        bend: Floats = np.diag(penalties) - mean.T @ mean
        bend[:-1, :-1] += _einsum("nk,nkp,nkq->pq", shares, features, features, optimize=True)
        bend[-1, -1] += none.sum()
        step: Floats = _solve(bend, slope)
        moved = max(float(np.abs(features @ step[:-1]).max()), abs(float(step[-1])), 1e-12)
        weights = weights - step * min(1.0, _LONGEST_STEP / moved)
        if np.abs(step).max() < 1e-6:
            break
    return weights


def share_out(counts: Floats, features: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Probabilities: (n, k) of the models' answers, as in `Rights`, (n,) of `none`."""
    logits = np.where(counts > 0, features @ weights[:-1], -np.inf)
    highest = np.maximum(logits.max(axis=1), weights[-1])
    odds = np.exp(logits - highest[:, None]) / np.maximum(counts, 1)
    none = np.exp(weights[-1] - highest)
    total = odds.sum(axis=1) + none
    return odds / total[:, None], none / total
