"""Requests that were let in begin a few at a time.

An event loop works on all that is ready before it reads again. Were every request begun when it comes, a
thousand at once would be a thousand coroutines to step through before the next byte is read, and whoever
comes then would wait for all of them, if only to be turned away. So no more begin in one pass of the loop
than a pass of `PASS_S` has room for; the others wait in the order in which they came. There they cost
nothing, and that the queue stays says what the loop cannot do (`shed.py`).

A pass is measured by the processor time of the loop's thread. By the wall, a neighbour who has our core
makes passes long, and to begin fewer would not make them shorter.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from junctor.gateway.exchange import Exchange
from junctor.gateway.shed import Shedder

PASS_S = 0.002
"Of processor time, for a pass of the event loop while requests wait."
FIRST = 16
"How many begin in one pass, until it is known how long a pass takes."
MOST = 64


class Turnstile:
    """The queue of those let in."""

    def __init__(
        self,
        shedder: Shedder,
        begin: Callable[[Exchange], None],
        drop: Callable[[Exchange], None],
        *,
        clock: Callable[[], float] = time.perf_counter,
        own_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """`begin` has a request answered; `drop` forgets one whose client has left while it waited.

        `own_clock`: processor time of the loop's thread, seconds.
        """
        self._shedder = shedder
        self._begin = begin
        self._drop = drop
        self._clock = clock
        self._own_clock = own_clock
        self._queue = deque[tuple[float, Exchange]]()
        self._at_once = FIRST
        self._room = FIRST
        "How many may begin before the next turn; 0 while anybody waits."
        self._turns = False

    def enter(self, exchange: Exchange, loop: asyncio.AbstractEventLoop) -> None:
        """Begin it: now, or in its turn."""
        if self._room:
            self._room -= 1
            self._begin(exchange)
            return
        self._queue.append((self._clock(), exchange))
        self._shedder.waiting += 1
        if not self._turns:
            self._turns = True
            loop.call_soon(self._turn, loop, None)

    def _turn(self, loop: asyncio.AbstractEventLoop, turned_at: float | None) -> None:
        """Once in each pass, until nobody waited. `turned_at`: the last time, by `own_clock`."""
        now = self._own_clock()
        if turned_at is not None:
            self._fit(now - turned_at)
        self._turns = bool(self._queue)
        lag_s = self._begin_some()
        self._shedder.note(self._at_once - self._room, len(self._queue), lag_s)
        if self._turns:
            loop.call_soon(self._turn, loop, now)

    def _begin_some(self) -> float:
        """Gives how long the last one waited; 0 when none waits on."""
        queue = self._queue
        self._room = self._at_once
        came_at = 0.0
        while queue and self._room:
            came_at, exchange = queue.popleft()
            if exchange.gone:
                self._drop(exchange)
            else:
                self._room -= 1
                self._begin(exchange)
        return self._clock() - came_at if queue else 0.0

    def _fit(self, pass_s: float) -> None:
        """One more than in the last pass, or so many fewer as it was too long: at most by half."""
        if pass_s > PASS_S:
            self._at_once = max(1, int(self._at_once * max(0.5, PASS_S / pass_s)))
        elif not self._room:
            self._at_once = min(MOST, self._at_once + 1)
