"""`junctor check`: is junctor.toml right?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import typer

from junctor.assemble import Member, choose_members
from junctor.cli.terminal import ConfigOption, console, load, plain_errors
from junctor.pool.upstream import DEFAULT_MAX_TOKENS
from junctor.settings_check import SettingsError


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(check)


def check(config: ConfigOption = None) -> None:
    """Validate the configuration; status 1 when something is wrong."""
    with plain_errors():
        settings, environment, path = load(config)
        if path is None:
            console.print("No junctor.toml here; `junctor serve` would use the local models that are pulled.")
        try:
            members = asyncio.run(choose_members(settings, environment))
        except SettingsError as error:
            raise SettingsError(path or error.path, error.problems) from error
    for advice in advise(members):
        console.print(f"[yellow]note:[/] {advice}", soft_wrap=True)
    shown = path or "the defaults"
    console.print(
        f"[green]ok:[/] {shown}: {len(members)} model(s), {len(settings.keys)} key(s)", soft_wrap=True
    )


def advise(members: list[Member]) -> Iterator[str]:
    """What works, but less well than it could."""
    if len(members) < 2:
        yield "with fewer than two models, `auto` has nothing to choose from"
    for member in members:
        card = member.card
        if card.price is None:
            yield f"{card.name}: no price is known; its answers count as free. Add `price`"
        if card.dialect == "anthropic_messages" and card.max_output is None:
            yield (
                f"{card.name}: Anthropic wants a limit on every answer; without `max_output` here it is "
                f"{DEFAULT_MAX_TOKENS} tokens for requests that state none"
            )
        if card.first_token_ms is None or card.tokens_per_s is None:
            yield (f"{card.name}: latency limits rule it out; first_token_ms or tokens_per_s is not stated")
