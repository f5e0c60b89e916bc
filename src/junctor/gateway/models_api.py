"""What a client or an operator may ask besides an answer: the models, health, readiness, metrics."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from junctor.chat import Pool
from junctor.gateway.menu import Menu
from junctor.gateway.metrics import CONTENT_TYPE, Metrics
from junctor.gateway.rest import CALLER
from junctor.pool.pool import ALIAS_PREFIX
from junctor.wire.model_list import render_model, render_models

CLAUDE_CODE_LISTS = ("claude", "anthropic")
"How the names begin that Claude Code takes out of a list of models; the others get an alias."

REFUSED = "refused"
"Of the configuration: the newest has mistakes, and the one before it is in force."
FAILING = "failing"
"Of the database: it takes nothing for now. Requests are answered, and their rows wait."
_WORKING = frozenset({"ok", "ready", REFUSED, FAILING})

Readiness = Callable[[], dict[str, str]]
"What each part of the server says of itself, for example `{'store': 'ok', 'model qwen': 'loading'}`."


def routes(pool: Pool, menu: Menu, metrics: Metrics, readiness: Readiness) -> list[Route]:
    """`GET /v1/models`, `/v1/models/{name}`, `/healthz`, `/readyz`, `/metrics`."""

    async def list_models(request: Request) -> Response:
        """The models that the key may use; Anthropic's clients get names that Claude Code lists."""
        prefix = ALIAS_PREFIX if "anthropic-version" in request.headers else ""
        caller = request.scope[CALLER]
        cards = (model.card for model in pool.values() if menu.permits(caller, model.card.name))
        return Response(
            render_models((_listed(card.name, prefix), card) for card in cards), media_type="application/json"
        )

    async def show_model(request: Request) -> Response:
        """One model."""
        name = request.path_params["name"]
        model = menu.find(request.scope[CALLER], pool, name)
        return Response(render_model(name, model.card), media_type="application/json")

    async def healthz(_: Request) -> Response:
        """Whether the process lives."""
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        """Whether every part can work: 200, or 503 with the part that cannot."""
        parts = readiness()
        ready = all(state in _WORKING for state in parts.values())
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


def _listed(name: str, prefix: str) -> str:
    return name if name.startswith(CLAUDE_CODE_LISTS) else prefix + name
