"""The command line: parse, call, print.

Each command is a module of its own, and only the one asked for is imported: `junctor serve` starts without
what `junctor demo` needs to draw a table.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated

import typer

from junctor import __version__
from junctor.cli.terminal import install_advice

COMMANDS = (
    *("serve", "demo", "ask", "why", "savings", "calibrate"),
    *("models", "pull", "keys", "check", "doctor"),
)
"In the order of `--help`."
NEEDS_EXTRA = {"demo": "local"}
"Commands that the base install cannot run -> the extra that they need."


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (`sys.argv` unless given); ends with `SystemExit`."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command_line(words)(args=words, prog_name="junctor")


def command_line(words: Sequence[str]) -> typer.Typer:
    """The commands that these words can mean: the one they name, or all of them."""
    app = typer.Typer(
        name="junctor",
        help="One endpoint in front of a pool of language models.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    named = words[:1] if words and words[0] in COMMANDS else COMMANDS
    for name in named:
        try:
            import_module(f"junctor.cli.{name}").add_to(app)
        except ModuleNotFoundError as error:
            if name not in NEEDS_EXTRA:
                raise
            app.command(name)(_missing(name, error))
    return app


def _missing(name: str, error: ModuleNotFoundError) -> Callable[[], None]:
    """A command in place of one whose extra is not installed."""
    extra = NEEDS_EXTRA[name]

    def command() -> None:
        advice = install_advice(extra)
        typer.echo(f"`junctor {name}` needs more ({error}): the extra `{extra}`; {advice}", err=True)
        raise typer.Exit(1)

    command.__doc__ = f"(needs the extra `{extra}`)"
    return command


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"junctor {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_say_version, help="Say the version."),
    ] = False,
) -> None:
    """One endpoint in front of a pool of language models.

    First steps: `junctor demo` shows it all with two local models; `junctor doctor` says what this machine
    has and lacks.
    """
