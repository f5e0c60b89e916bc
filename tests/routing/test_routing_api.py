"""`GET /api/decisions/{id}` over a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from junctor.chat import Candidate, Decision, JunctorError
from junctor.routing.api import routes
from junctor.routing.store import DecisionStore
from junctor.store.database import Database

DECISION = Decision(
    id="dec_1",
    request_id="req_1",
    candidates=(Candidate(name="small", p_good=0.8, p_source="artefact", usd=0.001),),
    chosen="small",
    rule="the only model of the pool",
    mode="balanced",
    floor=None,
    features={"tokens": 12.0},
    path="prompt",
    took_us=321.5,
    saved_usd=0.0,
    artefact="router-1",
)
OUTCOMES = {"req_1": {"model": "small", "outcome": "ok"}}


async def outcome_of(request_id: str) -> dict[str, Any] | None:
    return OUTCOMES.get(request_id)


async def render(request: Request, error: Exception) -> Response:
    """As the application does: errors of ours have a status and a message."""
    assert isinstance(error, JunctorError)
    return Response(f"{error.code}: {error.message}", error.status)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    database = Database(tmp_path / "junctor.db")
    store = DecisionStore(database)

    async def save() -> None:
        async with Database(tmp_path / "junctor.db") as first:
            DecisionStore(first).save(DECISION)

    anyio.run(save)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with database:
            yield

    app = Starlette(
        routes=routes(store, outcome_of),
        exception_handlers={JunctorError: render},
        lifespan=lifespan,
    )
    with TestClient(app) as client:
        yield client


@pytest.mark.parametrize("wanted", ["dec_1", "req_1"])
def test_a_decision_is_shown_with_its_outcome(client: TestClient, wanted: str) -> None:
    """By its own id, or by its request's."""
    reply = client.get(f"/api/decisions/{wanted}")
    assert reply.status_code == 200
    shown = reply.json()
    assert shown["id"] == "dec_1"
    assert shown["candidates"][0]["name"] == "small"
    assert shown["outcome"] == OUTCOMES["req_1"]


def test_an_unknown_id_is_a_404_that_says_where_ids_stand(client: TestClient) -> None:
    """And does not echo a page of text."""
    reply = client.get("/api/decisions/" + "x" * 500)
    assert reply.status_code == 404
    assert reply.text.startswith("decision_not_found")
    assert "x-junctor-decision" in reply.text
    assert len(reply.text) < 300
