"""The server's beginning and its end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from front_door import Caller, answer, echo, render_refusal
from junctor.gateway.front import Front, HttpLimits
from junctor.gateway.receive import ASGIApp, Receive, Scope, Send
from junctor.gateway.server import HttpServer, http_server
from junctor.gateway.shed import Shedder

pytestmark = pytest.mark.anyio

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


class Serving:
    """A server that runs until it is told otherwise."""

    def __init__(self, server: HttpServer, front: Front, port: int, running: asyncio.Task[None]) -> None:
        self.server = server
        self.front = front
        self.port = port
        self.running = running

    async def call(self) -> Caller:
        return Caller(*await asyncio.open_connection("127.0.0.1", self.port))


@asynccontextmanager
async def serving(
    app: ASGIApp = echo,
    *,
    grace_s: float = 10,
    drain_s: float = 0,
    on_drain: Callable[[], None] = lambda: None,
) -> AsyncIterator[Serving]:
    front = Front(app, HttpLimits(), Shedder(), render_refusal)
    server = http_server(front, grace_s=grace_s, drain_s=drain_s, on_drain=on_drain)
    listener = socket.create_server(("127.0.0.1", 0))
    running = asyncio.create_task(server.run_until_signalled(listener))
    async with asyncio.timeout(30):
        while not server.started:
            await asyncio.sleep(0.005)
        yield Serving(server, front, listener.getsockname()[1], running)
        if not running.done():
            server.stop()
        await running
    listener.close()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)


async def test_it_serves_until_it_is_told_to_stop() -> None:
    async with serving() as it:
        caller = await it.call()
        assert (await caller.ask(GET)).json["path"] == "/a"
        os.kill(os.getpid(), signal.SIGTERM)
        await it.running
        assert await caller.read_end() == b""
        await caller.close()


async def test_the_collector_does_not_look_through_what_was_there_at_the_start() -> None:
    """It took 40 ms, twice a second, in which nobody was answered."""
    assert gc.get_freeze_count() == 0
    async with serving():
        assert gc.get_freeze_count() > 10_000
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_answers_in_progress_end_and_nothing_new_begins(number: int) -> None:
    go_on = asyncio.Event()

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"b"})

    told: list[str] = []
    async with serving(wait, on_drain=lambda: told.append("drain")) as it:
        callers = [await it.call() for _ in range(20)]
        for caller in callers:
            await caller.send(GET)
            await caller.reader.readuntil(b"1\r\na\r\n")
        os.kill(os.getpid(), number)
        await asyncio.sleep(0.3)
        assert told == ["drain"]
        with pytest.raises(ConnectionError):
            await it.call()
        go_on.set()
        for caller in callers:
            assert await caller.read_end() == b"1\r\nb\r\n0\r\n\r\n"
            await caller.close()
        await it.running


async def test_balancers_have_time_to_leave_first() -> None:
    """For `drain_s` all is answered, and each answer ends its connection."""
    draining = asyncio.Event()
    async with serving(drain_s=0.5, on_drain=draining.set) as it:
        it.server.stop()
        assert draining.is_set()
        caller = await it.call()
        reply = await caller.ask(GET)
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        await it.running
        await caller.close()


async def test_an_answer_that_takes_longer_than_the_grace_is_cancelled_and_may_say_so() -> None:
    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.5)  # a row is written
            await send({"type": "http.response.body", "body": b"bye"})
            raise

    async with serving(wait, grace_s=1) as it:
        caller = await it.call()
        await caller.send(GET)
        await caller.reader.readuntil(b"1\r\na\r\n")
        it.server.stop()
        assert await caller.read_end() == b"3\r\nbye\r\n0\r\n\r\n"
        await it.running
        await caller.close()


async def test_a_second_signal_does_not_wait() -> None:
    """But for the last words of those that it cuts."""
    said: list[str] = []

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            said.append("last words")

    async with serving(wait, grace_s=60) as it:
        caller = await it.call()
        await caller.send(GET)
        await asyncio.sleep(0.05)
        it.server.stop()
        await asyncio.sleep(0.05)
        it.server.stop()
        await it.running
        assert said == ["last words"]
        assert not it.front.tasks
        await caller.close()


async def test_many_idle_connections_and_half_requests_do_not_hold_up_the_end() -> None:
    async def quick(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"ok")

    async with serving(quick, grace_s=60) as it:
        callers = [await it.call() for _ in range(50)]
        for caller in callers[:20]:
            await caller.ask(GET)
        for caller in callers[20:40]:
            await caller.send(b"GET / HT")
        await asyncio.sleep(0.05)
        it.server.stop()
        async with asyncio.timeout(10):
            await it.running
        for caller in callers:
            await caller.close()
