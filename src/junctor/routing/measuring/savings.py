"""What routing saved, and what that did to quality: figures with their uncertainty, from the ledger's rows.

Pure. `spent` and `strongest` are the ledger's own sums. The other ways to do it are estimates: the same
tokens at another model's price, though it would have written more or fewer.

Money: a paired bootstrap over requests (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993).
Predicted quality is on one scale for `auto` and for all that it is compared with, request by request: where a
ladder was climbed, what its calibration found (`expectation.py`); else the router's predictions. What the
votes on a ladder say of single answers is no such scale: they speak of answers that agree, and nothing speaks
of the strongest model's to the same prompts.

Quality: betting bounds (`betting.py`), which hold for few comparisons, too, where a bootstrap of twenty ties
would claim certainty. Answers that differ with nobody to say which is better widen the interval by all that
they may matter (Manski, "Nonparametric Bounds on Treatment Effects", 1990).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations_with_replacement
from math import ceil
from statistics import fmean
from typing import TypeVar

import msgspec

from junctor.chat import Price
from junctor.routing.measuring.betting import bound_above, bound_below
from junctor.routing.measuring.promise import UNDECIDED

MOST_REQUESTS = 20_000
"Requests that are drawn for what cannot be summed by the database."
RESAMPLES = 1000
GROUPS = 1000
"""Of more requests, groups are resampled: sums of groups drawn at random are as independent as requests are,
and the bootstrap of their sum has the same spread."""
CONFIDENCE = 0.95
_Z = 1.96
_ASSUMED_SPREAD = 0.1
"Variance of a difference before anything is known: one answer in ten differs."

Interval = tuple[float, float]
T = TypeVar("T")


class Paid(msgspec.Struct, frozen=True, kw_only=True):
    """One routed request."""

    model: str
    input_tokens: int
    "Of all calls made for it, as the other counts."
    output_tokens: int
    cached_tokens: int
    attempts: int
    usd: float
    strongest_usd: float
    strongest: str
    p_good: Mapping[str, float] = {}
    "What is expected of each model's answer, 0..1; empty when that is not known."
    p_answer: float | None = None
    "What is expected of the answer that a ladder gave, on the same scale; None: no ladder was climbed."

    @property
    def expected(self) -> tuple[float, float] | None:
        """How good the answer, and that of the strongest model, should be; None: one of them is not known."""
        ours = self.p_good.get(self.model) if self.p_answer is None else self.p_answer
        theirs = self.p_good.get(self.strongest)
        return None if ours is None or theirs is None else (ours, theirs)


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """What one day, or one key, came to."""

    name: str
    requests: int
    elsewhere: int
    "Those that another model than the strongest answered."
    spent_usd: float
    strongest_usd: float
    saved_usd: float
    saved_percent: float | None
    "None where always-strongest would have cost nothing."


class Money(msgspec.Struct, frozen=True, kw_only=True):
    """What `auto` cost, and what it saved against always asking the strongest model."""

    requests: int
    elsewhere: int
    "Those that another model than the strongest answered."
    spent_usd: float
    strongest_usd: float
    saved_usd: float
    saved_percent: float | None
    saved_usd_interval: Interval | None
    "95 %, by resampling requests; None for fewer than two."
    saved_percent_interval: Interval | None


class Alternative(msgspec.Struct, frozen=True, kw_only=True):
    """Another way to answer the same requests: an estimate."""

    models: dict[str, float]
    "Each with its share of the requests, 0..1, drawn at random."
    usd: float
    predicted_quality: float | None
    "As that of `auto`, of the same requests; None where it is not known for each of them."


class Predicted(msgspec.Struct, frozen=True, kw_only=True):
    """How good answers should be: expected, not measured. Of the requests where that is known of both."""

    quality: float | None
    "Of the answers that were given, mean, 0..1."
    strongest_quality: float | None
    "Of the strongest model's to the same requests."
    share: float
    "Of the requests, those that this is known of, 0..1."
    by_ladder: float
    "Of these, those that climbed a ladder: their figures are its calibration's."


class FeedbackFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What callers said of answers of `auto`. Not a fair comparison: harder prompts go to the strongest."""

    others: int
    "Answers of other models that were rated."
    others_mean: float | None
    strongest: int
    strongest_mean: float | None
    interval: Interval | None
    "95 %, of the difference of the two means, in points; None until both have been rated."


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """How much better (above 0) or worse the answers are than the strongest's. In points: hundredths."""

    compared: int
    "Answers of other models that were compared with the strongest model's."
    equal: int
    "Those with the same final answer."
    undecided: int
    "Those that differ, with nobody to say which is better: the interval allows for either."
    incomparable: int
    "Samples without a final answer to compare, and without a judge."
    failed: int
    "Samples that the strongest model did not answer."
    elsewhere_points: float | None
    "Of the requests that other models answered. None: not measured."
    elsewhere_interval: Interval | None
    "95 %."
    points: float | None
    "Of all routed requests: those that the strongest answered itself count as equal."
    interval: Interval | None
    needed: int | None
    "Comparisons for an interval of +-1 point; None: no number would do while answers stay undecided."
    feedback: FeedbackFigures


def compare_money(total: Slice, sample: Sequence[Paid], seed: int = 0) -> Money:
    """`total`: of all requests; `sample`: all, or `MOST_REQUESTS` drawn at random."""
    percent = usd = None
    if len(sample) > 1:
        shares, means = _resample([(it.strongest_usd - it.usd, it.strongest_usd) for it in sample], seed)
        usd = _middle([mean * total.requests for mean in means])
        percent = _middle([100 * share for share in shares]) if total.strongest_usd > 0 else None
    return Money(
        requests=total.requests,
        elsewhere=total.elsewhere,
        spent_usd=total.spent_usd,
        strongest_usd=total.strongest_usd,
        saved_usd=total.saved_usd,
        saved_percent=total.saved_percent,
        saved_usd_interval=usd,
        saved_percent_interval=percent,
    )


def make_slice(name: str, requests: int, elsewhere: int, spent_usd: float, strongest_usd: float) -> Slice:
    """With what follows from the sums."""
    saved = strongest_usd - spent_usd
    return Slice(
        name=name,
        requests=requests,
        elsewhere=elsewhere,
        spent_usd=spent_usd,
        strongest_usd=strongest_usd,
        saved_usd=saved,
        saved_percent=100 * saved / strongest_usd if strongest_usd > 0 else None,
    )


def _resample(pairs: Sequence[tuple[float, float]], seed: int) -> tuple[list[float], list[float]]:
    """Of each resample: saved over strongest, and saved per request."""
    rng = random.Random(seed)  # noqa: S311 - statistics, no secret
    shuffled = [*pairs]
    rng.shuffle(shuffled)
    groups = [shuffled[at::GROUPS] for at in range(min(GROUPS, len(shuffled)))]
    saved = [sum(pair[0] for pair in group) for group in groups]
    strongest = [sum(pair[1] for pair in group) for group in groups]
    shares, means, indices = list[float](), list[float](), range(len(groups))
    for _ in range(RESAMPLES):
        drawn = rng.choices(indices, k=len(groups))
        total, against = sum(map(saved.__getitem__, drawn)), sum(map(strongest.__getitem__, drawn))
        means.append(total / len(pairs))
        if against > 0:
            shares.append(total / against)
    return shares, means


def _middle(values: Sequence[float]) -> Interval | None:
    """The middle 95 % of resampled values."""
    if not values:
        return None
    ranked, out = sorted(values), (1 - CONFIDENCE) / 2
    return ranked[int(out * len(ranked))], ranked[ceil((1 - out) * len(ranked)) - 1]


def estimate_usd(sample: Iterable[Paid], price: Price, prices: Mapping[str, Price]) -> float:
    """What the requests of a sample would have cost at a price, USD.

    The ledger sums tokens over all calls of a request. Where there were several, they are scaled down to
    those of the answer: by what the ledger says that the answer costs at the strongest model's price.
    """
    usd = 0.0
    for it in sample:
        tokens = (it.input_tokens, it.output_tokens, it.cached_tokens)
        strongest = prices.get(it.strongest)
        whole = strongest.usd(*tokens) if strongest and it.attempts > 1 else 0.0
        usd += price.usd(*tokens) * (min(1.0, it.strongest_usd / whole) if whole > 0 else 1.0)
    return usd


def find_alternatives(
    total: Slice, sample: Sequence[Paid], prices: Mapping[str, Price]
) -> tuple[Alternative | None, Alternative | None]:
    """Always the cheapest model; and the cheapest random mix of two that should be as good as `auto`."""
    sampled = sum(it.strongest_usd for it in sample)
    if not sample or not prices:
        return None, None
    scale = total.strongest_usd / sampled if sampled > 0 else total.requests / len(sample)
    usd = {name: scale * estimate_usd(sample, price, prices) for name, price in prices.items()}
    known = [it for it in sample if it.expected]
    quality = {name: _mean_prediction(known, name) for name in prices}
    name = min(usd, key=lambda each: (usd[each], each))
    cheapest = Alternative(models={name: 1.0}, usd=usd[name], predicted_quality=quality[name])
    able = {name: (usd[name], good) for name, good in quality.items() if good is not None}
    return cheapest, find_mix(able, predict_quality(sample).quality)


def predict_quality(sample: Sequence[Paid]) -> Predicted:
    """What was to be expected of the answers, and of the strongest model's."""
    expected = [(*it.expected, it.p_answer is not None) for it in sample if it.expected]
    return Predicted(
        quality=fmean(ours for ours, _, _ in expected) if expected else None,
        strongest_quality=fmean(theirs for _, theirs, _ in expected) if expected else None,
        share=len(expected) / len(sample) if sample else 0.0,
        by_ladder=fmean(climbed for _, _, climbed in expected) if expected else 0.0,
    )


def _mean_prediction(known: Sequence[Paid], name: str) -> float | None:
    """None unless it is known for each: a mean over some of the requests is no match for one over all."""
    if not known or any(name not in it.p_good for it in known):
        return None
    return fmean(it.p_good[name] for it in known)


def find_mix(models: Mapping[str, tuple[float, float]], target: float | None) -> Alternative | None:
    """The cheapest mix of two of the models (USD, quality) whose quality reaches the target."""
    best: Alternative | None = None
    if target is None:
        return None
    for one, other in combinations_with_replacement(sorted(models), 2):
        (usd, good), (other_usd, other_good) = models[one], models[other]
        for share in _shares_that_reach(good, other_good, target):
            cost = share * usd + (1 - share) * other_usd
            if best is None or cost < best.usd:
                mix = {one: share, other: 1 - share} if one != other else {one: 1.0}
                quality = share * good + (1 - share) * other_good
                models_used = {name: part for name, part in mix.items() if part > 0}
                best = Alternative(models=models_used, usd=cost, predicted_quality=quality)
    return best


def _shares_that_reach(good: float, other_good: float, target: float) -> list[float]:
    """Shares of the first at which a mix of two can be cheapest: the ends, and where it just reaches."""
    shares = [share for share, it in ((1.0, good), (0.0, other_good)) if it >= target]
    if min(good, other_good) < target < max(good, other_good):
        shares.append((target - other_good) / (good - other_good))
    return shares


def compare_quality(
    shadows: Sequence[tuple[str, float | None]], scores: Iterable[tuple[bool, float]], elsewhere: float
) -> Quality:
    """`shadows`: (verdict, difference), oldest first; `elsewhere`: share that other models answered, 0..1."""
    compared = [(verdict, d) for verdict, d in shadows if d is not None or verdict in UNDECIDED]
    undecided = sum(difference is None for _, difference in compared)
    points = interval = None
    if compared:
        alpha = (1 - CONFIDENCE) / 2
        mixed = _mix([difference for _, difference in compared])
        low = bound_below([-1.0 if d is None else d for d in mixed], alpha)
        high = bound_above([1.0 if d is None else d for d in mixed], alpha)
        points = 100 * sum(d or 0.0 for _, d in compared) / len(compared)
        interval = (100 * low, 100 * high)
    return Quality(
        compared=len(compared),
        equal=sum(verdict == "equal" for verdict, _ in compared),
        undecided=undecided,
        incomparable=sum(verdict == "incomparable" for verdict, _ in shadows),
        failed=sum(verdict == "failed" for verdict, _ in shadows),
        elsewhere_points=points,
        elsewhere_interval=interval,
        points=None if points is None else points * elsewhere,
        interval=None if interval is None else (interval[0] * elsewhere, interval[1] * elsewhere),
        needed=_needed([d for _, d in compared if d is not None], undecided),
        feedback=_summarise([*scores]),
    )


def _mix(values: Sequence[T]) -> list[T]:
    """In a random order, `MOST_REQUESTS` at most: the bounds are of the mean over all the time."""
    return random.Random(0).sample([*values], min(len(values), MOST_REQUESTS))  # noqa: S311


def _needed(decided: Sequence[float], undecided: int) -> int | None:
    """Comparisons for +-1 point at 95 %, by the variance so far (with one imagined difference in ten)."""
    if undecided > 0.01 * (len(decided) + undecided):
        return None
    mean = sum(decided) / len(decided) if decided else 0.0
    squares = sum((d - mean) ** 2 for d in decided)
    spread = (squares + 10 * _ASSUMED_SPREAD) / (len(decided) + 10)
    return ceil((_Z / 0.01) ** 2 * spread)


def _summarise(scores: Sequence[tuple[bool, float]]) -> FeedbackFigures:
    others = [score for is_strongest, score in scores if not is_strongest]
    strongest = [score for is_strongest, score in scores if is_strongest]
    return FeedbackFigures(
        others=len(others),
        others_mean=sum(others) / len(others) if others else None,
        strongest=len(strongest),
        strongest_mean=sum(strongest) / len(strongest) if strongest else None,
        interval=_bound_difference(others, strongest) if others and strongest else None,
    )


def _bound_difference(ours: Sequence[float], theirs: Sequence[float]) -> Interval:
    """Of two means of scores, 0..1, each bounded by itself: in points."""
    alpha = (1 - CONFIDENCE) / 4
    bounds = [
        (bound_below(scaled, alpha), bound_above(scaled, alpha))
        for scores in (ours, theirs)
        for scaled in [[2 * score - 1 for score in _mix(scores)]]
    ]
    (low, high), (their_low, their_high) = bounds
    return 50 * (low - their_high), 50 * (high - their_low)
