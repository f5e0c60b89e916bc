"""One request and its reply, without a network."""

from __future__ import annotations

import asyncio

import pytest

from junctor.gateway.exchange import Exchange, render_fields, render_reply, render_scope
from junctor.gateway.head import HeadReader
from junctor.gateway.pipe import Pipe
from junctor.gateway.receive import Receive, Scope, Send
from wires import Wire

pytestmark = pytest.mark.anyio


class Line:
    """A connection that keeps what it is told."""

    date_field = b"date: now\r\n"

    def __init__(self, *, lasts: bool = True) -> None:
        self.wire = Wire()
        self.pipe = Pipe(self.wire)
        self.told: list[str] = []
        self._lasts = lasts

    def lasts(self, exchange: Exchange) -> bool:
        return self._lasts

    def answered(self, *, lasts: bool) -> None:
        self.told.append("lasts" if lasts else "ends")

    def left(self, exchange: Exchange) -> None:
        self.told.append("left")


def open_exchange(line: Line, head: bytes = b"GET / HTTP/1.1\r\nHost: a") -> Exchange:
    read = HeadReader().read(head)
    return Exchange(line, read, render_scope(read, ("127.0.0.1", 1), None))


async def reply(exchange: Exchange, *bodies: bytes, status: int = 200, headers: object = ()) -> None:
    await exchange.send({"type": "http.response.start", "status": status, "headers": headers})
    for number, body in enumerate(bodies, 1):
        more = number < len(bodies)
        await exchange.send({"type": "http.response.body", "body": body, "more_body": more})


async def test_nothing_leaves_before_the_first_byte_of_the_body() -> None:
    """Until then another reply is possible."""
    line = Line()
    exchange = open_exchange(line)
    await reply(exchange)
    assert (line.wire.sent, exchange.started) == (b"", False)
    await exchange.send({"type": "http.response.body", "body": b"a"})
    assert line.wire.sent == (
        b"HTTP/1.1 200 OK\r\ndate: now\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
    )
    assert line.told == ["lasts"]


async def test_a_reply_of_known_length_is_sent_as_it_is() -> None:
    line = Line()
    await reply(open_exchange(line), b"ab", b"", b"c", headers=[(b"Content-Length", b"3"), (b"x", b"y")])
    assert line.wire.sent == b"HTTP/1.1 200 OK\r\ndate: now\r\nContent-Length: 3\r\nx: y\r\n\r\nabc"


async def test_an_application_does_not_choose_the_framing_and_may_end_the_connection() -> None:
    line = Line()
    headers = [(b"transfer-encoding", b"identity"), (b"connection", b"close")]
    await reply(open_exchange(line), b"a", headers=headers)
    assert line.wire.sent.count(b"transfer-encoding") == 1
    assert b"connection: close\r\n" in line.wire.sent
    assert line.told == ["ends"]


async def test_a_connection_that_does_not_last_says_so() -> None:
    line = Line(lasts=False)
    await reply(open_exchange(line), b"a")
    assert b"connection: close\r\n" in line.wire.sent


async def test_the_body_is_given_as_it_arrives_and_its_end_once() -> None:
    exchange = open_exchange(Line())
    exchange.arrive(b"a", last=False)
    exchange.arrive(b"b", last=False)
    assert exchange.waiting_bytes == 2
    assert await exchange.receive() == {"type": "http.request", "body": b"ab", "more_body": True}
    waiting = asyncio.create_task(exchange.receive())
    await asyncio.sleep(0)
    exchange.arrive(b"", last=True)
    assert await waiting == {"type": "http.request", "body": b"", "more_body": False}
    waiting = asyncio.create_task(exchange.receive())
    await asyncio.sleep(0)
    assert not waiting.done()
    exchange.lose()
    assert await waiting == {"type": "http.disconnect"}


async def test_two_listeners_both_hear_that_the_client_has_left() -> None:
    exchange = open_exchange(Line())
    exchange.arrive(b"", last=True)
    await exchange.receive()
    listeners = [asyncio.create_task(exchange.receive()) for _ in range(2)]
    await asyncio.sleep(0)
    exchange.lose()
    assert [await it for it in listeners] == [{"type": "http.disconnect"}] * 2


async def test_after_the_reply_a_listener_hears_the_end() -> None:
    exchange = open_exchange(Line())
    exchange.arrive(b"", last=True)
    await exchange.receive()
    listener = asyncio.create_task(exchange.receive())
    await asyncio.sleep(0)
    await reply(exchange, b"a")
    assert await listener == {"type": "http.disconnect"}


async def test_a_client_that_has_left_is_sent_nothing() -> None:
    line = Line()
    exchange = open_exchange(line)
    exchange.lose()
    await reply(exchange, b"a", b"b")
    assert (line.wire.sent, line.told) == (b"", [])


async def test_who_sends_waits_for_a_client_that_takes_little() -> None:
    line = Line()
    exchange = open_exchange(line)
    line.pipe.stick()
    sending = asyncio.create_task(reply(exchange, b"a", b"b"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not sending.done()
    line.pipe.unstick()
    await sending
    assert line.wire.sent.endswith(b"1\r\nb\r\n0\r\n\r\n")


async def test_continue_is_said_once_and_not_after_the_reply() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2"
    line = Line()
    exchange = open_exchange(line, head)
    reading = asyncio.create_task(exchange.receive())
    await asyncio.sleep(0)
    assert line.wire.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
    exchange.arrive(b"a", last=False)
    await reading
    reading = asyncio.create_task(exchange.receive())
    exchange.arrive(b"b", last=True)
    await reading
    assert line.wire.sent.count(b"100 Continue") == 1


@pytest.mark.parametrize(
    "messages",
    [
        [("start",), ("start",)],
        [("body", b"a")],
        [("start",), ("body", b"a"), ("body", b"b")],
    ],
)
async def test_replies_out_of_order_are_faults(messages: list[tuple[str, bytes]]) -> None:
    exchange = open_exchange(Line())
    with pytest.raises(RuntimeError):
        for kind, *body in messages:
            await exchange.send(
                {"type": f"http.response.{kind}", "status": 200, "headers": [], "body": b"".join(body)}
            )


async def test_the_connection_hears_when_the_application_has_returned_or_failed() -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError(scope["path"])

    line = Line()
    with pytest.raises(ValueError, match="/"):
        await open_exchange(line).run(fail)
    assert line.told == ["left"]


def test_a_reply_in_one_piece() -> None:
    fields = render_fields([(b"a", b"b")])
    assert render_reply(408, b"date: now\r\n", fields, b"x", closes=True) == (
        b"HTTP/1.1 408 Request Timeout\r\ndate: now\r\na: b\r\n"
        b"content-length: 1\r\nconnection: close\r\n\r\nx"
    )
    assert render_reply(599, b"", b"", b"", closes=False) == b"HTTP/1.1 599 \r\ncontent-length: 0\r\n\r\n"
