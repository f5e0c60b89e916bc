"""The table of outcomes."""

from __future__ import annotations

import numpy as np
from test_calibrate import make_outcomes

from junctor.routing.calibration.outcomes import Outcomes


def test_picking_keeps_columns_together() -> None:
    outcomes = make_outcomes(50)
    some = outcomes.pick(np.array([3, 40]))
    assert some.prompts == 2
    assert some.answers[1] == (outcomes.answers[1][3], outcomes.answers[1][40])
    assert (some.scores[:, 1] == outcomes.scores[:, 40]).all()
    assert (some.usd.shape, some.tokens.shape) == ((4, 2), (4, 2))


def test_a_pattern_says_which_answers_are_equal_and_nothing_else() -> None:
    answers = (("7", None, "b"), ("7", "x", "c"), ("9", None, "b"))
    nothing = np.zeros((3, 3))
    outcomes = Outcomes(("a", "b", "c"), nothing, nothing, nothing, answers)
    assert outcomes.patterns([0, 1, 2]) == [(0, 0, 1), (None, 0, None), (0, 1, 0)]
    assert outcomes.patterns([2, 0]) == [(0, 1), (None, None), (0, 0)]
