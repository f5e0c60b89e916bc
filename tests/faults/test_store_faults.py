"""F14: a full disk, a read-only database, one that another process holds: requests are answered."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from junctor.settings import read_environment
from plain_client import PlainReply, chat_body, post
from running import Running, running

pytestmark = pytest.mark.anyio

CONFIG = """
[[models]]
name = "small"
provider = "scripted"
price = { input = 1, output = 2 }
ability = 0.5
script = [{ text = "Hi." }]
"""


async def ask(url: str, model: str = "auto", key: str | None = None) -> PlainReply:
    headers = {} if key is None else {"idempotency-key": key}
    return await post(f"{url}/v1/chat/completions", chat_body(model), headers)


async def look(url: str) -> tuple[int, str, dict[str, float]]:
    """(status of /readyz, what it says of the store, the figures that watch it)."""

    def fetch() -> tuple[int, str, dict[str, float]]:
        with urllib.request.urlopen(f"{url}/readyz") as ready:
            status, parts = ready.status, json.loads(ready.read())["parts"]
        with urllib.request.urlopen(f"{url}/metrics") as metrics:
            lines = metrics.read().decode().splitlines()
        figures = dict(line.split() for line in lines if line.startswith(("junctor_rows", "junctor_store")))
        return status, parts["store"], {name: float(value) for name, value in figures.items()}

    return await asyncio.to_thread(fetch)


async def until_store(url: str, state: str) -> None:
    async with asyncio.timeout(30):
        while (await look(url))[1] != state:
            await asyncio.sleep(0.05)


def count(database: Path, table: str) -> int:
    connection = sqlite3.connect(database)
    (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    connection.close()
    return rows


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.05)


@contextmanager
def serving(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server of its own process, whose disk can be taken away."""
    (folder / "junctor.toml").write_text(CONFIG)
    env = {"PATH": read_environment().variables["PATH"], "HOME": str(folder), "JUNCTOR_DATA_DIR": str(folder)}
    command = [sys.executable, "-m", "junctor", "serve", "--port", "0"]
    server = subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr
        url = server.stderr.readline().split()[-1].removesuffix("/v1")
        yield server, url
    finally:
        server.kill()
        server.communicate(timeout=20)


def fill_disk(server: subprocess.Popen[str], *, full: bool) -> None:
    """No file of the process may grow any more: writes fail as on a full disk, of SQLite and of the spool."""
    hard = resource.RLIM_INFINITY
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1 if full else hard, hard))


async def test_on_a_full_disk_requests_are_answered_and_their_rows_follow(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, url):
        assert (await ask(url)).status == 200
        fill_disk(server, full=True)
        replies = await asyncio.gather(*(ask(url) for _ in range(30)))
        assert {reply.status for reply in replies} == {200}
        status, state, figures = await look(url)
        assert (status, state) == (200, "failing")
        assert figures["junctor_store_failing"] == 1
        assert figures["junctor_rows_waiting"] >= 30
        assert figures["junctor_rows_lost"] == 0
        fill_disk(server, full=False)
        await until_store(url, "ok")
        assert (await look(url))[2]["junctor_rows_waiting"] == 0
        await until(lambda: count(tmp_path / "junctor.db", "ledger") == 31)
        assert count(tmp_path / "junctor.db", "decisions") == 31


async def test_keys_are_known_and_their_rows_follow_while_the_database_is_locked(tmp_path: Path) -> None:
    """Whoever had a key before the fault gets in, whoever had none does not."""
    (tmp_path / "junctor.toml").write_text(CONFIG)
    env = {"PATH": read_environment().variables["PATH"], "HOME": str(tmp_path)}
    made = subprocess.run(
        [sys.executable, "-m", "junctor", "keys", "create", "team-a"],
        cwd=tmp_path,
        env=env | {"JUNCTOR_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    key = next(word for word in made.stdout.split() if word.startswith("jct_"))
    with serving(tmp_path) as (_, url):
        other = sqlite3.connect(tmp_path / "junctor.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        headers = {"authorization": f"Bearer {key}"}
        chats = [post(f"{url}/v1/chat/completions", chat_body("auto"), headers) for _ in range(10)]
        assert {reply.status for reply in await asyncio.gather(*chats)} == {200}
        assert (await ask(url)).status == 401
        await asyncio.sleep(1.2)  # the keys are looked at again, twice
        assert (await post(f"{url}/v1/chat/completions", chat_body("auto"), headers)).status == 200
        other.execute("ROLLBACK")
        other.close()
        await until(lambda: count(tmp_path / "junctor.db", "ledger") == 12)


async def test_a_full_disk_at_the_end_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    """SIGTERM ends the server all the same."""
    with serving(tmp_path) as (server, url):
        await ask(url)
        fill_disk(server, full=True)
        assert (await ask(url)).status == 200
        server.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait, 20) == 0


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    with running(CONFIG, tmp_path) as it:
        yield it


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
async def test_a_read_only_database_costs_nobody_an_answer_and_no_row(
    tmp_path: Path, synchronous: str
) -> None:
    """Through the spool, and without one."""
    with running(f'[store]\nsynchronous = "{synchronous}"\n{CONFIG}', tmp_path) as server:
        await until_store(server.url, "ok")
        writer = server.app.lasting.database._writer
        assert writer
        writer._connection.execute("PRAGMA query_only = ON")
        replies = [await ask(server.url) for _ in range(10)]
        assert {reply.status for reply in replies} == {200}
        await until_store(server.url, "failing")
        assert (await look(server.url))[2]["junctor_rows_lost"] == 0
        writer._connection.execute("PRAGMA query_only = OFF")
        await ask(server.url)
        await until_store(server.url, "ok")
        await until(lambda: count(tmp_path / "junctor.db", "ledger") == 11)


async def test_while_another_process_holds_the_database_requests_are_answered(server: Running) -> None:
    """And a kept reply is given again, from memory."""
    other = sqlite3.connect(server.database, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    replies = await asyncio.gather(*(ask(server.url) for _ in range(20)))
    kept = await ask(server.url, key="k")
    again = await ask(server.url, key="k")
    assert {reply.status for reply in (*replies, kept)} == {200}
    assert (again.body, again.headers["idempotent-replayed"]) == (kept.body, "true")
    await until_store(server.url, "failing")
    other.execute("ROLLBACK")
    other.close()
    await until_store(server.url, "ok")
    assert count(server.database, "ledger") == 22
    assert count(server.database, "idempotency") == 1
