"""Accepts connections, many at a time.

uvloop's own servers accept one connection in each pass of the event loop. On a busy server a pass takes
milliseconds, so that new callers would wait for seconds, without even being turned away.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress

log = logging.getLogger(__name__)

UNSENT_BYTES = 128 * 1024
"""What the system may hold of a reply that the client does not take yet. Left alone Linux holds up to 4 MB
for each connection, and who does not read goes unnoticed."""
_NOT_SENT: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)
AT_ONCE = 64
"Connections accepted in one pass."
REST_S = 1.0
"How long to leave callers waiting when the system has no more files or memory for them, seconds."


class Acceptor:
    """One listening socket. `close` and `wait_closed` are those of `asyncio.Server`."""

    def __init__(
        self,
        listener: socket.socket,
        connect: Callable[[], asyncio.Protocol],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Accept from now on; `connect` makes the protocol of a connection."""
        self._listener = listener
        self._connect = connect
        self._loop = loop
        self._opening = set[asyncio.Task[None]]()
        self._rest: asyncio.TimerHandle | None = None
        listener.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Accept no more."""
        if self._rest is not None:
            self._rest.cancel()
        self._loop.remove_reader(self._listener)

    async def wait_closed(self) -> None:
        """Wait until what was accepted is a connection."""
        if self._opening:
            await asyncio.wait(self._opening)

    def _listen(self) -> None:
        self._rest = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # Out of files or memory. The socket stays readable: to ask again at once would be all we do.
                log.warning("cannot accept connections: %s", error)
                self._loop.remove_reader(self._listener)
                self._rest = self._loop.call_later(REST_S, self._listen)
                return
            task = self._loop.create_task(self._open(connection))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        if _NOT_SENT is not None and connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, _NOT_SENT, UNSENT_BYTES)
        with suppress(OSError):  # gone already
            await self._loop.connect_accepted_socket(self._connect, connection)
