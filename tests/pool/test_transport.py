"""The way to the upstreams: connections kept and cut, deadlines, caps, and nothing that was not asked for."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
import uvloop

from connections import Connections
from faults.fault_server import FaultServer, chat_reply, running_fault_server
from junctor.chat import (
    UpstreamBroken,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from junctor.pool.transport import Target, Timeouts, Transport

pytestmark = pytest.mark.anyio

SHORT = Timeouts(connect_s=5.0, first_token_s=0.2, idle_s=0.2, total_s=2.0)
LONG = Timeouts()
STREAM = b'{"stream": true}'


def target(faults: FaultServer, fault: str = "ok", **headers: str) -> Target:
    return Target(f"{faults.base_url(fault)}/chat/completions", headers)


async def post(transport: Transport, to: Target, body: bytes = b"{}", timeouts: Timeouts = SHORT) -> bytes:
    async with transport.post(to, body, timeouts, "m") as reply:
        assert reply.status == 200
        return await reply.body()


async def test_a_request_and_its_reply(faults: FaultServer, transport: Transport) -> None:
    body = b'{"hello": "\xc3\xa4"}'
    async with transport.post(target(faults, **{"x-a": "b"}), body, SHORT, "m") as reply:
        assert reply.status == 200
        assert reply.headers["content-type"] == "application/json"
        assert await reply.body() == chat_reply()
    seen = faults.seen[0]
    assert seen.body == body
    assert seen.headers["x-a"] == "b"
    assert seen.headers["user-agent"].startswith("junctor/")
    assert seen.headers["accept-encoding"] == "identity"
    assert set(seen.headers) == {"host", "user-agent", "accept-encoding", "x-a", "content-length"}


async def test_a_request_can_have_headers_of_its_own(faults: FaultServer, transport: Transport) -> None:
    own = {"anthropic-beta": "a,b"}
    async with transport.post(target(faults, **{"x-a": "b"}), b"{}", SHORT, "m", own) as reply:
        await reply.body()
    await post(transport, target(faults))
    assert (faults.seen[0].headers["anthropic-beta"], faults.seen[0].headers["x-a"]) == ("a,b", "b")
    assert "anthropic-beta" not in faults.seen[1].headers
    for name, value in (("a", "b\r\nc: d"), ("a:", "b"), ("a", "\u0100")):
        with pytest.raises(ValueError, match="header"):
            transport.post(target(faults), b"{}", SHORT, "m", {name: value})


async def test_connections_are_kept_also_after_streams(faults: FaultServer, transport: Transport) -> None:
    for _ in range(5):
        await post(transport, target(faults))
        await post(transport, target(faults), STREAM)
    assert faults.connections == 1


async def test_as_many_connections_as_requests_at_once(faults: FaultServer, transport: Transport) -> None:
    for _ in range(3):
        await asyncio.gather(*(post(transport, target(faults)) for _ in range(10)))
    assert faults.connections == 10


async def test_the_limit_on_connections_holds_and_waiting_has_an_end(faults: FaultServer) -> None:
    transport = Transport(max_connections=2)
    await asyncio.gather(*(post(transport, target(faults)) for _ in range(10)))
    assert faults.connections <= 2
    impatient = Timeouts(connect_s=0.05)
    async with (
        transport.post(target(faults), b"{}", LONG, "a"),
        transport.post(target(faults), b"{}", LONG, "b"),
    ):
        with pytest.raises(UpstreamUnavailable, match="all 2 connections"):
            await post(transport, target(faults), timeouts=impatient)
    await post(transport, target(faults))
    await transport.close()


async def test_a_kept_connection_that_the_server_dropped_is_replaced_in_silence(
    faults: FaultServer, transport: Transport
) -> None:
    for _ in range(5):
        await post(transport, target(faults, "close-after"))
    assert len(faults.seen) == 5


async def test_the_request_is_sent_again_only_when_a_kept_connection_said_nothing(
    faults: FaultServer, transport: Transport
) -> None:
    """A fresh connection that breaks may have cost money already: whoever retries must know."""
    with pytest.raises(UpstreamBroken):
        await post(transport, target(faults, "reset"))
    assert len(faults.seen) == 1
    await post(transport, target(faults))
    with pytest.raises(UpstreamBroken):
        await post(transport, target(faults, "reset"))
    assert [seen.fault for seen in faults.seen] == ["reset", "ok", "reset", "reset"]


@pytest.mark.parametrize("fault", ["hang", "hang-after-headers", "hang-mid-stream"])
@pytest.mark.parametrize("body", [b"{}", STREAM])
async def test_a_cancelled_reader_closes_the_connection(
    faults: FaultServer, transport: Transport, fault: str, body: bytes
) -> None:
    """Also before the headers, where an answer that is not streamed spends all its time."""
    task = asyncio.create_task(post(transport, target(faults, fault), body, LONG))
    seen = await faults.wait_for_request()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(seen.client_closed.wait(), 10)


async def test_a_reader_who_leaves_early_closes_the_connection(
    faults: FaultServer, transport: Transport
) -> None:
    async with transport.post(target(faults, "hang-mid-stream"), STREAM, LONG, "m") as reply:
        assert await reply.read()
    await asyncio.wait_for(faults.seen[0].client_closed.wait(), 10)


async def test_a_satisfied_reader_keeps_the_connection_if_the_end_comes_soon(
    faults: FaultServer, transport: Transport
) -> None:
    for _ in range(3):
        async with transport.post(target(faults), STREAM, LONG, "m") as reply:
            await reply.read()
            reply.satisfied = True
        await asyncio.sleep(0.05)
    assert faults.connections == 1
    async with transport.post(target(faults, "hang-after-done"), STREAM, LONG, "m") as reply:
        await reply.read()
        reply.satisfied = True
    await asyncio.wait_for(faults.seen[-1].client_closed.wait(), 10)


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("hang", UpstreamTimeout, "timeouts.first_token_s"),
        ("hang-after-headers", UpstreamTimeout, "timeouts.first_token_s"),
        ("reset", UpstreamBroken, "before it answered"),
        ("reset-after-headers", UpstreamBroken, "middle of its answer"),
        ("reset-mid-stream", UpstreamBroken, "middle of its answer"),
        ("close-mid-body", UpstreamBroken, "middle of its answer"),
        ("not-http", UpstreamBroken, "not HTTP/1.1"),
        ("huge-headers", UpstreamBroken, "bytes of headers"),
    ],
)
async def test_what_fails_below_http_names_the_model_and_what_happened(
    faults: FaultServer, transport: Transport, fault: str, error: type[UpstreamError], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        await post(transport, target(faults, fault), STREAM)
    assert caught.value.model == "m"
    assert "`m`" in caught.value.message
    await post(transport, target(faults))


async def test_a_reply_over_the_cap_is_cut(faults: FaultServer, transport: Transport) -> None:
    async with transport.post(target(faults, "endless"), b"{}", LONG, "m") as reply:
        with pytest.raises(UpstreamBroken, match="more than 1000 bytes"):
            await reply.body(limit=1000)
    await asyncio.wait_for(faults.seen[0].client_closed.wait(), 10)


async def test_redirects_are_not_followed(faults: FaultServer, transport: Transport) -> None:
    async with transport.post(target(faults, "redirect"), b"{}", SHORT, "m") as reply:
        assert reply.status == 307
    assert len(faults.seen) == 1


async def test_no_connection_is_unreachable(transport: Transport) -> None:
    for url in ("http://127.0.0.1:1/v1", "http://no-such-host.invalid/v1"):
        with pytest.raises(UpstreamUnreachable, match="base_url") as caught:
            await post(transport, Target(url, {}))
        assert caught.value.model == "m"


async def test_a_failed_connection_gives_its_place_back(faults: FaultServer) -> None:
    transport = Transport(max_connections=1)
    for _ in range(3):
        with pytest.raises(UpstreamUnreachable):
            await post(transport, Target("http://127.0.0.1:1/v1", {}))
        with pytest.raises(UpstreamBroken):
            await post(transport, target(faults, "reset"))
    await post(transport, target(faults))
    await transport.close()


async def test_a_host_that_does_not_answer_is_a_timeout(transport: Transport) -> None:
    """A full backlog swallows what comes: Linux leaves the connection waiting."""
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
        with pytest.raises(UpstreamTimeout, match="connect_s"):
            await post(transport, Target(url, {}), timeouts=Timeouts(connect_s=0.1))


async def test_a_server_that_closes_before_the_request(transport: Transport) -> None:
    """An overloaded listener accepts and closes: that is known at once, not at a deadline."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    connections = Connections(serve)
    server = await asyncio.start_server(connections, "127.0.0.1", 0)
    to = Target(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", {})
    for _ in range(20):
        with pytest.raises(UpstreamBroken, match="before it answered"):
            await post(transport, to, timeouts=LONG)
    server.close()
    await connections.cut()
    await server.wait_closed()


async def test_tls_where_there_is_none_is_unreachable(transport: Transport) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    connections = Connections(serve)
    server = await asyncio.start_server(connections, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(UpstreamUnreachable):
        await post(transport, Target(f"https://127.0.0.1:{port}/v1", {}), timeouts=LONG)
    server.close()
    await connections.cut()
    await server.wait_closed()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command to make a certificate")
async def test_tls_is_verified(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    how = ["-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(["openssl", "req", "-x509", *how, *names], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    faults = FaultServer()
    server = await asyncio.start_server(faults.serve, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/ok/v1/chat/completions"
    trusting = Transport(tls=ssl.create_default_context(cafile=str(cert)))
    doubting = Transport()
    try:
        assert await post(trusting, Target(url, {})) == chat_reply()
        assert await post(trusting, Target(url, {})) == chat_reply()
        assert faults.connections == 1
        with pytest.raises(UpstreamUnreachable, match="certificate"):
            await post(doubting, Target(url, {}))
        with pytest.raises(UpstreamUnreachable, match="certificate"):
            await post(trusting, Target(url.replace("localhost", "127.0.0.1"), {}))
    finally:
        await trusting.close()
        await doubting.close()
        await faults.stop()
        server.close()
        await server.wait_closed()


async def test_a_closed_transport_cuts_what_runs_and_takes_nothing_more(faults: FaultServer) -> None:
    transport = Transport()
    task = asyncio.create_task(post(transport, target(faults, "hang"), timeouts=LONG))
    seen = await faults.wait_for_request()
    await transport.close()
    with pytest.raises(UpstreamError):
        await task
    await asyncio.wait_for(seen.client_closed.wait(), 10)
    with pytest.raises(UpstreamUnreachable, match="shutting down"):
        await post(transport, target(faults))


@pytest.mark.parametrize(
    "url",
    ["", "host/v1", "ftp://host/", "http://", "http://u:p@host/", "http://host:port/", "http://host/a b"],
)
def test_a_url_that_cannot_work_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|user name|path|[Pp]ort"):
        Target(url, {})


@pytest.mark.parametrize("headers", [{"authorization": "Bearer a\r\nx: y"}, {"a b": "c"}, {"a": "\u20ac"}])
def test_headers_cannot_smuggle(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="header") as caught:
        Target("http://host/", headers)
    assert "Bearer" not in str(caught.value)


def test_a_target_hides_its_headers() -> None:
    assert "secret" not in repr(Target("https://host/v1", {"authorization": "Bearer secret"}))


def test_uvloop_serves_as_well() -> None:
    """The server runs on it; its transports are a class of their own."""

    async def run() -> int:
        transport = Transport()
        async with running_fault_server() as faults:
            assert await post(transport, target(faults)) == chat_reply()
            assert await post(transport, target(faults), STREAM)
            task = asyncio.create_task(post(transport, target(faults, "hang"), timeouts=LONG))
            seen = await faults.wait_for_request(3)
            task.cancel()
            await asyncio.wait_for(seen.client_closed.wait(), 10)
            with pytest.raises(UpstreamTimeout):
                await post(transport, target(faults, "hang"))
            await transport.close()
            return faults.connections

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(run()) == 2
