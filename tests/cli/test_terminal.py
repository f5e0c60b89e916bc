"""How a command ends when the person has to change something."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from junctor.chat import BadRequest
from junctor.cli.terminal import load, plain_errors
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
