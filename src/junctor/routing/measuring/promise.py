"""Whether the promise still holds: that `auto` is hardly worse than always asking the strongest model.

Pure. The comparisons of shadows come in one after the other. Two bets are placed on each (`betting.py`):

- against `the promise holds`: when it is refuted, the promise is **broken**;
- against `the promise does not hold`: when that is refuted, the promise is **kept**;
- else it is **unproven**.

A comparison that is not decided (two answers differ, and nobody said which is right) counts for us in the
first bet and against us in the second: what is not known neither breaks nor proves anything.

What callers say is watched likewise, by pairs: an answer of another model beside the next one of the
strongest. It is shown, and breaks nothing: the strongest gets harder prompts, so it is no fair comparison,
and one caller could turn everybody's router off with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Literal

import msgspec

from junctor.chat import Mode
from junctor.routing.ladder import Ladder
from junctor.routing.measuring.betting import Bet
from junctor.routing.policy import TOLERANCE

Standing = Literal["kept", "unproven", "broken"]

UNDECIDED = frozenset({"differs", "undecided"})
"Verdicts of answers that were compared, with nobody to say which is better."
_MOST_UNPAIRED = 1000


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """What is promised."""

    version: str
    "The calibration that promises it; without one `mode: <its name>`."
    margin: float
    "By how much `auto` may be worse than the strongest model, per answer: 0.02 is two answers in a hundred."
    confidence: float = 0.95
    since: str = ""
    "From when on it is watched, ISO 8601; empty: from the first comparison."
    strongest: str = ""
    "Compared with this model."


class PromiseReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a promise stands."""

    status: Standing
    version: str
    margin_points: float
    "By how many points `auto` may be worse than the strongest model."
    confidence: float
    since: str
    compared: int
    "Answers that were compared with the strongest model's."
    undecided: int
    "Those of them that differ, with nobody to say which is better."
    mean_points: float | None
    "The mean difference of the decided ones, in points; None without any."
    feedback: Standing
    "The same of what callers say. It breaks nothing by itself: harder prompts go to the strongest model."
    feedback_pairs: int
    fallback: bool
    "Whether the strongest model answers instead, until the router is calibrated again."


class _Watch:
    """Two bets on one series."""

    def __init__(self, promise: Promise) -> None:
        self._alpha = 1 - promise.confidence
        self._holds = Bet(-promise.margin)
        self._fails = Bet(-promise.margin, upwards=True)

    def see(self, difference: float | None) -> None:
        """None: compared, and not decided."""
        self._holds.see(1.0 if difference is None else difference)
        self._fails.see(-1.0 if difference is None else difference)

    @property
    def standing(self) -> Standing:
        if self._holds.refutes(self._alpha):
            return "broken"
        return "kept" if self._fails.refutes(self._alpha) else "unproven"


class PromiseWatch:
    """Watches one promise, from the first comparison on."""

    def __init__(self, promise: Promise) -> None:
        self.promise = promise
        self.compared = self.undecided = self.pairs = 0
        self._sum = 0.0
        self._shadows, self._feedback = _Watch(promise), _Watch(promise)
        self._unpaired: tuple[deque[float], deque[float]] = (
            deque(maxlen=_MOST_UNPAIRED),
            deque(maxlen=_MOST_UNPAIRED),
        )

    def see(self, verdict: str, difference: float | None) -> None:
        """The next comparison; those that say nothing are passed over."""
        if difference is None and verdict not in UNDECIDED:
            return
        self.compared += 1
        self.undecided += difference is None
        self._sum += difference or 0.0
        self._shadows.see(difference)

    def hear(self, *, is_strongest: bool, score: float) -> None:
        """What a caller said of an answer of `auto`."""
        ours, strongest = self._unpaired
        (strongest if is_strongest else ours).append(score)
        if ours and strongest:
            self.pairs += 1
            self._feedback.see(ours.popleft() - strongest.popleft())

    @property
    def status(self) -> Standing:
        """As of now."""
        return self._shadows.standing

    def report(self, *, fallback: bool) -> PromiseReport:
        """With its figures."""
        promise, decided = self.promise, self.compared - self.undecided
        return PromiseReport(
            status=self.status,
            version=promise.version,
            margin_points=100 * promise.margin,
            confidence=promise.confidence,
            since=promise.since,
            compared=self.compared,
            undecided=self.undecided,
            mean_points=100 * self._sum / decided if decided else None,
            feedback=self._feedback.standing,
            feedback_pairs=self.pairs,
            fallback=fallback and self.status == "broken",
        )


def watch(
    promise: Promise, shadows: Iterable[tuple[str, float | None]], scores: Iterable[tuple[bool, float]]
) -> PromiseWatch:
    """A promise with all that was seen of it so far, oldest first."""
    watched = PromiseWatch(promise)
    for verdict, difference in shadows:
        watched.see(verdict, difference)
    for is_strongest, score in scores:
        watched.hear(is_strongest=is_strongest, score=score)
    return watched


def promise_of(ladder: Ladder | None, since: str, mode: Mode | None, strongest: str) -> Promise:
    """What is promised: by the ladder in force, from `since` on; else by the configured mode.

    A calibrated floor of 0.98 promises 98 % of the strongest model's quality; that is at most 2 points below
    it, and two points are allowed, however good it is. A mode gives up so many points of predicted quality.
    """
    if ladder is None:
        mode = mode or "balanced"
        return Promise(version=f"mode: {mode}", margin=TOLERANCE[mode], strongest=strongest)
    return Promise(
        version=ladder.version,
        margin=1 - ladder.floor,
        confidence=ladder.confidence,
        since=since,
        strongest=ladder.strongest,
    )
