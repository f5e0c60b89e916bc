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

import httptools

MAX_HEADER_BYTES = 64 * 1024
HIGH_WATER_BYTES = 256 * 1024
"Unread bytes of a reply beyond which we stop reading the socket until someone takes them."
LINGER_S = 1.0
"How long a connection whose reader is done may take to end its reply, to be used again."

_FIRST, _IDLE, _TOTAL = "first", "idle", "total"


class LineError(Exception):
    """The connection failed; the message says how, in words that fit after `the upstream ...`."""


class LineLost(LineError):
    """It was closed or reset before the reply was whole."""


class LineGarbled(LineError):
    """What came is not HTTP/1.1."""


class LineTimeout(LineError):
    """A deadline passed."""


class Deadlines:
    """How long one exchange may take. Times are those of the event loop, seconds."""

    __slots__ = ("first_at", "first_s", "idle_s", "total_at", "total_s")

    def __init__(self, now: float, first_s: float, idle_s: float, total_s: float) -> None:
        self.first_s, self.idle_s, self.total_s = first_s, idle_s, total_s
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
        self.used = 0
        "Exchanges begun."
        self.closed = False
        self.idle_until = 0.0
        self._reset()
        self.complete = True

    def _reset(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._unread = 0
        self._paused = False
        self._header_bytes = 0
        self._error: LineError | None = None
        self._has_length = False
        self.status = 0
        "0 until the headers are whole."
        self.headers: dict[str, str] = {}
        "Lower-case names; of a repeated one the last value."
        self.heard = False
        "Whether any byte of the reply has come."
        self.complete = False
        self._until_close = False
        self._keep_alive = False

    # What the reader does.

    def begin(self, head: bytes, body: bytes, deadlines: Deadlines) -> None:
        """Send a request."""
        self._reset()
        self.used += 1
        self._deadlines = deadlines
        self._talking = False
        assert self._transport is not None, "begin() comes after connection_made()"
        self._transport.writelines([head, body])

    async def read_headers(self) -> None:
        """Wait for status and headers. Raises `LineError`."""
        while not self.status:
            await self._wait()

    async def read(self) -> bytes:
        """The next bytes of the body, as many as there are; empty at its end. Raises `LineError`."""
        while not self._chunks:
            if self.complete:
                return b""
            await self._wait()
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._unread = 0
        if self._paused and self._transport is not None and not self.closed:
            self._paused = False
            self._transport.resume_reading()
        return data

    def first_text_came(self) -> None:
        """From here on the idle deadline holds instead of that for the first text."""
        self._talking = True

    def leave(self, *, satisfied: bool) -> bool:
        """The reader leaves. True: the connection can be used again now.

        Otherwise it closes: at once, or, for a reader who is `satisfied`, when the rest of the reply has not
        come within `LINGER_S`; then `on_free` tells.
        """
        if self.complete and self._reusable():
            return True
        if not satisfied or self.complete or self._error is not None or self.closed or self._until_close:
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
        self.idle_until = idle_until
        self._set_timer(idle_until)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket, and TLS where it is used, is up."""
        # uvloop's transports do not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self.complete:
            self.close()
            return
        self.heard = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(self._error or LineGarbled(f"sent something that is not HTTP/1.1 ({error})"))
            return
        if self._error is not None:
            self._fail(self._error)
        elif self._lingering:
            self._discard()
            if self.complete:
                self._end_linger()
        elif self._unread > HIGH_WATER_BYTES and not self._paused and self._transport is not None:
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
        if not self.complete:
            if self._until_close and exc is None and self._error is None:
                self.complete = True
            elif self._error is None:
                where = "in the middle of its answer" if self.status else "before it answered"
                self._error = LineLost(f"closed the connection {where}")
        self._wake()
        self._on_free(self)

    # What httptools calls.

    def on_message_begin(self) -> None:
        """A reply begins."""
        if self.complete:
            self._error = LineGarbled("sent more than one reply to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADER_BYTES:
            self._error = LineGarbled(f"sent more than {MAX_HEADER_BYTES} bytes of headers")
            return
        key = name.decode("latin-1").lower()
        self.headers[key] = value.decode("latin-1")
        if key in ("content-length", "transfer-encoding"):
            self._has_length = True

    def on_headers_complete(self) -> None:
        """Status and headers are whole."""
        status = self._parser.get_status_code()
        if status < 200:
            return
        self.status = status
        self._until_close = not self._has_length and status not in (204, 304)
        # The parser forgets this when the reply is whole.
        self._keep_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """Bytes of the body."""
        if self._error is not None:
            return
        self._chunks.append(body)
        self._unread += len(body)

    def on_message_complete(self) -> None:
        """The reply is whole; one of status 1xx only announces it."""
        if self.status:
            self.complete = True
        else:
            self.headers = {}
            self._has_length = False

    # Our own affairs.

    def _reusable(self) -> bool:
        return not self.closed and self._error is None and self._keep_alive

    def _discard(self) -> None:
        self._chunks.clear()
        self._unread = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _end_linger(self) -> None:
        self._lingering = False
        if self._reusable():
            self._on_free(self)
        else:
            self.close()

    def _fail(self, error: LineError) -> None:
        if self._error is None:
            self._error = error
        self.close()
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        limits = self._deadlines
        phase_at = self._loop.time() + limits.idle_s if self._talking else limits.first_at
        self._deadline = min(phase_at, limits.total_at)
        self._set_timer(self._deadline)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._error is not None and not self._chunks:
            raise self._error

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
        if self._waiter is not None:
            if now < self._deadline:
                self._set_timer(self._deadline)
            else:
                self._fail(LineTimeout(self._overdue(now)))
        elif self._lingering:
            self.close()
        elif self.complete and self.idle_until:
            if now < self.idle_until:
                self._set_timer(self.idle_until)
            else:
                self.close()

    def _overdue(self, now: float) -> str:
        limits = self._deadlines
        if now >= limits.total_at:
            return f"did not finish within {limits.total_s:g} s (timeouts.total_s)"
        if self._talking:
            return f"fell silent for {limits.idle_s:g} s (timeouts.idle_s)"
        return f"gave no text within {limits.first_s:g} s (timeouts.first_token_s)"
