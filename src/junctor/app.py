"""The composition root: settings in, an ASGI application out. The only module that knows every room.

What lasts as long as the process (the database, connections, figures) is made once: `Lasting`. All else is a
`Generation`, made from one reading of the settings; a reload makes another and puts it in the old one's place
with one assignment. Requests stay with the generation that they came to.

A generation's pool is built from the inside out; for each model of the settings:

    upstream  ->  Metered (counts each call)  ->  Resilient (tries again, asks another)

and beside them stands `auto`, the router over all of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from importlib import resources
from typing import Any

import msgspec
from msgspec.structs import asdict
from starlette.routing import Route

from junctor.assemble import (
    Builder,
    Member,
    choose_members,
    database_path,
    doorkeeper_of,
    http_limits,
    menu_of,
    pepper_of,
    policy_of,
    with_fallbacks,
)
from junctor.chat import JunctorError, Model, ModelCard
from junctor.gateway import keys_api, models_api, openapi_api, responses_api
from junctor.gateway.admit import Doorkeeper
from junctor.gateway.chat import MODEL_IN_URL, ChatEndpoint, Desk
from junctor.gateway.count_tokens import PATH as COUNT_PATH
from junctor.gateway.count_tokens import CountTokens
from junctor.gateway.dialect import DIALECTS, OPENAI_RESPONSES, canonical_path, render_refusal
from junctor.gateway.front import Front
from junctor.gateway.headcount import Headcount
from junctor.gateway.idempotency import Idempotency
from junctor.gateway.idempotency_store import ReplyStore
from junctor.gateway.key_ring import KeyRing
from junctor.gateway.key_store import KeyStore
from junctor.gateway.limits import Limits
from junctor.gateway.memory import ResponseMemory
from junctor.gateway.menu import Menu
from junctor.gateway.metrics import Metrics
from junctor.gateway.receive import ASGIApp, Receive, Scope, Send
from junctor.gateway.response_store import ResponseStore
from junctor.gateway.rest import CALLER, Rest
from junctor.gateway.server import HttpServer, http_server
from junctor.gateway.shed import Shedder
from junctor.gateway.vigil import Vigil
from junctor.pool.ledger import Ledger
from junctor.pool.metered import Metered
from junctor.pool.resilient import Resilience
from junctor.pool.transport import Transport
from junctor.routing import api as routing_api
from junctor.routing.predictor import Predictor, parse_artefact
from junctor.routing.router import Router
from junctor.routing.store import DecisionStore
from junctor.serving.engine import Engine, LlamaEngine
from junctor.settings import Environment, ServerSettings, Settings
from junctor.settings_check import SettingsError
from junctor.store.database import Database
from junctor.store.ids import new_id
from junctor.wire.openapi import Served

log = logging.getLogger(__name__)

ARTEFACT = resources.files("junctor.routing") / "artefact" / "router.msgpack"
"What the router was trained to; `lab/train_router.py` writes it."


class Lasting(msgspec.Struct, frozen=True, kw_only=True):
    """What outlives a reload."""

    environment: Environment
    metrics: Metrics
    database: Database
    ledger: Ledger
    idempotency: Idempotency
    keys: KeyRing
    limits: Limits
    transport: Transport
    predictor: Predictor


class Generation(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """All that is made from one reading of the settings."""

    settings: Settings
    members: Sequence[Member]
    endpoints: Mapping[str, ASGIApp]
    "By path: those that ask for an answer."
    rest: ASGIApp
    "All other paths."
    served: Sequence[Served]
    "What the two answer."
    doorkeeper: Doorkeeper
    strongest: ModelCard | None
    resilience: Resilience
    memory: ResponseMemory
    engines: Mapping[str, LlamaEngine]
    "By the name of the model; one that did not change is the one of the generation before."
    headcount: Headcount
    "Requests that came to this generation."


class Junctor:
    """The ASGI application. `start` opens everything, `stop` lets go of it; between them it answers."""

    def __init__(self, settings: Settings, environment: Environment) -> None:
        self._settings = settings
        self._generation: Generation | None = None
        self._living: list[Generation] = []
        "Those that requests are inside of; the newest is in force."
        self._retiring = set[asyncio.Task[None]]()
        self._reloading = asyncio.Lock()
        self._server: HttpServer | None = None
        self._draining = False
        self.config_refused = False
        "Whether the newest settings were refused, so that older ones are in force."
        self.reloads = 0
        "How often new settings came into force since the start."
        database = Database(database_path(settings, environment), settings.store.synchronous)
        self.lasting = Lasting(
            environment=environment,
            metrics=Metrics(),
            database=database,
            ledger=Ledger(database, strongest=lambda: self._current.strongest),
            idempotency=Idempotency(ReplyStore(database)),
            keys=KeyRing(KeyStore(database), pepper_of(environment)),
            limits=Limits(KeyStore(database).load_spendings),
            transport=Transport(),
            predictor=Predictor(parse_artefact(ARTEFACT.read_bytes())),
        )
        self.lasting.metrics.watch_store(
            lambda: database.failed, lambda: database.waiting, lambda: database.failing
        )
        self.lasting.metrics.watch_pool(lambda: self._generation.resilience if self._generation else None)
        self.lasting.metrics.watch_config(lambda: self.config_refused, lambda: self.reloads)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that answer, once started; `auto` is not among them."""
        return tuple(member.card.name for member in self._current.members)

    @property
    def is_open(self) -> bool:
        """Whether it answers callers without a key, once started."""
        return self._current.doorkeeper.is_open

    @property
    def served(self) -> Sequence[Served]:
        """What is answered, once started."""
        return self._current.served

    @property
    def settings(self) -> Settings:
        """Those in force."""
        return self._generation.settings if self._generation else self._settings

    async def start(self) -> None:
        """Open the database, build the pool, start the local engines (which load on their own).

        Raises `SettingsError` or `StoreFailed`: a server that cannot work does not start.
        """
        members, _ = await asyncio.gather(
            choose_members(self._settings, self.lasting.environment), self.lasting.database.open()
        )
        await self.lasting.keys.start()
        self.lasting.idempotency.start()
        await self._put_in_force(build(self._settings, members, self.lasting, self._readiness, None))

    async def stop(self) -> None:
        """Let go of everything, in the order opposite to `start`. Rows that are queued are written."""
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*(engine.stop() for engine in self._living_engines()))
        for generation in self._living:
            generation.memory.stop()
        self.lasting.idempotency.stop()
        self.lasting.keys.stop()
        await self.lasting.transport.close()
        await self.lasting.database.close()

    async def reload(self, read: Callable[[], Settings]) -> bool:
        """Go by new settings; with any mistake in them nothing changes, and the log says why.

        `read` may raise `SettingsError`. Where the server listens and which database it uses are settled at
        the start. True when the new settings are in force.
        """
        async with self._reloading:
            try:
                settings = read()
                members = await choose_members(settings, self.lasting.environment)
                new = build(settings, members, self.lasting, self._readiness, self._current)
            except (SettingsError, JunctorError, OSError, ValueError) as error:
                self.config_refused = True
                problems = "; ".join(str(error).splitlines())
                log.warning("a new configuration is refused; what was in force stays so: %s", problems)
                return False
            await self._put_in_force(new)
            self.config_refused = False
            self.reloads += 1
            log.info("new settings are in force: %d models, %d keys", len(members), len(settings.keys))
            return True

    async def _put_in_force(self, new: Generation) -> None:
        for engine in new.engines.values():
            await engine.start()
        new.memory.start()
        old, self._generation = self._generation, new
        self._living.append(new)
        server = new.settings.server
        if self._server is not None:
            self._server.change(
                http_limits(server), server.max_in_flight, grace_s=server.grace_s, drain_s=server.drain_s
            )
        if old is not None:
            old.memory.stop()
            task = asyncio.create_task(self._retire(old))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def _retire(self, old: Generation) -> None:
        """Once its last request has left: end the engines that nobody uses any more."""
        await old.headcount.emptied()
        self._living.remove(old)
        still_used = set(self._living_engines())
        for engine in old.engines.values():
            if engine not in still_used:
                await engine.stop()

    def _living_engines(self) -> dict[Engine, None]:
        return {engine: None for generation in self._living for engine in generation.engines.values()}

    def build_server(self) -> HttpServer:
        """What listens for callers, as `[server]` says."""
        server = self._settings.server
        front = Front(
            self,
            http_limits(server),
            Shedder(server.max_in_flight),
            lambda error, path: render_refusal(error, path, ""),
        )
        self.lasting.metrics.watch_front(front)
        self._server = http_server(
            front, grace_s=server.grace_s, drain_s=server.drain_s, on_drain=self._drain
        )
        return self._server

    def _drain(self) -> None:
        self._draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Those that ask for an answer go straight to their endpoint, past every framework."""
        generation = self._current
        path = scope["path"]
        if path.startswith("/openai/"):
            scope["path"], scope[MODEL_IN_URL] = path, _ = canonical_path(path)
        generation.headcount.inside += 1
        try:
            await generation.endpoints.get(path, generation.rest)(scope, receive, send)
        finally:
            generation.headcount.leave()

    @property
    def _current(self) -> Generation:
        assert self._generation is not None, "start() comes first"
        return self._generation

    def _readiness(self) -> dict[str, str]:
        engines = {f"model {name}": it.status.state for name, it in self._current.engines.items()}
        config = models_api.REFUSED if self.config_refused else "ok"
        server = "draining" if self._draining else "ok"
        store = models_api.FAILING if self.lasting.database.failing else "ok"
        return {"server": server, "store": store, "config": config, **engines}


def build(
    settings: Settings,
    members: Sequence[Member],
    lasting: Lasting,
    readiness: models_api.Readiness,
    before: Generation | None,
) -> Generation:
    """A generation, beside the one before it; nothing of it runs yet."""
    builder = Builder(settings, lasting.environment, lasting.transport, before.engines if before else {})
    metered = {it.card.name: Metered(builder.build(it), lasting.ledger.report) for it in members}
    resilience = _resilience(settings, members, before)
    decisions = DecisionStore(lasting.database)
    embedding = {it.card.name for it in members if it.settings.kind == "embeddings"}
    router = Router(
        {name: model for name, model in metered.items() if name not in embedding},
        lasting.predictor,
        mode=settings.routing.mode,
        floor=settings.routing.quality,
        save_decision=decisions.save,
        new_id=lambda: new_id("dec_"),
        resilience=resilience,
    )
    pool: dict[str, Model] = {**with_fallbacks(members, metered, resilience), router.card.name: router}
    doorkeeper = doorkeeper_of(settings, lasting.keys)
    menu = menu_of(members, router.card)
    responses = ResponseStore(lasting.database, timedelta(days=settings.store.keep_responses_days))
    memory = ResponseMemory(responses)
    pools = {
        "chat": {name: model for name, model in pool.items() if name not in embedding},
        "embeddings": {name: pool[name] for name in embedding},
    }
    desks = {
        kind: _desk(settings.server, lasting, of_kind, doorkeeper, menu, memory)
        for kind, of_kind in pools.items()
    }
    routes = [
        _count_route(settings.server, pools["chat"], builder),
        *models_api.routes(pool, lasting.metrics, readiness),
        *responses_api.routes(responses, lambda request: request.scope[CALLER].key_id),
        *keys_api.routes(
            KeyStore(lasting.database), pepper_of(lasting.environment), doorkeeper, lasting.keys.refresh
        ),
        *_decision_routes(decisions, lasting.ledger),
    ]
    routes += openapi_api.routes(routes, doorkeeper, max_body_bytes=settings.server.max_body_bytes)
    return Generation(
        settings=settings,
        members=members,
        endpoints={path: ChatEndpoint(dialect, desks[dialect.kind]) for path, dialect in DIALECTS.items()},
        rest=Rest(routes, doorkeeper.admit),
        served=(*openapi_api.served(routes),),
        doorkeeper=doorkeeper,
        strongest=router.strongest,
        resilience=resilience,
        memory=memory,
        engines=builder.engines,
        headcount=Headcount(),
    )


def _resilience(settings: Settings, members: Sequence[Member], before: Generation | None) -> Resilience:
    """What is known of models that did not change is kept."""
    policy = policy_of(settings)
    if before is None:
        return Resilience(policy)
    known = {member.card.name: member.settings for member in before.members}
    unchanged = {it.card.name for it in members if known.get(it.card.name) == it.settings}
    return before.resilience.successor(policy, unchanged)


def _desk(
    server: ServerSettings,
    lasting: Lasting,
    pool: dict[str, Model],
    doorkeeper: Doorkeeper,
    menu: Menu,
    memory: ResponseMemory,
) -> Desk:
    return Desk(
        pool=pool,
        ledger=lasting.ledger,
        doorkeeper=doorkeeper,
        limits=lasting.limits,
        menu=menu,
        metrics=lasting.metrics,
        vigil=Vigil(server.send_timeout_s, keepalive_s=server.keepalive_s),
        idempotency=lasting.idempotency,
        max_body_bytes=server.max_body_bytes,
        body_timeout_s=server.body_timeout_s,
        send_timeout_s=server.send_timeout_s,
        memories={OPENAI_RESPONSES.path: memory},
    )


def _count_route(server: ServerSettings, pool: dict[str, Model], builder: Builder) -> Route:
    counting = CountTokens(
        pool,
        builder.counters,
        max_body_bytes=server.max_body_bytes,
        body_timeout_s=server.body_timeout_s,
    )
    return Route(COUNT_PATH, counting, methods=["POST"])


def _decision_routes(decisions: DecisionStore, ledger: Ledger) -> list[Route]:
    async def outcome_of(request_id: str) -> dict[str, Any] | None:
        row = await ledger.find(request_id)
        return None if row is None else asdict(row)

    return routing_api.routes(decisions, outcome_of)
