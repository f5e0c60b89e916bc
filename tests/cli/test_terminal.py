"""How a command ends when the person has to change something."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from junctor.chat import BadRequest
from junctor.cli.terminal import command_line_of, load, plain_errors, say_where_from
from junctor.settings import parse_settings
from junctor.settings_check import SettingsError


@pytest.mark.parametrize(
    "error", [BadRequest("change [this]"), SettingsError(Path("junctor.toml"), ["change [this]"])]
)
def test_an_error_is_one_message_and_status_1(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    """Square brackets in a message are text, not markup."""
    with pytest.raises(typer.Exit) as caught, plain_errors():
        raise error
    assert caught.value.exit_code == 1
    assert "change [this]" in capsys.readouterr().err


def test_our_own_faults_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError), plain_errors():
        raise ZeroDivisionError


def test_settings_come_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None)[2] is None
    (tmp_path / "junctor.toml").write_text("[server]\nport = 1")
    settings, _, path = load(None)
    assert settings.server.port == 1
    assert path == Path("junctor.toml")


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `junctor` beside the Python that runs, in an environment below the working directory."""
    folder = tmp_path / ".venv/bin"
    folder.mkdir(parents=True)
    file = folder / "junctor"
    file.write_text("#!/bin/sh\necho $*\n")
    file.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.chdir(tmp_path)
    return file


def test_a_command_is_said_as_this_shell_finds_it(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its path until the PATH has it; and another Junctor on the PATH is not this one."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    told = command_line_of("why", "dec_1", "-c", Path("a b.toml"))
    assert told == ".venv/bin/junctor why dec_1 -c 'a b.toml'"
    ran = subprocess.run(["/bin/sh", "-c", told], capture_output=True, text=True, check=True)
    assert ran.stdout == "why dec_1 -c a b.toml\n"
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    assert command_line_of("why") == "junctor why"
    elsewhere = script.parent.parent / "junctor"
    elsewhere.write_bytes(script.read_bytes())
    elsewhere.chmod(0o755)
    monkeypatch.setenv("PATH", f"{elsewhere.parent}:{script.parent}")
    assert command_line_of("why") == ".venv/bin/junctor why"


def test_without_a_script_a_command_is_the_module(script: Path) -> None:
    script.unlink()
    assert command_line_of("why") == f"{sys.executable} -m junctor why"


def test_a_database_that_configurations_share_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    file = Path("junctor.toml")
    say_where_from(parse_settings("", file), Path("/data/[x]/junctor.db"))
    assert "From /data/[x]/junctor.db" in capsys.readouterr().err
    say_where_from(parse_settings('[store]\npath = "own.db"', file), Path("own.db"))
    assert capsys.readouterr().err == ""
