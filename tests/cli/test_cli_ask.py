"""`junctor ask`: one question to a running server."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from command import Junctor
from running import Running, running

DIGEST = hashlib.sha256(b"k").hexdigest()
CONFIG = """
[[keys]]
name = "me"
sha256 = "DIGEST"
[[models]]
name = "small"
provider = "scripted"
price = { input = 1, output = 2 }
script = [{ when = "cut", text = "Half" }, { fail = "upstream_broken" }, { turn = true, text = "[b]Hi[/b]" }]
""".replace("DIGEST", DIGEST)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(CONFIG, tmp_path_factory.mktemp("server")) as it:
        yield it


@pytest.fixture
def key(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUNCTOR_API_KEY", "k")


@pytest.mark.usefixtures("key")
def test_the_answer_goes_to_stdout_and_the_receipt_to_stderr(server: Running, junctor: Junctor) -> None:
    """What a model says is shown as it is, never read as markup."""
    done = junctor("ask", "Hi", "--url", server.url)
    assert done.exit_code == 0
    assert done.stdout == "[b]Hi[/b]\n"
    assert "small" in done.stderr
    assert "junctor why dec_" in done.stderr


@pytest.mark.usefixtures("key")
def test_a_cut_is_an_error_after_what_was_said(server: Running, junctor: Junctor) -> None:
    done = junctor("ask", "cut", "--url", server.url)
    assert done.exit_code == 1
    assert done.stdout.startswith("Half")
    assert "error:" in done.stderr


@pytest.mark.usefixtures("key")
def test_a_refusal_is_told(server: Running, junctor: Junctor) -> None:
    done = junctor("ask", "Hi", "--url", server.url, "--model", "smal")
    assert done.exit_code == 1
    assert "Did you mean `small`?" in done.stderr


def test_a_missing_key_is_told(server: Running, junctor: Junctor) -> None:
    done = junctor("ask", "Hi", "--url", server.url)
    assert done.exit_code == 1
    assert "needs an API key" in done.stderr


def test_no_server_says_how_to_start_one(junctor: Junctor) -> None:
    done = junctor("ask", "Hi", "--url", "http://127.0.0.1:9")
    assert done.exit_code == 1
    assert "junctor serve" in done.stderr
