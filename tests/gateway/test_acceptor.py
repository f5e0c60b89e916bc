"""Accepting many connections at a time."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Iterator

import pytest

from junctor.gateway import acceptor
from junctor.gateway.acceptor import Acceptor

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


class Greeter(asyncio.Protocol):
    """Says one word and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(b"hello")
        transport.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as it:
        yield it


async def greet(listener: socket.socket) -> bytes:
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_callers_become_connections_until_it_closes(listener: socket.socket) -> None:
    it = Acceptor(listener, Greeter, asyncio.get_running_loop())
    assert await asyncio.gather(*(greet(listener) for _ in range(100))) == [b"hello"] * 100
    it.close()
    await it.wait_closed()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await greet(listener)


async def test_a_busy_loop_accepts_many_in_one_pass(listener: socket.socket) -> None:
    """uvloop's own servers accept one, and callers wait for seconds."""
    callers = [socket.create_connection(listener.getsockname()) for _ in range(200)]
    loop = asyncio.get_running_loop()
    made: list[Greeter] = []
    passes = 0

    def connect() -> Greeter:
        made.append(Greeter())
        return made[-1]

    def block() -> None:
        nonlocal passes
        passes += 1
        time.sleep(0.005)
        if len(made) < 200:
            loop.call_soon(block)

    it = Acceptor(listener, connect, loop)
    block()
    async with asyncio.timeout(10):
        while len(made) < 200:
            await asyncio.sleep(0)
    assert passes < 100
    it.close()
    await it.wait_closed()
    for caller in callers:
        caller.close()


class Exhausted:
    """A listening socket of a system that has no free files for a while."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.tries = 0
        self.until = time.monotonic() + 0.3

    def fileno(self) -> int:
        return self.listener.fileno()

    def setblocking(self, flag: bool) -> None:
        self.listener.setblocking(flag)

    def accept(self) -> tuple[socket.socket, object]:
        self.tries += 1
        if time.monotonic() < self.until:
            raise OSError(errno.EMFILE, "Too many open files")
        return self.listener.accept()


async def test_a_system_without_free_files_is_asked_again_later(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not at once, in a loop that does nothing else."""
    monkeypatch.setattr(acceptor, "REST_S", 0.1)
    exhausted = Exhausted(listener)
    with caplog.at_level(logging.WARNING):
        it = Acceptor(exhausted, Greeter, asyncio.get_running_loop())
        assert await greet(listener) == b"hello"
    assert "Too many open files" in caplog.text
    assert exhausted.tries < 20
    it.close()
    await it.wait_closed()


async def test_the_system_holds_little_of_what_a_client_does_not_take(listener: socket.socket) -> None:
    """Else whoever reads nothing of a megabyte would go unnoticed."""
    stuck = asyncio.Event()

    class Pourer(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport
            transport.write(b"x" * 1_000_000)

        def pause_writing(self) -> None:
            stuck.set()

    it = Acceptor(listener, Pourer, asyncio.get_running_loop())
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.connect(listener.getsockname())
        async with asyncio.timeout(10):
            await stuck.wait()
    it.close()
    await it.wait_closed()
