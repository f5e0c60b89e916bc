"""API keys as `/api/keys` has them: read from JSON, and written as it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from junctor.chat import BadRequest
from junctor.gateway.key_store import Use
from junctor.gateway.keys import (
    Grant,
    Key,
    find_unknown_models,
    parse_budget,
    parse_expiry,
    render_budget,
)
from junctor.wire.json_body import Fields, parse_outer, read_field

_T = TypeVar("_T")
_WHOLE = "a whole number, at least 1"
_SHARE = "a share, such as 0.2"
_USD = "an amount of USD, such as 5 or 0.5"


class KeyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A key, as it is shown."""

    id: str
    name: str
    state: str
    "`live`, `expired` or `revoked`."
    admin: bool
    models: tuple[str, ...]
    "Empty: all."
    requests_per_minute: int | None
    tokens_per_minute: int | None
    usd_per_day: float | None
    usd_per_month: float | None
    strongest_share: float | None
    "Of the answers by `auto`, those of the strongest model at most, 0..1."
    expires_at: datetime | None
    created_at: datetime | None
    "None for a key of junctor.toml."
    revoked_at: datetime | None
    old_key_until: datetime | None
    "Until when the key before the last rotation works."
    usd_today: float
    usd_this_month: float
    last_used_at: datetime | None
    warnings: tuple[str, ...] = ()
    "What of it does nothing, such as names that no model has; empty: nothing."


class NewKeyDocument(KeyDocument, frozen=True, kw_only=True):
    """A key that was just made or rotated."""

    key: str
    "Shown this once."


class KeyList(msgspec.Struct, frozen=True, kw_only=True):
    """All keys."""

    keys: tuple[KeyDocument, ...]


def show_key(key: Key, use: Use, now: datetime, names: Collection[str]) -> KeyDocument:
    """A key of the database. `names`: all that a key may name."""
    return KeyDocument(
        **_show_grant(key, use, names),
        id=key.id,
        name=key.name,
        state=key.state(now),
        created_at=key.created_at,
        revoked_at=key.revoked_at,
        old_key_until=key.old_digest_until,
    )


def show_configured(
    key_id: str, name: str, grant: Grant, use: Use, now: datetime, names: Collection[str]
) -> KeyDocument:
    """A key of junctor.toml."""
    expired = grant.expires_at is not None and grant.expires_at <= now
    return KeyDocument(
        **_show_grant(grant, use, names),
        id=key_id,
        name=name,
        state="expired" if expired else "live",
        created_at=None,
        revoked_at=None,
        old_key_until=None,
    )


def show_new_key(key: Key, text: str, use: Use, now: datetime, names: Collection[str]) -> NewKeyDocument:
    """A key of the database with its text."""
    return NewKeyDocument(**msgspec.structs.asdict(show_key(key, use, now, names)), key=text)


def _show_grant(grant: Grant, use: Use, names: Collection[str]) -> dict[str, Any]:
    return {
        "admin": grant.is_admin,
        "models": grant.models,
        "requests_per_minute": grant.requests_per_minute,
        "tokens_per_minute": grant.tokens_per_minute,
        "usd_per_day": render_budget(grant.usd_nano_per_day),
        "usd_per_month": render_budget(grant.usd_nano_per_month),
        "strongest_share": grant.strongest_share,
        "expires_at": grant.expires_at,
        "usd_today": render_budget(use.usd_nano_today),
        "usd_this_month": render_budget(use.usd_nano_this_month),
        "last_used_at": use.last_used_at,
        "warnings": find_unknown_models(grant.models, names),
    }


def parse_new_key(body: bytes) -> tuple[str, Grant]:
    """Name and grant of a key to make. Raises `BadRequest`."""
    name, grant = parse_changes(body, "", Grant())
    if not name:
        raise BadRequest("`name` is missing: say who the key is for", param="name")
    return name, grant


def parse_changes(body: bytes, name: str, grant: Grant) -> tuple[str, Grant]:
    """A name and a grant with what the body says of them; null takes a limit away. Raises `BadRequest`."""
    fields = _parse_fields(body, _READERS)
    changes: dict[str, Any] = {}
    for field in fields:
        changes |= _READERS[field](fields)
    return changes.pop("name", name), msgspec.structs.replace(grant, **changes)


def parse_grace_h(body: bytes) -> float:
    """How long the old key shall work, from the body of a rotation; an empty body says: not at all."""
    fields = _parse_fields(body or b"{}", ("grace_hours",))
    return read_field(fields, "grace_hours", float, "a number of hours") or 0.0


def _parse_fields(body: bytes, known: Mapping[str, Any] | tuple[str, ...]) -> Fields:
    fields = parse_outer(body)
    for field in fields:
        if field not in known:
            near = difflib.get_close_matches(field, list(known), n=1)
            hint = f"; did you mean `{near[0]}`?" if near else f"; known: {', '.join(known)}"
            raise BadRequest(f"`{field[:80]}` is not a field of a key{hint}", param=field[:80])
    return fields


_Reader = Callable[[Fields], Mapping[str, Any]]


def _reader(field: str, becomes: str, kind: type[_T], wanted: str) -> _Reader:
    return lambda fields: {becomes: read_field(fields, field, kind, wanted)}


def _budget_reader(field: str, becomes: str) -> _Reader:
    return lambda fields: {becomes: parse_budget(read_field(fields, field, float, _USD))}


def _read_name(fields: Fields) -> Mapping[str, Any]:
    return {"name": read_field(fields, "name", str, "a string: who the key is for") or ""}


def _read_expiry(fields: Fields) -> Mapping[str, Any]:
    text = read_field(fields, "expires", str, "a day, such as 2027-01-31, or a time")
    return {"expires_at": None if text is None else parse_expiry(text)}


def _read_models(fields: Fields) -> Mapping[str, Any]:
    return {"models": read_field(fields, "models", tuple[str, ...], "a list of names of models") or ()}


def _read_admin(fields: Fields) -> Mapping[str, Any]:
    return {"is_admin": read_field(fields, "admin", bool, "true or false") or False}


_READERS: Mapping[str, _Reader] = {
    "name": _read_name,
    "models": _read_models,
    "requests_per_minute": _reader("requests_per_minute", "requests_per_minute", int, _WHOLE),
    "tokens_per_minute": _reader("tokens_per_minute", "tokens_per_minute", int, _WHOLE),
    "usd_per_day": _budget_reader("usd_per_day", "usd_nano_per_day"),
    "usd_per_month": _budget_reader("usd_per_month", "usd_nano_per_month"),
    "strongest_share": _reader("strongest_share", "strongest_share", float, _SHARE),
    "expires": _read_expiry,
    "admin": _read_admin,
}
