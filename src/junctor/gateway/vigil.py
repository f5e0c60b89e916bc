"""Replies in progress, looked after once a second by one timer for all of them.

A client that takes nothing for long is gone. A stream that has nothing to say for long gives a sign of life,
since proxies and clients drop a connection that is silent.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

KEEPALIVE_S = 10.0
"OpenRouter and Anthropic do so every 10 to 15 s; many proxies cut at 60 s, some at 30 s."
TICK_S = 1.0


class Watched(Protocol):
    """One reply in progress. Times are those of the event loop."""

    @property
    def stuck_since(self) -> float | None:
        """Since when its client takes nothing; None while it does."""
        ...

    @property
    def silent_since(self) -> float | None:
        """Since when its stream says nothing; None when it is no stream."""
        ...

    def give_up(self) -> None:
        """The client counts as gone."""
        ...

    def give_sign(self) -> None:
        """Send a sign of life, later."""
        ...


class Vigil:
    """Watches replies; the timer runs only while there are any."""

    def __init__(
        self, send_timeout_s: float, *, keepalive_s: float = KEEPALIVE_S, tick_s: float = TICK_S
    ) -> None:
        """`send_timeout_s`: a client that takes nothing for so long is gone."""
        self._send_timeout_s = send_timeout_s
        self._keepalive_s = keepalive_s
        self._tick_s = tick_s
        self._watched = set[Watched]()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, reply: Watched) -> None:
        """Look after it until `forget`."""
        self._watched.add(reply)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._tick_s, self._tick, loop)

    def forget(self, reply: Watched) -> None:
        """It is over."""
        self._watched.discard(reply)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self._tick_s, self._tick, loop) if self._watched else None
        now = loop.time()
        for reply in tuple(self._watched):
            stuck, silent = reply.stuck_since, reply.silent_since
            if stuck is not None:
                if now - stuck >= self._send_timeout_s:
                    reply.give_up()
            elif silent is not None and now - silent >= self._keepalive_s:
                reply.give_sign()
