"""The fusions of a pool: those of the settings, the one that is always there, and the presets.

    fusions = fusions_of(settings, members, router.abilities)
    pool |= fusions.build(chats, router, resilience, save_decision)

A member of a fusion is a metered model, `auto`, or a fusion of a lesser depth: so nothing asks itself.
Callers have each as `Asked`: what a fusion cannot do for a request is refused before anybody is asked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from math import inf

import msgspec
from msgspec.structs import asdict, replace

from junctor.assemble import Member
from junctor.chat import (
    BadRequest,
    ChatRequest,
    Constraints,
    Decision,
    Drafted,
    Event,
    FusionOptions,
    Model,
    ModelCard,
    NoModelFits,
    Routed,
    UpstreamError,
    UpstreamTimeout,
)
from junctor.fusion.fusion import Fusion
from junctor.fusion.plan import Plan
from junctor.fusion.weights import Weights
from junctor.gateway.fused import Fused
from junctor.pool.catalog import PROVIDERS
from junctor.pool.resilient import Resilience
from junctor.pool.vote import Vote
from junctor.routing.calibration.store import NOT_CALIBRATED, Calibrated
from junctor.routing.predictor import blended_price
from junctor.routing.refusals import check_names
from junctor.settings import FusionSettings, Settings
from junctor.settings_meaning import FUSION, MEMBERS_BY_DEFAULT, ROUTER
from junctor.store.ids import new_id
from junctor.wire.constraints import suggest
from junctor.wire.openai_request import name_provider_tools

HIGH, BUDGET = "general-high", "general-budget"
"Presets, as OpenRouter names them; a fusion of the settings that has such a name goes before."
FEW = 3
"Members of `general-budget`."


class Fusions(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """All fusions of one pool, before they are built."""

    plans: Mapping[str, Plan]
    "By name, those of a lesser depth first."
    presets: Mapping[str, Plan]
    able: Mapping[str, tuple[str, ...]]
    "For each fusion, who may take part in it."
    abilities: Mapping[str, float]
    "Of all who may: probability of a good answer, 0..1."
    votes: Mapping[tuple[str, ...], Vote] = {}
    "As calibrated, by members."
    rated: Mapping[tuple[str, ...], Vote] = {}
    "As learnt from ratings, by members."
    judges: Mapping[str, float] = {}
    "How often a model preferred the right one of two answers, 0..1, where that was measured."
    keeps_answers: bool = True
    "Whether decisions say what was answered, and not only who agreed."

    @property
    def weights(self) -> Weights:
        """What is known of members and judges."""
        return Weights(self.abilities, self.votes, self.judges, self.rated)

    def build(
        self,
        chats: Mapping[str, Model],
        router: Model,
        resilience: Resilience,
        save_decision: Callable[[Decision], None],
    ) -> dict[str, Model]:
        """What answers callers under each name. `chats`: metered, without fallbacks; `router`: `auto`,
        unsampled."""
        there: dict[str, Model] = {**chats, router.card.name: router}
        built: dict[str, Model] = {}
        known = (*there, *self.plans)
        weights = self.weights
        for name, plan in self.plans.items():
            there[name] = Fusion(
                plan,
                {each: there[each] for each in self.able[name]},
                resilience,
                presets={each: self.presets[each] for each in self._presets_of(name)},
                weights=weights,
                save_decision=save_decision,
                new_id=lambda: new_id("dec_"),
                keeps_answers=self.keeps_answers,
            )
            built[name] = Asked(there[name], able=self.able[name], names=known)
        return built

    def fused(self) -> tuple[dict[str, Fused], dict[str, Fused]]:
        """What the front door has to know of fusions, and of presets."""
        presets = {name: self._fused(plan) for name, plan in self.presets.items()}
        fused = {
            name: replace(
                self._fused(plan),
                able=frozenset(self.able[name]),
                presets=frozenset(self._presets_of(name)),
            )
            for name, plan in self.plans.items()
        }
        return fused, presets

    def _fused(self, plan: Plan) -> Fused:
        return Fused(
            members=tuple(sorted(plan.members, key=lambda name: -self.abilities[name])),
            judge=plan.judge,
            mode=plan.mode,
            max_completion_tokens=plan.max_completion_tokens,
            max_usd=plan.max_usd,
        )

    def _presets_of(self, name: str) -> Sequence[str]:
        """Those whose members may take part in this fusion: a preset makes none deeper than it says it is."""
        able = {None, *self.able[name]}
        return [each for each, plan in self.presets.items() if able.issuperset((*plan.members, plan.judge))]


class Asked:
    """A fusion as callers ask it: says at once what it cannot do, and at the end that nobody answered."""

    def __init__(self, fusion: Model, *, able: Collection[str], names: Collection[str]) -> None:
        """`able`: who may take part in it. `names`: all of the pool, for `only` and `never`."""
        self.card: ModelCard = fusion.card
        self._fusion = fusion
        self._able = able
        self._names = names

    def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """As `Fusion.answer`. Raises `BadRequest` and `NoModelFits` at once."""
        check_names(request.constraints, self._names)
        self._check_members(request.fusion or FusionOptions())
        self._refuse_what_it_cannot_keep(request.constraints)
        if run_there := name_provider_tools(request):
            request = replace(request, refused_elsewhere=(*request.refused_elsewhere, *run_there))
        return self._explain(self._fusion.answer(request), request.constraints)

    def _check_members(self, options: FusionOptions) -> None:
        """A typing error is answered with what was meant."""
        asked = [(name, "analysis_models") for name in options.analysis_models]
        for name, field in [*asked, (options.model, "model")]:
            if name is not None and name not in self._able:
                hint = suggest(name, self._able)
                raise BadRequest(
                    f"`{name[:200]}` cannot take part in a fusion{hint}", param=f"fusion.{field}"
                )

    def _refuse_what_it_cannot_keep(self, limits: Constraints) -> None:
        name = self.card.name
        if limits.quality is not None:
            raise NoModelFits(
                f"nothing predicts how good an answer of the fusion `{name}` is: leave out "
                "`junctor.quality`, or ask `auto`, which keeps it",
                param="junctor.quality",
            )
        if limits.max_first_token_ms is not None:
            raise NoModelFits(
                f"the fusion `{name}` says nothing before its members have answered: leave out "
                "`junctor.max_first_token_ms`; `junctor.max_total_ms` bounds all of it",
                param="junctor.max_first_token_ms",
            )

    async def _explain(
        self, events: AsyncGenerator[Event, None], limits: Constraints
    ) -> AsyncGenerator[Event, None]:
        """Where all members fail: that it was a fusion, and what gives them more time."""
        heard = False
        try:
            async with aclosing(events):
                async for event in events:
                    heard = heard or not isinstance(event, Drafted | Routed) or _is_answer(event)
                    yield event
        except UpstreamError as error:
            if not heard:
                error.message = f"no member of the fusion `{self.card.name}` answered: {error.message}"
                if isinstance(error, UpstreamTimeout):
                    error.message += f". What may help: a longer {_clocks(limits)}"
                error.args, error.said = (error.message,), None
            raise


def _is_answer(event: Drafted | Routed) -> bool:
    return isinstance(event, Drafted) and event.draft.failed is None


def _clocks(limits: Constraints) -> str:
    """What bounds the time of members."""
    total = "" if limits.max_total_ms is None else ", or `junctor.max_total_ms`"
    return f"`fusion.deadline_ms`{total}"


def names_for_keys(settings: Settings, models: Iterable[str]) -> tuple[str, ...]:
    """All that an API key may name. `models`: the names of those in the pool."""
    return (*models, ROUTER, FUSION, *(each.name for each in settings.fusions), HIGH, BUDGET)


def fusions_of(
    settings: Settings,
    members: Sequence[Member],
    abilities: Mapping[str, float],
    calibrated: Calibrated = NOT_CALIBRATED,
) -> Fusions:
    """The fusions of these members; none where nobody chats. `abilities`: of those who do, 0..1."""
    chats = [member for member in members if member.settings.kind == "chat"]
    if not chats:
        return Fusions(plans={}, presets={}, able={}, abilities={})
    best = sorted(chats, key=lambda member: -abilities[member.card.name])[:MEMBERS_BY_DEFAULT]
    able = tuple(member.card.name for member in chats)
    most = tuple(name for name in able if name in {member.card.name for member in best})
    known = {**abilities, ROUTER: max(abilities[name] for name in able)}
    described = {FUSION: FusionSettings(name=FUSION), **{each.name: each for each in settings.fusions}}
    plans, takes_part = dict[str, Plan](), dict[str, tuple[str, ...]]()
    for each in sorted(described.values(), key=lambda it: it.depth):
        plans[each.name] = plan = _plan_of(each, most, abilities)
        known[each.name] = max(known[name] for name in plan.members)
        lesser = [other for other in plans if described[other].depth < each.depth]
        takes_part[each.name] = (*able, ROUTER, *lesser)
    cheapest = sorted(chats, key=_list_price)[:FEW]
    general = {
        HIGH: Plan(name=HIGH, members=most),
        BUDGET: Plan(name=BUDGET, members=tuple(member.card.name for member in cheapest)),
    }
    return Fusions(
        plans=plans,
        presets={**general, **plans},
        able=takes_part,
        abilities=known,
        votes=calibrated.votes_for([member.card for member in chats]),
        rated=calibrated.rated_for([member.card for member in chats]),
        judges=calibrated.judges_for([member.card for member in chats]),
        keeps_answers=settings.routing.keep_answers,
    )


def _plan_of(told: FusionSettings, most: tuple[str, ...], abilities: Mapping[str, float]) -> Plan:
    members = told.members or most
    fields = {name: value for name, value in asdict(told).items() if name in Plan.__struct_fields__}
    fields |= {
        "members": members,
        "judge": told.judge or _judge_among(members, abilities),
        "reasoning": None if told.reasoning is None else msgspec.Raw(msgspec.json.encode(told.reasoning)),
    }
    return Plan(**fields)


def _judge_among(members: Sequence[str], abilities: Mapping[str, float]) -> str | None:
    """None: the best of the members that are asked. Where some ask others: the best model, by itself."""
    models = [name for name in members if name in abilities]
    if len(models) == len(members):
        return None
    return max(models, key=abilities.__getitem__, default=None)


def _list_price(member: Member) -> float:
    """USD per million tokens. A model whose provider has no list costs nothing that a list would know."""
    card, provider = member.card, PROVIDERS.get(member.settings.provider)
    if card.price is None and provider is not None and provider.price_list is not None:
        return inf
    return blended_price(card)
