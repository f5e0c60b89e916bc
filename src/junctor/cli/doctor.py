"""`junctor doctor`: what this machine has and lacks."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import msgspec
import typer

from junctor import __version__
from junctor.assemble import database_path, find_mistakes, weights_dir
from junctor.cli.terminal import ConfigOption, command_line_of, console, install_advice
from junctor.pool.catalog import PROVIDERS
from junctor.serving.manifest import shipped
from junctor.serving.weights import installed
from junctor.settings import Environment, Settings, find_config, read_environment, read_settings
from junctor.settings_check import SettingsError


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    what: str
    state: str
    advice: str = ""
    "What to do about it; empty when all is well."
    needed: bool = True
    "Whether Junctor cannot work without it."


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(config: ConfigOption = None) -> None:
    """Look at this machine; status 1 when something that is needed is missing."""
    environment = read_environment()
    findings = [*look_at_machine(), *look_at_settings(find_config(config), environment)]
    for finding in findings:
        mark = (
            "[green]ok[/] " if not finding.advice else "[red]no[/] " if finding.needed else "[yellow]-[/]  "
        )
        console.print(f"{mark} [bold]{finding.what}[/]: ", end="")
        console.print(finding.state, markup=False, soft_wrap=True)
        if finding.advice:
            console.print(f"     {finding.advice}", markup=False, soft_wrap=True)
    if any(finding.advice and finding.needed for finding in findings):
        raise typer.Exit(1)


def look_at_machine() -> Iterator[Finding]:
    """Python, processor, memory, disk."""
    yield Finding("Junctor", f"{__version__} on Python {platform.python_version()} ({sys.executable})")
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    yield Finding("processor", f"{cores} core(s), {platform.machine()}")
    short = "the two local models need about 3 GB" if memory < 3e9 else ""
    yield Finding("free memory", f"{memory / 1e9:.1f} GB", short, needed=False)


def look_at_settings(config: Path | None, environment: Environment) -> Iterator[Finding]:
    """The configuration, the folders it names, the models it can use."""
    try:
        settings = read_settings(config)
    except SettingsError as error:
        yield Finding("configuration", str(config), "\n     ".join(error.problems))
        settings = Settings()
    else:
        mistakes = list(find_mistakes(settings, environment))
        shown = (
            f"{config}: {len(settings.models)} model(s)" if config else "no junctor.toml here: the defaults"
        )
        yield Finding("configuration", shown, "\n     ".join(mistakes))
    yield _look_at_folder("database", database_path(settings, environment))
    yield from _look_at_local(settings, environment)
    yield from _look_at_keys(environment)


def _look_at_folder(what: str, path: Path) -> Finding:
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):  # asking for permission is not enough: try
            return Finding(what, str(path))
    except OSError as error:
        return Finding(what, str(path), f"{folder}: {error.strerror}; set JUNCTOR_DATA_DIR")


def _look_at_local(settings: Settings, environment: Environment) -> Iterator[Finding]:
    engine = find_spec("xllamacpp") is not None
    advice = "" if engine else f"the extra `local`: {install_advice('local')}"
    yield Finding("local engine", "xllamacpp" if engine else "not installed", advice, needed=False)
    folder = weights_dir(settings, environment)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    for manifest in shipped().values():
        if installed(manifest, folder):
            yield Finding(f"local model {manifest.name}", "here")
        else:
            room = "" if free > 2 * manifest.size else f" (needs {2 * manifest.size / 1e9:.1f} GB of disk)"
            yield Finding(
                f"local model {manifest.name}",
                "not here",
                f"{command_line_of('pull', manifest.name)}{room}",
                needed=False,
            )


def _look_at_keys(environment: Environment) -> Iterator[Finding]:
    for name, provider in PROVIDERS.items():
        if provider.api_key_env and environment.secret(provider.api_key_env):
            yield Finding(
                f"provider {name}",
                f"{provider.api_key_env} is set",
                f'to use it, add a [[models]] with provider = "{name}" to junctor.toml',
                needed=False,
            )
