"""Where decisions are kept, and all SQL of this room."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from junctor.chat import Decision
from junctor.pool.ration import Past
from junctor.store.database import Database

_INSERT = """
INSERT INTO decisions (id, request_id, created_at, chosen, mode, document)
VALUES (:id, :request_id, :created_at, :chosen, :mode, :document)
"""
_FIND = """
SELECT document FROM decisions WHERE id = :id OR request_id = :id
ORDER BY id = (SELECT decision_id FROM ledger WHERE request_id = :id) DESC, created_at DESC, id DESC LIMIT 1
"""

_NEWEST = """
SELECT ledger.created_at, ledger.model, decisions.document FROM ledger
JOIN decisions ON decisions.id = ledger.decision_id
WHERE ledger.key_id = :key_id AND ledger.created_at >= :since AND ledger.attempts > 0
    AND ledger.model IS NOT NULL AND json_extract(decisions.document, '$.path') <> 'fusion'
ORDER BY ledger.created_at DESC LIMIT :newest
"""


class _Draft(msgspec.Struct):
    model: str
    failed: str | None = None


class _Step(msgspec.Struct):
    drafts: tuple[_Draft, ...] = ()


class _Escalation(msgspec.Struct):
    steps: tuple[_Step, ...] = ()


class _Asked(msgspec.Struct):
    """Of a stored decision: who answered, though another's answer may have been taken."""

    escalation: _Escalation | None = None


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

    async def load_past(self, key_id: str, since: float, newest: int) -> list[Past]:
        """The newest routed answers of a key since a time (seconds of Unix time), the newest last.

        Raises `StoreFailed`.
        """
        began = datetime.fromtimestamp(since, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        rows = await self._database.read(_NEWEST, {"key_id": key_id, "since": began, "newest": newest})
        return [
            Past(datetime.fromisoformat(row["created_at"]).timestamp(), _models_of(row))
            for row in reversed(rows)
        ]

    async def find(self, id: str) -> Decision | None:  # noqa: A002 - of a decision or of a request
        """The decision of that id, or that of the request of that id; None when there is none.

        Of several, the one that the ledger names (`auto` may be asked by a fusion), else the last one.
        """
        rows = await self._database.read(_FIND, {"id": id})
        return msgspec.json.decode(rows[0]["document"], type=Decision) if rows else None


def _models_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    escalation = msgspec.json.decode(row["document"], type=_Asked).escalation
    steps = escalation.steps if escalation else ()
    drafted = [draft.model for step in steps for draft in step.drafts if draft.failed is None]
    return (*dict.fromkeys([row["model"], *drafted]),)
