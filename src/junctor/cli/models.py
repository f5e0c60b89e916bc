"""`junctor models`: the pool, its prices and where they come from, and its fusions."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from junctor.assemble import Member, choose_members, database_path, weights_dir
from junctor.chat import FusionMode, ModelCard
from junctor.cli.terminal import ConfigOption, console, errors, load, plain_errors
from junctor.fusion.plan import Plan
from junctor.fusions import Fusions, fusions_of
from junctor.lasting import ARTEFACT
from junctor.pool.catalog import PROVIDERS
from junctor.routing.abilities import Abilities, Ability, match_abilities
from junctor.routing.calibration.store import NOT_CALIBRATED, Calibrated, CalibrationStore
from junctor.routing.predictor import Predictor, mean_p, parse_artefact
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
        members, calibrated = asyncio.run(_read_pool(settings, environment))
    if members:
        predictor = Predictor(parse_artefact(ARTEFACT.read_bytes()))
        console.print(_model_table([it.card for it in members], calibrated.abilities, predictor))
        _print_fusions(describe_fusions(settings, members, calibrated, predictor))
    else:
        errors.print(
            "The pool is empty: pull a local model, or add [[models]] to junctor.toml.", markup=False
        )
    console.print(_local_table(settings, environment))


async def _read_pool(settings: Settings, environment: Environment) -> tuple[Sequence[Member], Calibrated]:
    """The models, and what a calibration has measured, where there has been one."""
    members = await choose_members(settings, environment)
    path = database_path(settings, environment)
    if not path.is_file():
        return members, NOT_CALIBRATED
    async with Database(path) as database:
        return members, await CalibrationStore(database).current()


def _model_table(cards: list[ModelCard], abilities: Abilities | None, predictor: Predictor) -> Table:
    measured = match_abilities(abilities, cards)
    placed = predictor.place(cards)
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


def describe_fusions(
    settings: Settings, members: Sequence[Member], calibrated: Calibrated, predictor: Predictor
) -> Fusions:
    """As a server would have them."""
    cards = [member.card for member in members if member.settings.kind == "chat"]
    placed = predictor.place(cards, calibrated.abilities)
    abilities = {it.name: mean_p(predictor.artefact, it.ability) for it in placed}
    return fusions_of(settings, members, abilities, calibrated)


def _print_fusions(fusions: Fusions) -> None:
    """Each with its members, and the presets that are not fusions themselves."""
    if not fusions.plans:
        return
    weights = fusions.weights
    table = Table(box=box.SIMPLE_HEAD, title="Fusions", title_justify="left")
    for heading in ("fusion", "mode", "members", "judge", "votes"):
        table.add_column(heading)
    for name, plan in fusions.plans.items():
        votes = weights.vote_for(plan.members)[1]
        table.add_row(
            f"[bold]{name}[/]", plan.mode, _members(plan), plan.judge or _JUDGED_BY[plan.mode], votes
        )
    console.print(table)
    presets = [
        f"{name}: {_members(plan)}" for name, plan in fusions.presets.items() if name not in fusions.plans
    ]
    console.print(f"[dim]Presets beside these: {'; '.join(presets)}[/]\n", soft_wrap=True)


_JUDGED_BY: dict[FusionMode, str] = {
    "auto": "the best uninvolved member",
    "best-of": "the best that answers",
    "merge": "the best that answers",
    "vote": "none",
    "debate": "none",
}
"Where no judge is named."


def _members(plan: Plan) -> str:
    times = Counter(plan.members)
    return ", ".join(name if count == 1 else f"{name} x {count}" for name, count in times.items())


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
