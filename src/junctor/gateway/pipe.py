"""The bytes of one connection, both ways: who waits for whom, and how it ends."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress

LINGER_BYTES = 8 * 1024 * 1024
"How much a refused client may go on sending."


_RESET = struct.pack("ii", 1, 0)
"`SO_LINGER` of no time: closing resets the connection instead of sending what is left."


class Pipe:
    """A transport with its flow control."""

    __slots__ = ("_drain", "_lingered", "_paused", "_transport", "closing", "stuck")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._drain: asyncio.Event | None = None
        self._paused = False
        self._lingered = 0
        self.stuck = False
        "Whether more is waiting to be sent than a client should leave."
        self.closing = False
        "Whether all that still comes is thrown away."

    @property
    def paused(self) -> bool:
        """Whether nothing is read for the time being."""
        return self._paused

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._transport.write(data)

    def stick(self) -> None:
        """The client takes less than is sent."""
        self.stuck = True

    def unstick(self) -> None:
        """The client has taken most of it, or is gone."""
        self.stuck = False
        if self._drain is not None:
            self._drain.set()

    async def drained(self) -> None:
        """Wait until the client has taken most of what was sent, or is gone."""
        while self.stuck:
            if self._drain is None:
                self._drain = asyncio.Event()
            self._drain.clear()
            await self._drain.wait()

    def pause_reading(self) -> None:
        """Let the client wait with what it sends."""
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self._paused:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def discard(self, data: bytes) -> None:
        """Throw away what comes after the end."""
        self._lingered += len(data)
        if self._lingered > LINGER_BYTES:
            self.abort()

    def close(self) -> None:
        """Close once all is sent."""
        self.closing = True
        self._transport.close()

    def linger(self) -> None:
        """Close our side once all is sent; the client closes its own when it has read that.

        Were the socket closed while the client is still sending, the reset would take our last words with it.
        """
        self.closing = True
        self.resume_reading()
        if not self._transport.is_closing():
            self._transport.write_eof()

    def abort(self) -> None:
        """Close now, and have the system forget what it still holds for the client."""
        self.closing = True
        if not self._transport.is_closing():
            _forget_unsent(self._transport)
        self._transport.abort()


def _forget_unsent(transport: asyncio.Transport) -> None:
    end = transport.get_extra_info("socket")
    if end is not None:
        with suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
