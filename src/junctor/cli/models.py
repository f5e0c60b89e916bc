"""`junctor models`: the pool, its prices and where they come from."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.table import Table

from junctor.assemble import choose_members, weights_dir
from junctor.chat import ModelCard
from junctor.cli.terminal import ConfigOption, console, errors, load, plain_errors
from junctor.pool.catalog import PROVIDERS
from junctor.serving.manifest import shipped
from junctor.serving.weights import installed
from junctor.settings import Environment, Settings


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(models)


def models(
    config: ConfigOption = None,
    providers: Annotated[
        bool, typer.Option("--providers", help="List the providers of the catalogue.")
    ] = False,
) -> None:
    """Show the models of the pool, or the providers that we know how to reach."""
    with plain_errors():
        settings, environment, _ = load(config)
        if providers:
            console.print(_provider_table(environment))
            return
        cards = [member.card for member in asyncio.run(choose_members(settings, environment))]
    if cards:
        console.print(_model_table(cards))
    else:
        errors.print(
            "The pool is empty: pull a local model, or add [[models]] to junctor.toml.", markup=False
        )
    console.print(_local_table(settings, environment))


def _model_table(cards: list[ModelCard]) -> Table:
    table = Table(title="The pool", title_justify="left")
    for heading in (
        "model",
        "provider",
        "USD per Mtok in / out",
        "price from",
        "window",
        "skills",
        "ability",
        "licence",
    ):
        table.add_column(heading, overflow="fold")
    for card in cards:
        price = card.price
        table.add_row(
            card.name,
            f"{card.provider}: {card.upstream}" if card.upstream != card.name else card.provider,
            f"{price.input:g} / {price.output:g}" if price else "unknown",
            price.source if price else "",
            str(card.window),
            ", ".join(sorted(card.skills)),
            "from training data" if card.ability is None else f"{card.ability:.2f} (declared)",
            card.licence,
        )
    return table


def _local_table(settings: Settings, environment: Environment) -> Table:
    table = Table("model", "size", "weights", "licence", title="Local models", title_justify="left")
    for manifest in shipped().values():
        here = installed(manifest, weights_dir(settings, environment)) is not None
        state = "here" if here else f"junctor pull {manifest.name}"
        table.add_row(manifest.name, f"{manifest.size / 1e9:.1f} GB", state, manifest.licence)
    return table


def _provider_table(environment: Environment) -> Table:
    table = Table("provider", "base_url", "key", title="Providers", title_justify="left")
    for name, provider in PROVIDERS.items():
        variable = provider.api_key_env
        key = "needs none" if variable is None else f"{variable} ({_state(environment, variable)})"
        table.add_row(name, provider.base_url, key)
    return table


def _state(environment: Environment, variable: str) -> str:
    return "set" if environment.secret(variable) else "not set"
