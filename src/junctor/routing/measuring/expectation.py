"""What a ladder's answers should be worth, beside those of each model alone: as its calibration found them.

Pure. All of it is on the same prompts: the ladder as it did on those that it was not learnt from, each model
as it did on all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import msgspec

from junctor.routing.ladder import Ladder, models_of


class OnItsPrompts(msgspec.Struct, frozen=True, kw_only=True):
    """What a ladder's calibration found on its prompts."""

    quality: Mapping[str, float]
    "By mode: the share of right answers that the ladder gave, on prompts that it was not learnt from, 0..1."
    models: Mapping[str, float]
    "Of each model alone."
    judged_by_strongest: bool
    "Whether what the strongest model said counted as right, for some of the prompts."


def on_its_prompts(
    ladder: Ladder, scores: Mapping[str, Sequence[float | None]], *, judged_by_strongest: bool
) -> OnItsPrompts | None:
    """`scores`: of each model, for each prompt of the calibration. None: they are not the ladder's.

    A model is as much better than the strongest as it was on the prompts that both answered.
    """
    top = scores.get(ladder.strongest)
    if top is None or not scores.keys() >= {*models_of(ladder)} or not ladder.promises:
        return None
    alone = next(iter(ladder.promises.values())).strongest_quality
    models = dict[str, float]()
    for name, its in scores.items():
        gains = [
            one - other for one, other in zip(its, top, strict=True) if not (one is None or other is None)
        ]
        if gains:
            models[name] = min(1.0, max(0.0, alone + fmean(gains)))
    return OnItsPrompts(
        quality={mode: promise.quality for mode, promise in ladder.promises.items()},
        models=models,
        judged_by_strongest=judged_by_strongest,
    )
