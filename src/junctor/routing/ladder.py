"""Cheap models first: after each answer, is the next one worth its price?

Pure. A ladder has rungs: two cheap models at once, then one more at a time, then the strongest.
After each rung the answers that were given are counted as votes, and a learned rule says whether going on is
worth it. The votes are a conditional logit over the distinct answers (McFadden 1974): one weight for each
model, a bonus for agreement, and one alternative that says `none of them is right`. The rule is an optimal
stopping rule, fitted backwards from the last rung (Longstaff and Schwartz, "Valuing American Options by
Simulation", 2001): stop where the expected gain in quality is smaller than the expected cost of going on.
`calibrate.py` learns both from outcomes; what is here runs for each request and needs no numpy.

After the strongest model has answered, too, its answer is taken, unless another one is likelier to be right
by more than `Ladder.caution`: an answer that differs from the strongest model's has to earn it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import exp, log, log1p

import msgspec

from junctor.chat import Mode

FORMAT = 1
"Layout of a stored ladder. Another one is not used."
SIGNALS = (
    "one",
    "log_odds",
    "p_top",
    "p_second",
    "agreeing",
    "distinct",
    "parsed",
    "log_tokens",
)
"What a stopping rule weighs, in the order of `Rung.gains`: a constant, then the state of the vote."
_ODDS_EDGE = 0.01
"Keeps the log odds of a certain vote finite."

Answer = Hashable
"What makes two answers equal (see pool/answers.py): a number, a letter, a tool call."


class Vote(msgspec.Struct, frozen=True):
    """How much the answers of the models asked so far are worth."""

    weights: tuple[float, ...]
    "One for each model, in the order they are asked; logits."
    two: float
    "Added to an answer that two or more gave."
    three: float
    "Added again to an answer that three or more gave."
    none: float
    "The logit of `none of these answers is right`."


class Standing(msgspec.Struct, frozen=True):
    """The state of a vote."""

    top: int | None
    "The first of the models that gave the likeliest answer; None when no answer can be compared."
    p_top: float
    "Probability that it is right, 0..1."
    p_second: float
    agreeing: float
    "Share of those asked that gave it."
    distinct: float
    "Distinct answers over models asked."
    parsed: float
    "Share of those asked whose answer can be compared."
    shares: tuple[float, ...]
    "For each model, the probability that its answer is right; 0 where it cannot be compared."


class Rung(msgspec.Struct, frozen=True):
    """One step of the ladder."""

    models: tuple[str, ...]
    "Asked at once, in addition to those before."
    vote: Vote
    "Over all that have been asked by then."
    gains: dict[Mode, tuple[float, ...]]
    "For each mode the weights of `SIGNALS`: the expected gain of going on, its cost taken off."


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """What a calibration can say for a mode, and how sure it is."""

    price: float
    "What the strongest model's cost for a prompt is worth in right answers (`calibrate.PRICES`)."
    saved: float
    "Of the strongest model's cost, held out, 0..1."
    quality: float
    "Mean score of the cascade's answers, held out, 0..1."
    strongest_quality: float
    low: float
    "Lower bound of quality - floor * strongest_quality at the stated confidence; at least 0, or no promise."


class Ladder(msgspec.Struct, frozen=True, kw_only=True):
    """A calibrated cascade, as stored; cascade.py climbs it."""

    format: int
    version: str
    "Names this calibration: stamped on each decision."
    strongest: str
    rungs: tuple[Rung, ...]
    last: Vote
    "Over all, the strongest included."
    caution: float
    floor: float
    "Promised: this share of the strongest model's quality ..."
    confidence: float
    "... with this probability."
    prompts: int
    "It was learnt on so many."
    promises: dict[Mode, Promise]
    "Modes for which the data support the promise. In the others the strongest model answers."


def parse_ladder(data: bytes | str) -> Ladder | None:
    """A stored ladder; None when it is of another layout. Raises `msgspec.DecodeError` when damaged."""
    ladder = msgspec.json.decode(data, type=Ladder)
    return ladder if ladder.format == FORMAT else None


def stand(vote: Vote, answers: Sequence[Answer | None]) -> Standing:
    """Count the answers, one for each model asked so far; None: not comparable."""
    groups = dict[Answer, list[int]]()
    for at, answer in enumerate(answers):
        if answer is not None:
            groups.setdefault(answer, []).append(at)
    logits = [_worth(vote, members) for members in groups.values()]
    highest = max([*logits, vote.none])
    odds = [exp(logit - highest) for logit in logits]
    total = sum(odds) + exp(vote.none - highest)
    shares, asked = [0.0] * len(answers), len(answers)
    for members, odd in zip(groups.values(), odds, strict=True):
        for at in members:
            shares[at] = odd / total
    ranked = sorted(zip(odds, groups.values(), strict=True), key=lambda pair: -pair[0])
    return Standing(
        top=ranked[0][1][0] if ranked else None,
        p_top=ranked[0][0] / total if ranked else 0.0,
        p_second=ranked[1][0] / total if len(ranked) > 1 else 0.0,
        agreeing=len(ranked[0][1]) / asked if ranked else 0.0,
        distinct=len(ranked) / asked,
        parsed=sum(map(len, groups.values())) / asked,
        shares=tuple(shares),
    )


def _worth(vote: Vote, members: list[int]) -> float:
    bonus = (vote.two if len(members) > 1 else 0.0) + (vote.three if len(members) > 2 else 0.0)
    return sum(vote.weights[at] for at in members) + bonus


def read_signals(standing: Standing, tokens: Sequence[float]) -> tuple[float, ...]:
    """What a stopping rule weighs. `tokens`: how long the answers so far are."""
    p = standing.p_top
    return (
        1.0,
        log((p + _ODDS_EDGE) / (1 + _ODDS_EDGE - p)),
        p,
        standing.p_second,
        standing.agreeing,
        standing.distinct,
        standing.parsed,
        log1p(sum(tokens) / len(tokens)),
    )


def expect_gain(gains: Sequence[float], signals: Sequence[float]) -> float:
    """What going on is expected to bring; above 0: go on."""
    return sum(map(float.__mul__, gains, signals))


def conclude(ladder: Ladder, answers: Sequence[Answer | None]) -> tuple[int, Standing]:
    """Whose answer is taken once all have answered, the strongest last; and the state of the vote."""
    standing = stand(ladder.last, answers)
    last = len(answers) - 1
    if standing.top is not None and standing.p_top - standing.shares[last] > ladder.caution:
        return standing.top, standing
    return last, standing


def models_of(ladder: Ladder) -> tuple[str, ...]:
    """All its models, in the order they are asked."""
    return (*(name for rung in ladder.rungs for name in rung.models), ladder.strongest)
