"""What is left of each answer once abilities have explained it, for the prompts around it. Pure, with numpy.

At each of the user's own prompts a model did better or worse than predicted. The router moves its predictions
by that (`routing/neighbours.py`), where it has helped to predict prompts held back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from junctor.routing.abilities import Abilities, Neighbourhood, level_of
from junctor.routing.calibration.ability_fit import Answered, predict
from junctor.routing.calibration.outcomes import Floats
from junctor.routing.neighbours import MOST_PROMPTS, SHRINKAGE, Neighbours, describe_prompts, move

FEWEST = 50
"Prompts, for neighbours to be learnt: of fewer there are hardly any that are like another one."

Named = Sequence[Sequence[float]]
"Named features of prompts."


def make_neighbours(named: Named, answered: Answered, p: Floats) -> Neighbours:
    """Of prompts: (m, n) answers to them, and what was predicted of each."""
    return Neighbours(*_learn(named, answered.scores - p))


def add_neighbours(abilities: Abilities, named: Named, answered: Answered) -> Abilities:
    """The abilities with the prompts that they were measured on. They are in the order of the answers."""
    levels = np.array([level_of(each, abilities)[0] for each in abilities.models])
    its, rows = _learn(named, answered.scores - predict(answered, levels[:, None]))
    models = tuple(
        msgspec.structs.replace(each, residuals=tuple(row))
        for each, row in zip(abilities.models, rows, strict=True)
    )
    return msgspec.structs.replace(abilities, models=models, neighbourhood=its)


def move_all(neighbours: Neighbours | None, named: Named, p: Floats) -> Floats:
    """(m, n) predictions for these prompts, as the router moves them; m may be the first of its models."""
    if neighbours is None:
        return p
    moved = p.copy()
    for at, each in enumerate(named):
        for model, shift in enumerate(neighbours.shifts(each)[: len(p)]):
            moved[model, at] = move(float(p[model, at]), shift)
    return moved


def pick(named: Named, which: NDArray[np.int64]) -> Named:
    """Those of some prompts."""
    return [named[at] for at in cast(list[int], which.tolist())]


def _learn(named: Named, residuals: Floats) -> tuple[Neighbourhood, list[list[float | None]]]:
    """Of all prompts, or of too many some, evenly."""
    count = len(named)
    kept = np.unique(np.linspace(0, count - 1, min(count, MOST_PROMPTS)).astype(np.int64))
    its, residuals = describe_prompts(pick(named, kept)), residuals[:, kept]
    rows = cast(list[list[float]], (residuals - _offset(its, pick(named, kept), residuals)).tolist())
    return its, [[None if np.isnan(each) else round(_clip(each), 3) for each in row] for row in rows]


def _offset(its: Neighbourhood, named: Named, residuals: Floats) -> Floats:
    """(m, 1): what makes shifts 0 on average over these prompts, each told by the others.

    Some prompts are near to many others. Without this their residuals would move the mean, which is known.
    """
    near = Neighbours(its, ())
    weights = np.zeros(len(named))
    for at, each in enumerate(named):
        others = [other for other in near.nearest(each) if other != at]
        weights[others] += 1 / (len(others) + SHRINKAGE)
    answered = np.isfinite(residuals) * weights
    return ((np.nan_to_num(residuals) * weights).sum(1) / np.maximum(answered.sum(1), 1e-9))[:, None]


def _clip(residual: float) -> float:
    return max(-1.0, min(1.0, residual))
