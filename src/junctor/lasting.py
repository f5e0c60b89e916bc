"""What lasts as long as the process, and is made once: the database, connections, figures."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources

import msgspec

from junctor.assemble import database_path, pepper_of
from junctor.chat import ModelCard
from junctor.gateway.idempotency import Idempotency
from junctor.gateway.idempotency_store import ReplyStore
from junctor.gateway.key_ring import KeyRing
from junctor.gateway.key_store import KeyStore
from junctor.gateway.limits import Limits
from junctor.gateway.metrics import Metrics
from junctor.pool.ledger import Ledger
from junctor.pool.ration import Rations
from junctor.pool.transport import Transport
from junctor.routing.measuring.lasting import Measuring
from junctor.routing.predictor import Predictor, parse_artefact
from junctor.routing.store import DecisionStore
from junctor.settings import Environment, Settings
from junctor.store.database import Database

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
    measuring: Measuring


def lasting_of(
    settings: Settings,
    environment: Environment,
    strongest: Callable[[], ModelCard | None],
    is_busy: Callable[[], bool] = lambda: False,
) -> Lasting:
    """None of it is open yet. `strongest`: of the models that answer now, what the ledger compares with.

    `is_busy`: whether the server has too much to do for its callers already.
    """
    metrics = Metrics()
    database = Database(database_path(settings, environment), settings.store.synchronous)
    metrics.watch_store(lambda: database.failed, lambda: database.waiting, lambda: database.failing)
    ledger = Ledger(database, strongest=strongest)
    measuring = Measuring(database, ledger, is_busy)
    metrics.watch(measuring)
    return Lasting(
        environment=environment,
        metrics=metrics,
        database=database,
        ledger=ledger,
        idempotency=Idempotency(ReplyStore(database)),
        keys=KeyRing(KeyStore(database), pepper_of(environment)),
        limits=Limits(KeyStore(database).load_spendings, rations=Rations(DecisionStore(database).load_past)),
        transport=Transport(),
        predictor=Predictor(parse_artefact(ARTEFACT.read_bytes())),
        measuring=measuring,
    )
