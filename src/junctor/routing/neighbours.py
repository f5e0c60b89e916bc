"""What the calibration's prompts most like this one tell: how far the predictor was off for each model there.

Pure, and without numpy: this is on the way of each request. The predictor knows little of a sort of prompts
that it was not trained on; a few hundred prompts with known answers do. So each prediction is moved by the
mean residual (score less predicted) of the most alike of them, shrunk: nearest neighbours on top of an item
response model. Likeness is the cosine between named features, each in standard deviations of the calibration.

All cosines are computed at once: a column, that is one feature of all prompts, is one large integer with 16
bits for each prompt, so the sum over features of (value of the feature * its column) holds them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from operator import itemgetter, mul
from statistics import fmean, pstdev
from struct import Struct
from typing import Final

from junctor.routing.abilities import Abilities, Ability, Neighbourhood
from junctor.routing.features import FEATURES_VERSION, NAMES
from junctor.routing.predictor import Prediction

NEAREST: Final = 20
SHRINKAGE: Final = 10
"So many residuals of 0 are added to theirs. Both were fixed before anything was measured with them."
LEAST_LIKENESS: Final = 0.5
"A prompt less alike than this tells nothing. So most traffic of another sort is left as it is."
MOST_PROMPTS: Final = 300
"More would take longer to compare with."
LOWEST, HIGHEST = 0.01, 0.99
"No p(good) is moved beyond these: 20 answers do not make sure."
MOVED: Final = ", moved by like prompts"
"Stands after the source of a prediction that was."

STEPS: Final = 2
"Features are kept in steps of 1/2 standard deviation: coarse, so that little can be guessed from them."
FARTHEST: Final = 4
"They are clipped to so many."
_LEAST_DEVIATION: Final = 1e-3
_UNIT: Final = 176
"Of a vector of length 1 in integers. Rounding included, a product of two stays within 16 bits."
_MIDDLE: Final = 1 << 15
"Stands for a cosine of 0."
_ALIKE: Final = _MIDDLE + round(LEAST_LIKENESS * _UNIT**2)


def describe_prompts(named: Sequence[Sequence[float]]) -> Neighbourhood:
    """What is kept of prompts, from their named features (`Features.named`); one or more of them."""
    columns = list(zip(*named, strict=True))
    means = tuple(round(fmean(column), 4) for column in columns)
    deviations = tuple(round(max(pstdev(column), _LEAST_DEVIATION), 4) for column in columns)
    prompts = [
        bytes(round(STEPS * value) + STEPS * FARTHEST for value in _standardise(each, means, deviations))
        for each in named
    ]
    return Neighbourhood(
        features_version=FEATURES_VERSION, means=means, deviations=deviations, prompts=tuple(prompts)
    )


class Neighbours:
    """The prompts of a calibration, and how far predictions were off there."""

    def __init__(self, its: Neighbourhood, residuals: Sequence[Sequence[float | None]]) -> None:
        """`residuals`: for each model one for each prompt, None where it did not answer; of some none at all.

        A model without residuals is moved as the others are on average: a prompt that is harder than
        predicted is so for it, too.
        """
        self._its = its
        count = len(its.prompts)
        self._residuals = [[*(each or 0.0 for each in row), 0.0] for row in residuals if row]
        self._is_known = [bool(row) for row in residuals]
        units = [_unit([byte - STEPS * FARTHEST for byte in prompt]) for prompt in its.prompts]
        self._columns = [
            sum(unit[at] << (16 * number) for number, unit in enumerate(units)) for at in range(len(NAMES))
        ]
        self._middles = sum(_MIDDLE << (16 * number) for number in range(count))
        self._lanes = Struct(f"<{count}H")

    def nearest(self, named: Sequence[float]) -> list[int]:
        """The prompts most like one of these features, the most alike first; none that is not alike."""
        unit = _unit(_standardise(named, self._its.means, self._its.deviations))
        packed = sum(map(mul, unit, self._columns), self._middles)
        likeness = self._lanes.unpack(packed.to_bytes(self._lanes.size, "little"))
        near = [number for number, its in enumerate(likeness) if its >= _ALIKE]
        near.sort(key=likeness.__getitem__, reverse=True)
        return near[:NEAREST]

    def shifts(self, named: Sequence[float]) -> list[float]:
        """What to add to the p(good) of each model; nothing where no prompt is alike."""
        near = self.nearest(named)
        if not near or not self._residuals:
            return []
        # The last of a row is the 0: for a single number, `itemgetter` would give no tuple.
        pick = itemgetter(-1, *near)
        by = 1 / (len(near) + SHRINKAGE)
        known = [sum(pick(row)) * by for row in self._residuals]
        if len(known) == len(self._is_known):
            return known
        average, told = fmean(known), iter(known)
        return [next(told) if is_known else average for is_known in self._is_known]

    def correct(self, named: Sequence[float], predictions: Sequence[Prediction]) -> Sequence[Prediction]:
        """The predictions, moved. They are in the order of the residuals."""
        shifts = self.shifts(named)
        if not shifts:
            return predictions
        return [
            Prediction(it.name, move(it.p_good, shift), it.source + MOVED, it.output_tokens, it.p_error)
            for it, shift in zip(predictions, shifts, strict=True)
        ]


def move(p_good: float, shift: float) -> float:
    """A probability, moved, but not beyond what may be said, nor back to it."""
    return min(max(p_good + shift, min(p_good, LOWEST)), max(p_good, HIGHEST))


def find_neighbours(
    abilities: Abilities | None, found: Mapping[str, Ability], names: Sequence[str], artefact: str
) -> Neighbours | None:
    """Of the models of these names; None where nothing was learnt that fits them and this predictor.

    `found`: those of the measured abilities that hold (`match_abilities`).
    """
    its = abilities.neighbourhood if abilities else None
    if abilities is None or its is None or abilities.artefact != artefact or not _is_sound(its):
        return None
    residuals = [found[name].residuals if name in found else () for name in names]
    if not any(residuals) or not all(_fits(row, len(its.prompts)) for row in residuals):
        return None
    return Neighbours(its, residuals)


def _is_sound(its: Neighbourhood) -> bool:
    named, highest = len(NAMES), 2 * STEPS * FARTHEST
    return (
        its.features_version == FEATURES_VERSION
        and len(its.means) == len(its.deviations) == named
        and min(its.deviations) > 0
        and 0 < len(its.prompts) <= MOST_PROMPTS
        and all(len(prompt) == named and max(prompt) <= highest for prompt in its.prompts)
    )


def _fits(row: Sequence[float | None], count: int) -> bool:
    return not row or (len(row) == count and all(each is None or -1 <= each <= 1 for each in row))


def _standardise(named: Sequence[float], means: Sequence[float], deviations: Sequence[float]) -> list[float]:
    """In standard deviations, clipped."""
    values = [(value - mean) / its for value, mean, its in zip(named, means, deviations, strict=True)]
    return [FARTHEST if it > FARTHEST else -FARTHEST if it < -FARTHEST else it for it in values]


def _unit(values: Sequence[float]) -> list[int]:
    """Of length `_UNIT`, in integers; zeros stay zeros."""
    scale = _UNIT / (sqrt(sum(map(mul, values, values))) or 1.0)
    return [round(value * scale) for value in values]
