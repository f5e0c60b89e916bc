"""`GET /api/decisions/{id}`: which model, why, and why not the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from junctor.chat import Decision
from junctor.routing.errors import UnknownDecision
from junctor.routing.store import DecisionStore

OutcomeOf = Callable[[str], Awaitable[dict[str, Any] | None]]
"What became of a request, by its id: the ledger's row; None when it is not there (yet)."


def routes(store: DecisionStore, outcome_of: OutcomeOf) -> list[Route]:
    """The routes of this room."""

    async def show_decision(request: Request) -> Response:
        """One decision, by its own id or its request's, with what became of the request."""
        wanted = request.path_params["id"]
        decision = await store.find(wanted)
        if decision is None:
            raise UnknownDecision(
                f"there is no decision {wanted[:80]!r}; its id stands in the reply header x-junctor-decision"
            )
        return Response(
            render_decision(decision, await outcome_of(decision.request_id)), media_type="application/json"
        )

    return [Route("/api/decisions/{id}", show_decision)]


def render_decision(decision: Decision, outcome: dict[str, Any] | None) -> bytes:
    """The decision's fields, and `outcome`."""
    return msgspec.json.encode({**msgspec.structs.asdict(decision), "outcome": outcome})
