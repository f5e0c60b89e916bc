"""Where answers of the Responses API are kept for later requests to go on from, and all SQL for them.

With the replies to an `Idempotency-Key` the only place where prompts and answers are stored: `store = false`
in a request leaves nothing here, and `store.keep_responses_days` ends the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from junctor.store.database import Database

_SWEPT_AT_ONCE = 500
"Rows deleted by one statement: the ledger's rows wait behind it."

_ADD = """
INSERT INTO responses (id, created_at, key_id, document) VALUES (:id, :created_at, :owner, :document)
ON CONFLICT (id) DO UPDATE SET created_at = excluded.created_at, document = excluded.document
WHERE responses.key_id = excluded.key_id
"""
_FIND = """
SELECT document FROM responses WHERE id = :id AND key_id = :owner AND created_at >= :oldest
"""
_DELETE = "DELETE FROM responses WHERE id = :id AND key_id = :owner"
_SWEEP = """
DELETE FROM responses WHERE id IN (
    SELECT id FROM responses WHERE created_at < :oldest ORDER BY created_at LIMIT :most
)
"""


class ResponseStore:
    """Adds documents, finds them while they are kept, then deletes them.

    Each belongs to the caller whose request it answered; to others it does not exist. Upstreams choose ids
    too: one that gives an id twice replaces its own caller's document, never another's.
    """

    def __init__(
        self, database: Database, keep: timedelta, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = database
        self._keep = keep
        self._now = now

    @property
    def keeps(self) -> bool:
        """Whether anything is kept at all."""
        return self._keep > timedelta(0)

    def add(self, owner: str, response_id: str, document: bytes) -> asyncio.Future[None]:
        """Queue it; the future is done once it is durable, and fails with `StoreFailed`."""
        return self._database.write(
            _ADD,
            {
                "id": response_id,
                "created_at": _render_time(self._now()),
                "owner": owner,
                "document": document.decode(),
            },
        )

    async def find(self, owner: str, response_id: str) -> str | None:
        """The document; None when there is none, or it is another's. Raises `StoreFailed`."""
        rows = await self._database.read(_FIND, {"id": response_id, "owner": owner, "oldest": self._oldest()})
        return rows[0]["document"] if rows else None

    async def delete(self, owner: str, response_id: str) -> None:
        """Delete it; returns once that is durable. Raises `StoreFailed`."""
        await self._database.write(_DELETE, {"id": response_id, "owner": owner})

    def sweep(self) -> None:
        """Queue the deletion of the oldest of those that are not kept any longer."""
        self._database.write(_SWEEP, {"oldest": self._oldest(), "most": _SWEPT_AT_ONCE})

    def _oldest(self) -> str:
        return _render_time(self._now() - self._keep)


def _render_time(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
