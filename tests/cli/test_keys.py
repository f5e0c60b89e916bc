"""`junctor keys`: a key is shown once, and a server that runs sees what becomes of it within a second."""

from __future__ import annotations

import hashlib
import json
import stat
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from typer.testing import CliRunner

from command import Junctor
from junctor.cli import command_line
from junctor.gateway.keys import parse_id
from running import Running, running

MODEL = """
[[models]]
name = "small"
provider = "scripted"
price = { input = 1000, output = 0 }
script = [{ text = "Hi.", usage = { input_tokens = 5, output_tokens = 1 } }]
"""


def test_the_printed_lines_fit_the_printed_key() -> None:
    done = CliRunner().invoke(command_line(["keys"]), ["keys", "new", 'team "a"'])
    assert done.exit_code == 0
    key, _, lines = done.stdout.partition("\n")
    table = tomllib.loads(lines)["keys"][0]
    assert table == {"name": 'team "a"', "sha256": hashlib.sha256(key.encode()).hexdigest()}
    assert key.startswith("junctor_")
    assert len(key) > 40


def test_no_two_keys_are_the_same() -> None:
    run = CliRunner().invoke
    keys = {run(command_line(["keys"]), ["keys", "new", "x"]).stdout.splitlines()[0] for _ in range(3)}
    assert len(keys) == 3


def made(junctor: Junctor, *words: str) -> str:
    """The key that a command prints."""
    done = junctor("keys", *words)
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def test_standard_output_is_the_key_alone(junctor: Junctor, home: Path) -> None:
    """So that a script can take it; the pepper it is kept with is nobody else's to read."""
    key = made(junctor, "create", "ann")
    assert key == key.split()[0]
    assert parse_id(key)
    assert stat.S_IMODE((home / "data/pepper").stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "data/junctor.db").stat().st_mode) == 0o600


def test_the_list_shows_limits_and_never_a_key(junctor: Junctor) -> None:
    assert "There are no keys" in junctor("keys", "list").stdout
    limits = ["--usd-per-day", "0.5", "--usd-per-month", "5", "--requests-per-minute", "60"]
    limits += ["--strongest-share", "0.2"]
    limits += ["--tokens-per-minute", "1000", "--expires", "2999-01-31", "--admin", "--model", "small"]
    ann, bob = made(junctor, "create", "ann [red]", *limits), made(junctor, "create", "bob")
    said = junctor("keys", "list").stdout
    for words in (
        "ann [red]",
        "bob",
        "0.5 USD/day",
        "5 USD/month",
        "60 req/min",
        "1000 tok/min",
        "small",
        "20% strongest",
    ):
        assert words in said
    for words in (parse_id(ann), parse_id(bob), "until 2999-02-01", "admin", "none", "never", "live"):
        assert words in said
    assert ann[15:] not in said
    assert bob[15:] not in said


def test_keys_of_the_file_are_in_the_list(junctor: Junctor, home: Path) -> None:
    sha256 = hashlib.sha256(b"key").hexdigest()
    (home / "junctor.toml").write_text(f'[[keys]]\nname = "ci"\nsha256 = "{sha256}"\nusd_per_day = 2\n')
    said = junctor("keys", "list").stdout
    assert "config:ci" in said
    assert "2 USD/day" in said
    assert sha256 not in said


def test_a_change_changes_what_it_names(junctor: Junctor) -> None:
    key_id = parse_id(made(junctor, "create", "ann", "--usd-per-day", "1", "--requests-per-minute", "5"))
    changed = ["--usd-per-day", "2", "--name", "anna", "--strongest-share", "0.5"]
    assert junctor("keys", "change", key_id, *changed).exit_code == 0
    said = junctor("keys", "list").stdout
    assert "anna" in said
    assert "2 USD/day" in said
    assert "5 req/min" in said
    assert "50% strongest" in said
    unlimited = ["--unlimited", "usd-per-day", "--unlimited", "requests-per-minute"]
    unlimited += ["--unlimited", "strongest-share"]
    assert junctor("keys", "change", key_id, *unlimited).exit_code == 0
    assert "none" in junctor("keys", "list").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["create", ""], "`name` must have"),
        (["create", "ann", "--usd-per-day", "0"], "`--usd-per-day` must be more than 0"),
        (["create", "ann", "--usd-per-day", "inf"], "`--usd-per-day` must be more than 0"),
        (["create", "ann", "--requests-per-minute", "-5"], "`--requests-per-minute` must lie"),
        (["create", "ann", "--strongest-share", "20"], "`--strongest-share` must lie between 0 and 1"),
        (["create", "ann", "--expires", "tomorrow"], "2027-01-31"),
        (["create", "ann", "--expires", "2020-01-01"], "lies in the past"),
        (["create", "ann", "--model", ""], "`--model` must be names of models"),
        (["rotate", "nobody", "--grace", "-1"], "`--grace` must lie between 0"),
        (["rotate", "nobody"], "no API key has the id 'nobody'"),
        (["revoke", "nobody"], "no API key has the id 'nobody'"),
        (["change", "nobody"], "no API key has the id 'nobody'"),
        (["change", "nobody", "--unlimited", "money"], "--unlimited must be one of"),
    ],
)
def test_a_mistake_is_one_line_and_status_1(junctor: Junctor, words: list[str], said: str) -> None:
    done = junctor("keys", *words)
    assert done.exit_code == 1
    assert said in done.stderr
    assert done.stdout == ""


def test_a_model_that_nobody_has_is_noted_and_a_script_still_gets_its_key(
    junctor: Junctor, home: Path
) -> None:
    (home / "junctor.toml").write_text(MODEL)
    done = junctor("keys", "create", "ann", "--model", "smal")
    assert done.exit_code == 0
    assert "note: the key has no use of `smal` so far: nothing here is called so" in done.stderr
    assert "did you mean `small`" in done.stderr
    assert done.stdout.strip() == done.stdout.split()[0]
    changed = junctor("keys", "change", parse_id(done.stdout.strip()), "--model", "nope")
    assert "no use of `nope`" in changed.stderr
    assert "note:" not in junctor("keys", "create", "bob", "--model", "small", "--model", "fusion").stderr


@pytest.fixture
def server(home: Path, junctor: Junctor) -> Iterator[Running]:
    """A server of its own on the same database, as it runs for a person with two terminals."""
    with running(MODEL, home / "data") as it:
        yield it


def status_of(server: Running, key: str) -> int:
    body = json.dumps({"model": "small", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    request = Request(f"{server.api}/chat/completions", body, {"authorization": f"Bearer {key}"})
    try:
        with urlopen(request) as reply:
            return reply.status
    except HTTPError as error:
        with error:
            return error.code


def within_a_second(server: Running, key: str, status: int) -> bool:
    until = time.monotonic() + 1.0
    while status_of(server, key) != status:
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def test_a_running_server_sees_each_change_within_a_second(junctor: Junctor, server: Running) -> None:
    """Made, budget spent, budget raised, rotated, revoked."""
    assert status_of(server, "none") == 200, "it runs open"
    key = made(junctor, "create", "ann", "--usd-per-day", "0.005")
    assert within_a_second(server, "none", 401)
    assert status_of(server, key) == 200
    assert status_of(server, key) == 429
    key_id = parse_id(key)
    assert junctor("keys", "change", key_id, "--usd-per-day", "1").exit_code == 0
    assert within_a_second(server, key, 200)
    new = made(junctor, "rotate", key_id)
    assert within_a_second(server, key, 401)
    assert status_of(server, new) == 200
    assert junctor("keys", "revoke", key_id).exit_code == 0
    assert within_a_second(server, new, 401)
    assert "revoked" in junctor("keys", "list").stdout


def test_the_old_key_works_as_long_as_was_said(junctor: Junctor, server: Running) -> None:
    old = made(junctor, "create", "ann")
    done = junctor("keys", "rotate", parse_id(old), "--grace", "24")
    assert "the old one works until" in done.stderr
    new = done.stdout.strip()
    assert within_a_second(server, new, 200)
    assert status_of(server, old) == 200
    assert "old key until" in junctor("keys", "list").stdout
