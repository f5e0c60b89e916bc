"""What callers say of answers: who may say it, and how it is read."""

from __future__ import annotations

from typing import Literal

import msgspec

from junctor.chat import BadRequest
from junctor.pool.ledger_store import LedgerRow, LedgerStore
from junctor.pool.metered import CLIENT_GONE, OK
from junctor.routing.errors import UnknownRequest
from junctor.routing.measuring.store import Feedback, MeasureStore
from junctor.routing.store import DecisionStore

RATINGS = {"good": 1.0, "bad": 0.0}
_FORM = 'send {"request_id": "req_...", "rating": "good"}, or `decision_id`; or `score`, 0 to 1'


class FeedbackRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /api/feedback`."""

    request_id: str | None = None
    "As the reply header `x-request-id` has it."
    decision_id: str | None = None
    "As the reply header `x-junctor-decision` has it; instead of `request_id`."
    score: float | None = None
    "0 (bad) to 1 (good)."
    rating: Literal["good", "bad"] | None = None
    "The same in words: 1 or 0."


class Giver(msgspec.Struct, frozen=True, kw_only=True):
    """Who gives feedback."""

    key_id: str
    is_admin: bool


def parse_feedback(body: bytes) -> FeedbackRequest:
    """Raises `BadRequest`, which names the field."""
    try:
        asked = msgspec.json.decode(body, type=FeedbackRequest)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRequest(f"this is no feedback: {error}; {_FORM}") from None
    if (asked.request_id is None) == (asked.decision_id is None):
        raise BadRequest(f"name the answer by `request_id` or by `decision_id`; {_FORM}", param="request_id")
    if (asked.score is None) == (asked.rating is None):
        raise BadRequest(f"say `score` or `rating`, one of the two; {_FORM}", param="score")
    if asked.score is not None and not 0 <= asked.score <= 1:
        raise BadRequest("`score` must lie between 0 (bad) and 1 (good)", param="score")
    return asked


def is_answered(row: LedgerRow) -> bool:
    """Whether its caller got an answer, or some of one: a model stands in the row of a failure, too."""
    if row.outcome == OK:
        return row.attempts > 0
    saw_some = row.http_status < 400 or (row.outcome == CLIENT_GONE and row.stream)
    return saw_some and row.first_token_ms is not None


class FeedbackBox:
    """Takes feedback."""

    def __init__(self, store: MeasureStore, decisions: DecisionStore, ledger: LedgerStore) -> None:
        self._store = store
        self._decisions = decisions
        self._ledger = ledger

    async def take(self, giver: Giver, asked: FeedbackRequest) -> Feedback:
        """Keep it; what is said of the same request later takes its place. Idempotent.

        Raises `UnknownRequest`, too, for a request that another key made, and one that nobody answered.
        """
        row = await self._find(asked)
        is_own = row is not None and (giver.is_admin or row.key_id == giver.key_id)
        if row is None or row.model is None or not (is_own and is_answered(row)):
            wanted = (asked.request_id or asked.decision_id or "")[:80]
            raise UnknownRequest(
                f"your key has no answered request {wanted!r}; the ids stand in the reply headers "
                "x-request-id and x-junctor-decision",
                param="request_id" if asked.request_id else "decision_id",
            )
        score = asked.score if asked.rating is None else RATINGS[asked.rating]
        assert score is not None, "parse_feedback() has made sure"
        feedback = Feedback(
            id="fbk_" + row.request_id.partition("_")[2],
            created_at=self._store.now(),
            request_id=row.request_id,
            key_id=giver.key_id,
            model=row.model,
            score=score,
        )
        return await self._store.save_feedback(feedback)

    async def _find(self, asked: FeedbackRequest) -> LedgerRow | None:
        if asked.decision_id is None:
            return await self._ledger.find(asked.request_id or "")
        decision = await self._decisions.find(asked.decision_id)
        return await self._ledger.find(decision.request_id) if decision else None
