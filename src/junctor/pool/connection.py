"""One HTTP/1.1 connection to an upstream: bytes out, one reply in, nothing left behind.

Why our own, and not a client library: an answer that nobody reads any more must stop costing money at once,
also while we still wait for its headers (a reply that is not streamed sends them last). pyreqwest 0.15.1
keeps such a request running until its own timeout. Here to cancel is to close the socket. httptools parses;
asyncio, or uvloop, does TCP and TLS.

    idle -> begin() -> [headers] -> read()* -> complete -> idle | closed
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from junctor.pool.reply_parser import LineError, ReplyParser

HIGH_WATER_BYTES = 256 * 1024
"Unread bytes of a reply beyond which we stop reading the socket until someone takes them."
LINGER_S = 1.0
"How long a connection whose reader is done may take to end its reply, to be used again."

_CLOSED_FIRST = "closed the connection before it answered"
_CLOSED_LATER = "closed the connection in the middle of its answer"


class LineLost(LineError):
    """It was closed or reset before the reply was whole."""


class LineTimeout(LineError):
    """A deadline passed."""


class Deadlines:
    """How long one exchange may take. Times are those of the event loop, seconds."""

    __slots__ = ("first_at", "first_s", "idle_s", "total_at", "total_of", "total_s")

    def __init__(
        self, now: float, first_s: float, idle_s: float, total_s: float, total_of: str = "timeouts.total_s"
    ) -> None:
        self.first_s, self.idle_s, self.total_s, self.total_of = first_s, idle_s, total_s, total_of
        self.first_at = now + first_s
        self.total_at = now + total_s


class Connection(asyncio.Protocol):
    """Carries one exchange at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_free: Callable[[Connection], None]) -> None:
        """`on_free` is called when a connection left by its reader can be used again, or has closed."""
        self._loop = loop
        self._on_free = on_free
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._deadlines = Deadlines(0.0, 0.0, 0.0, 0.0)
        self._talking = False
        self._lingering = False
        self._paused = False
        self._busy = False
        "Whether an exchange is under way."
        self._idle_until = 0.0
        self.reply = ReplyParser()
        self.used = 0
        "Exchanges begun."
        self.closed = False

    # What the reader does.

    def begin(self, head: bytes, body: bytes, deadlines: Deadlines) -> None:
        """Send a request."""
        self.reply = ReplyParser()
        self._busy = True
        self.used += 1
        self._deadlines = deadlines
        self._talking = False
        if self.closed:
            self.reply.error = LineLost(_CLOSED_FIRST)
            return
        assert self._transport is not None, "begin() comes after connection_made()"
        # One piece: uvloop sends it at once, and takes 3 us longer for a list of two.
        self._transport.write(head + body)

    async def read_headers(self) -> None:
        """Wait for status and headers. Raises `LineError`."""
        while not self.reply.status:
            await self._wait()

    async def read(self) -> bytes:
        """The next bytes of the body, as many as there are; empty at its end. Raises `LineError`."""
        reply = self.reply
        while not reply.chunks:
            if reply.complete:
                return b""
            await self._wait()
        data = reply.take()
        if self._paused:
            self._resume()
        return data

    def first_text_came(self) -> None:
        """From here on the idle deadline holds instead of that for the first text."""
        self._talking = True

    def leave(self, *, satisfied: bool) -> bool:
        """The reader leaves. True: the connection can be used again now.

        Otherwise it closes: at once, or, for a reader who is `satisfied`, when the rest of the reply has not
        come within `LINGER_S`; then `on_free` tells.
        """
        reply = self.reply
        if reply.complete and self._reusable():
            # Unread bytes may have stopped the socket; the next reply would never come.
            self._discard()
            self._end_exchange()
            return True
        if not satisfied or reply.complete or reply.until_close or reply.error is not None or self.closed:
            self.close()
            return False
        self._lingering = True
        self._discard()
        self._set_timer(self._loop.time() + LINGER_S)
        return False

    def close(self) -> None:
        """Drop the connection at once: the other side sees it."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()

    def rest(self, idle_until: float) -> None:
        """Wait for another exchange until that time of the loop, then close."""
        self._idle_until = idle_until
        self._set_timer(idle_until)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket, and TLS where it is used, is up."""
        # uvloop's transports do not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if not self._busy:
            # Nobody asked: they must not pass for the answer to the next request.
            self.close()
            return
        reply = self.reply
        reply.feed(data)
        if reply.error is not None:
            self._fail(reply.error)
        elif self._lingering:
            self._discard()
            if reply.complete:
                self._end_linger()
        elif reply.unread > HIGH_WATER_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """The other side sends no more; we close."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        reply = self.reply
        reply.release()
        if not reply.complete and reply.error is None:
            if reply.until_close and exc is None:
                reply.complete = True
            else:
                reply.error = LineLost(_CLOSED_LATER if reply.status else _CLOSED_FIRST)
        self._wake()
        self._on_free(self)

    # Our own affairs.

    def _reusable(self) -> bool:
        return not self.closed and self.reply.error is None and self.reply.keep_alive

    def _end_exchange(self) -> None:
        self._busy = False
        self.reply.release()

    def _resume(self) -> None:
        self._paused = False
        if self._transport is not None and not self.closed:
            self._transport.resume_reading()

    def _discard(self) -> None:
        self.reply.take()
        if self._paused:
            self._resume()

    def _end_linger(self) -> None:
        self._lingering = False
        self._end_exchange()
        if self._reusable():
            self._on_free(self)
        else:
            self.close()

    def _fail(self, error: LineError) -> None:
        if self.reply.error is None:
            self.reply.error = error
        self.close()
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _wait(self) -> None:
        if self.reply.error is not None:
            raise self.reply.error
        limits = self._deadlines
        phase_at = self._loop.time() + limits.idle_s if self._talking else limits.first_at
        self._deadline = min(phase_at, limits.total_at)
        self._set_timer(self._deadline)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self.reply.error is not None and not self.reply.chunks:
            raise self.reply.error

    def _set_timer(self, at: float) -> None:
        """Make sure that `_tick` runs no later than `at`. An earlier timer stays: it will look again."""
        timer = self._timer
        if timer is not None:
            if timer.when() <= at:
                return
            timer.cancel()
        self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._loop.time()
        if self._lingering:
            self.close()
        elif not self._busy:
            self._rest_or_close(now)
        elif now < (due := self._due()):
            self._set_timer(due)
        elif self.reply.complete:
            # All of it is here; only its reader is late. The connection need not wait with it.
            self.close()
        else:
            self._fail(LineTimeout(self._overdue(now)))

    def _due(self) -> float:
        """When the exchange has taken too long. Only the upstream can be late for a waiting reader."""
        return self._deadlines.total_at if self._waiter is None else self._deadline

    def _rest_or_close(self, now: float) -> None:
        if now < self._idle_until:
            self._set_timer(self._idle_until)
        else:
            self.close()

    def _overdue(self, now: float) -> str:
        limits = self._deadlines
        if now >= limits.total_at:
            return f"did not finish within {round(limits.total_s, 2):g} s ({limits.total_of})"
        if self._talking:
            return f"fell silent for {limits.idle_s:g} s (timeouts.idle_s)"
        return f"gave no text within {limits.first_s:g} s (timeouts.first_token_s)"
