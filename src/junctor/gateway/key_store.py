"""Where API keys are kept, and all SQL for them; and what the ledger says each has spent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from junctor.gateway.keys import Grant, Key
from junctor.gateway.limits import LATELY_S, Spendings
from junctor.pool.metered import OK
from junctor.pool.pool import plain_name
from junctor.store.database import Database

Row = Mapping[str, Any]

_ALL = "SELECT * FROM keys ORDER BY created_at, id"
_ADD = """
INSERT INTO keys (
    id, name, digest, old_digest, old_digest_until, created_at, expires_at, revoked_at, is_admin, models,
    requests_per_minute, tokens_per_minute, usd_nano_per_day, usd_nano_per_month, strongest_share
) VALUES (
    :id, :name, :digest, NULL, NULL, :created_at, :expires_at, NULL, :is_admin, :models,
    :requests_per_minute, :tokens_per_minute, :usd_nano_per_day, :usd_nano_per_month, :strongest_share
)
"""
_CHANGE = """
UPDATE keys SET
    name = :name, expires_at = :expires_at, is_admin = :is_admin, models = :models,
    requests_per_minute = :requests_per_minute, tokens_per_minute = :tokens_per_minute,
    usd_nano_per_day = :usd_nano_per_day, usd_nano_per_month = :usd_nano_per_month,
    strongest_share = :strongest_share
WHERE id = :id
"""
_ROTATE = """
UPDATE keys SET old_digest = CASE WHEN :until IS NULL THEN NULL ELSE digest END, old_digest_until = :until,
    digest = :digest
WHERE id = :id
"""
_REVOKE = "UPDATE keys SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL"
_SPENT = """
SELECT coalesce(sum(usd_nano), 0) AS this_month,
       coalesce(sum(CASE WHEN created_at >= :day THEN usd_nano ELSE 0 END), 0) AS today
FROM ledger WHERE key_id = :id AND created_at >= :month
"""
_DEAREST = """
SELECT asked_model, max(usd_nano) AS usd_nano FROM ledger
WHERE key_id = :id AND created_at >= :since AND outcome = :ok AND attempts > 0 GROUP BY asked_model
"""
_USES = """
SELECT ids.value AS id,
       (SELECT max(created_at) FROM ledger WHERE key_id = ids.value) AS last_used,
       (SELECT coalesce(sum(usd_nano), 0) FROM ledger
        WHERE key_id = ids.value AND created_at >= :month) AS this_month,
       (SELECT coalesce(sum(usd_nano), 0) FROM ledger
        WHERE key_id = ids.value AND created_at >= :day) AS today
FROM json_each(:ids) AS ids
"""


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What a key has come to so far."""

    usd_nano_today: int = 0
    usd_nano_this_month: int = 0
    last_used_at: datetime | None = None


class KeyStore:
    """Adds keys and changes them; a change is durable when its future is done (or fails: `StoreFailed`)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def rows(self) -> list[dict[str, Any]]:
        """All keys, the revoked ones too, for `parse_key`. Raises `StoreFailed`."""
        return await self._database.read(_ALL)

    async def keys(self) -> list[Key]:
        """All keys, the oldest first. Raises `StoreFailed`."""
        return [parse_key(row) for row in await self.rows()]

    def add(self, key: Key) -> asyncio.Future[None]:
        """Keep a new key."""
        created = _render_time(key.created_at)
        return self._database.write(
            _ADD, {**_render_grant(key.id, key.name, key), "digest": key.digest.hex(), "created_at": created}
        )

    def change(self, key_id: str, name: str, grant: Grant) -> asyncio.Future[None]:
        """Give it another name, or let it do other things."""
        return self._database.write(_CHANGE, _render_grant(key_id, name, grant))

    def rotate(self, key_id: str, digest: bytes, until: datetime | None) -> asyncio.Future[None]:
        """Give it another secret; the one of now works until then, or no longer."""
        return self._database.write(
            _ROTATE, {"id": key_id, "digest": digest.hex(), "until": _render_time(until)}
        )

    def revoke(self, key_id: str, now: datetime) -> asyncio.Future[None]:
        """It opens nothing any more; its name stays, for the ledger's sake."""
        return self._database.write(_REVOKE, {"id": key_id, "now": _render_time(now)})

    async def load_spendings(self, key_id: str, now: datetime) -> Spendings:
        """What `Limits` has to know of a key. Raises `StoreFailed`."""
        since = _render_time(now - timedelta(seconds=LATELY_S))
        rows = await self._database.read(_DEAREST, {"id": key_id, "since": since, "ok": OK})
        dearest = dict[str, int]()
        for row in rows:
            name = plain_name(row["asked_model"])
            dearest[name] = max(row["usd_nano"], dearest.get(name, 0))
        (row,) = await self._database.read(_SPENT, {"id": key_id, **_bounds(now)})
        return Spendings(today=row["today"], this_month=row["this_month"], dearest=dearest)

    async def uses_of(self, key_ids: Iterable[str], now: datetime) -> dict[str, Use]:
        """What each of these keys has come to, by its id, with one query. Raises `StoreFailed`."""
        ids = msgspec.json.encode([*key_ids]).decode()
        rows = await self._database.read(_USES, {"ids": ids, **_bounds(now)})
        return {
            row["id"]: Use(
                usd_nano_today=row["today"],
                usd_nano_this_month=row["this_month"],
                last_used_at=_parse_time(row["last_used"]),
            )
            for row in rows
        }


def parse_key(row: Row) -> Key:
    """A key as the database gives it."""
    created = _parse_time(row["created_at"])
    assert created is not None
    return Key(
        id=row["id"],
        name=row["name"],
        digest=bytes.fromhex(row["digest"]),
        old_digest=bytes.fromhex(row["old_digest"]) if row["old_digest"] else None,
        old_digest_until=_parse_time(row["old_digest_until"]),
        created_at=created,
        expires_at=_parse_time(row["expires_at"]),
        revoked_at=_parse_time(row["revoked_at"]),
        is_admin=bool(row["is_admin"]),
        models=msgspec.json.decode(row["models"], type=tuple[str, ...]),
        requests_per_minute=row["requests_per_minute"],
        tokens_per_minute=row["tokens_per_minute"],
        usd_nano_per_day=row["usd_nano_per_day"],
        usd_nano_per_month=row["usd_nano_per_month"],
        strongest_share=row["strongest_share"],
    )


def _render_grant(key_id: str, name: str, grant: Grant) -> dict[str, Any]:
    return {
        "id": key_id,
        "name": name,
        "expires_at": _render_time(grant.expires_at),
        "is_admin": int(grant.is_admin),
        "models": msgspec.json.encode(grant.models).decode(),
        "requests_per_minute": grant.requests_per_minute,
        "tokens_per_minute": grant.tokens_per_minute,
        "usd_nano_per_day": grant.usd_nano_per_day,
        "usd_nano_per_month": grant.usd_nano_per_month,
        "strongest_share": grant.strongest_share,
    }


def _bounds(now: datetime) -> dict[str, str]:
    """When the day and the month began (UTC), as the ledger's times compare with them."""
    day = now.astimezone(UTC).date()
    return {"day": day.isoformat(), "month": day.replace(day=1).isoformat()}


def _render_time(time: datetime | None) -> str | None:
    if time is None:
        return None
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _parse_time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
