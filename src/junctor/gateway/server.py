"""uvicorn's server as we run it: our own protocol, our own signals, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

import uvicorn

from junctor.gateway.acceptor import Acceptor
from junctor.gateway.front import Front, HttpLimits
from junctor.gateway.http import Connection

LAST_WORDS_S = 5.0
"How long requests that were cut at the end of the grace period may take to write their rows."


class HttpServer(uvicorn.Server):
    """uvicorn, whose signals are ours: its own handling would end the process before the rows are written.

    The end: `on_drain` is called at once, so that `/readyz` says no; for `drain_s` all goes on, so that load
    balancers see it; then nothing new is accepted, idle connections are closed, and answers in progress have
    the grace period.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        front: Front,
        *,
        drain_s: float = 0.0,
        on_drain: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config)
        self._front = front
        self._drain_s = drain_s
        self._on_drain = on_drain

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave them alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self.server_state.connections = self._front.connections  # pyright: ignore[reportAttributeAccessIssue]
        self.server_state.tasks = self._front.tasks
        self._front.cap_connections(_raise_file_limit() // 2)
        self._front.watch(loop)
        self.servers = [  # pyright: ignore[reportAttributeAccessIssue] - it is closed like one of asyncio's
            Acceptor(listener, lambda: Connection(self._front, loop), loop) for listener in sockets or ()
        ]
        # What is here now stays. Under load the collector would look through all of it twice a second,
        # for 40 ms in which nobody is answered.
        gc.freeze()
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the door, and wait for those inside."""
        self._drain()
        await super().shutdown(sockets)
        self._front.unwatch()
        gc.unfreeze()

    async def run_until_signalled(self, listener: socket.socket) -> None:
        """Serve until SIGTERM or SIGINT; a second one does not wait for answers in progress."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        await self.serve(sockets=[listener])
        # Cancelled at the end of the grace period, or now, they still have their rows to write.
        if cut := set(self.server_state.tasks):
            for task in cut:
                if not task.cancelling():
                    task.cancel()
            await asyncio.wait(cut, timeout=LAST_WORDS_S)

    def change(self, limits: HttpLimits, max_in_flight: int, *, grace_s: float, drain_s: float) -> None:
        """Go by these from now on."""
        self._front.change(limits, max_in_flight)
        self.config.timeout_graceful_shutdown = max(1, round(grace_s))
        self._drain_s = drain_s

    def stop(self) -> None:
        """End in good order; called once more: at once."""
        if self._front.draining:
            self.force_exit = self.should_exit = True
            return
        self._drain()
        asyncio.get_running_loop().call_later(self._drain_s, setattr, self, "should_exit", True)

    def _drain(self) -> None:
        if not self._front.draining:
            self._front.draining = True
            self._on_drain()


def _raise_file_limit() -> int:
    """As many open files as the system lets us have: the usual 1024 is meant for programs that use `select`.

    A caller's connection often has an upstream's beside it, so half of them can be connections of callers.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else sys.maxsize


def http_server(
    front: Front,
    *,
    grace_s: float = 30.0,
    drain_s: float = 0.0,
    on_drain: Callable[[], None] = lambda: None,
) -> HttpServer:
    """A server that listens on whatever socket it is given."""

    config = uvicorn.Config(
        front.app,  # pyright: ignore[reportArgumentType] - its ASGI types are narrower than ASGI
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(grace_s)),
    )
    return HttpServer(config, front, drain_s=drain_s, on_drain=on_drain)
