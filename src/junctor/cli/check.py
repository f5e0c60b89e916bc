"""`junctor check`: is junctor.toml right?"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import typer

from junctor.assemble import Member, choose_members
from junctor.chat import ModelCard
from junctor.cli.serve import keeps_keys
from junctor.cli.terminal import ConfigOption, console, load, plain_errors
from junctor.fusion.bench import JUDGE_S, VERDICT_TOKENS
from junctor.fusions import names_for_keys
from junctor.gateway.admit import is_loopback
from junctor.gateway.keys import find_unknown_models
from junctor.pool.upstream import DEFAULT_MAX_TOKENS
from junctor.settings import CONFIG_NAME, Environment, FusionSettings, KeySettings, Settings, add_lines
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
            members = asyncio.run(_try_out(settings, environment))
        except SettingsError as error:
            raise add_lines(error, path) from error
    names = names_for_keys(settings, [member.card.name for member in members])
    notes = (*advise(members), *advise_fusions(settings.fusions, members), *advise_keys(settings.keys, names))
    for advice in notes:
        console.print(f"[yellow]note:[/] {advice}", soft_wrap=True)
    shown = path or "the defaults"
    console.print(
        f"[green]ok:[/] {shown}: {len(members)} model(s), {len(settings.fusions)} fusion(s), "
        f"{len(settings.keys)} key(s)",
        soft_wrap=True,
    )


async def _try_out(settings: Settings, environment: Environment) -> list[Member]:
    """All that `junctor serve` does before it listens. Raises `SettingsError`."""
    members = await choose_members(settings, environment)
    if await is_open_door(settings, environment):
        words = (
            f"{settings.server.host} can be reached from other machines, and no API key is configured; make "
            "one with `junctor keys create NAME`, or listen on 127.0.0.1"
        )
        raise SettingsError(Path(CONFIG_NAME), [f"server.host: {words}"], [("server.host", words)])
    return members


async def is_open_door(settings: Settings, environment: Environment) -> bool:
    """Whether others than this machine could use the server without any key; `junctor serve` refuses that."""
    if settings.keys or is_loopback(settings.server.host):
        return False
    return not await keeps_keys(settings, environment)


def advise_keys(keys: Sequence[KeySettings], names: Collection[str]) -> Iterator[str]:
    """What keys of the file name that nothing has. `names`: all that a key may name."""
    for key in keys:
        yield from (f"key {key.name}: {words}" for words in find_unknown_models(key.models, names))


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


def advise_fusions(fusions: Sequence[FusionSettings], members: Sequence[Member]) -> Iterator[str]:
    """What fusions of these models do less well than they could."""
    cards = {member.card.name: member.card for member in members}
    for fusion in fusions:
        if len(set(fusion.members)) == 1 and fusion.temperature == 0:
            yield f"{fusion.name}: one model at temperature 0 says the same each time: nothing to fuse"
        if len(fusion.members) == 1:
            yield f"{fusion.name}: with one member there is nothing to fuse; name {fusion.members[0]} itself"
        if fusion.mode in ("vote", "debate") and fusion.judge is not None:
            yield f"{fusion.name}: the mode {fusion.mode} asks no judge; `judge` does nothing there"
        if fusion.mode not in ("vote", "debate") and (slow := _slow_judges(fusion, cards)):
            yield (
                f"{fusion.name}: {' and '.join(slow)} would judge and write here: slow, for a verdict of "
                f'{VERDICT_TOKENS} tokens within {JUDGE_S:g} s. Name a faster `judge`, or `mode = "vote"`, '
                "which asks none"
            )
        if len(fusion.members) == 2 == len(set(fusion.members)) and _votes_alone(fusion):
            yield f"{fusion.name}: of two members the abler one wins every vote; add a third, or a `judge`"
        if fusion.quorum is not None and fusion.quorum == len(fusion.members):
            yield f"{fusion.name}: a quorum of all members is none: `grace_ms` does nothing there"
        unpriced = [name for name in dict.fromkeys(fusion.members) if name in cards and not cards[name].price]
        if fusion.max_usd is not None and unpriced:
            yield f"{fusion.name}: max_usd takes {', '.join(unpriced)} for free: no price is known"


def _votes_alone(fusion: FusionSettings) -> bool:
    """Whether nobody but the vote decides between two: no third has answered, who might judge."""
    return fusion.mode == "vote" or (fusion.mode == "auto" and fusion.judge is None)


def _slow_judges(fusion: FusionSettings, cards: Mapping[str, ModelCard]) -> list[str]:
    """Each with its speed; nobody where one may judge that is fast enough, or whose speed is not known."""
    told: list[str] = []
    for name in dict.fromkeys((fusion.judge,) if fusion.judge else fusion.members or cards):
        speed = cards[name].tokens_per_s if name in cards else None
        if speed is None or VERDICT_TOKENS / speed < JUDGE_S / 3:
            return []
        told.append(f"{name} ({speed:g} tokens/s)")
    return told
