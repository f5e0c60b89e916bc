"""What a client or an operator may ask besides an answer: the models, health, readiness, metrics."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from junctor.chat import Pool
from junctor.gateway.metrics import CONTENT_TYPE, Metrics
from junctor.pool.pool import find
from junctor.wire.openai_reply import render_model, render_models

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"For probes: they carry no key, and learn which parts work."

Readiness = Callable[[], dict[str, str]]
"What each part of the server says of itself, for example `{'store': 'ok', 'model qwen': 'loading'}`."


def routes(pool: Pool, metrics: Metrics, readiness: Readiness) -> list[Route]:
    """`GET /v1/models`, `/v1/models/{name}`, `/healthz`, `/readyz`, `/metrics`."""

    async def list_models(_: Request) -> Response:
        """The models of the pool, `auto` among them."""
        cards = [model.card for model in pool.values()]
        return Response(render_models(cards), media_type="application/json")

    async def show_model(request: Request) -> Response:
        """One model."""
        card = find(pool, request.path_params["name"]).card
        return Response(render_model(card), media_type="application/json")

    async def healthz(_: Request) -> Response:
        """Whether the process lives."""
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        """Whether every part can work: 200, or 503 with the part that cannot."""
        parts = readiness()
        ready = all(state in {"ok", "ready"} for state in parts.values())
        return JSONResponse(
            {"status": "ready" if ready else "not ready", "parts": parts}, status_code=200 if ready else 503
        )

    async def scrape(_: Request) -> Response:
        """Prometheus metrics."""
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    return [
        Route("/v1/models", list_models),
        Route("/v1/models/{name:path}", show_model),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", scrape),
    ]
