"""Callers who are slow, hostile or many, on a real socket: each gets one answer, and harms nobody."""

from __future__ import annotations

import asyncio
import json

import pytest

from front_door import Caller, answer, echo, listening
from junctor.gateway import http
from junctor.gateway.receive import Receive, Scope, Send
from junctor.gateway.shed import Shedder

pytestmark = pytest.mark.anyio

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /v1/x HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
AFTER = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """uvloop is what we run on; the standard loop is what it must not depend on."""
    return "asyncio", {"use_uvloop": request.param}


async def test_requests_one_after_the_other_on_one_connection() -> None:
    async with listening() as door:
        caller = await door.call()
        for number in range(3):
            reply = await caller.ask(POST + b"Content-Length: 1\r\n\r\n%d" % number)
            assert reply.json == {"method": "POST", "path": "/v1/x", "body": str(number)}
            assert "connection" not in reply.headers
            assert reply.headers["date"].endswith("GMT")


async def test_bytes_may_come_one_by_one() -> None:
    async with listening() as door:
        caller = await door.call()
        for _ in range(2):
            for byte in CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n":
                await caller.send(bytes([byte]))
                await asyncio.sleep(0)
            assert (await caller.read()).json["body"] == "abcde"


async def test_requests_that_come_early_are_answered_in_order() -> None:
    """Pipelining, with whole and cut requests, and with the empty line that old clients send after a body."""
    async with listening() as door:
        caller = await door.call()
        first = POST + b"Content-Length: 2\r\n\r\nab\r\n"
        await caller.send(first + CHUNKED + b"1\r\nc\r\n0\r\n\r\n" + AFTER[:10])
        assert [(await caller.read()).json["body"] for _ in range(2)] == ["ab", "c"]
        await caller.send(AFTER[10:])
        assert (await caller.read()).json["path"] == "/smuggled"


REFUSED = {
    "CL.TE": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\nabcde",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": GET + b"Host: b\r\n\r\n",
    "obs-fold": GET + b"X: a\r\n b\r\n\r\n",
    "bare LF": b"GET / HTTP/1.1\nHost: a\n\n",
    "a NUL": GET + b"X: \0\r\n\r\n",
    "absolute form": b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT": b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    "junk": b"\0" * 100,
    "a bad size": CHUNKED + b"0x5\r\n",
    "a chunk extension": CHUNKED + b"1;a=b\r\nx\r\n0\r\n\r\n",
    "a trailer": CHUNKED + b"0\r\nHost: b\r\n\r\n",
    "a chunk too long": CHUNKED + b"1\r\nxy\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
async def test_what_could_be_read_twice_is_refused_and_nothing_after_it_is_read(data: bytes) -> None:
    """Whatever follows on that connection, at once or later, is not a request."""
    paths: list[str] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        paths.append(scope["path"])
        await echo(scope, receive, send)

    async with listening(note) as door:
        caller = await door.call()
        reply = await caller.ask(data + AFTER)
        assert (reply.status, reply.json["code"]) == (400, "malformed_request")
        assert reply.headers["connection"] == "close"
        await caller.send(AFTER)
        assert await caller.read_end() in {b"", b"reset"}
        await door.settle()
        assert "/smuggled" not in paths


async def test_a_refused_client_that_goes_on_for_ever_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "LINGER_S", 60.0)
    async with listening() as door:
        caller = await door.call()
        await caller.ask(REFUSED["no host"])
        with pytest.raises(ConnectionError):
            for _ in range(100):
                await caller.send(b"x" * 1_000_000)


async def test_junk_in_a_body_that_comes_later_ends_the_request() -> None:
    """The application sees the client leave; it was about to answer nobody knows what."""
    async with listening() as door:
        caller = await door.call()
        await caller.send(CHUNKED + b"1\r\nx\r\n")
        await asyncio.sleep(0.02)
        reply = await caller.ask(b"zz\r\n" + AFTER)
        assert (reply.status, reply.json["path"]) == (400, "/v1/x")
        assert await caller.read_end() == b""


async def test_a_refusal_is_worded_for_its_path_and_repeats_little_of_it() -> None:
    async with listening() as door:
        reply = await door.ask(b"POST /v1/chat/completions?a=1 HTTP/1.1\r\nbad header\r\n\r\n")
        assert reply.json["path"] == "/v1/chat/completions"
        assert reply.headers["content-type"] == "application/json"
        reply = await door.ask(b"GET /" + b"a" * 9000)
        assert (reply.status, reply.json["code"]) == (414, "uri_too_long")
        assert len(reply.body) < 600


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (GET + b"X: a\r\n" * 101 + b"\r\n", 431),
        (GET + b"X: " + b"a" * 40_000, 431),
        (GET + b"X: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (GET + b"X: a\r\n" * 100_000, 431),
    ],
)
async def test_heads_have_limits(data: bytes, status: int) -> None:
    async with listening() as door:
        caller = await door.call()
        assert (await caller.ask(data)).status == status


async def test_an_upgrade_is_not_spoken_and_its_body_is_a_body() -> None:
    """Java's client offers h2c on every first request; what follows must not be taken for a request."""
    async with listening() as door:
        caller = await door.call()
        offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
        body = AFTER
        head = POST + offer + b"Content-Length: %d\r\n\r\n" % len(body)
        assert (await caller.ask(head + body)).json["body"] == body.decode()
        assert (await caller.ask(GET + b"\r\n")).json["path"] == "/a"


async def test_http_1_0_gets_no_chunks_and_a_closed_connection() -> None:
    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    async with listening(stream) as door:
        caller = await door.call()
        reply = await caller.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert reply.body == b"one two"
        assert reply.headers["connection"] == "close"
        assert "transfer-encoding" not in reply.headers
        caller = await door.call()
        reply = await caller.ask(GET + b"\r\n")
        assert (reply.body, reply.headers["transfer-encoding"]) == (b"one two", "chunked")


async def test_continue_is_said_when_the_body_is_wanted() -> None:
    async with listening() as door:
        caller = await door.call()
        head = POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        assert (await caller.ask(head)).status == 100
        assert (await caller.ask(b"ab")).json["body"] == "ab"

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"no", 413)

    async with listening(refuse) as door:
        caller = await door.call()
        assert (await caller.ask(head)).status == 413


async def test_a_body_that_the_application_does_not_want_ends_the_connection() -> None:
    """The client gets to read the refusal though it is still sending; the rest is not a request."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"no", 413)

    async with listening(refuse) as door:
        caller = await door.call()
        await caller.send(POST + b"Content-Length: 1000000\r\n\r\n")
        reply = await caller.read()
        assert (reply.status, reply.headers["connection"]) == (413, "close")
        for _ in range(10):
            await caller.send(AFTER * 1000)
        assert await caller.read_end() == b""


async def test_a_body_waits_for_an_application_that_does_not_read_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No more of it is held than a little."""
    monkeypatch.setattr(http, "SLACK_S", 0.0)
    held: list[int] = []
    read_on = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await read_on.wait()
        size, more = 0, True
        while more:
            message = await receive()
            held.append(len(message["body"]))
            size, more = size + held[-1], message["more_body"]
        await answer(send, b"%d" % size)

    async with listening(slow, body_timeout_s=1.0) as door:
        caller = await door.call()
        sending = asyncio.create_task(
            caller.send(POST + b"Content-Length: 4000000\r\n\r\n" + b"x" * 4_000_000)
        )
        await asyncio.sleep(1.3)  # longer than the deadline: it is not the client who is slow
        read_on.set()
        await sending
        assert (await caller.read()).body == b"4000000"
        assert max(held) < 2_000_000


async def test_a_body_beyond_every_limit_is_cut_off() -> None:
    """Whatever the application does with it."""
    async with listening(max_body_bytes=1000) as door:
        caller = await door.call()
        data = CHUNKED + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 40
        reply = await caller.ask(data)
        assert (reply.status, reply.json["code"]) == (413, "request_too_large")


async def test_slow_heads_are_given_up() -> None:
    """Slowloris: half a head, a head that drips, and nothing at all."""
    async with listening(head_timeout_s=0.2) as door:
        half, drip, silent = [await door.call() for _ in range(3)]
        await half.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n")
        dripping = asyncio.create_task(_drip(drip))
        reply = await half.read()
        assert (reply.status, reply.json["code"]) == (408, "headers_timeout")
        assert (await drip.read()).status == 408
        assert await silent.read_end() == b""
        assert await half.read_end() == b""
        dripping.cancel()


async def _drip(caller: Caller) -> None:
    for byte in GET * 1000:
        await caller.send(bytes([byte]))
        await asyncio.sleep(0.02)


async def test_a_slow_head_on_a_used_connection_is_given_up() -> None:
    async with listening(head_timeout_s=0.2) as door:
        caller = await door.call()
        await caller.ask(GET + b"\r\n")
        await asyncio.sleep(0.4)  # idle is allowed
        assert (await caller.ask(b"GET /")).status == 408


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    async with listening(head_timeout_s=0.2, idle_timeout_s=0.2) as door:
        caller = await door.call()
        await caller.ask(GET + b"\r\n")
        assert await caller.read_end() == b""


@pytest.mark.parametrize("start", [POST + b"Content-Length: 100\r\n\r\n", CHUNKED + b"64\r\n"])
async def test_slow_bodies_are_given_up(start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "SLACK_S", 0.0)
    async with listening(body_timeout_s=0.1) as door:
        caller = await door.call()
        reply = await caller.ask(start + b"x")
        assert (reply.status, reply.json["code"]) == (408, "request_timeout")
        assert await caller.read_end() == b""
        await door.settle()


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    """Slow read; the application notices."""
    ended = asyncio.Event()

    async def pour(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})
            if (asyncio.current_task() or ended) is None:
                break
        ended.set()

    async with listening(pour, send_timeout_s=0.2) as door:
        caller = await door.call()
        await caller.send(GET + b"\r\n")
        async with asyncio.timeout(10):
            await ended.wait()


async def test_a_client_that_never_reads_the_end_is_cut_off() -> None:
    """The reply is written to its end, and stays in our buffer."""

    async def whole(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"x" * 50_000_000)

    async with listening(whole, send_timeout_s=0.2) as door:
        caller = await door.call()
        await caller.send(GET + b"Connection: close\r\n\r\n")
        await door.settle()
        async with asyncio.timeout(10):
            while door.front.connections:
                await asyncio.sleep(0.01)


async def test_a_client_that_reads_slowly_gets_every_byte() -> None:
    async def whole(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(200):
            await send(
                {"type": "http.response.body", "body": b"%d" % (number % 10) * 50_000, "more_body": True}
            )
        await send({"type": "http.response.body", "body": b""})

    async with listening(whole) as door:
        caller = await door.call()
        await caller.send(GET + b"\r\n")
        await asyncio.sleep(0.1)
        reply = await caller.read()
        assert reply.body == b"".join(b"%d" % (number % 10) * 50_000 for number in range(200))


async def test_a_client_that_leaves_is_noticed() -> None:
    told = asyncio.Event()

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        await answer(send, b"nobody reads this")
        told.set()

    async with listening(wait) as door:
        caller = await door.call()
        await caller.send(GET + b"\r\n")
        await asyncio.sleep(0.02)
        await caller.close()
        async with asyncio.timeout(10):
            await told.wait()


async def test_an_application_that_fails_is_a_clean_error() -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/late":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"some", "more_body": True})
        return  # without an answer, or without its end

    async with listening(fail) as door:
        reply = await door.ask(GET + b"\r\n")
        assert (reply.status, reply.json["code"]) == (500, "internal_error")
        caller = await door.call()
        await caller.send(b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n")
        said = await caller.read_end()
        assert not said.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb", b"a\0b"])
async def test_a_header_cannot_become_two(value: bytes) -> None:
    """Response splitting: a value that an upstream chose, say."""

    async def split(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"x", value)]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        except RuntimeError:
            return
        await send({"type": "http.response.body", "body": b"split"})

    async with listening(split) as door:
        reply = await door.ask(GET + b"\r\n")
        assert reply.status == 500
        assert "set-cookie" not in reply.headers


async def test_a_reply_is_as_long_as_it_says() -> None:
    async def lie(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"3")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        with pytest.raises(RuntimeError):
            await send({"type": "http.response.body", "body": b"ab" if scope["path"] == "/a" else b"abcd"})

    async with listening(lie) as door:
        assert (await door.ask(GET + b"\r\n")).status == 500
        assert (await door.ask(b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n")).status == 500


async def test_head_and_204_have_no_body() -> None:
    async def say(scope: Scope, receive: Receive, send: Send) -> None:
        status = 204 if scope["path"] == "/none" else 200
        headers = [] if status == 204 else [(b"content-length", b"5")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if status == 204 else b"hello"})

    async with listening(say) as door:
        caller = await door.call()
        await caller.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET /none HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(10):
            head = await caller.reader.readuntil(b"\r\n\r\n")
            none = await caller.reader.readuntil(b"\r\n\r\n")
        assert b"content-length: 5" in head
        assert none.startswith(b"HTTP/1.1 204 No Content")
        assert b"transfer-encoding" not in none
        assert (await caller.ask(GET + b"\r\n")).body == b"hello"


async def test_connections_beyond_the_limit_are_turned_away() -> None:
    async with listening(max_connections=2) as door:
        kept = [await door.call() for _ in range(2)]
        for caller in kept:
            await caller.ask(GET + b"\r\n")
        reply = await (await door.call()).read()
        assert (reply.status, reply.json["code"]) == (503, "overloaded")
        assert reply.headers["retry-after"] == "1"
        assert (await kept[0].ask(GET + b"\r\n")).status == 200
        await kept[1].close()
        await asyncio.sleep(0.05)
        assert (await door.ask(GET + b"\r\n")).status == 200


async def test_overload_is_said_at_once_and_probes_come_through() -> None:
    """The application is not even asked; the connection lives on."""
    go_on = asyncio.Event()

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/v1/slow":
            await go_on.wait()
        await echo(scope, receive, send)

    async with listening(wait, Shedder(max_in_flight=1)) as door:
        busy, other = await door.call(), await door.call()
        await busy.send(b"GET /v1/slow HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(0.02)
        for _ in range(3):
            reply = await other.ask(POST + b"Content-Length: 3\r\n\r\nabc")
            assert (reply.status, reply.json["code"], reply.json["path"]) == (503, "overloaded", "/v1/x")
            assert int(reply.headers["retry-after"]) >= 1
            assert "connection" not in reply.headers
        assert (await other.ask(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
        turned_away = await other.ask(POST + b"Content-Length: 10\r\n\r\nabc")
        assert (turned_away.status, turned_away.headers["connection"]) == (503, "close")
        go_on.set()
        assert (await busy.read()).status == 200
        assert door.front.shedder.shed == 4


async def test_many_early_requests_are_turned_away_in_a_loop_not_in_a_pile() -> None:
    """Deep recursion would be a way to end the process."""
    async with listening(shedder=Shedder(max_in_flight=0)) as door:
        caller = await door.call()
        await caller.send(AFTER * 3000)
        for _ in range(3000):
            assert (await caller.read()).status == 503


async def test_when_the_server_ends_answers_end_and_idle_connections_close() -> None:
    go_on = asyncio.Event()

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await answer(send, b"done")

    async with listening(wait) as door:
        busy, idle = await door.call(), await door.call()
        await busy.send(GET + b"\r\n" + AFTER)
        await asyncio.sleep(0.02)
        door.front.draining = True
        for connection in tuple(door.front.connections):
            connection.shutdown()
        assert await idle.read_end() == b""
        go_on.set()
        reply = await busy.read()
        assert (reply.body, reply.headers["connection"]) == (b"done", "close")
        assert await busy.read_end() == b""


async def test_an_answer_that_is_cancelled_at_the_end_is_a_503() -> None:
    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    async with listening(wait) as door:
        caller = await door.call()
        await caller.send(GET + b"\r\n")
        await asyncio.sleep(0.02)
        door.front.draining = True
        for task in tuple(door.front.tasks):
            task.cancel()
        reply = await caller.read()
        assert (reply.status, reply.json["code"]) == (503, "server_stopped")


async def test_the_scope_is_asgis() -> None:
    scopes: list[Scope] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await answer(send, json.dumps(scope["path"]).encode())

    async with listening(note) as door:
        caller = await door.call()
        await caller.ask(b"GET /a%20b?c=%20d HTTP/1.1\r\nHost: a\r\nX-Y:  z \r\n\r\n")
        (scope,) = scopes
        assert scope["type"] == "http"
        assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b", b"/a%20b", b"c=%20d")
        assert scope["headers"] == [(b"host", b"a"), (b"x-y", b"z")]
        assert scope["client"] == caller.writer.get_extra_info("sockname")
        assert scope["server"] == ("127.0.0.1", door.port)
