"""The composition root: settings in, an ASGI application out. It starts, reloads and stops the whole.

What lasts as long as the process (the database, connections, figures) is made once: `lasting.py`. All else is
a `Generation`, made from one reading of the settings; a reload makes another and puts it in the old one's
place with one assignment. Requests stay with the generation that they came to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from junctor.assemble import choose_members
from junctor.chat import ConfigRefused, JunctorError
from junctor.gateway import models_api
from junctor.gateway.chat import MODEL_IN_URL
from junctor.gateway.dialect import canonical_path, render_refusal
from junctor.gateway.front import Front, HttpLimits
from junctor.gateway.receive import Receive, Scope, Send
from junctor.gateway.reload_api import Reloaded
from junctor.gateway.server import HttpServer, http_server
from junctor.gateway.shed import Shedder
from junctor.generation import Generation, Operations, build
from junctor.lasting import lasting_of
from junctor.routing.calibration.store import CalibrationStore
from junctor.serving.engine import Engine
from junctor.settings import Environment, ServerSettings, Settings
from junctor.settings_check import SettingsError
from junctor.wire.openapi import Served

log = logging.getLogger(__name__)


class Junctor:
    """The ASGI application. `start` opens everything, `stop` lets go of it; between them it answers."""

    def __init__(
        self, settings: Settings, environment: Environment, read: Callable[[], Settings] | None = None
    ) -> None:
        """`read` reads the settings again, for a reload, and may raise `SettingsError`; None: they stay."""
        self._settings = settings
        self._read = read or (lambda: settings)
        self._operations = Operations(readiness=self._readiness, reload=self._reload_and_tell)
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
        self._shedder: Shedder | None = None
        self.lasting = lasting_of(
            settings, environment, lambda: self._current.strongest, lambda: _is_busy(self._shedder)
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
        calibrated = await CalibrationStore(self.lasting.database).current()
        await self._put_in_force(
            build(self._settings, members, self.lasting, self._operations, None, calibrated)
        )

    async def stop(self) -> None:
        """Let go of everything, in the order opposite to `start`. Rows that are queued are written."""
        for task in self._retiring:
            task.cancel()
        await self.lasting.measuring.stop()
        await asyncio.gather(*(engine.stop() for engine in self._living_engines()))
        for generation in self._living:
            generation.memory.stop()
        self.lasting.idempotency.stop()
        self.lasting.keys.stop()
        await self.lasting.transport.close()
        await self.lasting.database.close()

    async def reload(self) -> None:
        """Read the settings again and go by them.

        Raises `ConfigRefused`, which the log has too: with any mistake in them nothing changes. Where the
        server listens and which database it uses are settled at the start.
        """
        async with self._reloading:
            try:
                settings = self._read()
                members = await choose_members(settings, self.lasting.environment)
                calibrated = await CalibrationStore(self.lasting.database).current()
                new = build(settings, members, self.lasting, self._operations, self._current, calibrated)
            except (SettingsError, JunctorError, OSError, ValueError) as error:
                self.config_refused = True
                problems = "; ".join(str(error).splitlines())
                log.warning("a new configuration is refused; what was in force stays so: %s", problems)
                raise ConfigRefused(f"the new configuration is refused: {problems}") from error
            await self._put_in_force(new)
            self.config_refused = False
            self.reloads += 1
            log.info("new settings are in force: %d models, %d keys", len(members), len(settings.keys))

    async def _reload_and_tell(self) -> Reloaded:
        await self.reload()
        return Reloaded(models=self.models, keys=len(self.settings.keys), reloads=self.reloads)

    async def _put_in_force(self, new: Generation) -> None:
        for engine in new.engines.values():
            await engine.start()
        new.memory.start()
        await self.lasting.measuring.refresh(
            new.ladder,
            new.settings.routing.mode,
            new.strongest,
            falls_back=new.settings.routing.on_drift == "strongest",
        )
        old, self._generation = self._generation, new
        self._living.append(new)
        server = new.settings.server
        if self._server is not None:
            self._server.change(
                _http_limits(server), server.max_in_flight, grace_s=server.grace_s, drain_s=server.drain_s
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
        self._shedder = Shedder(server.max_in_flight)
        front = Front(
            self,
            _http_limits(server),
            self._shedder,
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


def _is_busy(shedder: Shedder | None) -> bool:
    """Whether callers are, or are about to be, turned away."""
    return shedder is not None and (shedder.shedding or shedder.in_flight >= shedder.max_in_flight)


def _http_limits(server: ServerSettings) -> HttpLimits:
    """How long callers may take, and how much."""
    return HttpLimits(
        head_timeout_s=server.head_timeout_s,
        body_timeout_s=server.body_timeout_s,
        send_timeout_s=server.send_timeout_s,
        idle_timeout_s=server.idle_timeout_s,
        max_body_bytes=server.max_body_bytes,
        max_connections=server.max_connections,
    )
