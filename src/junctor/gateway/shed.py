"""Load shedding: a server that cannot answer everybody says so at once to some, and answers the others well.

Two signs of overload:

- **Requests in flight** over `max_in_flight`. Each holds memory, sockets and upstream calls.
- **A wait that stays.** Requests that were let in begin in turn (`turnstile.py`). A queue that comes and goes
  is a burst, and so many callers who each wait for their answers are none too many; all of it is answered.
  Shedding begins as CoDel does with packets (Nichols and Jacobson, ACM Queue 2012; RFC 8289): after
  `INTERVAL_S` in which everybody waited for more than `TARGET_S`.

While it sheds, as many may wait as begin within `TARGET_S`; everybody else is turned away as soon as the
headers are here, before anything is done for them. (A long queue while all is well, a short one while it
stays: Maurer, Fail at scale, ACM Queue 2015.) It stops when nobody had to be turned away for `CALM_S`.

Requests that were let in are never touched. Probes are never turned away.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

from junctor.chat import Overloaded

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"Whoever looks after an overloaded server must be able to see it."
INTERVAL_S = 0.15
TARGET_S = 0.05
"""A model takes about a second: such a wait costs a caller less than coming back. How soon the others hear
that they are turned away does not depend on it."""
LEAST_WAITING = 8
"So many may wait, however slowly they begin."
WINDOW_S = 0.05
"Over how long it is counted how many begin."
CALM_S = 1.0
RETRY_AFTER_S = (1.0, 2.0, 3.0)
"In turn, so that those who are turned away do not come back all at once."


class Shedder:
    """Decides who comes in."""

    def __init__(self, max_in_flight: int = 2000, clock: Callable[[], float] = time.perf_counter) -> None:
        self.max_in_flight = max_in_flight
        self._clock = clock
        self.in_flight = 0
        self.waiting = 0
        "How many of those in flight have not begun."
        self.shed = 0
        "Requests turned away so far."
        self.shedding = False
        self.lag_s = 0.0
        "How long the last one to begin waited; 0 when nobody waits."
        self._most_waiting = LEAST_WAITING
        self._stays_since: float | None = None
        self._begun = 0
        self._counted_since: float | None = None
        self._turned_away_at = 0.0

    def admit(self, path: str = "") -> Overloaded | None:
        """Let a request in, to be followed by `release`; or say why not."""
        if (self.shedding or self.in_flight >= self.max_in_flight) and path not in PROBES:
            refusal = self._refuse()
            if refusal is not None:
                return refusal
        self.in_flight += 1
        return None

    def release(self) -> None:
        """A request that was let in has ended."""
        self.in_flight -= 1

    def note(self, begun: int, waiting: int, lag_s: float) -> None:
        """So many began in a pass of the event loop, the last after `lag_s`; so many wait on."""
        now = self._clock()
        self.waiting = waiting
        self.lag_s = lag_s
        self._count(begun, waiting, now)
        if lag_s < TARGET_S:
            self._stays_since = None
        elif self._stays_since is None:
            self._stays_since = now
        elif not self.shedding and now - self._stays_since >= INTERVAL_S:
            self.shedding = True
            self._turned_away_at = now

    def _count(self, begun: int, waiting: int, now: float) -> None:
        """How many can begin shows only while somebody waits."""
        if not waiting or self._counted_since is None:
            self._begun, self._counted_since = 0, now if waiting else None
            return
        self._begun += begun
        if (seconds := now - self._counted_since) >= WINDOW_S:
            self._most_waiting = max(LEAST_WAITING, round(self._begun / seconds * TARGET_S))
            self._begun, self._counted_since = 0, now

    def _refuse(self) -> Overloaded | None:
        if self.in_flight >= self.max_in_flight:
            refusals = _render_refusals(f"this server answers {self.max_in_flight} requests already")
        elif self.waiting >= self._most_waiting:
            refusals = _render_refusals("this server is busy")
        else:
            if self._clock() - self._turned_away_at > CALM_S:
                self.shedding = False
            return None
        self._turned_away_at = self._clock()
        self.shed += 1
        return refusals[self.shed % len(refusals)]


@lru_cache(maxsize=8)
def _render_refusals(why: str) -> tuple[Overloaded, ...]:
    """Made once: they are not raised, so nothing is written on them."""
    return tuple(
        Overloaded(f"{why}; try again in {wait_s:g} s", retry_after_s=wait_s) for wait_s in RETRY_AFTER_S
    )
