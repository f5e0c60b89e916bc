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
from dataclasses import dataclass
from hashlib import sha256
from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import NDArray

from junctor.chat import Mode
from junctor.pool.vote import Standing, Vote, stand
from junctor.routing.calibration.fit import fit_ridge, fit_vote
from junctor.routing.calibration.outcomes import Floats, Outcomes
from junctor.routing.ladder import FORMAT, Ladder, Promise, Rung, conclude, read_signals

PRICES = (
    0.005,
    0.01,
    0.02,
    0.03,
    0.035,
    0.04,
    0.045,
    0.05,
    0.055,
    0.06,
    0.065,
    0.07,
    0.08,
    0.1,
    0.12,
    0.15,
    0.2,
)
"""What the strongest model's cost for a prompt is worth, in right answers, from careful to cheap: at 0.05,
one right answer in twenty may be given up to save all of it."""
SAVE: Mapping[Mode, float] = {"quality": 0.0, "balanced": 0.55, "cost": 0.75}
"What each mode wants to save of the strongest model's cost: the first price that does is taken."
CHEAP_MODELS = 3
AFFORDABLE = 0.5
"A model that costs more than this share of the strongest one is not asked before it."
WORTH_OF_COST = 1.0
"A model's place on the ladder: its mean score less so much of its share of the strongest model's cost."
CAUTION = 0.2
"""How much likelier an answer must be to be taken instead of the strongest model's; also what an answer that
differs from it is charged while learning: the fewer, the narrower the interval of the difference."""
SMOOTHING = 0.5
"Share of the vote's own probability in the quality that rules are learnt from; the rest is the outcome."
FOLDS = 5
LEAST_PROMPTS = 100
"Fewer prove nothing."


class TooFewOutcomes(ValueError):
    """There is nothing to learn a ladder from; the message says what is missing."""


@dataclass(frozen=True)
class Climbed:
    """What a ladder came to on some prompts."""

    scores: Floats
    usd: Floats
    reached_strongest: NDArray[np.bool_]


@dataclass(frozen=True)
class _View:
    """A vote on every prompt."""

    standings: list[Standing]
    signals: Floats
    "(n, len(SIGNALS))"
    scores: Floats
    "Of the answer that the vote would take, 0 where there is none."


@dataclass(frozen=True)
class _Learnt:
    steps: list[list[int]]
    votes: list[Vote]
    "One for each step, and the last one."
    gains: dict[float, list[Floats]]
    "For each price, one for each step."


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
    learnt = _learn(outcomes, steps, top)
    return _render(outcomes, top, learnt, promises, floor, confidence)


def choose_steps(outcomes: Outcomes, top: int) -> list[list[int]]:
    """Which models to ask before the strongest: the two that are worth most at once, then one by one.

    By a fixed rule, not by trial: choosing among ladders by their results on a few hundred prompts cost up to
    0.8 points of quality on prompts held out (docs/adr/0006-a-ladder-of-votes.md).
    """
    usd = outcomes.usd.mean(axis=1)
    share = usd / usd[top]
    worth = outcomes.scores.mean(axis=1) - WORTH_OF_COST * share
    cheap = [at for at in range(len(outcomes.models)) if at != top and share[at] <= AFFORDABLE]
    cheap = sorted(cheap, key=lambda at: -float(worth[at]))[:CHEAP_MODELS]
    return [cheap[:2], *([at] for at in cheap[2:])] if len(cheap) > 1 else []


def climb(ladder: Ladder, outcomes: Outcomes, mode: Mode) -> Climbed:
    """What `mode` would have come to on other outcomes of the same models, promise or not."""
    place = {name: at for at, name in enumerate(outcomes.models)}
    steps = [[place[name] for name in rung.models] for rung in ladder.rungs]
    votes = [*(rung.vote for rung in ladder.rungs), ladder.last]
    gains = [np.array(rung.gains[mode]) for rung in ladder.rungs]
    return _climb(outcomes, place[ladder.strongest], steps, votes, gains, ladder.caution)


def _learn(outcomes: Outcomes, steps: list[list[int]], top: int) -> _Learnt:
    """Votes after each step, then for each price the rules, from the last step back to the first."""
    asked = _asked(steps, top)
    votes = [fit_vote(outcomes, models) for models in asked]
    views = [_view(outcomes, models, vote) for models, vote in zip(asked, votes, strict=True)]
    reference = outcomes.scores[top]
    values = [_value(view.scores, view.signals[:, 2], reference) for view in views[:-1]]
    final, final_p = _conclusions(outcomes, asked[-1], votes[-1], CAUTION)
    last = _value(final, final_p, reference)
    cost = outcomes.usd / outcomes.usd[top].mean()
    gains = {price: _fit_rules(views[:-1], values, last, cost, steps, top, price) for price in PRICES}
    return _Learnt(steps, votes, gains)


def _asked(steps: list[list[int]], top: int) -> list[list[int]]:
    """Who has been asked after each step, and in the end."""
    asked, so_far = list[list[int]](), list[int]()
    for step in [*steps, [top]]:
        so_far = [*so_far, *step]
        asked.append(so_far)
    return asked


def _value(scores: Floats, p: Floats, reference: Floats) -> Floats:
    """What an answer is worth while learning: smoothed, and charged where it differs from the strongest's."""
    return (1 - SMOOTHING) * scores + SMOOTHING * p - CAUTION * np.abs(scores - reference)


def _fit_rules(
    views: list[_View],
    values: list[Floats],
    last: Floats,
    cost: Floats,
    steps: list[list[int]],
    top: int,
    price: float,
) -> list[Floats]:
    """For each step the expected gain of going on, as a function of its signals; fitted backwards."""
    ahead = last - price * cost[top]
    rules = list[Floats]()
    for view, value, step in reversed(list(zip(views, values, steps, strict=True))):
        compared = np.array([standing.top is not None for standing in view.standings])
        rule = fit_ridge(view.signals[compared], (ahead - value)[compared])
        goes_on = (view.signals @ rule > 0) | ~compared
        ahead = np.where(goes_on, ahead, value) - price * cost[step].sum(axis=0)
        rules.append(rule)
    return rules[::-1]


def _climb(
    outcomes: Outcomes,
    top: int,
    steps: list[list[int]],
    votes: list[Vote],
    gains: list[Floats],
    caution: float,
) -> Climbed:
    """Go up the ladder with every prompt. Where no answer can be compared, the strongest is next."""
    asked = _asked(steps, top)
    count = outcomes.prompts
    scores, usd = np.zeros(count), np.zeros(count)
    going, skips = np.ones(count, bool), np.zeros(count, bool)
    for step, models, vote, rule in zip(steps, asked, votes, gains, strict=False):
        view = _view(outcomes, models, vote)
        usd += np.where(going & ~skips, outcomes.usd[step].sum(axis=0), 0.0)
        compared = np.array([standing.top is not None for standing in view.standings])
        stops = going & ~skips & compared & (view.signals @ rule <= 0)
        scores = np.where(stops, view.scores, scores)
        going &= ~stops
        skips |= going & ~compared
    final, _ = _conclusions(outcomes, asked[-1], votes[-1], caution)
    final = np.where(skips, outcomes.scores[top], final)
    return Climbed(np.where(going, final, scores), usd + np.where(going, outcomes.usd[top], 0.0), going)


def _view(outcomes: Outcomes, models: list[int], vote: Vote) -> _View:
    standings, signals = list[Standing](), list[tuple[float, ...]]()
    tokens = outcomes.tokens[models].T.tolist()
    for answers, lengths in zip(
        zip(*(outcomes.answers[at] for at in models), strict=True), tokens, strict=True
    ):
        standing = stand(vote, answers)
        standings.append(standing)
        signals.append(read_signals(standing, lengths))
    scores = [
        0.0 if standing.top is None else outcomes.scores[models[standing.top], at]
        for at, standing in enumerate(standings)
    ]
    return _View(standings, np.array(signals), np.array(scores))


def _conclusions(outcomes: Outcomes, models: list[int], vote: Vote, caution: float) -> tuple[Floats, Floats]:
    """Once all have answered: the score of the answer that is taken, and how likely it was to be right."""
    ladder_end = msgspec.structs.replace(_EMPTY, last=vote, caution=caution)
    scores, shares = np.zeros(outcomes.prompts), np.zeros(outcomes.prompts)
    for at, answers in enumerate(zip(*(outcomes.answers[model] for model in models), strict=True)):
        taken, standing = conclude(ladder_end, answers)
        scores[at], shares[at] = outcomes.scores[models[taken], at], standing.shares[taken]
    return scores, shares


_EMPTY = Ladder(
    format=FORMAT,
    version="",
    strongest="",
    rungs=(),
    last=Vote((), 0.0, 0.0, 0.0),
    caution=0.0,
    floor=0.0,
    confidence=0.0,
    prompts=0,
    promises={},
)


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
        learnt = _learn(train, steps, top)
        tried = outcomes.pick(test)
        for price in PRICES:
            climbed = _climb(tried, top, steps, learnt.votes, learnt.gains[price], CAUTION)
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
    learnt: _Learnt,
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
