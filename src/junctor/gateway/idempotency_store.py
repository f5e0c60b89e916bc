"""Where the replies to requests with an `Idempotency-Key` are kept, and all SQL for them.

They hold what models said, unlike any other table: they are kept for a day, and then deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import msgspec

from junctor.store.database import Database

KEEP = timedelta(hours=24)
"How long a reply is kept; Stripe keeps its own for at least as long."
_SWEPT_AT_ONCE = 5000
"Rows deleted by one statement: the ledger's rows wait behind it."

_FIND = """
SELECT request_id, fingerprint, status, headers, body FROM idempotency
WHERE key_id = :owner AND idempotency_key = :key AND created_at >= :oldest
"""
_ADD = """
INSERT INTO idempotency (key_id, idempotency_key, created_at, fingerprint, request_id, status, headers, body)
VALUES (:owner, :key, :created_at, :fingerprint, :request_id, :status, :headers, :body)
ON CONFLICT (key_id, idempotency_key) DO UPDATE SET
    created_at = excluded.created_at, fingerprint = excluded.fingerprint, request_id = excluded.request_id,
    status = excluded.status, headers = excluded.headers, body = excluded.body
"""
_SWEEP = """
DELETE FROM idempotency WHERE (key_id, idempotency_key) IN (
    SELECT key_id, idempotency_key FROM idempotency WHERE created_at < :oldest ORDER BY created_at LIMIT :most
)
"""

Header = tuple[bytes, bytes]
"Name and value, as ASGI has them."


class Slot(msgspec.Struct, frozen=True):
    """What a kept reply is found by: keys of one caller are nothing to another."""

    owner: str
    "Whose key it is: the caller, as the ledger tells callers apart."
    key: str
    "The header's value."


class KeptReply(msgspec.Struct, frozen=True, kw_only=True):
    """A reply, to be given again."""

    request_id: str
    "Of the request that was answered with it."
    fingerprint: str
    "Of that request: another one under the same key is refused."
    status: int
    headers: tuple[Header, ...]
    body: bytes
    "All of it; of a stream every byte that was sent."


class ReplyStore:
    """Adds replies, finds them for a day, then deletes them."""

    def __init__(self, database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._now = now

    def add(self, slot: Slot, reply: KeptReply) -> asyncio.Future[None]:
        """Queue it; the future is done once it is durable, and fails with `StoreFailed`."""
        return self._database.write(
            _ADD,
            {
                "owner": slot.owner,
                "key": slot.key,
                "created_at": _render_time(self._now()),
                "fingerprint": reply.fingerprint,
                "request_id": reply.request_id,
                "status": reply.status,
                "headers": render_headers(reply.headers),
                "body": reply.body,
            },
        )

    async def find(self, slot: Slot) -> KeptReply | None:
        """The reply of that key; None when there is none, or it is older than a day. Raises `StoreFailed`."""
        oldest = _render_time(self._now() - KEEP)
        parameters = {"owner": slot.owner, "key": slot.key, "oldest": oldest}
        rows = await self._database.read(_FIND, parameters)
        if not rows:
            return None
        (row,) = rows
        return KeptReply(
            request_id=row["request_id"],
            fingerprint=row["fingerprint"],
            status=row["status"],
            headers=parse_headers(row["headers"]),
            body=bytes(row["body"]),
        )

    def sweep(self) -> None:
        """Queue the deletion of the oldest of those that are kept for longer than a day."""
        oldest = _render_time(self._now() - KEEP)
        self._database.write(_SWEEP, {"oldest": oldest, "most": _SWEPT_AT_ONCE})


def render_headers(headers: Iterable[Header]) -> str:
    """Headers as JSON text."""
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    return msgspec.json.encode(pairs).decode()


def parse_headers(text: str) -> tuple[Header, ...]:
    """The reverse of `render_headers`."""
    pairs = msgspec.json.decode(text, type=list[tuple[str, str]])
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs)


def _render_time(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
