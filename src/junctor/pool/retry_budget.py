"""How many extra calls a pool may make: retries and hedges, each as a share of the requests.

Without a budget, three tries each turn an outage into three times the load, and the outage lasts. A share of
20 % is the default of Envoy's retry budgets and of Finagle's `RetryBudget`; the sliding window is Finagle's.
"""

from __future__ import annotations

import time
from collections.abc import Callable

WINDOW_S = 10
"Requests and retries are forgotten after so long, seconds."
LEAST = 3
"Retries in a window that are always granted, so that a lone request can be tried again (Envoy's minimum)."
MOST_SAVED = 10.0
"Hedges that a quiet time can save up."


class RetryBudget:
    """Grants retries as a share of the requests of the last `WINDOW_S` seconds."""

    def __init__(self, share: float = 0.2, clock: Callable[[], float] = time.monotonic) -> None:
        """`share`: 0..1; 0 grants nothing. `clock`: seconds, never backwards."""
        self._share = share
        self._least = LEAST if share > 0 else 0
        self._clock = clock
        self._second = int(clock())
        self._requests = [0] * WINDOW_S
        self._retries = [0] * WINDOW_S
        self._requested = 0
        self._retried = 0

    def request(self) -> None:
        """A request has come in."""
        if int(self._clock()) != self._second:
            self._forget()
        self._requests[self._second % WINDOW_S] += 1
        self._requested += 1

    def has_room(self) -> bool:
        """Whether `take` would grant a retry now."""
        self._forget()
        return self._retried < max(self._least, int(self._share * self._requested))

    def take(self) -> bool:
        """Ask for one retry; False when the budget is used up."""
        if not self.has_room():
            return False
        self._retries[self._second % WINDOW_S] += 1
        self._retried += 1
        return True

    def _forget(self) -> None:
        """Drop the seconds that have left the window."""
        second = int(self._clock())
        for past in range(self._second + 1, min(second, self._second + WINDOW_S) + 1):
            slot = past % WINDOW_S
            self._requested -= self._requests[slot]
            self._retried -= self._retries[slot]
            self._requests[slot] = self._retries[slot] = 0
        self._second = max(self._second, second)


class HedgeBudget:
    """Grants hedges as a share of all requests: a token bucket that each request fills a little."""

    def __init__(self, share: float = 0.07) -> None:
        """`share`: 0..1; over any number of requests there are at most so many hedges, and `MOST_SAVED`."""
        self._share = share
        self._saved = 0.0

    def request(self) -> None:
        """A request has come in."""
        self._saved = min(MOST_SAVED, self._saved + self._share)

    def take(self) -> bool:
        """Ask for one hedge."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True
