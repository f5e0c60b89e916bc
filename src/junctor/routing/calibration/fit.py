"""The two fits a ladder is made of: the vote, and a rule that weighs its state. Pure, with numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from junctor.pool.vote import Vote
from junctor.pool.vote_fit import fit_logit, read_ballots
from junctor.routing.calibration.outcomes import Floats, Outcomes

VOTE_PENALTY, RULE_PENALTY = 1.0, 150.0
"Ridge penalties."
_solve = cast(Callable[[Floats, Floats], Floats], np.linalg.solve)


def fit_vote(outcomes: Outcomes, models: list[int]) -> Vote:
    """A weight for each model and the bonuses, drawn to nothing (pool/vote_fit.py has the method)."""
    size = len(models)
    ballots = read_ballots([outcomes.answers[model] for model in models], outcomes.scores[models] > 0.5)
    weights = fit_logit(
        ballots.counts,
        ballots.rights,
        ballots.agreement,
        centre=np.zeros(size + 3),
        penalties=np.full(size + 3, VOTE_PENALTY),
    )
    told = [round(float(weight), 6) for weight in weights]
    return Vote(tuple(told[:size]), *told[size:])


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
