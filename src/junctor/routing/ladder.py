"""Cheap models first: after each answer, is the next one worth its price?

Pure. A ladder has rungs: two cheap models at once, then one more at a time, then the strongest.
After each rung the answers that were given are counted as votes (pool/vote.py), and a learned rule says
whether going on is worth it. The rule is an optimal stopping rule, fitted backwards from the last rung
(Longstaff and Schwartz, "Valuing American Options by Simulation", 2001): stop where the expected gain in
quality is smaller than the expected cost of going on.
`calibration/rules.py` learns both from outcomes; what is here runs for each request and needs no numpy.

After the strongest model has answered, too, its answer is taken, unless another one is likelier to be right
by more than `Ladder.caution`: an answer that differs from the strongest model's has to earn it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log, log1p

import msgspec

from junctor.chat import Mode
from junctor.pool.vote import Answer, Standing, Vote, stand

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
    "What the strongest model's cost for a prompt is worth in right answers (`rules.PRICES`)."
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
    judged_by_strongest: int = 0
    "For how many of the prompts what the strongest model said counted as right."


def parse_ladder(data: bytes | str) -> Ladder | None:
    """A stored ladder; None when it is of another layout. Raises `msgspec.DecodeError` when damaged."""
    ladder = msgspec.json.decode(data, type=Ladder)
    return ladder if ladder.format == FORMAT else None


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


def conclude(vote: Vote, answers: Sequence[Answer | None], caution: float) -> tuple[int, Standing]:
    """Whose answer is taken once all have answered, the strongest last; and the state of the vote."""
    standing = stand(vote, answers)
    last = len(answers) - 1
    if standing.top is not None and standing.p_top - standing.shares[last] > caution:
        return standing.top, standing
    return last, standing


def models_of(ladder: Ladder) -> tuple[str, ...]:
    """All its models, in the order they are asked."""
    return (*(name for rung in ladder.rungs for name in rung.models), ladder.strongest)
