"""`junctor serve` looks after its file: what is changed comes into force, what is wrong does not."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import openai
import pytest

from junctor.cli.reload import SETTLE_S, ConfigWatch, keep_settled
from junctor.settings import Settings, parse_settings
from test_serve import ask, client_of, last_words, serving


def config(says: str, head: str = "") -> str:
    return f'{head}\n[[models]]\nname = "small"\nprovider = "scripted"\nscript = [{{ text = "{says}" }}]\n'


def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to pass in 10 s")


def answers(url: str, says: str) -> Callable[[], bool]:
    return lambda: ask(url) == says


@pytest.mark.parametrize("replace", [False, True])
def test_a_changed_file_comes_into_force_by_itself(tmp_path: Path, replace: bool) -> None:
    """Written over, or put in the old one's place as editors do."""
    file = tmp_path / "junctor.toml"
    file.write_text(config("Old."))
    with serving(tmp_path) as (_, url):
        assert ask(url) == "Old."
        if replace:
            (tmp_path / "new").write_text(config("New."))
            (tmp_path / "new").rename(file)
        else:
            file.write_text(config("New."))
        until(answers(url, "New."))


def test_a_file_that_appears_later_is_read(tmp_path: Path) -> None:
    with serving(tmp_path, JUNCTOR_CACHE_DIR=str(tmp_path)) as (_, url):
        with pytest.raises(openai.NotFoundError):
            ask(url)
        (tmp_path / "junctor.toml").write_text(config("New."))

        def is_there() -> bool:
            with client_of(url) as client:
                return "small" in [model.id for model in client.models.list()]

        until(is_there)
        assert ask(url) == "New."


def test_a_bad_file_is_refused_with_all_its_mistakes_and_the_next_good_one_taken(tmp_path: Path) -> None:
    file = tmp_path / "junctor.toml"
    file.write_text(config("Old."))
    with serving(tmp_path) as (server, url):
        file.write_text(config("Bad.", "[server]\nprot = 1\nkeepalive_s = 'x'"))
        until(lambda: b"junctor_config_refused 1.0" in metrics(url))
        assert ask(url) == "Old."
        file.unlink()
        time.sleep(1.2)
        assert ask(url) == "Old."
        file.write_text(config("New."))
        until(answers(url, "New."))
        server.terminate()
        said = last_words(server)
    (line,) = (line for line in said.splitlines() if "prot" in line)
    assert "did you mean `port`?" in line
    assert "keepalive_s" in line
    assert "Traceback" not in said


def metrics(url: str) -> bytes:
    with client_of(url) as client:
        return client.get(f"{url}/metrics", cast_to=str).encode()


def test_sighup_reads_the_file_again_even_when_it_is_not_watched(tmp_path: Path) -> None:
    file = tmp_path / "junctor.toml"
    file.write_text(config("Old.", "[server]\nwatch_config = false"))
    with serving(tmp_path) as (server, url):
        file.write_text(config("New.", "[server]\nwatch_config = false"))
        time.sleep(1.5)
        assert ask(url) == "Old."
        server.send_signal(signal.SIGHUP)
        until(answers(url, "New."))


def test_what_is_settled_at_the_start_stays_and_the_rest_comes_into_force(tmp_path: Path) -> None:
    file = tmp_path / "junctor.toml"
    file.write_text(config("Old."))
    with serving(tmp_path) as (server, url):
        file.write_text(config("New.", '[server]\nhost = "0.0.0.0"\n[store]\npath = "other.db"'))
        until(answers(url, "New."))
        server.terminate()
        said = last_words(server)
    assert "server.host and server.port come into force at the next start" in said
    assert "store.path and store.synchronous come into force at the next start" in said
    assert not (tmp_path / "other.db").exists()


def test_a_server_that_others_can_reach_does_not_give_up_its_last_key(tmp_path: Path) -> None:
    """Not even when the file says that it listens on loopback: it does not, before the next start."""
    digest = hashlib.sha256(b"secret").hexdigest()
    key = f'[[keys]]\nname = "a"\nsha256 = "{digest}"'
    file = tmp_path / "junctor.toml"
    file.write_text(config("Old.", '[server]\nhost = "0.0.0.0"\n' + key))
    with serving(tmp_path) as (server, url):
        local = url.replace("0.0.0.0", "127.0.0.1")
        file.write_text(config("New."))
        time.sleep(1.5)
        with pytest.raises(openai.AuthenticationError):
            ask(local)
        server.terminate()
        said = last_words(server)
    assert "no API key is configured" in said


class Watched:
    """In place of the application: notes what it would read."""

    def __init__(self, path: Path) -> None:
        self.settings = Settings()
        self.path = path
        self.read: list[str] = []

    async def reload(self) -> None:
        self.read.append(self.path.read_text())


@pytest.mark.anyio
async def test_a_file_that_is_written_in_pieces_is_read_once_when_it_rests(tmp_path: Path) -> None:
    app = Watched(tmp_path / "junctor.toml")
    app.path.write_text("")
    watch = ConfigWatch(cast(Any, app), app.path, poll_s=0.005)
    watching = asyncio.create_task(watch.run())
    text = ""
    for piece in ("[server]\n", "grace_s ", "= 7\n"):
        text += piece
        app.path.write_text(text)
        await asyncio.sleep(SETTLE_S / 2)
    while not app.read:
        await asyncio.sleep(0.01)
    await asyncio.sleep(SETTLE_S)
    watching.cancel()
    assert app.read == [text]


def test_sighup_before_anything_changed_is_harmless(tmp_path: Path) -> None:
    (tmp_path / "junctor.toml").write_text(config("Old."))
    with serving(tmp_path) as (server, url):
        for _ in range(3):
            server.send_signal(signal.SIGHUP)
            assert ask(url) == "Old."
        assert server.poll() is None
        server.terminate()
        assert server.wait(20) == 0


def test_settings_keep_the_address_and_the_database(tmp_path: Path) -> None:
    path = tmp_path / "junctor.toml"
    running = parse_settings('[server]\nport = 1\nhost = "::1"\n[store]\npath = "a"', path)
    new = parse_settings('[server]\nport = 2\ngrace_s = 7\n[store]\nsynchronous = "FULL"', path)
    kept = keep_settled(new, running)
    assert (kept.server.host, kept.server.port, kept.server.grace_s) == ("::1", 1, 7)
    assert (str(kept.store.path), kept.store.synchronous) == ("a", "NORMAL")
