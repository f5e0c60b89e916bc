"""`junctor keys`: API keys for callers.

They work on the database itself, whether the server runs or not; one that runs sees a change within a second.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from junctor.assemble import caller_key, choose_models, database_path, pepper_of
from junctor.chat import BadRequest
from junctor.cli.terminal import ConfigOption, console, errors, load, plain_errors
from junctor.fusions import names_for_keys
from junctor.gateway.key_json import KeyDocument, show_configured, show_key
from junctor.gateway.key_registry import KeyRegistry, NewKey
from junctor.gateway.key_store import KeyStore
from junctor.gateway.keys import (
    ANYBODY,
    CONFIG_ID,
    Grant,
    find_unknown_models,
    parse_budget,
    parse_expiry,
)
from junctor.settings import Environment, Settings
from junctor.store.database import Database

_T = TypeVar("_T")

ConfigPath = Path | None
IdArgument = Annotated[str, typer.Argument(help="The key's id, as `junctor keys list` shows it.")]
ModelsOption = Annotated[
    list[str] | None,
    typer.Option("--model", help="A model it may use; say it again for another. Left out: all."),
]
RequestsOption = Annotated[int | None, typer.Option(help="Requests a minute, at most.")]
TokensOption = Annotated[int | None, typer.Option(help="Tokens a minute, read and written, at most.")]
DayOption = Annotated[float | None, typer.Option(help="USD it may spend in a day (UTC).")]
MonthOption = Annotated[float | None, typer.Option(help="USD it may spend in a calendar month (UTC).")]
ShareOption = Annotated[
    float | None,
    typer.Option(help="Share of its answers by `auto` that the strongest model may give, such as 0.2."),
]
ExpiresOption = Annotated[
    str | None, typer.Option(help="A day such as 2027-01-31, until its end (UTC), or a time.")
]
AdminOption = Annotated[bool, typer.Option("--admin", help="It may make and revoke keys at /api/keys.")]
UnlimitedOption = Annotated[
    list[str] | None,
    typer.Option(
        "--unlimited",
        help="Take a limit away: models, requests-per-minute, tokens-per-minute, usd-per-day, usd-per-month, "
        "strongest-share, expires or admin. Say it again for another.",
    ),
]
_FIELDS = {
    "models": "models",
    "requests-per-minute": "requests_per_minute",
    "tokens-per-minute": "tokens_per_minute",
    "usd-per-day": "usd_nano_per_day",
    "usd-per-month": "usd_nano_per_month",
    "strongest-share": "strongest_share",
    "expires": "expires_at",
    "admin": "is_admin",
}
_OPTIONS = {
    "models": "--model",
    "requests_per_minute": "--requests-per-minute",
    "tokens_per_minute": "--tokens-per-minute",
    "usd_per_day": "--usd-per-day",
    "usd_per_month": "--usd-per-month",
    "strongest_share": "--strongest-share",
    "expires": "--expires",
    "grace_hours": "--grace",
}
"What the fields of a grant are called here."
_NO_GRANT = Grant()


def add_to(app: typer.Typer) -> None:
    """Add the command group."""
    keys = typer.Typer(no_args_is_help=True, help="Make, list, change, rotate and revoke API keys.")
    for command in (create, change, rotate, revoke, new):
        keys.command(command.__name__)(command)
    keys.command("list")(list_keys)
    app.add_typer(keys, name="keys")


def create(
    name: Annotated[str, typer.Argument(help="Who the key is for; stands in the ledger as the caller.")],
    model: ModelsOption = None,
    requests_per_minute: RequestsOption = None,
    tokens_per_minute: TokensOption = None,
    usd_per_day: DayOption = None,
    usd_per_month: MonthOption = None,
    strongest_share: ShareOption = None,
    expires: ExpiresOption = None,
    admin: AdminOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a key and print it, this once."""
    with _in_words_of_options():
        grant = Grant(
            is_admin=admin,
            models=tuple(model or ()),
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            usd_nano_per_day=parse_budget(usd_per_day),
            usd_nano_per_month=parse_budget(usd_per_month),
            strongest_share=strongest_share,
            expires_at=None if expires is None else parse_expiry(expires),
        )
        made = _with_registry(config, lambda registry: registry.create(ANYBODY, name, grant))
    _note_unknown(config, model)
    _print_new(made, f"The key {made.key.id} of {name} (shown once, stored nowhere):")


def change(
    id: IdArgument,  # noqa: A002
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    model: ModelsOption = None,
    requests_per_minute: RequestsOption = None,
    tokens_per_minute: TokensOption = None,
    usd_per_day: DayOption = None,
    usd_per_month: MonthOption = None,
    strongest_share: ShareOption = None,
    expires: ExpiresOption = None,
    admin: AdminOption = False,
    unlimited: UnlimitedOption = None,
    config: ConfigOption = None,
) -> None:
    """Give a key other limits; what is not named stays as it is."""
    with _in_words_of_options():
        asked = {
            "is_admin": admin or None,
            "models": tuple(model) if model else None,
            "requests_per_minute": requests_per_minute,
            "tokens_per_minute": tokens_per_minute,
            "usd_nano_per_day": parse_budget(usd_per_day),
            "usd_nano_per_month": parse_budget(usd_per_month),
            "strongest_share": strongest_share,
            "expires_at": None if expires is None else parse_expiry(expires),
        }
        changes = {field: value for field, value in asked.items() if value is not None}
        changes |= {field: getattr(_NO_GRANT, field) for field in map(_field_of, unlimited or ())}

        async def apply(registry: KeyRegistry) -> None:
            key = await registry.find_live(id)
            await registry.change(ANYBODY, id, name or key.name, msgspec.structs.replace(key, **changes))

        _with_registry(config, apply)
    _note_unknown(config, model)
    console.print(f"{id} is changed.")


def rotate(
    id: IdArgument,  # noqa: A002
    grace: Annotated[float, typer.Option(help="Hours that the old key works on.")] = 0.0,
    config: ConfigOption = None,
) -> None:
    """Replace a key: the same id and limits, a new key, printed this once."""
    with _in_words_of_options():
        made = _with_registry(config, lambda registry: registry.rotate(ANYBODY, id, grace))
    until = made.key.old_digest_until
    old = "no longer works" if until is None else f"works until {until:%Y-%m-%d %H:%M} UTC"
    _print_new(made, f"The new key {id} of {made.key.name} (shown once, stored nowhere); the old one {old}:")


def revoke(
    id: IdArgument,  # noqa: A002
    config: ConfigOption = None,
) -> None:
    """Let a key open nothing any more, for good."""
    with plain_errors():
        key = _with_registry(config, lambda registry: registry.revoke(ANYBODY, id))
    console.print(f"{id} of {escape(key.name)} is revoked.")


def list_keys(config: ConfigOption = None) -> None:
    """Show all keys, what they may do, and what they have spent. Never the keys themselves."""
    with plain_errors():
        documents = asyncio.run(_documents(config))
    if not documents:
        console.print("There are no keys; `junctor keys create NAME` makes one.")
        return
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("id", "name", "state", "limits", "USD today / month", "last used"):
        table.add_column(heading, overflow="fold", no_wrap=heading not in ("name", "limits"))
    for document in documents:
        table.add_row(*(escape(cell) for cell in _cells(document)))
    console.print(table)


def new(
    name: Annotated[str, typer.Argument(help="Who the key is for; stands in the ledger as the caller.")],
) -> None:
    """Make a key for junctor.toml: print it once, and the lines for the file, which hold only its digest."""
    key = f"junctor_{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    errors.print("The key (shown once, stored nowhere):\n")
    console.print(key, markup=False, soft_wrap=True)
    errors.print("\nThe lines for junctor.toml:\n")
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    console.print(f'[[keys]]\nname = "{quoted}"\nsha256 = "{digest}"', markup=False, soft_wrap=True)


@contextmanager
def _in_words_of_options() -> Generator[None, None, None]:
    """Let a mistake name the option that was given, not the field that `/api/keys` has for it."""
    with plain_errors():
        try:
            yield
        except BadRequest as error:
            option = _OPTIONS.get(error.param or "")
            if option is None:
                raise
            raise BadRequest(error.message.replace(f"`{error.param}`", f"`{option}`", 1)) from error


def _with_registry(config: ConfigPath, work: Callable[[KeyRegistry], Awaitable[_T]]) -> _T:
    """Do something with the keys of the database, which is made if it is not there yet."""
    settings, environment, _ = load(config)

    async def run() -> _T:
        async with Database(database_path(settings, environment)) as database:
            return await work(KeyRegistry(KeyStore(database), pepper_of(environment)))

    return asyncio.run(run())


def _note_unknown(config: ConfigPath, models: list[str] | None) -> None:
    settings, environment, _ = load(config)
    for words in find_unknown_models(models or (), _names(settings, environment)):
        errors.print("[yellow]note:[/] ", end="")
        errors.print(words, markup=False, soft_wrap=True)


def _names(settings: Settings, environment: Environment) -> tuple[str, ...]:
    """All that a key may name, by the configuration as it is now."""
    return names_for_keys(settings, [model.name for model in choose_models(settings, environment)])


async def _documents(config: ConfigPath) -> list[KeyDocument]:
    settings, environment, _ = load(config)
    names = _names(settings, environment)
    now = datetime.now(UTC)
    async with Database(database_path(settings, environment)) as database:
        store = KeyStore(database)
        configured = [(CONFIG_ID + key.name, key.name, caller_key(key)) for key in settings.keys]
        kept = await store.keys()
        uses = await store.uses_of([*(key_id for key_id, _, _ in configured), *(key.id for key in kept)], now)
        return [
            *[show_configured(at, name, grant, uses[at], now, names) for at, name, grant in configured],
            *[show_key(key, uses[key.id], now, names) for key in kept],
        ]


def _field_of(limit: str) -> str:
    if limit not in _FIELDS:
        raise BadRequest(f"--unlimited must be one of {', '.join(_FIELDS)}; it is {limit!r}")
    return _FIELDS[limit]


def _print_new(made: NewKey, words: str) -> None:
    errors.print(f"{words}\n", markup=False, soft_wrap=True)
    console.print(made.text, markup=False, soft_wrap=True)


def _cells(document: KeyDocument) -> tuple[str, ...]:
    used = document.last_used_at
    return (
        document.id,
        document.name,
        document.state,
        _limits(document),
        f"{document.usd_today:.4f} / {document.usd_this_month:.4f}",
        "never" if used is None else f"{used:%Y-%m-%d}",
    )


def _limits(document: KeyDocument) -> str:
    limits = (
        (document.usd_per_day, "USD/day"),
        (document.usd_per_month, "USD/month"),
        (document.requests_per_minute, "req/min"),
        (document.tokens_per_minute, "tok/min"),
    )
    said = [f"{limit:.12g} {words}" for limit, words in limits if limit is not None]
    if document.strongest_share is not None:
        said.append(f"{document.strongest_share:.0%} strongest")
    said += document.models
    if document.expires_at is not None:
        said.append(f"until {document.expires_at:%Y-%m-%d %H:%M}")
    if document.admin:
        said.append("admin")
    until = document.old_key_until
    if document.state == "live" and until is not None and until > datetime.now(UTC):
        said.append(f"old key until {until:%Y-%m-%d %H:%M}")
    return "\n".join(said) or "none"
