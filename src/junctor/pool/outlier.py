"""Setting a model aside when it fails, asks for a pause, or has become slow: the health of one model.

    ok -> failing   5 failures in a row                     set aside for 30 s x n, at most 300 s
       -> limited   it asked for a pause (`Retry-After`)    set aside for as long as it asked
       -> slow      5 first texts in a row came late        set aside for 30 s x n, but it still answers
    failing | limited | slow -> (time is up) one probe -> ok | set aside again

The figures are those of Envoy's outlier detection: 5 consecutive failures, base ejection 30 s times the
number of ejections, at most 300 s, one ejection forgotten for each 10 s without one. A sweep is not needed:
time is looked at when somebody asks.

Late is a first text that takes more than five times the model's own 95th percentile for requests of its kind
(`first_token.py`), and more than `LATE_S`. The factor is ours: a model that is slow for a reason (a long
prompt, a busy minute) seldom exceeds it, and one that has become useless does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from math import inf
from typing import Literal

import msgspec

from junctor.chat import (
    ChatRequest,
    JunctorError,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamUnavailable,
)
from junctor.pool.first_token import FirstTokenTimes, Times

LATE_FACTOR = 5.0
"Times the 95th percentile."
LATE_S = 0.5
"A first text that comes sooner is never late, seconds: nobody would notice."
FORGET_S = 10.0
"Without an ejection for so long, one of the earlier ones no longer counts (Envoy's interval)."
PROBE_S = 10.0
"A probe that has said nothing for so long no longer keeps others from probing, seconds."

Why = Literal["failing", "limited", "slow"]
"Why a model is set aside."
State = Literal["ok", "failing", "limited", "slow"]

_NOT_ITS_FAULT = (UpstreamRefused, UpstreamUnavailable)
_REASONS: dict[State, str] = {
    "failing": "its last calls failed",
    "limited": "it asked for a pause",
    "slow": "its last answers began late",
}


class Ejection(msgspec.Struct, frozen=True, kw_only=True):
    """When a model is set aside, and for how long."""

    failures: int = 5
    "In a row."
    base_s: float = 30.0
    "The first time; the n-th time n times as long."
    max_s: float = 300.0


class ModelHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The health of a model at one moment."""

    state: State
    again_in_s: float
    "Seconds until it is asked again; 0 when it may be asked now."
    failures: int
    "Calls in a row that failed."
    ejections: int
    "How many times it was set aside of late: the next time is so many times longer."
    waiting: int
    "Calls that wait for its first text."


class Call:
    """One call of a model, from the moment it is decided."""

    __slots__ = ("began", "late_after_s", "times")

    def __init__(self, times: Times, began: float, late_after_s: float) -> None:
        self.times = times
        "Those of its kind."
        self.began = began
        self.late_after_s = late_after_s
        "A first text after more than this is late, seconds; infinite while too little is known."


class Health:
    """What the calls of one model have shown."""

    def __init__(
        self,
        name: str,
        rule: Ejection,
        clock: Callable[[], float] = time.monotonic,
        on_set_aside: Callable[[str, Why], None] = lambda _name, _why: None,
    ) -> None:
        """`clock`: seconds, never backwards. `on_set_aside` takes the model's name and the reason."""
        self.name = name
        self.state: State = "ok"
        self.until = 0.0
        "When it may be probed, unless it is ok."
        self.rule = rule
        self._clock = clock
        self._on_set_aside = on_set_aside
        self._times = FirstTokenTimes()
        self._failures = 0
        self._ejections = 0
        self._late: list[tuple[Times, float]] = []
        "First texts in a row that came late: seconds, with the times that they belong to."
        self._waiting: dict[Call, None] = {}
        "Calls without a text, oldest first."
        self._last_asked = -inf
        "When the newest call that got a text was made."
        self._since = 0.0
        "When it was set aside, or came back."
        self._probe: Call | None = None

    # For those who choose.

    def admit(self, request: ChatRequest) -> Call | None:
        """A call of it, where it may be asked: it is ok, or its time is up and nobody else is probing."""
        if self.state == "ok" and not self._is_stuck():
            return self._begin(request)
        if self._clock() < self.until:
            return None
        return self.probe(request)

    def probe(self, request: ChatRequest) -> Call | None:
        """A call of it although it is set aside; None while another one probes."""
        probe = self._probe
        if probe is not None and self._clock() - probe.began < PROBE_S:
            return None
        self._probe = call = self._begin(request)
        return call

    def ask_anyway(self, request: ChatRequest) -> Call:
        """A call of it whatever its state: for a slow one, when there is no other."""
        return self._begin(request)

    @property
    def away_because(self) -> str | None:
        """Why `admit` would refuse, in words; None when it would not."""
        if self.state == "ok":
            return None
        now, probe = self._clock(), self._probe
        if now < self.until:
            return f"set aside for another {self.until - now:.0f} s: {_REASONS[self.state]}"
        if probe is not None and now - probe.began < PROBE_S:
            return f"set aside until a probe has been answered: {_REASONS[self.state]}"
        return None

    @property
    def is_crowded(self) -> bool:
        """Whether most of the calls that wait for its first text wait longer than is usual."""
        now = self._clock()
        overdue = sum(now - call.began > (call.times.p95 or inf) for call in self._waiting)
        return overdue >= 2 and 2 * overdue > len(self._waiting)

    def snapshot(self) -> ModelHealth:
        """As of now."""
        again_in_s = 0.0 if self.state == "ok" else max(0.0, self.until - self._clock())
        return ModelHealth(
            state=self.state,
            again_in_s=again_in_s,
            failures=self._failures,
            ejections=self._ejections,
            waiting=len(self._waiting),
        )

    # What its calls report.

    def text_came(self, call: Call) -> None:
        """The first text of a call."""
        self._waiting.pop(call, None)
        self._last_asked = max(self._last_asked, call.began)
        took_s = self._clock() - call.began
        if took_s > call.late_after_s:
            self._came_late(call, took_s)
            return
        for times, late_s in self._late:
            times.add(late_s)
        self._late.clear()
        call.times.add(took_s)
        if call is self._probe or (self.state == "slow" and call.began >= self._since):
            self._come_back()

    def finished(self) -> None:
        """A whole answer."""
        if self.state != "failing":
            self._failures = 0

    def failed(self, call: Call, error: JunctorError) -> None:
        """A call failed. What the caller is to blame for, or we, says nothing of the model."""
        was_probe = call is self._probe
        self.left(call)
        if not isinstance(error, UpstreamError) or isinstance(error, _NOT_ITS_FAULT):
            return
        pause_s = error.retry_after_s or 0.0
        if self.state != "failing" or was_probe:
            self._failures += not (pause_s and isinstance(error, UpstreamRateLimited))
            if self._failures >= self.rule.failures:
                self._eject("failing")
            elif was_probe and self.state == "slow":
                self._eject("slow")
            elif was_probe and not pause_s:
                self._come_back()
        if pause_s:
            self._pause(pause_s)

    def left(self, call: Call) -> None:
        """Nobody waits for a call any more."""
        self._waiting.pop(call, None)
        if call is self._probe:
            self._probe = None

    def cut(self, call: Call, waited_s: float) -> None:
        """Another model was quicker than a call, which would have taken longer than `waited_s`."""
        if call in self._waiting:
            call.times.add(waited_s)
        self.left(call)

    # Its own affairs.

    def _begin(self, request: ChatRequest) -> Call:
        times = self._times.of(request)
        p95 = times.p95
        late_after_s = inf if p95 is None else max(LATE_S, LATE_FACTOR * p95)
        call = Call(times, self._clock(), late_after_s)
        self._waiting[call] = None
        return call

    def _is_stuck(self) -> bool:
        """Whether so many calls are late that the model is slow, though none of them has ended.

        They are the oldest ones, and no later one has got a text.
        """
        most = self.rule.failures
        if len(self._waiting) < most:
            return False
        now = self._clock()
        oldest = list(islice(self._waiting, most))
        if oldest[0].began <= self._last_asked or any(now - c.began <= c.late_after_s for c in oldest):
            return False
        self._eject("slow")
        return True

    def _came_late(self, call: Call, took_s: float) -> None:
        if self.state != "ok":
            # What is slow for long becomes usual: otherwise it would never come back.
            call.times.add(took_s)
            if call is self._probe:
                self._probe = None
                if self.state == "slow":
                    self._eject("slow")
                else:
                    self._come_back()
            return
        self._late.append((call.times, took_s))
        if len(self._late) >= self.rule.failures:
            self._eject("slow")

    def _eject(self, why: Literal["failing", "slow"]) -> None:
        now = self._clock()
        if self.state == "ok":
            self._ejections = max(0, self._ejections - int((now - self._since) / FORGET_S))
        self._ejections += 1
        self._set_aside(why, now + min(self.rule.max_s, self.rule.base_s * self._ejections))

    def _pause(self, seconds: float) -> None:
        """It asked for it. Not for longer than the longest ejection: a mistake must not cost us the model."""
        until = self._clock() + min(seconds, self.rule.max_s)
        if self.state == "failing":
            self.until = max(self.until, until)
        else:
            self._set_aside("limited", until)

    def _set_aside(self, why: Why, until: float) -> None:
        if self.state != why:
            self._on_set_aside(self.name, why)
        self.until = max(until, self.until) if self.state == "limited" else until
        self.state = why
        self._since = self._clock()
        self._late.clear()

    def _come_back(self) -> None:
        """On trial: until a whole answer has come, one more failure is enough."""
        if self.state == "failing":
            self._failures = self.rule.failures - 1
        self.state = "ok"
        self._since = self._clock()
        self._probe = None
