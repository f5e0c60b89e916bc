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
