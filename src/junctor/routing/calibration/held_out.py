"""What is learnt is tried on prompts that it was not learnt from. Pure, with numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from junctor.routing.calibration.outcomes import Floats
from junctor.routing.calibration.study import Comparison

FOLDS = 5


def make_folds(count: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """For each fold: what is learnt from, what is held back."""
    order = np.random.default_rng(0).permutation(count)
    held = [np.sort(order[fold::FOLDS]) for fold in range(FOLDS)]
    return [(np.setdiff1d(order, test), test) for test in held]


def compare(old: Floats, new: Floats, *, is_broken: bool) -> Comparison:
    """Two figures for each prompt."""
    return Comparison(
        prompts=len(old),
        old=float(old.mean()),
        new=float(new.mean()),
        error=error_of(new - old),
        is_broken=is_broken,
    )


def error_of(values: Floats) -> float:
    """The standard error of their mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))
