"""All that is made from one reading of the settings; a reload makes another, and lets go of this one.

The pool is built from the inside out; for each model of the settings:

    upstream  ->  Metered (counts each call)  ->  Resilient (tries again, asks another)

and beside them stand `auto`, the router over all of them, and the fusions (`fusions.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import asdict
from starlette.requests import Request
from starlette.routing import Route

from junctor.assemble import (
    Builder,
    Member,
    doorkeeper_of,
    menu_of,
    pepper_of,
    policy_of,
    terms_of,
)
from junctor.chat import Model, ModelCard, Pool
from junctor.fusions import fusions_of, names_for_keys
from junctor.gateway import keys_api, models_api, openapi_api, reload_api, responses_api
from junctor.gateway.admit import Doorkeeper
from junctor.gateway.chat import ChatEndpoint, Desk
from junctor.gateway.count_tokens import PATH as COUNT_PATH
from junctor.gateway.count_tokens import CountTokens
from junctor.gateway.dialect import DIALECTS, OPENAI_RESPONSES
from junctor.gateway.headcount import Headcount
from junctor.gateway.key_registry import refuse_all_but_admins
from junctor.gateway.key_store import KeyStore
from junctor.gateway.memory import ResponseMemory
from junctor.gateway.menu import Menu
from junctor.gateway.receive import ASGIApp
from junctor.gateway.response_store import ResponseStore
from junctor.gateway.rest import CALLER, Rest
from junctor.gateway.vigil import Vigil
from junctor.lasting import Lasting
from junctor.pool.ledger import Ledger
from junctor.pool.ledger_store import LedgerStore
from junctor.pool.metered import Metered, Spent
from junctor.pool.resilient import Resilience
from junctor.routing import api as routing_api
from junctor.routing.calibration.store import NOT_CALIBRATED, Calibrated
from junctor.routing.conversations import Conversations
from junctor.routing.ladder import Ladder
from junctor.routing.measuring.feedback import FeedbackBox, Giver
from junctor.routing.measuring.judge import PROMPT
from junctor.routing.measuring.lasting import Plan
from junctor.routing.measuring.savings_store import Savings, SavingsStore, Terms
from junctor.routing.measuring.store import Feedback, MeasureStore
from junctor.routing.named import Forecast, Named, forecast_of
from junctor.routing.router import Router
from junctor.routing.store import DecisionStore
from junctor.serving.engine import LlamaEngine
from junctor.settings import ServerSettings, Settings, ShadowSettings
from junctor.store.ids import new_id
from junctor.wire.openapi import Served


class Operations(msgspec.Struct, frozen=True, kw_only=True):
    """What routes ask of the application as a whole."""

    readiness: models_api.Readiness
    reload: reload_api.Reload


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
    ladder: Ladder | None
    "What `auto` climbs."
    resilience: Resilience
    memory: ResponseMemory
    engines: Mapping[str, LlamaEngine]
    "By the name of the model; one that did not change is the one of the generation before."
    headcount: Headcount
    "Requests that came to this generation."


def build(
    settings: Settings,
    members: Sequence[Member],
    lasting: Lasting,
    operations: Operations,
    before: Generation | None,
    calibrated: Calibrated = NOT_CALIBRATED,
) -> Generation:
    """A generation, beside the one before it; nothing of it runs yet."""
    builder = Builder(settings, lasting.environment, lasting.transport, before.engines if before else {})
    conversations = _conversations_of(settings, members)
    report = partial(_report, conversations, lasting.ledger)
    metered = {it.card.name: Metered(builder.build(it), report) for it in members}
    resilience = _resilience(settings, members, before)
    decisions = DecisionStore(lasting.database)
    embedding = {it.card.name for it in members if it.settings.kind == "embeddings"}
    chats = {name: model for name, model in metered.items() if name not in embedding}
    terms = terms_of(settings, members, calibrated)
    router = _router_of(settings, chats, lasting, resilience, decisions, calibrated, terms, conversations)
    auto = _sampled(settings.routing.shadow, router, metered, lasting, resilience, terms.ladder)
    fusions = fusions_of(settings, members, router.abilities, calibrated)
    forecast = forecast_of(lasting.predictor, [model.card for model in chats.values()], calibrated.abilities)
    names = frozenset([*metered, router.card.name, *fusions.plans])
    named = _with_fallbacks(members, metered, resilience, forecast, names)
    pool: dict[str, Model] = {**named, router.card.name: auto}
    pool |= fusions.build(chats, router, resilience, decisions.save)
    doorkeeper = doorkeeper_of(settings, lasting.keys)
    menu = menu_of(members, router.card, settings.hedging, router.climbs, *fusions.fused())
    responses = ResponseStore(lasting.database, timedelta(days=settings.store.keep_responses_days))
    memory = ResponseMemory(responses)
    desks = _desks(settings.server, lasting, pool, embedding, doorkeeper, menu, memory)
    routes = [
        _count_route(settings.server, desks["chat"].pool, menu, builder),
        *models_api.routes(pool, menu, lasting.metrics, operations.readiness),
        *responses_api.routes(responses, lambda request: request.scope[CALLER].key_id),
        *_key_routes(lasting, doorkeeper, names_for_keys(settings, metered)),
        *reload_api.routes(operations.reload),
        *_decision_routes(decisions, lasting.ledger),
        *_measuring_routes(terms, lasting, decisions),
    ]
    described, most = (Feedback, Savings), settings.server.max_body_bytes
    routes += openapi_api.routes(routes, doorkeeper, max_body_bytes=most, structs=described)
    return Generation(
        settings=settings,
        members=members,
        endpoints={path: ChatEndpoint(dialect, desks[dialect.kind]) for path, dialect in DIALECTS.items()},
        rest=Rest(routes, doorkeeper.admit),
        served=(*openapi_api.served(routes),),
        doorkeeper=doorkeeper,
        strongest=router.strongest,
        ladder=terms.ladder,
        resilience=resilience,
        memory=memory,
        engines=builder.engines,
        headcount=Headcount(),
    )


def _with_fallbacks(
    members: Sequence[Member],
    metered: Mapping[str, Model],
    resilience: Resilience,
    forecast: Forecast,
    names: Collection[str],
) -> dict[str, Model]:
    """What answers a caller who names a member: it, then its fallbacks, within the limits of the request.

    `forecast`: of the members that chat. `names`: all of the pool.
    """
    models: dict[str, Model] = {}
    for member in members:
        asked = [metered[name] for name in dict.fromkeys([member.card.name, *member.settings.fallbacks])]
        chats = member.settings.kind == "chat"
        models[member.card.name] = Named(asked, resilience, names=names, forecast=forecast if chats else None)
    return models


def _conversations_of(settings: Settings, members: Sequence[Member]) -> Conversations:
    cards = [it.card for it in members]
    size, seconds = settings.routing.prompt_cache_size, settings.routing.prompt_cache_s
    return Conversations(cards, capacity=size, seconds=seconds)


def _report(conversations: Conversations, ledger: Ledger, request_id: str, spent: Spent) -> None:
    conversations.note(request_id, spent)
    ledger.report(request_id, spent)


def _resilience(settings: Settings, members: Sequence[Member], before: Generation | None) -> Resilience:
    """What is known of models that did not change is kept."""
    policy = policy_of(settings)
    if before is None:
        return Resilience(policy)
    known = {member.card.name: member.settings for member in before.members}
    unchanged = {it.card.name for it in members if known.get(it.card.name) == it.settings}
    return before.resilience.successor(policy, unchanged)


def _router_of(
    settings: Settings,
    models: Mapping[str, Model],
    lasting: Lasting,
    resilience: Resilience,
    decisions: DecisionStore,
    calibrated: Calibrated,
    terms: Terms,
    conversations: Conversations,
) -> Router:
    return Router(
        models,
        lasting.predictor,
        mode=settings.routing.mode,
        floor=settings.routing.quality,
        save_decision=decisions.save,
        new_id=lambda: new_id("dec_"),
        resilience=resilience,
        promise_holds=lasting.measuring.promise_holds,
        abilities=calibrated.abilities,
        ladder=terms.ladder,
        keeps_answers=settings.routing.keep_answers,
        asks_in_turn=settings.routing.drafts == "sequential",
        conversations=conversations,
        rations=lasting.limits.rations,
        looks_again=settings.routing.second_look,
        asks_neighbours=settings.routing.neighbours,
    )


def _desks(
    server: ServerSettings,
    lasting: Lasting,
    pool: Pool,
    embedding: Collection[str],
    doorkeeper: Doorkeeper,
    menu: Menu,
    memory: ResponseMemory,
) -> dict[str, Desk]:
    """By the kind of models. `embedding`: names of those that make embeddings."""
    chats = {name: model for name, model in pool.items() if name not in embedding}
    vectors = {name: pool[name] for name in embedding}
    return {
        "chat": _desk(server, lasting, chats, vectors, doorkeeper, menu, memory),
        "embeddings": _desk(server, lasting, vectors, chats, doorkeeper, menu, memory),
    }


def _desk(
    server: ServerSettings,
    lasting: Lasting,
    pool: Pool,
    others: Pool,
    doorkeeper: Doorkeeper,
    menu: Menu,
    memory: ResponseMemory,
) -> Desk:
    return Desk(
        pool=pool,
        others=others,
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


def _count_route(server: ServerSettings, pool: Pool, menu: Menu, builder: Builder) -> Route:
    counting = CountTokens(
        pool,
        menu,
        builder.counters,
        max_body_bytes=server.max_body_bytes,
        body_timeout_s=server.body_timeout_s,
    )
    return Route(COUNT_PATH, counting, methods=["POST"])


def _sampled(
    shadow: ShadowSettings | None,
    router: Router,
    models: Mapping[str, Model],
    lasting: Lasting,
    resilience: Resilience,
    ladder: Ladder | None,
) -> Model:
    """The router; where shadows are configured, with a share of its replies compared."""
    strongest = ladder.strongest if ladder else router.strongest.name if router.strongest else None
    if shadow is None or strongest is None:
        return router
    plan = Plan(
        share=shadow.share,
        max_usd_per_day=shadow.max_usd_per_day,
        judge=shadow.judge,
        judge_prompt=PROMPT.read_text(encoding="utf-8"),
        strongest=strongest,
        away=resilience.set_aside,
    )
    return lasting.measuring.shadow(router, models, plan)


def _key_routes(lasting: Lasting, doorkeeper: Doorkeeper, names: Collection[str]) -> list[Route]:
    store, pepper = KeyStore(lasting.database), pepper_of(lasting.environment)
    return keys_api.routes(store, pepper, doorkeeper, lasting.keys.refresh, names)


def _measuring_routes(terms: Terms, lasting: Lasting, decisions: DecisionStore) -> list[Route]:
    box = FeedbackBox(MeasureStore(lasting.database), decisions, LedgerStore(lasting.database))
    return [
        *routing_api.feedback_routes(box, _giver_of),
        *routing_api.savings_routes(SavingsStore(lasting.database), terms, _refuse_all_but_admins),
    ]


def _giver_of(request: Request) -> Giver:
    caller = request.scope[CALLER]
    return Giver(key_id=caller.key_id, is_admin=caller.is_admin)


def _refuse_all_but_admins(request: Request) -> None:
    refuse_all_but_admins(request.scope[CALLER])


def _decision_routes(decisions: DecisionStore, ledger: Ledger) -> list[Route]:
    async def outcome_of(request_id: str) -> dict[str, Any] | None:
        row = await ledger.find(request_id)
        return None if row is None else asdict(row)

    return routing_api.routes(decisions, outcome_of)
