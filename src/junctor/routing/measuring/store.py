"""Where feedback and the comparisons of shadows are kept, and all SQL for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from junctor.chat import Verdict
from junctor.pool.ledger_store import parse_usd, render_usd_nano
from junctor.store.database import Database

SHADOW_ROUTE = "shadow"
"What the ledger has as the route of calls that were made to measure."
LADDER = "ladder"
"The kind of calibration that makes a promise."

_SAVE_SHADOW = """
INSERT INTO shadows (
    request_id, created_at, key_id, model, strongest, verdict, difference, judge, usd_nano
) VALUES (
    :request_id, :created_at, :key_id, :model, :strongest, :verdict, :difference, :judge, :usd_nano
) ON CONFLICT (request_id) DO NOTHING
"""
_SAVE_FEEDBACK = """
INSERT INTO feedback (id, created_at, request_id, key_id, model, score)
VALUES (:id, :created_at, :request_id, :key_id, :model, :score)
ON CONFLICT (id) DO UPDATE SET
    created_at = excluded.created_at, key_id = excluded.key_id, score = excluded.score
"""
_FEEDBACK = "SELECT * FROM feedback WHERE id = :id"
_SHADOWS = """
SELECT verdict, difference FROM shadows WHERE created_at >= :since AND strongest = :strongest
ORDER BY created_at, request_id
"""
_SCORES = """
SELECT feedback.model = :strongest AS is_strongest, score
FROM feedback JOIN ledger ON ledger.request_id = feedback.request_id
LEFT JOIN decisions ON decisions.id = ledger.decision_id
WHERE feedback.created_at >= :since AND ledger.decision_id IS NOT NULL
      AND coalesce(json_extract(decisions.document, '$.path'), '') <> 'fusion'
ORDER BY feedback.created_at, feedback.id
"""
_RATED = """
SELECT feedback.key_id, feedback.score, decisions.document
FROM feedback JOIN ledger ON ledger.request_id = feedback.request_id
JOIN decisions ON decisions.id = ledger.decision_id
WHERE feedback.created_at >= :since AND json_extract(decisions.document, '$.path') = 'fusion'
ORDER BY feedback.created_at DESC, feedback.id LIMIT :newest
"""
_SPENT = """
SELECT coalesce(sum(usd_nano), 0) AS usd_nano FROM ledger WHERE route = :route AND created_at >= :since
"""
_CURRENT = """
SELECT created_at FROM calibrations WHERE kind = :kind AND is_current ORDER BY created_at DESC LIMIT 1
"""


class Shadow(msgspec.Struct, frozen=True, kw_only=True):
    """How the answer to one request compares with the strongest model's. No text of either is kept."""

    request_id: str
    created_at: datetime
    key_id: str = ""
    model: str
    "Who answered."
    strongest: str
    verdict: str
    "`equal`, `better`, `worse`, `tie`, `differs`, `undecided`, `incomparable` or `failed`."
    difference: float | None
    "-1: the answer is worse than the strongest's, 1: better; None: not known."
    judge: str = ""
    "The model that decided; empty where the final answers did."
    usd: float = 0.0
    "What the comparison cost."


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller said of one answer."""

    id: str
    created_at: datetime
    request_id: str
    key_id: str
    "Whose key said it."
    model: str
    "Who had answered."
    score: float
    "0 (bad) to 1 (good)."


class RatedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A fused answer, and what was said of it."""

    key_id: str
    "Whose key said it."
    score: float
    "0 (bad) to 1 (good)."
    verdict: Verdict
    "How it came of several."


class _Fused(msgspec.Struct, frozen=True):
    """Of a stored decision."""

    fusion: Verdict


class MeasureStore:
    """Adds and finds rows."""

    def __init__(self, database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self.now = now

    def save_shadow(self, shadow: Shadow) -> asyncio.Future[None]:
        """Add one; a second one for the same request changes nothing."""
        fields = msgspec.structs.asdict(shadow)
        fields |= {"created_at": render_time(shadow.created_at), "usd_nano": parse_usd(fields.pop("usd"))}
        return self._database.write(_SAVE_SHADOW, fields)

    async def save_feedback(self, feedback: Feedback) -> Feedback:
        """Add it, or put it in the place of what was said of the request before. As it is kept."""
        fields = msgspec.structs.asdict(feedback)
        await self._database.write(_SAVE_FEEDBACK, {**fields, "created_at": render_time(feedback.created_at)})
        (row,) = await self._database.read(_FEEDBACK, {"id": feedback.id})
        return _parse_feedback(row)

    async def shadows(self, strongest: str, since: str) -> list[tuple[str, float | None]]:
        """(verdict, difference) of each comparison with that model, oldest first. `since`: ISO 8601."""
        rows = await self._database.read(_SHADOWS, {"since": since, "strongest": strongest})
        return [(row["verdict"], row["difference"]) for row in rows]

    async def scores(self, strongest: str, since: str) -> list[tuple[bool, float]]:
        """What callers said of `auto`: whether the strongest had answered, and the score; oldest first."""
        rows = await self._database.read(_SCORES, {"since": since, "strongest": strongest})
        return [(bool(row["is_strongest"]), row["score"]) for row in rows]

    async def rated_fusions(self, days: int, newest: int) -> list[RatedAnswer]:
        """What callers said of fused answers in the last days, the newest first."""
        since = render_time(self.now() - timedelta(days=days))
        rows = await self._database.read(_RATED, {"since": since, "newest": newest})
        return [
            RatedAnswer(
                key_id=row["key_id"],
                score=row["score"],
                verdict=msgspec.json.decode(row["document"], type=_Fused).fusion,
            )
            for row in rows
        ]

    async def spent_today(self) -> float:
        """What measuring has cost since midnight UTC, USD."""
        since = render_time(self.now())[:10]
        rows = await self._database.read(_SPENT, {"route": SHADOW_ROUTE, "since": since})
        return render_usd_nano(rows[0]["usd_nano"])

    async def calibrated_at(self) -> str:
        """When the current calibration was made, ISO 8601; empty without one."""
        rows = await self._database.read(_CURRENT, {"kind": LADDER})
        return rows[0]["created_at"] if rows else ""


def render_time(moment: datetime) -> str:
    """UTC, ISO 8601 with milliseconds, as every table has it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _parse_feedback(row: dict[str, Any]) -> Feedback:
    fields: dict[str, Any] = {**row, "created_at": datetime.fromisoformat(row["created_at"])}
    return Feedback(**fields)
