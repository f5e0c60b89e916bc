"""Load shedding: a server that cannot answer everybody says so at once to some, and answers the others well.

Two signs of overload:

- **Requests in flight** over `max_in_flight`. Each holds memory, sockets and upstream calls.
- **The event loop lags**: one pass over everything that is ready takes long. One long pass is an accident
  (a large body, a garbage collection), some are a burst; a queue that *stays* is overload. So shedding begins
  as CoDel does with packets (Nichols and Jacobson, ACM Queue 2012; RFC 8289): after `INTERVAL_S` without one
  pass shorter than `LAG_BEGIN_S`.

While it sheds, requests are let in at a rate, evenly. The rate starts with what has been answered lately, and
seeks, as TCP does, what can be: a little more while passes are shorter than `LAG_LOW_S`, less while they are
longer than `LAG_HIGH_S`. It stops shedding when nobody had to be turned away for `CALM_S`.

Requests that were let in are never touched. Probes are never turned away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from junctor.chat import Overloaded

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"Whoever looks after an overloaded server must be able to see it."
LAG_BEGIN_S = 0.025
OWN_BEGIN_S = 0.010
"""Processor time of ours in such a pass. With less of it a neighbour has our core: then passes are long for a
server with nothing to do, too, and turning callers away would not help."""
INTERVAL_S = 0.25
LAG_LOW_S = 0.006
LAG_HIGH_S = 0.012
LAG_TOO_HIGH_S = 0.030
"After such a pass nobody is let in until a shorter one."
CALM_S = 1.0
ADJUST_S = 0.05
"How often the rate changes, seconds."
MORE, LESS = 1.04, 0.93
LEAST_RATE = 10.0
"Requests a second that are let in, whatever happens."
BURST_S = 0.01
"How much of the rate may come at once, seconds."
PERIOD_S = 0.010
"How often a pass is measured while all is well, seconds."
RETRY_AFTER_S = (1.0, 2.0, 3.0)
"In turn, so that those who are turned away do not come back all at once."


class Shedder:
    """Decides who comes in. `admit` costs less than a microsecond."""

    def __init__(self, max_in_flight: int = 2000, clock: Callable[[], float] = time.perf_counter) -> None:
        self.max_in_flight = max_in_flight
        self._clock = clock
        self.in_flight = 0
        self.shed = 0
        "Requests turned away so far."
        self.shedding = False
        self.lag_s = 0.0
        "The last pass of the event loop."
        self.rate = 0.0
        "Requests a second that are let in while it sheds."
        self._released = 0
        self._slow_since: float | None = None
        self._released_before = 0
        self._tokens = 0.0
        self._filled_at = 0.0
        self._adjusted_at = 0.0
        self._passes: list[float] = []
        self._turned_away_at = 0.0

    def admit(self, path: str = "") -> None:
        """Let a request in, to be followed by `release`. Raises `Overloaded`."""
        if self.shedding or self.in_flight >= self.max_in_flight:
            self._admit_some(path)
        self.in_flight += 1

    def release(self) -> None:
        """A request that was let in has ended."""
        self.in_flight -= 1
        self._released += 1

    def note(self, pass_s: float, own_s: float | None = None) -> None:
        """A pass of the event loop that ends now took so long, and `own_s` of it was ours (None: all)."""
        self.lag_s = pass_s
        now = self._clock()
        if self.shedding:
            self._passes.append(pass_s)
            if now - self._adjusted_at >= ADJUST_S:
                self._adjust(now)
        elif pass_s < LAG_BEGIN_S or (own_s is not None and own_s < OWN_BEGIN_S):
            self._slow_since = None
        elif self._slow_since is None:
            self._slow_since, self._released_before = now - pass_s, self._released
        elif now - self._slow_since >= INTERVAL_S:
            self._begin(now, now - self._slow_since)

    def _begin(self, now: float, waited_s: float) -> None:
        self.shedding = True
        self.rate = max(LEAST_RATE, (self._released - self._released_before) / waited_s)
        self._tokens = 0.0
        self._filled_at = self._adjusted_at = self._turned_away_at = now
        self._passes.clear()

    def _adjust(self, now: float) -> None:
        mean = sum(self._passes) / len(self._passes)
        self._passes.clear()
        self._adjusted_at = now
        if mean < LAG_LOW_S:
            self.rate *= MORE
        elif mean > LAG_HIGH_S:
            self.rate = max(LEAST_RATE, self.rate * LESS)
        if now - self._turned_away_at > CALM_S:
            self.shedding, self._slow_since = False, None

    def _admit_some(self, path: str) -> None:
        if path in PROBES:
            return
        now = self._clock()
        if self.in_flight >= self.max_in_flight:
            raise self._overloaded(now, f"this server answers {self.max_in_flight} requests already")
        self._tokens += (now - self._filled_at) * self.rate
        self._tokens = min(self._tokens, max(1.0, self.rate * BURST_S))
        self._filled_at = now
        if self._tokens < 1 or self.lag_s > LAG_TOO_HIGH_S:
            raise self._overloaded(now, "this server is busy")
        self._tokens -= 1

    def _overloaded(self, now: float, why: str) -> Overloaded:
        self.shed += 1
        self._turned_away_at = now
        wait_s = RETRY_AFTER_S[self.shed % len(RETRY_AFTER_S)]
        return Overloaded(f"{why}; try again in {wait_s:g} s", retry_after_s=wait_s)


class LagMeter:
    """Measures how long one pass of the event loop takes: each while it sheds, else now and then."""

    def __init__(
        self,
        shedder: Shedder,
        clock: Callable[[], float] = time.perf_counter,
        own_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """`own_clock`: processor time of the loop's thread, seconds."""
        self._shedder = shedder
        self._clock = clock
        self._own_clock = own_clock
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Measure from now on, until `stop`."""
        self._timer = loop.call_later(PERIOD_S, self._begin, loop)

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        # First behind all that is ready now; from there to the same place in the next pass it is one pass.
        loop.call_soon(self._mark, loop)

    def _mark(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon(self._end, loop, self._clock(), self._own_clock())

    def _end(self, loop: asyncio.AbstractEventLoop, began: float, own_began: float) -> None:
        pass_s = self._clock() - began
        self._shedder.note(pass_s, self._own_clock() - own_began)
        if self._timer is None:
            return
        if self._shedder.shedding and pass_s > PERIOD_S / 10:
            self._mark(loop)
        else:
            self._timer = loop.call_later(PERIOD_S, self._begin, loop)
