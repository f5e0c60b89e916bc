"""What became of the same prompts at several models: the table that a ladder is learnt from and tried on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from junctor.pool.vote import Answer

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcomes:
    """m models, n prompts; each model has answered each prompt."""

    models: tuple[str, ...]
    scores: Floats
    "(m, n), 0..1."
    usd: Floats
    "(m, n)"
    tokens: Floats
    "(m, n) output tokens."
    answers: tuple[tuple[Answer | None, ...], ...]
    "m rows of n; None: not comparable."

    @property
    def prompts(self) -> int:
        """How many."""
        return self.scores.shape[1]

    def patterns(self, models: Sequence[int]) -> list[tuple[int | None, ...]]:
        """For each prompt which of these models gave equal answers, as small numbers. A vote sees no more."""
        patterns = list[tuple[int | None, ...]]()
        for answers in zip(*(self.answers[model] for model in models), strict=True):
            numbers = dict[Answer, int]()
            patterns.append(
                tuple(None if each is None else numbers.setdefault(each, len(numbers)) for each in answers)
            )
        return patterns

    def pick(self, which: NDArray[np.int64]) -> Outcomes:
        """Some of the prompts."""
        return Outcomes(
            self.models,
            self.scores[:, which],
            self.usd[:, which],
            self.tokens[:, which],
            tuple(tuple(row[at] for at in which) for row in self.answers),
        )
