"""Load shedding: a server that cannot answer everybody says so at once to some, and answers the others well.

Two signs of overload:

- **Requests in flight** over `max_in_flight`. Each holds memory, sockets and upstream calls.
- **The event loop lags**: a pass over everything that is ready takes long. A single long pass is an accident
  (a large body, a garbage collection); a queue that stays is overload. So, as CoDel does for packets (Nichols
  and Jacobson, ACM Queue 2012; RFC 8289), the *least* of the last passes counts. From `LAG_BEGIN_S` on a
  share of the new requests is turned away that grows with the lag, up to all at `LAG_END_S` (as RED does,
  Floyd and Jacobson 1993): the lag settles where what is admitted is what can be done.

Requests that were admitted are never touched. Probes are never turned away.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from junctor.chat import Overloaded

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"Whoever looks after an overloaded server must be able to see it."
LAG_BEGIN_S = 0.010
LAG_END_S = 0.030
PASSES = 5
"How many passes have to be slow, one after the other."
PERIOD_S = 0.02
"How often a pass is measured, seconds."
RETRY_AFTER_S = (1.0, 2.0, 3.0)
"In turn, so that those who are turned away do not come back all at once."


class Shedder:
    """Decides who comes in. `admit` costs less than a microsecond."""

    def __init__(self, max_in_flight: int = 2000) -> None:
        self._max_in_flight = max_in_flight
        self._passes = deque[float](maxlen=PASSES)
        self._share = 0.0
        self._credit = 0.0
        self.in_flight = 0
        self.shed = 0
        "Requests turned away so far."

    @property
    def lag_s(self) -> float:
        """The least of the last passes; 0 while there are too few to tell."""
        return min(self._passes) if len(self._passes) == PASSES else 0.0

    @property
    def share(self) -> float:
        """The share of new requests that is turned away because of the lag, 0..1."""
        return self._share

    def admit(self, path: str = "") -> None:
        """Let a request in, to be followed by `release`. Raises `Overloaded`."""
        if self.in_flight >= self._max_in_flight or self._share:
            self._admit_some(path)
        self.in_flight += 1

    def release(self) -> None:
        """A request that was let in has ended."""
        self.in_flight -= 1

    def note(self, pass_s: float) -> None:
        """A pass of the event loop took so long."""
        self._passes.append(pass_s)
        lag = self.lag_s
        self._share = 0.0 if lag < LAG_BEGIN_S else min(1.0, (lag - LAG_BEGIN_S) / (LAG_END_S - LAG_BEGIN_S))

    def _admit_some(self, path: str) -> None:
        if path in PROBES:
            return
        if self.in_flight >= self._max_in_flight:
            raise self._overloaded(
                f"{self.in_flight} requests are being answered, the most this server takes"
            )
        # Not by chance: of ten requests at a share of 0.3 three are turned away, evenly spread.
        self._credit += self._share
        if self._credit >= 1:
            self._credit -= 1
            raise self._overloaded("this server is busy")

    def _overloaded(self, why: str) -> Overloaded:
        self.shed += 1
        wait_s = RETRY_AFTER_S[self.shed % len(RETRY_AFTER_S)]
        return Overloaded(f"{why}; try again in {wait_s:g} s", retry_after_s=wait_s)


class LagMeter:
    """Measures now and then how long one pass of the event loop takes."""

    def __init__(self, note: Callable[[float], None], clock: Callable[[], float] = time.perf_counter) -> None:
        self._note = note
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Measure from now on, until `stop`."""
        self._loop = loop
        self._timer = loop.call_later(PERIOD_S, self._begin, loop)

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop = None

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        # First behind all that is ready now; from there to the same place of the next pass it is one pass.
        loop.call_soon(self._mark, loop)

    def _mark(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon(self._end, loop, self._clock())

    def _end(self, loop: asyncio.AbstractEventLoop, began: float) -> None:
        self._note(self._clock() - began)
        if self._loop is not None:
            self._timer = loop.call_later(PERIOD_S, self._begin, loop)
