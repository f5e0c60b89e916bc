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
    assert "USD, saved 0.000000 USD; why: " in done.stderr
    assert "junctor why dec_" in done.stderr


@pytest.mark.usefixtures("key")
def test_of_a_fusion_it_does_not_say_that_nothing_was_saved(server: Running, junctor: Junctor) -> None:
    """Its cost is compared with nobody's."""
    done = junctor("ask", "Hi", "--url", server.url, "--model", "fusion")
    assert done.stdout == "[b]Hi[/b]\n"
    assert " USD; why: " in done.stderr
    assert "saved" not in done.stderr


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
    assert "JUNCTOR_API_KEY, which is not set" in " ".join(done.stderr.split())


def test_a_wrong_key_is_told_with_the_variable_that_holds_it(
    server: Running, junctor: Junctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUNCTOR_API_KEY", "wrong")
    said = " ".join(junctor("ask", "Hi", "--url", server.url).stderr.split())
    assert "not known here" in said
    assert said.endswith("`junctor ask` sends the key in JUNCTOR_API_KEY")


def test_no_server_says_how_to_start_one(junctor: Junctor) -> None:
    done = junctor("ask", "Hi", "--url", "http://127.0.0.1:9")
    assert done.exit_code == 1
    assert "junctor serve" in done.stderr


@pytest.mark.usefixtures("key")
def test_it_asks_the_server_of_the_configuration_here(home: Path, server: Running, junctor: Junctor) -> None:
    """Its address and port, and not that of whatever else may run; `--url` goes before."""
    port = server.url.rpartition(":")[2]
    (home / "junctor.toml").write_text(f'[server]\nhost = "0.0.0.0"\nport = {port}\n')
    assert junctor("ask", "Hi").stdout == "[b]Hi[/b]\n"
    (home / "other.toml").write_text("[server]\nport = 9\n")
    assert "127.0.0.1:9;" in junctor("ask", "Hi", "-c", "other.toml").stderr
    done = junctor("ask", "Hi", "-c", "junctor.toml")
    assert "why dec_" in done.stderr
    assert done.stderr.strip().endswith("-c junctor.toml")


@pytest.mark.parametrize(
    ("table", "said"),
    [('host = "::"\nport = 9', "no server answers at http://[::1]:9;"), ("port = 0", "name it with --url")],
)
def test_an_address_that_says_too_little_is_made_one_or_refused(
    home: Path, junctor: Junctor, table: str, said: str
) -> None:
    (home / "junctor.toml").write_text(f"[server]\n{table}\n")
    done = junctor("ask", "Hi")
    assert done.exit_code == 1
    assert said in done.stderr
