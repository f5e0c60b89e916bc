"""`junctor models`: the pool, its prices and where they come from."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from junctor.assemble import choose_members, database_path, weights_dir
from junctor.chat import ModelCard
from junctor.cli.terminal import ConfigOption, console, errors, load, plain_errors
from junctor.lasting import ARTEFACT
from junctor.pool.catalog import PROVIDERS
from junctor.routing.abilities import Abilities, Ability, match_abilities
from junctor.routing.calibration.store import CalibrationStore
from junctor.routing.predictor import Predictor, parse_artefact
from junctor.serving.manifest import shipped
from junctor.serving.weights import installed
from junctor.settings import Environment, Settings
from junctor.store.database import Database


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
        cards, abilities = asyncio.run(_read_pool(settings, environment))
    if cards:
        console.print(_model_table(cards, abilities))
    else:
        errors.print(
            "The pool is empty: pull a local model, or add [[models]] to junctor.toml.", markup=False
        )
    console.print(_local_table(settings, environment))


async def _read_pool(
    settings: Settings, environment: Environment
) -> tuple[list[ModelCard], Abilities | None]:
    """The cards, and what a calibration has measured, where there has been one."""
    cards = [member.card for member in await choose_members(settings, environment)]
    path = database_path(settings, environment)
    if not path.is_file():
        return cards, None
    async with Database(path) as database:
        return cards, (await CalibrationStore(database).current()).abilities


def _model_table(cards: list[ModelCard], abilities: Abilities | None) -> Table:
    measured = match_abilities(abilities, cards)
    placed = Predictor(parse_artefact(ARTEFACT.read_bytes())).place(cards)
    table = Table(box=box.SIMPLE_HEAD, title="The pool", title_justify="left")
    for heading in ("model", "in / out, USD per Mtok", "window", "skills", "ability"):
        table.add_column(heading)
    for card, place in zip(cards, placed, strict=True):
        price, licence = card.price, f", {card.licence}" if card.licence else ""
        upstream = f": {card.upstream}" if card.upstream != card.name else ""
        table.add_row(
            f"[bold]{card.name}[/]\n[dim]{card.provider}{upstream}{licence}[/]",
            f"{price.input:.4g} / {price.output:.4g}\n[dim]{price.source}[/]" if price else "unknown",
            str(card.window),
            " ".join(sorted(card.skills)),
            _ability(card, place.source, measured.get(card.name)),
        )
    return table


def _ability(card: ModelCard, source: str, measured: Ability | None) -> str:
    if measured is not None:
        return f"measured: {measured.p:.2f} ± {measured.p_error:.2f}"
    return f"declared: {card.ability:g}" if card.ability is not None else _ABILITY_FROM[source]


_ABILITY_FROM = {"artefact": "from training", "estimated ability": "estimated from its price"}


def _local_table(settings: Settings, environment: Environment) -> Table:
    table = Table("model", "size", "weights", "licence", box=box.SIMPLE_HEAD)
    table.title, table.title_justify = "Local models", "left"
    for manifest in shipped().values():
        here = installed(manifest, weights_dir(settings, environment)) is not None
        state = "here" if here else f"junctor pull {manifest.name}"
        table.add_row(manifest.name, f"{manifest.size / 1e9:.1f} GB", state, manifest.licence)
    return table


def _provider_table(environment: Environment) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Providers", title_justify="left")
    for heading in ("provider", "base_url", "key"):
        table.add_column(heading, overflow="fold")
    for name, provider in PROVIDERS.items():
        variable = provider.api_key_env
        key = "needs none" if variable is None else f"{variable} ({_state(environment, variable)})"
        table.add_row(name, provider.base_url, key)
    return table


def _state(environment: Environment, variable: str) -> str:
    return "set" if environment.secret(variable) else "not set"
