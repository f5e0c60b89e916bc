"""SIGTERM with callers in the house: nobody is thrown out, nobody new comes in, every row is written."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from front_door import Caller
from test_serve import serving

pytestmark = pytest.mark.anyio

CONFIG = """
[server]
{server}
[[models]]
name = "small"
provider = "scripted"
price = {{ input = 1, output = 2 }}
script = [
  {{ text = "One" }}, {{ delay_s = 1.5 }}, {{ text = " two" }}, {{ delay_s = 1.5 }}, {{ text = " three." }}
]
"""
STREAMS = 200
BODY = json.dumps(
    {"model": "small", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
).encode()
ASK = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
READY = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def call(url: str) -> Caller:
    host, _, port = url.removeprefix("http://").partition(":")
    return Caller(*await asyncio.open_connection(host, int(port)))


async def begin(url: str) -> Caller:
    """A stream whose first text has come."""
    caller = await call(url)
    await caller.send(ASK)
    assert b"One" in await caller.reader.readuntil(b"One")
    return caller


async def ended(server: subprocess.Popen[str]) -> int:
    deadline = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    return server.wait(timeout=1)


def outcomes(folder: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(folder / "data/junctor.db")) as database:
        return database.execute("SELECT outcome, count(*) FROM ledger GROUP BY outcome").fetchall()


async def test_two_hundred_streams_end_as_if_nothing_had_happened(tmp_path: Path) -> None:
    (tmp_path / "junctor.toml").write_text(CONFIG.format(server="grace_s = 30"))
    with serving(tmp_path) as (server, url):
        idle = await call(url)
        assert (await idle.ask(READY)).status == 200
        streams = await asyncio.gather(*(begin(url) for _ in range(STREAMS)))
        server.send_signal(signal.SIGTERM)
        assert await idle.read_end() == b"", "an idle connection is closed"
        with pytest.raises(ConnectionError):
            await call(url)
        rests = await asyncio.gather(*(stream.read_end() for stream in streams))
        assert all(b" three." in rest and b"data: [DONE]" in rest for rest in rests)
        assert all(rest.endswith(b"0\r\n\r\n") for rest in rests)
        assert await ended(server) == 0
        for caller in (idle, *streams):
            await caller.close()
    assert outcomes(tmp_path) == [("ok", STREAMS)]


MESSAGES = [{"role": "user", "content": "Hi"}]
CUT = {
    "/v1/chat/completions": (
        {"model": "small", "stream": True, "messages": MESSAGES},
        [b'"code":"server_stopped"', b"this server stops; ask again"],
    ),
    "/v1/messages": (
        {"model": "small", "stream": True, "max_tokens": 99, "messages": MESSAGES},
        [b"event: error", b"this server stops; ask again"],
    ),
    "/v1/responses": (
        {"model": "small", "stream": True, "input": "Hi"},
        [b"event: response.failed", b"this server stops; ask again"],
    ),
}


@pytest.mark.parametrize("path", CUT)
async def test_a_stream_that_outlasts_the_grace_period_ends_with_an_error(tmp_path: Path, path: str) -> None:
    """In the caller's dialect, and as HTTP: not cut in the middle, as if the line had broken."""
    (tmp_path / "junctor.toml").write_text(CONFIG.format(server="grace_s = 1").replace("1.5", "8"))
    body, words = CUT[path]
    with serving(tmp_path) as (server, url):
        stream = await call(url)
        data = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        await stream.send(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        await stream.reader.readuntil(b"One")
        server.send_signal(signal.SIGTERM)
        rest = await stream.read_end()
        assert all(word in rest for word in words), rest
        assert b"[DONE]" not in rest
        assert rest.endswith(b"0\r\n\r\n"), "the reply is whole"
        assert await ended(server) == 0
        await stream.close()
    assert outcomes(tmp_path) == [("server_stopped", 1)]


async def test_a_client_that_reads_nothing_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """Nor cost anybody else the row."""
    flood = "x" * 1_000_000
    script = (
        f'script = [{{ text = "One" }}, {", ".join([f"{{ text = {flood!r} }}"] * 30)}, {{ delay_s = 60 }}]'
    )
    model = f'[[models]]\nname = "small"\nprovider = "scripted"\n{script}\n'
    (tmp_path / "junctor.toml").write_text("[server]\ngrace_s = 1\nkeepalive_s = 0.1\n" + model)
    with serving(tmp_path) as (server, url):
        stream = await begin(url)
        stream.writer.transport.pause_reading()  # pyright: ignore
        server.send_signal(signal.SIGTERM)
        assert await ended(server) == 0
        await stream.close()
    assert outcomes(tmp_path) == [("server_stopped", 1)]


async def test_load_balancers_are_told_before_the_door_closes(tmp_path: Path) -> None:
    (tmp_path / "junctor.toml").write_text(CONFIG.format(server="drain_s = 1.0"))
    with serving(tmp_path) as (server, url):
        stream = await begin(url)
        server.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        probe = await call(url)
        said = await probe.ask(READY)
        assert (said.status, said.json["parts"]["server"]) == (503, "draining")
        assert said.headers["connection"] == "close"
        assert b"data: [DONE]" in await stream.read_end()
        assert await ended(server) == 0
        for caller in (probe, stream):
            await caller.close()
    assert outcomes(tmp_path) == [("ok", 1)]
