"""Outcomes -> a ladder: which cheap models, when to go on, and what can be promised of it.

Pure, with numpy, which the server does not need: the command that calibrates runs this in a process of its
own (`junctor[calibrate]`).

Learn, then test (after Angelopoulos et al., "Learn then Test", 2021): everything is learnt on some folds of
the outcomes and tried on the one left out, so that each prompt is judged by a ladder that never saw it. Along
a grid of prices, from careful to cheap, a one-sided test asks whether the held-out quality is at least the
promised share of the strongest model's; the first price that fails ends the row (fixed-sequence testing: the
chance that any price that passes breaks the promise is at most 1 - confidence). One more prompt is counted as
lost than was seen to be, so that a handful of faultless prompts proves nothing. Where not even the most
careful price passes, there is no promise, and the strongest model answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from statistics import NormalDist

import msgspec
import numpy as np

from junctor.chat import Mode
from junctor.routing.calibration.outcomes import Floats, Outcomes
from junctor.routing.calibration.rules import (
    AFFORDABLE,
    CAUTION,
    PRICES,
    Climbed,
    Rules,
    choose_steps,
    count_votes,
    learn_rules,
)
from junctor.routing.ladder import FORMAT, Ladder, Promise, Rung

SAVE: Mapping[Mode, float] = {"quality": 0.0, "balanced": 0.55, "cost": 0.75}
"What each mode wants to save of the strongest model's cost: the first price that does is taken."
FOLDS = 5
LEAST_PROMPTS = 100
"Fewer prove nothing."


class TooFewOutcomes(ValueError):
    """There is nothing to learn a ladder from; the message says what is missing."""


def calibrate(
    outcomes: Outcomes, strongest: str, *, floor: float = 0.98, confidence: float = 0.95, seed: int = 0
) -> Ladder:
    """Learn a ladder up to `strongest`, and promise what can be promised.

    Raises `TooFewOutcomes`.
    """
    if outcomes.prompts < LEAST_PROMPTS:
        raise TooFewOutcomes(f"{outcomes.prompts} prompts prove nothing; {LEAST_PROMPTS} are the least")
    top = outcomes.models.index(strongest)
    steps = choose_steps(outcomes, top)
    if not steps:
        raise TooFewOutcomes(
            f"fewer than two models cost at most {AFFORDABLE:.0%} of {strongest}: nothing to try first"
        )
    held_out = _climb_held_out(outcomes, top, seed)
    promises = _promise(outcomes, top, held_out, floor, confidence)
    learnt = learn_rules(outcomes, steps, top)
    return _render(outcomes, top, learnt, promises, floor, confidence)


def climb(ladder: Ladder, outcomes: Outcomes, mode: Mode) -> Climbed:
    """What `mode` would have come to on other outcomes of the same models, promise or not."""
    place = {name: at for at, name in enumerate(outcomes.models)}
    steps = [[place[name] for name in rung.models] for rung in ladder.rungs]
    votes = [*(rung.vote for rung in ladder.rungs), ladder.last]
    gains = [np.array(rung.gains[mode]) for rung in ladder.rungs]
    return count_votes(outcomes, steps, place[ladder.strongest], votes, ladder.caution).climb(gains)


def _climb_held_out(outcomes: Outcomes, top: int, seed: int) -> dict[float, Climbed]:
    """For each price: every prompt climbs a ladder that was learnt without it."""
    order = np.random.default_rng(seed).permutation(outcomes.prompts)
    found: dict[float, Climbed] = {
        price: Climbed(
            np.zeros(outcomes.prompts), np.zeros(outcomes.prompts), np.zeros(outcomes.prompts, bool)
        )
        for price in PRICES
    }
    for fold in range(FOLDS):
        test = np.sort(order[fold::FOLDS])
        train = outcomes.pick(np.setdiff1d(order, test))
        steps = choose_steps(train, top)
        learnt = learn_rules(train, steps, top)
        counted = count_votes(outcomes.pick(test), steps, top, learnt.votes, CAUTION)
        for price in PRICES:
            climbed = counted.climb(learnt.gains[price])
            found[price].scores[test], found[price].usd[test] = climbed.scores, climbed.usd
            found[price].reached_strongest[test] = climbed.reached_strongest
    return found


def _promise(
    outcomes: Outcomes, top: int, held_out: Mapping[float, Climbed], floor: float, confidence: float
) -> dict[Mode, Promise]:
    """For each mode the price that saves what it wants, or the dearest one that the tests allow before it."""
    told, promises = list[Promise](), dict[Mode, Promise]()
    total = outcomes.usd[top].sum()
    for price in PRICES:
        climbed = held_out[price]
        low = lower_bound(climbed.scores - floor * outcomes.scores[top], confidence)
        if low < 0:
            break
        told.append(
            Promise(
                price=price,
                saved=float(1 - climbed.usd.sum() / total),
                quality=float(climbed.scores.mean()),
                strongest_quality=float(outcomes.scores[top].mean()),
                low=low,
            )
        )
    for mode, wanted in SAVE.items():
        enough = [promise for promise in told if promise.saved >= wanted]
        chosen = enough[0] if enough else told[-1] if told else None
        if chosen is not None and chosen.saved > 0:
            promises[mode] = chosen
    return promises


def lower_bound(differences: Floats, confidence: float) -> float:
    """Of the mean, one-sided, by the central limit theorem, with one prompt more that was lost."""
    counted = np.append(differences, -1.0)
    error = counted.std(ddof=1) / np.sqrt(len(counted))
    return float(counted.mean() - NormalDist().inv_cdf(confidence) * error)


def _render(
    outcomes: Outcomes,
    top: int,
    learnt: Rules,
    promises: dict[Mode, Promise],
    floor: float,
    confidence: float,
) -> Ladder:
    def names(models: Sequence[int]) -> tuple[str, ...]:
        return tuple(outcomes.models[at] for at in models)

    rungs = tuple(
        Rung(
            names(step),
            learnt.votes[at],
            {mode: _rounded(learnt.gains[promise.price][at]) for mode, promise in promises.items()},
        )
        for at, step in enumerate(learnt.steps)
    )
    ladder = Ladder(
        format=FORMAT,
        version="",
        strongest=outcomes.models[top],
        rungs=rungs,
        last=learnt.votes[-1],
        caution=CAUTION,
        floor=floor,
        confidence=confidence,
        prompts=outcomes.prompts,
        promises=promises,
    )
    digest = sha256(msgspec.json.encode(ladder, order="sorted")).hexdigest()
    return msgspec.structs.replace(ladder, version=f"ladder-{FORMAT}-{digest[:8]}")


def _rounded(weights: Floats) -> tuple[float, ...]:
    return tuple(round(float(weight), 8) for weight in weights)
