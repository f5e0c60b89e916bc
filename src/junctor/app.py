"""The composition root: settings in, an ASGI application out. The only module that knows every room.

The pool is built from the inside out; for each model of the settings:

    upstream  ->  Metered (counts each call)  ->  Resilient (tries again, asks another)

and beside them stands `auto`, the router over all of them.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from importlib import resources
from typing import Any

from msgspec.structs import asdict
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router as Routes

from junctor.assemble import Builder, Member, choose_members, database_path
from junctor.chat import InternalError, JunctorError, Model, ModelCard, UnknownRoute, WrongMethod
from junctor.gateway import models_api, responses_api
from junctor.gateway.admit import CallerKey, Doorkeeper
from junctor.gateway.chat import MODEL_IN_URL, ChatEndpoint, Desk
from junctor.gateway.dialect import DIALECTS, OPENAI_RESPONSES, canonical_path, render_refusal
from junctor.gateway.front import Front, HttpLimits
from junctor.gateway.idempotency import Idempotency
from junctor.gateway.idempotency_store import ReplyStore
from junctor.gateway.memory import ResponseMemory
from junctor.gateway.metrics import Metrics
from junctor.gateway.receive import Receive, Scope, Send, read_headers
from junctor.gateway.reply import Reply
from junctor.gateway.response_store import ResponseStore
from junctor.gateway.server import HttpServer, http_server
from junctor.gateway.shed import Shedder
from junctor.gateway.vigil import Vigil
from junctor.pool.choice import Policy
from junctor.pool.ledger import Ledger
from junctor.pool.metered import Metered
from junctor.pool.outlier import Ejection
from junctor.pool.resilient import Resilience, Resilient
from junctor.pool.transport import Transport
from junctor.routing import api as routing_api
from junctor.routing.predictor import Predictor, parse_artefact
from junctor.routing.router import Router
from junctor.routing.store import DecisionStore
from junctor.settings import Environment, Settings
from junctor.store.database import Database
from junctor.store.ids import new_id

log = logging.getLogger(__name__)

_QUOTED_CHARACTERS = 200
"Of a path in an error."
ARTEFACT = resources.files("junctor.routing") / "artefact" / "router.msgpack"
"What the router was trained to; `lab/train_router.py` writes it."

CALLER = "junctor.caller"
"Key of the ASGI scope: who asks, as `Doorkeeper` names it."


class Junctor:
    """The ASGI application. `start` opens everything, `stop` lets go of it; between them it answers."""

    def __init__(self, settings: Settings, environment: Environment) -> None:
        self._settings = settings
        self._environment = environment
        self._metrics = Metrics()
        self._doorkeeper = Doorkeeper([CallerKey(name=key.name, sha256=key.sha256) for key in settings.keys])
        self._database = Database(database_path(settings, environment), settings.store.synchronous)
        self._metrics.watch_store(lambda: self._database.failed, lambda: self._database.waiting)
        self._idempotency = Idempotency(ReplyStore(self._database))
        self._responses = ResponseStore(self._database, timedelta(days=settings.store.keep_responses_days))
        self._memory = ResponseMemory(self._responses)
        self._transport = Transport()
        self._resilience = Resilience(_policy(settings))
        self._builder: Builder | None = None
        self._strongest: ModelCard | None = None
        self.models: tuple[str, ...] = ()
        "Names of the models that answer, once started; `auto` is not among them."
        self._endpoints: dict[str, ChatEndpoint] = {}
        "By path; empty until `start`."
        self._rest: ExceptionMiddleware | None = None
        self._draining = False

    async def start(self) -> None:
        """Open the database, build the pool, start the local engines (which load on their own).

        Raises `SettingsError` or `StoreFailed`: a server that cannot work does not start.
        """
        members, _ = await asyncio.gather(
            choose_members(self._settings, self._environment), self._database.open()
        )
        ledger = Ledger(self._database, strongest=lambda: self._strongest)
        self._builder = Builder(self._settings, self._environment, self._transport)
        metered = self._build_metered(members, ledger)
        self.models = tuple(metered)
        router = self._build_router(metered)
        self._strongest = router.strongest
        pool: dict[str, Model] = {
            **with_fallbacks(members, metered, self._resilience),
            router.card.name: router,
        }
        desk = self._build_desk(pool, ledger)
        self._endpoints = {path: ChatEndpoint(dialect, desk) for path, dialect in DIALECTS.items()}
        self._rest = self._build_rest(pool, ledger)
        self._idempotency.start()
        self._memory.start()
        for engine in self._builder.engines.values():
            await engine.start()

    async def stop(self) -> None:
        """Let go of everything, in the order opposite to `start`. Rows that are queued are written."""
        if self._builder is not None:
            await asyncio.gather(*(engine.stop() for engine in self._builder.engines.values()))
        self._idempotency.stop()
        self._memory.stop()
        await self._transport.close()
        await self._database.close()

    def build_server(self) -> HttpServer:
        """What listens for callers, as `[server]` says."""
        server = self._settings.server
        limits = HttpLimits(
            head_timeout_s=server.head_timeout_s,
            body_timeout_s=server.body_timeout_s,
            send_timeout_s=server.send_timeout_s,
            idle_timeout_s=server.idle_timeout_s,
            max_body_bytes=server.max_body_bytes,
            max_connections=server.max_connections,
        )
        front = Front(
            self, limits, Shedder(server.max_in_flight), lambda error, path: render_refusal(error, path, "")
        )
        self._metrics.watch_front(front)
        return http_server(front, grace_s=server.grace_s, drain_s=server.drain_s, on_drain=self._drain)

    def _drain(self) -> None:
        self._draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Chats go straight to their endpoint, past every framework."""
        assert self._endpoints, "start() comes first"
        path = scope["path"]
        if path.startswith("/openai/"):
            scope["path"], scope[MODEL_IN_URL] = path, _ = canonical_path(path)
        endpoint = self._endpoints.get(path, self._answer_rest)
        await endpoint(scope, receive, send)

    async def _answer_rest(self, scope: Scope, receive: Receive, send: Send) -> None:
        """All routes but the chat: keys are checked here, faults end here."""
        reply = Reply(send, request_id := new_id("req_"))
        assert self._rest is not None
        try:
            if scope["path"] not in models_api.OPEN_PATHS:
                scope[CALLER] = self._doorkeeper.admit(read_headers(scope))
            scope["app"] = (
                self  # with it Starlette raises its 404 and 405, instead of answering in plain text
            )
            await self._rest(scope, receive, reply.pass_on)
        except JunctorError as error:
            await reply.error(error, *render_refusal(error, scope["path"], request_id))
        except Exception:
            log.exception("our own fault in %s", request_id)
            error = InternalError(f"Junctor failed; the log has the reason under {request_id}")
            await reply.error(error, *render_refusal(error, scope["path"], request_id))

    def _build_desk(self, pool: dict[str, Model], ledger: Ledger) -> Desk:
        server = self._settings.server
        return Desk(
            pool=pool,
            ledger=ledger,
            doorkeeper=self._doorkeeper,
            metrics=self._metrics,
            vigil=Vigil(server.send_timeout_s, keepalive_s=server.keepalive_s),
            idempotency=self._idempotency,
            max_body_bytes=server.max_body_bytes,
            body_timeout_s=server.body_timeout_s,
            send_timeout_s=server.send_timeout_s,
            memories={OPENAI_RESPONSES.path: self._memory},
        )

    def _build_metered(self, members: list[Member], ledger: Ledger) -> dict[str, Model]:
        """Each member with its meter, and nothing around it: what the router chooses from."""
        assert self._builder is not None
        return {member.card.name: Metered(self._builder.build(member), ledger.report) for member in members}

    def _build_router(self, metered: dict[str, Model]) -> Router:
        return Router(
            metered,
            Predictor(parse_artefact(ARTEFACT.read_bytes())),
            mode=self._settings.routing.mode,
            floor=self._settings.routing.quality,
            save_decision=DecisionStore(self._database).save,
            new_id=lambda: new_id("dec_"),
            resilience=self._resilience,
        )

    def _build_rest(self, pool: dict[str, Model], ledger: Ledger) -> ExceptionMiddleware:
        async def outcome_of(request_id: str) -> dict[str, Any] | None:
            row = await ledger.find(request_id)
            return None if row is None else asdict(row)

        routes = [
            *models_api.routes(pool, self._metrics, self._readiness),
            *responses_api.routes(self._responses, lambda request: request.scope[CALLER]),
            *routing_api.routes(DecisionStore(self._database), outcome_of),
        ]
        # Not Starlette(): its outermost middleware answers our own faults in plain text, before we can.
        return ExceptionMiddleware(
            Routes(routes, redirect_slashes=False),
            handlers={HTTPException: _answer_starlettes_error, JunctorError: _answer_error},
        )

    def _readiness(self) -> dict[str, str]:
        assert self._builder is not None
        engines = {f"model {name}": engine.status.state for name, engine in self._builder.engines.items()}
        return {"server": "draining" if self._draining else "ok", "store": "ok", **engines}


def with_fallbacks(
    members: list[Member], metered: dict[str, Model], resilience: Resilience
) -> dict[str, Model]:
    """What answers a caller who names a member: it, then its fallbacks.

    The router does not choose from these: a fallback knows nothing of the limits of a request.
    """
    models: dict[str, Model] = {}
    for member in members:
        names = dict.fromkeys([member.card.name, *member.settings.fallbacks])
        models[member.card.name] = Resilient([metered[name] for name in names], resilience)
    return models


def _policy(settings: Settings) -> Policy:
    return Policy(
        attempts=settings.retries.attempts,
        retry_share=settings.retries.share,
        hedge_share=settings.hedging.share if settings.hedging.enabled else 0.0,
        first_text_s=settings.timeouts.first_token_s,
        total_s=settings.timeouts.total_s,
        ejection=Ejection(
            failures=settings.ejection.failures,
            base_s=settings.ejection.base_s,
            max_s=settings.ejection.max_s,
        ),
    )


async def _answer_error(request: Request, error: Exception) -> Response:
    """An error of ours, raised by a route."""
    assert isinstance(error, JunctorError)
    content_type, body = render_refusal(error, request.scope["path"], "")
    return Response(body, error.status, media_type=content_type)


async def _answer_starlettes_error(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405, in the envelope that their path promises."""
    assert isinstance(error, HTTPException)
    path = request.scope["path"][:_QUOTED_CHARACTERS]
    if error.status_code == WrongMethod.status:
        return await _answer_error(request, WrongMethod(f"{path} does not take {request.method}"))
    return await _answer_error(
        request, UnknownRoute(f"there is no {path} here; docs/reference/routes.md lists what there is")
    )
