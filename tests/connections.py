"""The connections of a server that a test runs in its own event loop: none of them outlives the test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
TURNS = 5
"Of the event loop: so many it takes from a connection that was accepted to its task, and back to its end."


class Connections:
    """What `asyncio.start_server` calls for each; `serve` answers one."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._tasks = set[asyncio.Task[None]]()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        except asyncio.CancelledError:
            writer.transport.abort()  # what nobody reads is not waited for
        finally:
            writer.close()
            self._tasks.discard(task)

    async def cut(self) -> None:
        """End all of them, those that were accepted just now included. The server is closed before."""
        for _ in range(TURNS):
            await asyncio.sleep(0)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _ in range(TURNS):
            await asyncio.sleep(0)
