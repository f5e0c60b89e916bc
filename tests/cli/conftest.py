"""The command line as a person runs it: a fresh folder, a fresh home, no keys in the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from command import Junctor
from junctor.cli import command_line, terminal


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory and everything else that a command may look at."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "JUNCTOR_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JUNCTOR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("JUNCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(terminal.console, "width", 200)
    monkeypatch.setattr(terminal.errors, "width", 200)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def junctor(home: Path) -> Junctor:
    """Run a command line and give what it said and how it ended."""

    def run(*words: str) -> Result:
        return CliRunner().invoke(command_line(words), list(words))

    return run
