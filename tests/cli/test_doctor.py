"""`junctor doctor`: what this machine has and lacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from command import Junctor


def test_a_fresh_machine_lacks_nothing_that_is_needed(junctor: Junctor) -> None:
    done = junctor("doctor")
    assert done.exit_code == 0
    assert "junctor pull qwen2.5-coder-0.5b" in done.stdout
    assert "Python" in done.stdout


def test_a_broken_configuration_is_needed(home: Path, junctor: Junctor) -> None:
    (home / "junctor.toml").write_text("[serve]")
    done = junctor("doctor")
    assert done.exit_code == 1
    assert "did you mean `server`?" in done.stdout


def test_keys_are_offered_by_name_and_never_shown(junctor: Junctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-test")
    shown = junctor("doctor").stdout
    assert "ANTHROPIC_API_KEY is set" in shown
    assert 'provider = "anthropic"' in shown
    assert "sk-ant-test" not in shown


def test_a_folder_that_cannot_be_written_is_named(
    home: Path, junctor: Junctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUNCTOR_DATA_DIR", "/proc/nothing")
    done = junctor("doctor")
    assert done.exit_code == 1
    assert "JUNCTOR_DATA_DIR" in done.stdout


def test_a_database_that_cannot_be_opened_says_what_names_another(
    home: Path, junctor: Junctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever command wants it: no permission, or another program's file."""
    (home / "file").write_text("this is no database " * 99)
    for folder in ("/proc/nothing", str(home / "file")):
        monkeypatch.setenv("JUNCTOR_DATA_DIR", folder)
        done = junctor("keys", "create", "ann")
        assert done.exit_code == 1
        assert "[Errno" not in done.stderr
        assert "set `[store] path` in junctor.toml to another file, or JUNCTOR_DATA_DIR" in done.stderr
    (home / "junctor.toml").write_text(f'[store]\npath = "{home / "file"}"\n')
    said = " ".join(junctor("keys", "list").stderr.split())
    assert "set `[store] path` in junctor.toml to another file" in said
