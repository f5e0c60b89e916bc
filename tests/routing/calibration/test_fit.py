"""The two fits recover what made the data."""

from __future__ import annotations

import numpy as np
import pytest
from test_calibrate import make_outcomes

from junctor.pool.vote import stand
from junctor.routing.calibration.fit import RULE_PENALTY, fit_ridge, fit_vote


def test_a_vote_is_calibrated() -> None:
    """Among answers that it gives a probability of p, a share of p is right."""
    outcomes = make_outcomes(4000)
    vote = fit_vote(outcomes, [0, 1, 2])
    standings = [stand(vote, answers) for answers in zip(*outcomes.answers[:3], strict=True)]
    p = np.array([standing.p_top for standing in standings])
    right = np.array([outcomes.scores[standing.top or 0, at] for at, standing in enumerate(standings)])
    for third in np.array_split(np.argsort(p), 3):
        assert right[third].mean() == pytest.approx(p[third].mean(), abs=0.04)


def test_a_better_model_weighs_more() -> None:
    vote = fit_vote(make_outcomes(2000, accuracy=(0.9, 0.6, 0.6, 0.9)), [0, 1, 2])
    assert vote.weights[0] > vote.weights[1] + 0.5


def test_ridge_finds_a_line_and_spares_the_constant() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, 20_000)
    signals = np.column_stack([np.ones_like(x), x])
    weights = fit_ridge(signals, 5 + 0.7 * x)
    assert weights == pytest.approx([5, 0.7], rel=0.05)
    assert fit_ridge(signals[:10], np.full(10, 2.0))[0] == pytest.approx(2.0)
    assert RULE_PENALTY > 0
    assert list(fit_ridge(signals[:0], x[:0])) == [0, 0]
