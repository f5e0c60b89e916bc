"""What this room answers over HTTP: why a model was chosen, what callers say of it, and what it saved."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from junctor.chat import BadRequest, BodyTooLarge, Decision
from junctor.routing.errors import UnknownDecision
from junctor.routing.measuring.feedback import FeedbackBox, Giver, parse_feedback
from junctor.routing.measuring.savings_store import SavingsStore, Terms
from junctor.routing.store import DecisionStore

OutcomeOf = Callable[[str], Awaitable[dict[str, Any] | None]]
"What became of a request, by its id: the ledger's row; None when it is not there (yet)."

MOST_BODY_BYTES = 16 * 1024
MOST_DAYS = 3660


def routes(store: DecisionStore, outcome_of: OutcomeOf) -> list[Route]:
    """`GET /api/decisions/{id}`."""

    async def show_decision(request: Request) -> Response:
        """One decision, by its own id or its request's, with what became of the request."""
        wanted = request.path_params["id"]
        decision = await store.find(wanted)
        if decision is None:
            raise UnknownDecision(
                f"there is no decision {wanted[:80]!r}; its id stands in the reply header x-junctor-decision"
            )
        return _json(render_decision(decision, await outcome_of(decision.request_id)))

    return [Route("/api/decisions/{id}", show_decision)]


def render_decision(decision: Decision, outcome: dict[str, Any] | None) -> bytes:
    """The decision's fields, and `outcome`."""
    return msgspec.json.encode({**msgspec.structs.asdict(decision), "outcome": outcome})


def feedback_routes(box: FeedbackBox, giver_of: Callable[[Request], Giver]) -> list[Route]:
    """`POST /api/feedback`."""

    async def give_feedback(request: Request) -> Response:
        """Say how good an answer was. The later word on a request takes the earlier one's place."""
        feedback = await box.take(giver_of(request), parse_feedback(await _read(request)))
        return _json(msgspec.json.encode(feedback), 201)

    return [Route("/api/feedback", give_feedback, methods=["POST"])]


def savings_routes(store: SavingsStore, terms: Terms, check: Callable[[Request], None]) -> list[Route]:
    """`GET /api/savings`. `check` raises `AdminOnly` for callers who may not see it."""

    async def show_savings(request: Request) -> Response:
        """What routing saved, and what that did to quality."""
        check(request)
        days = _parse_days(request.query_params.get("days", "30"))
        report = await store.report(terms, days, request.query_params.get("key") or None)
        return _json(msgspec.json.encode(report))

    return [Route("/api/savings", show_savings, methods=["GET"])]


def _parse_days(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MOST_DAYS:
        raise BadRequest(f"`days` must be a whole number from 1 to {MOST_DAYS}", param="days")
    return int(text)


async def _read(request: Request) -> bytes:
    body = b""
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > MOST_BODY_BYTES:
                raise BodyTooLarge(f"feedback has at most {MOST_BODY_BYTES} bytes")
    except ClientDisconnect:
        raise BadRequest("the client left before the end of its request") from None
    return body


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json", headers={"cache-control": "no-store"})
