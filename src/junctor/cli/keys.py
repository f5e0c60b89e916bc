"""`junctor keys`: API keys for callers."""

from __future__ import annotations

import hashlib
import secrets
from typing import Annotated

import typer

from junctor.cli.terminal import console, errors


def add_to(app: typer.Typer) -> None:
    """Add the command group."""
    keys = typer.Typer(no_args_is_help=True, help="Make API keys for callers.")
    keys.command("new")(new)
    app.add_typer(keys, name="keys")


def new(
    name: Annotated[str, typer.Argument(help="Who the key is for; stands in the ledger as the caller.")],
) -> None:
    """Make a key: print it once, and the lines for junctor.toml, which hold only its digest."""
    key = f"junctor_{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    errors.print("The key (shown once, stored nowhere):\n")
    console.print(key, markup=False, soft_wrap=True)
    errors.print("\nThe lines for junctor.toml:\n")
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    console.print(f'[[keys]]\nname = "{quoted}"\nsha256 = "{digest}"', markup=False, soft_wrap=True)
