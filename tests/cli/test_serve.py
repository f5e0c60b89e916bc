"""`junctor serve`, as a process of its own."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from junctor.settings import read_environment
from junctor.store.database import Database

CONFIG = """
[[models]]
name = "small"
provider = "scripted"
price = { input = 1, output = 2 }
ability = 0.4
script = [{ when = "slow", text = "One" }, { delay_s = 1 }, { text = " two." }, { turn = true, text = "Hi." }]
[[models]]
name = "large"
provider = "scripted"
price = { input = 10, output = 20 }
ability = 0.8
script = [{ text = "Good day." }]
"""


@contextmanager
def serving(folder: Path, *words: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running `junctor serve --port 0`, and its URL as it prints it."""
    env = {
        "PATH": read_environment().variables["PATH"],
        "HOME": str(folder),
        "JUNCTOR_DATA_DIR": str(folder / "data"),
        **variables,
    }
    command = [sys.executable, "-m", "junctor", "serve", "--port", "0", *words]
    server = subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        first = server.stderr.readline()
        found = re.search(r"http://\S+(?=/v1)", first)
        assert found, first + server.stderr.read()
        yield server, found.group()
    finally:
        if server.poll() is None:
            server.kill()
        last_words(server)


def last_words(server: subprocess.Popen[str]) -> str:
    """What a server that ends says on its standard error, after its first line."""
    server.wait(timeout=20)
    assert server.stderr is not None
    if server.stderr.closed:
        return ""
    with server.stderr:
        return server.stderr.read()


def client_of(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def ask(url: str, text: str = "Hi", model: str = "small") -> str:
    messages = [{"role": "user", "content": text}]
    with client_of(url) as client:
        return client.chat.completions.create(model=model, messages=messages).choices[0].message.content


def refused(folder: Path, *words: str) -> str:
    """What a server that does not start says."""
    command = [sys.executable, "-m", "junctor", "serve", "--port", "0", *words]
    env = {"PATH": read_environment().variables["PATH"], "HOME": str(folder), "COLUMNS": "200"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def test_it_serves_says_where_and_that_it_is_open(tmp_path: Path) -> None:
    (tmp_path / "junctor.toml").write_text(CONFIG)
    with serving(tmp_path) as (server, url):
        assert ask(url) == "Hi."
        server.send_signal(signal.SIGTERM)
        said = last_words(server)
        assert server.returncode == 0
    assert "without API keys" in said
    assert "junctor keys create NAME` makes one" in said


def test_what_it_says_to_do_is_for_the_configuration_that_it_has(tmp_path: Path) -> None:
    """Another file may have another database: a key that is made for the wrong one locks nothing."""
    (tmp_path / "other.toml").write_text(CONFIG + '[store]\npath = "own.db"\n')
    with serving(tmp_path, "-c", "other.toml") as (server, url):
        ask(url)
        server.terminate()
        assert "keys create NAME -c other.toml` makes one" in last_words(server)


def test_sigterm_lets_an_answer_in_progress_end(tmp_path: Path) -> None:
    (tmp_path / "junctor.toml").write_text(CONFIG)
    with serving(tmp_path) as (server, url), client_of(url) as client:
        messages = [{"role": "user", "content": "slow"}]
        stream = client.chat.completions.create(model="small", messages=messages, stream=True)
        pieces = []
        for chunk in stream:
            pieces.append(chunk.choices[0].delta.content or "")
            if pieces == ["One"]:
                server.send_signal(signal.SIGTERM)
        assert "".join(pieces) == "One two."
        server.wait(timeout=20)


async def open_and_close(path: Path) -> None:
    """What a server that starts again does first: bring in what the killed one left in its spool."""
    async with Database(path):
        pass


def test_what_a_client_has_read_to_its_end_survives_kill_9(tmp_path: Path) -> None:
    """The ledger's row and the decision are on the disk before the last byte of the reply leaves."""
    (tmp_path / "junctor.toml").write_text(CONFIG)
    read: list[str] = []
    with serving(tmp_path) as (server, url), client_of(url) as client:
        for turn in range(20):
            reply = client.chat.completions.with_raw_response.create(
                model="auto", messages=[{"role": "user", "content": "Hi"}], stream=bool(turn % 2)
            )
            if turn % 2:
                list(reply.parse())
            read.append(reply.headers["x-request-id"])
        server.kill()
        server.wait()
    asyncio.run(open_and_close(tmp_path / "data/junctor.db"))
    with sqlite3.connect(tmp_path / "data/junctor.db") as database:
        rows = database.execute("SELECT request_id, outcome FROM ledger").fetchall()
        decided = database.execute("SELECT request_id FROM decisions").fetchall()
    assert sorted(rows) == sorted((request, "ok") for request in read)
    assert sorted(request for (request,) in decided) == sorted(read)


def test_keys_in_the_environment_are_offered_and_not_used(tmp_path: Path) -> None:
    (tmp_path / "junctor.toml").write_text(CONFIG)
    with serving(tmp_path, OPENAI_API_KEY="sk-canary-123") as (server, url):
        with client_of(url) as client:
            assert "gpt" not in str(client.models.list())
        server.terminate()
        said = last_words(server)
    assert "OPENAI_API_KEY is set" in said
    assert "sk-canary-123" not in said


def test_json_logs(tmp_path: Path) -> None:
    """A fault of an upstream is one line of JSON, where the environment asks for JSON."""
    (tmp_path / "junctor.toml").write_text(CONFIG)
    with serving(tmp_path, JUNCTOR_LOG_FORMAT="json") as (server, url):
        ask(url)
        server.terminate()
        said = last_words(server)
    lines = [line for line in said.splitlines() if line.startswith("{")]
    assert all("event" in json.loads(line) for line in lines)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1"])
def test_without_keys_it_does_not_listen_to_other_machines(tmp_path: Path, host: str) -> None:
    assert "junctor keys create" in refused(tmp_path, "--host", host)


def test_with_keys_of_the_database_it_does_and_is_not_open(tmp_path: Path) -> None:
    (tmp_path / "junctor.toml").write_text(CONFIG)
    env = {
        "PATH": read_environment().variables["PATH"],
        "HOME": str(tmp_path),
        "JUNCTOR_DATA_DIR": str(tmp_path / "data"),
    }
    command = [sys.executable, "-m", "junctor", "keys", "create", "ann"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    with serving(tmp_path, "--host", "0.0.0.0") as (server, url):
        url = url.replace("0.0.0.0", "127.0.0.1")
        with openai.OpenAI(base_url=f"{url}/v1", api_key=done.stdout.strip(), max_retries=0) as client:
            assert client.models.list().data
        with client_of(url) as client, pytest.raises(openai.AuthenticationError):
            client.models.list()
        server.terminate()
        assert "without API keys" not in last_words(server)


def test_a_wrong_configuration_is_explained(tmp_path: Path) -> None:
    (tmp_path / "junctor.toml").write_text("[server]\nprot = 1")
    assert "did you mean `port`?" in refused(tmp_path)


def test_a_missing_key_of_a_provider_is_named(tmp_path: Path) -> None:
    (tmp_path / "junctor.toml").write_text('[[models]]\nname = "a"\nprovider = "openai"')
    assert "OPENAI_API_KEY is not set" in refused(tmp_path)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    (tmp_path / "junctor.toml").write_text(CONFIG)
    with serving(tmp_path) as (_, url):
        port = url.rpartition(":")[2]
        said = refused(tmp_path, "--port", port)
    assert f"error: cannot listen on 127.0.0.1:{port}: Address already in use; another program does" in said
    assert "take another port with `--port`" in said


@pytest.mark.parametrize("port", ["99999", "-1"])
def test_a_port_that_is_none_is_refused_by_name(tmp_path: Path, port: str) -> None:
    command = [sys.executable, "-m", "junctor", "serve", "--port", port]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "'--port'" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_is_not_here_is_named(tmp_path: Path) -> None:
    key = f'[[keys]]\nname = "a"\nsha256 = "{"0" * 64}"\n'
    (tmp_path / "junctor.toml").write_text(CONFIG + key)
    assert "no such address: change `--host`" in refused(tmp_path, "--host", "192.0.2.1")
    assert "change `--host`" in refused(tmp_path, "--host", "nowhere.invalid")


def test_an_empty_pool_starts_and_says_what_to_do(tmp_path: Path) -> None:
    with serving(tmp_path, JUNCTOR_CACHE_DIR=str(tmp_path)) as (server, url):
        with pytest.raises(openai.UnprocessableEntityError, match="holds no model"):
            ask(url, model="auto")
        server.terminate()
        said = last_words(server)
    assert "junctor pull" in said


def test_ctrl_c_ends_it_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "junctor.toml").write_text(CONFIG)
    with serving(tmp_path) as (server, url):
        ask(url)
        server.send_signal(signal.SIGINT)
        said = last_words(server)
    assert "Traceback" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_answer_cut_at_the_end_of_the_grace_period_leaves_its_row(tmp_path: Path, number: int) -> None:
    """And the process ends with status 0: it has put everything in order."""
    config = CONFIG.replace("delay_s = 1", "delay_s = 60")
    (tmp_path / "junctor.toml").write_text("[server]\ngrace_s = 1\n" + config)
    with serving(tmp_path) as (server, url), client_of(url) as client:
        messages = [{"role": "user", "content": "slow"}]
        stream = client.chat.completions.create(model="small", messages=messages, stream=True)
        assert next(iter(stream)).choices[0].delta.content == "One"
        server.send_signal(number)
        assert server.wait(timeout=20) == 0
    with sqlite3.connect(tmp_path / "data/junctor.db") as database:
        rows = database.execute("SELECT outcome, usd_nano > 0 FROM ledger").fetchall()
    assert rows == [("server_stopped", 1)]
