"""The table of outcomes."""

from __future__ import annotations

import numpy as np
from test_calibrate import make_outcomes


def test_picking_keeps_columns_together() -> None:
    outcomes = make_outcomes(50)
    some = outcomes.pick(np.array([3, 40]))
    assert some.prompts == 2
    assert some.answers[1] == (outcomes.answers[1][3], outcomes.answers[1][40])
    assert (some.scores[:, 1] == outcomes.scores[:, 40]).all()
    assert (some.usd.shape, some.tokens.shape) == ((4, 2), (4, 2))
