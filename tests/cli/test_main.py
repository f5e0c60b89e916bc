"""The command line without what is optional."""

from __future__ import annotations

import subprocess
import sys

import pytest

from junctor import __version__


def run_without(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in an interpreter that cannot import a module."""
    code = f"import sys; sys.modules[{module!r}] = None; from junctor.cli import main; main({list(words)!r})"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", ["openai", "xllamacpp"])
def test_the_base_install_has_help(module: str) -> None:
    done = run_without(module, "--help")
    assert done.returncode == 0, done.stderr
    assert "serve" in done.stdout
    assert "demo" in done.stdout


def test_a_command_whose_extra_is_missing_says_which() -> None:
    done = run_without("openai", "demo")
    assert done.returncode == 1
    assert "the extra `local`" in done.stderr
    assert "make setup" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_fault_of_ours_is_not_taken_for_a_missing_extra() -> None:
    done = run_without("msgspec", "check")
    assert "Traceback" in done.stderr


def test_it_says_its_version() -> None:
    done = subprocess.run([sys.executable, "-m", "junctor", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"junctor {__version__}\n")


def test_it_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "junctor", "--help"], capture_output=True, text=True)
    assert "Usage: junctor" in done.stdout
