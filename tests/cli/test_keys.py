"""`junctor keys new`: the key is shown once, and what goes into the file is its digest."""

from __future__ import annotations

import hashlib
import tomllib

from typer.testing import CliRunner

from junctor.cli import command_line


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
