"""Where decisions are kept, and all SQL of this room."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from junctor.chat import Decision
from junctor.store.database import Database

_INSERT = """
INSERT INTO decisions (id, request_id, created_at, chosen, mode, document)
VALUES (:id, :request_id, :created_at, :chosen, :mode, :document)
"""
_FIND = """
SELECT document FROM decisions WHERE id = :id OR request_id = :id ORDER BY created_at DESC, id DESC LIMIT 1
"""


class DecisionStore:
    """Saves decisions and finds them again."""

    def __init__(self, database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._now = now

    def save(self, decision: Decision) -> None:
        """Add it, to be kept with the row of the ledger that comes next: where that is, the decision is."""
        self._database.append(
            _INSERT,
            {
                "id": decision.id,
                "request_id": decision.request_id,
                "created_at": self._now().isoformat(timespec="milliseconds"),
                "chosen": decision.chosen,
                "mode": decision.mode,
                "document": msgspec.json.encode(decision).decode(),
            },
            with_next=True,
        )

    async def find(self, id: str) -> Decision | None:  # noqa: A002 - of a decision or of a request
        """The decision of that id, or the last one of the request of that id; None when there is none."""
        rows = await self._database.read(_FIND, {"id": id})
        return msgspec.json.decode(rows[0]["document"], type=Decision) if rows else None
