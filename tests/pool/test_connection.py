"""One HTTP/1.1 connection, against a server that says exactly what the test wants."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from connections import Connections
from junctor.pool.connection import HIGH_WATER_BYTES, Connection, Deadlines, LineLost, LineTimeout
from junctor.pool.reply_parser import LineGarbled, ReplyParser

pytestmark = pytest.mark.anyio

HEAD = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Freed:
    """Notes what the connection tells its owner."""

    def __init__(self) -> None:
        self.told: list[bool] = []
        "For each time: whether the connection was closed."
        self.event = asyncio.Event()

    def __call__(self, connection: Connection) -> None:
        self.told.append(connection.closed)
        self.event.set()


@asynccontextmanager
async def connected(play: Play) -> AsyncIterator[tuple[Connection, Freed]]:
    """A connection to a server that reads one request head, plays its part, and keeps the socket."""
    stop = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await play(reader, writer)
        await stop.wait()

    connections = Connections(serve)
    server = await asyncio.start_server(connections, "127.0.0.1", 0)
    loop, freed = asyncio.get_running_loop(), Freed()
    host, port = server.sockets[0].getsockname()
    _, connection = await loop.create_connection(lambda: Connection(loop, freed), host, port)
    try:
        yield connection, freed
    finally:
        stop.set()
        connection.close()
        server.close()
        await connections.cut()
        await server.wait_closed()


def says(*pieces: bytes, pause_s: float = 0.0) -> Play:
    async def play(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return play


def begin(connection: Connection, *, first_s: float = 5.0, idle_s: float = 5.0, total_s: float = 5.0) -> None:
    now = asyncio.get_running_loop().time()
    connection.begin(HEAD, b"", Deadlines(now, first_s, idle_s, total_s))


async def read_all(connection: Connection) -> bytes:
    await connection.read_headers()
    pieces = list[bytes]()
    while piece := await connection.read():
        pieces.append(piece)
    return b"".join(pieces)


async def test_a_reply_with_a_length_leaves_the_connection_usable() -> None:
    async with connected(says(b"HTTP/1.1 201 Made\r\nX-A: 1\r\ncontent-length: 2\r\n\r\nhi")) as (
        connection,
        _,
    ):
        begin(connection)
        assert await read_all(connection) == b"hi"
        assert (connection.reply.status, connection.reply.headers["x-a"]) == (201, "1")
        assert connection.leave(satisfied=False)
        assert not connection.closed


async def test_a_reply_goes_without_the_garbage_collector() -> None:
    """The parser refers to us, and we to it: at a thousand requests a second that is a lot to look for."""
    reply = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    async with connected(says(reply, reply)) as (connection, _):
        gc.disable()
        try:
            begin(connection)
            assert await read_all(connection) == b"ok"
            gone = weakref.ref(connection.reply)
            connection.leave(satisfied=True)
            connection.reply = ReplyParser()
            assert gone() is None
        finally:
            gc.enable()


async def test_a_reply_cut_at_every_byte() -> None:
    reply = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    async with connected(says(*(bytes([byte]) for byte in reply))) as (connection, _):
        begin(connection)
        assert await read_all(connection) == b"abcde"
        assert connection.leave(satisfied=False)


async def test_a_reply_until_close_ends_with_the_connection() -> None:
    async def play(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        writer.close()

    async with connected(play) as (connection, _):
        begin(connection)
        assert await read_all(connection) == b"all of it"
        assert not connection.leave(satisfied=True)


async def test_a_reply_that_asks_to_close_is_not_reused() -> None:
    async with connected(says(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx")) as (
        c,
        _,
    ):
        begin(c)
        assert await read_all(c) == b"x"
        assert not c.leave(satisfied=True)
        assert c.closed


async def test_announcements_before_the_reply_are_skipped() -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    async with connected(says(early, b"HTTP/1.1 204 None\r\n\r\n")) as (connection, _):
        begin(connection)
        assert await read_all(connection) == b""
        assert (connection.reply.status, connection.reply.headers) == (204, {})


async def test_a_second_reply_nobody_asked_for_is_never_read() -> None:
    """Else it would be taken for the answer to the next request, of another caller."""
    one, two = (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n" + text for text in (b"1", b"2"))
    async with connected(says(one + two)) as (connection, _):
        begin(connection)
        assert await read_all(connection) == b"1"
        assert not connection.leave(satisfied=True)
        assert connection.closed


@pytest.mark.parametrize(
    "reply", [b"SSH-2.0-x\r\n", b"HTTP/1.1 2x0 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\na b\r\n\r\n"]
)
async def test_what_is_not_http_is_garbled(reply: bytes) -> None:
    async with connected(says(reply)) as (connection, _):
        begin(connection)
        with pytest.raises(LineGarbled):
            await connection.read_headers()
        assert connection.closed


async def test_bytes_on_an_idle_connection_close_it() -> None:
    """They could be taken for the answer to the next request."""
    once = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx"
    async with connected(says(once, b"HTTP/1.1 200 OK\r\n", pause_s=0.02)) as (connection, freed):
        begin(connection)
        await read_all(connection)
        assert connection.leave(satisfied=False)
        connection.rest(asyncio.get_running_loop().time() + 60)
        await freed.event.wait()
        assert freed.told == [True]


async def test_an_idle_connection_is_closed_when_its_time_is_up() -> None:
    """Also when the deadlines of its last exchange were much later."""
    reply = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx"
    async with connected(says(b"", reply, pause_s=0.02)) as (connection, freed):
        begin(connection, first_s=3600, total_s=3600)
        await read_all(connection)
        connection.leave(satisfied=False)
        connection.rest(asyncio.get_running_loop().time() + 0.02)
        await asyncio.wait_for(freed.event.wait(), 10)
        assert connection.closed


async def test_a_satisfied_reader_leaves_and_the_connection_comes_back() -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"
    async with connected(says(head, b"1\r\nd\r\n0\r\n\r\n", pause_s=0.02)) as (connection, freed):
        begin(connection)
        await connection.read_headers()
        assert await connection.read() == b"abc"
        assert not connection.leave(satisfied=True)
        await freed.event.wait()
        assert freed.told == [False]


async def test_an_unsatisfied_reader_cuts_the_connection() -> None:
    seen = asyncio.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
        await reader.read(1)
        seen.set()

    async with connected(play) as (connection, _):
        begin(connection)
        await connection.read_headers()
        assert not connection.leave(satisfied=False)
        await asyncio.wait_for(seen.wait(), 10)


async def test_a_reader_who_does_not_read_stops_the_sender() -> None:
    """Otherwise a slow client and a fast upstream fill our memory."""
    sent = 0

    async def play(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    async with connected(play) as (connection, _):
        begin(connection)
        await connection.read_headers()
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.1)
        assert connection.reply.unread < HIGH_WATER_BYTES + 1_000_000
        assert len(await connection.read()) < HIGH_WATER_BYTES + 1_000_000
        while sent == before:
            await asyncio.sleep(0.01)


async def test_deadlines_for_the_first_text_for_silence_and_for_all() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n"
    async with connected(says(head)) as (connection, _):
        begin(connection, first_s=0.05)
        with pytest.raises(LineTimeout, match=r"no text within 0\.05 s"):
            await read_all(connection)
        assert connection.closed
    async with connected(says(head, b"x")) as (connection, _):
        begin(connection, idle_s=0.05)
        await connection.read_headers()
        connection.first_text_came()
        with pytest.raises(LineTimeout, match=r"silent for 0\.05 s"):
            await read_all(connection)
    async with connected(says(head, *[b"x"] * 50, pause_s=0.02)) as (connection, _):
        begin(connection, idle_s=0.5, total_s=0.2)
        await connection.read_headers()
        connection.first_text_came()
        with pytest.raises(LineTimeout, match=r"not finish within 0\.2 s"):
            await read_all(connection)


async def test_a_connection_left_while_its_socket_was_stopped_serves_the_next_request() -> None:
    """Its reader never took the whole answer; the next one must not wait for a stopped socket."""
    body = HIGH_WATER_BYTES + 1

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % body)
        writer.write(b"x" * body)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    async with connected(play) as (connection, _):
        begin(connection)
        await connection.read_headers()
        while not connection.reply.complete:
            await asyncio.sleep(0.01)
        assert connection.leave(satisfied=True)
        begin(connection, first_s=2.0)
        assert await read_all(connection) == b"ok"


async def test_the_total_deadline_holds_also_for_a_reader_who_does_not_read() -> None:
    """Its client is stuck: the upstream must not be kept busy, and paid, for it."""
    left = asyncio.Event()

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nx")
        await reader.read()
        left.set()

    async with connected(play) as (connection, _):
        begin(connection, total_s=0.1)
        await connection.read_headers()
        await asyncio.wait_for(left.wait(), 5)
        assert await connection.read() == b"x"
        with pytest.raises(LineTimeout, match=r"not finish within 0\.1 s"):
            await connection.read()


async def test_a_whole_answer_stays_readable_when_its_reader_is_later_than_the_deadline() -> None:
    async with connected(says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")) as (connection, _):
        begin(connection, total_s=0.1)
        await connection.read_headers()
        while not connection.closed:
            await asyncio.sleep(0.01)
        assert [await connection.read(), await connection.read()] == [b"ok", b""]
        assert not connection.leave(satisfied=True)


async def test_a_steady_answer_outlives_the_idle_deadline() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n"
    async with connected(says(head, *[b"x"] * 20, pause_s=0.02)) as (connection, _):
        begin(connection, first_s=0.3, idle_s=0.3)
        await connection.read_headers()
        connection.first_text_came()
        assert await read_all(connection) == b"x" * 20


async def test_a_closed_connection_is_lost() -> None:
    async def leave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with connected(leave) as (connection, _):
        begin(connection)
        with pytest.raises(LineLost, match="before it answered"):
            await connection.read_headers()
        assert not connection.reply.heard


async def test_what_came_before_the_loss_can_still_be_read() -> None:
    async def play(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
        writer.close()

    async with connected(play) as (connection, _):
        begin(connection)
        await connection.read_headers()
        while not connection.closed:
            await asyncio.sleep(0.01)
        assert await connection.read() == b"abc"
        with pytest.raises(LineLost, match="middle"):
            await connection.read()
