"""Prompts held back, and two figures for each compared."""

from __future__ import annotations

import numpy as np
import pytest

from junctor.routing.calibration.held_out import FOLDS, compare, error_of, make_folds


@pytest.mark.parametrize("count", [5, 23, 100])
def test_each_prompt_is_held_back_once_and_learnt_from_otherwise(count: int) -> None:
    folds = make_folds(count)
    assert len(folds) == FOLDS
    assert sorted(np.concatenate([test for _, test in folds]).tolist()) == list(range(count))
    for train, test in folds:
        assert sorted([*train.tolist(), *test.tolist()]) == list(range(count))


def test_the_difference_is_paired() -> None:
    """What varies from prompt to prompt alike in both is no error of it."""
    old = np.array([0.0, 1.0, 0.0, 1.0])
    told = compare(old, old + 0.1, is_broken=False)
    assert (told.prompts, told.old, told.new) == (4, 0.5, pytest.approx(0.6))
    assert told.error == pytest.approx(0)
    assert told.switches
    assert error_of(old) == pytest.approx(0.5 / np.sqrt(3))
