"""What every command prints with, and how it ends when the person has to change something."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from junctor.chat import JunctorError
from junctor.settings import Environment, Settings, find_config, read_environment, read_settings
from junctor.settings_check import SettingsError

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The configuration file; left out: ./junctor.toml, if there is one."),
]

RELOAD = "A server that runs takes it over when it reloads: SIGHUP, or POST /api/reload."


def command_line_of(*words: str | Path) -> str:
    """A `junctor` command as it can be copied: with the path of this `junctor`, unless a shell finds it."""
    return shlex.join([*_own_name(), *map(str, words)])


def _own_name() -> list[str]:
    script = Path(sys.executable).with_name("junctor")
    found = shutil.which("junctor")
    if found is not None and Path(found).absolute() == script:
        return ["junctor"]
    if not script.is_file():
        return [sys.executable, "-m", "junctor"]
    here = Path.cwd()
    return [str(script.relative_to(here) if script.is_relative_to(here) else script)]


def install_advice(extra: str) -> str:
    """How to get what an extra brings: Junctor itself is installed from a clone."""
    return (
        "in a clone of Junctor `make setup` installs it for `.venv`, and "
        f"`pip install '.[{extra}]'` for another environment"
    )


def say_where_from(settings: Settings, path: Path) -> None:
    """Name the database that was read, where other configurations may write into it, too."""
    if settings.store.path is None:
        errors.print(
            f"[dim]From {escape(str(path))}, "
            "the database of all your configurations without `\\[store] path`.[/]",
            soft_wrap=True,
        )


def plain(text: str) -> str:
    """Text that a caller or a model may have chosen: neither markup nor control characters."""
    return escape("".join(character for character in text if character.isprintable()))


@contextmanager
def plain_errors() -> Generator[None, None, None]:
    """End with status 1 and one message, not a traceback, when the fault is not ours."""
    try:
        yield
    except SettingsError as error:
        for problem in error.problems:
            errors.print(f"[red]error:[/] {error.path}: ", end="")
            errors.print(problem, markup=False)
        raise typer.Exit(1) from None
    except JunctorError as error:
        errors.print("[red]error:[/] ", end="")
        errors.print(error.message, markup=False)
        raise typer.Exit(1) from None


def load(config: Path | None) -> tuple[Settings, Environment, Path | None]:
    """The settings and environment of a command, and the file that the settings came from."""
    path = find_config(config)
    return read_settings(path), read_environment(), path
