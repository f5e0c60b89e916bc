"""The router: a Model that answers by choosing a Model.

parse_prompt -> extract_features -> predict -> policy.decide -> views.look_again -> pass over the set aside
-> Routed -> the chosen one, else the next

Where there is a calibrated ladder, and the request's answers can be compared, a cascade climbs it instead.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from functools import partial

import msgspec
from msgspec.structs import replace

from junctor.chat import (
    ChatRequest,
    Constraints,
    Decision,
    Event,
    Mode,
    Model,
    ModelCard,
    NoModelFits,
    Price,
    Routed,
)
from junctor.pool.choice import Policy, Watched
from junctor.pool.pool import joint_card
from junctor.pool.prompt import Prompt, parse_prompt
from junctor.pool.ration import Ration, Rations
from junctor.pool.resilient import Resilience
from junctor.routing.abilities import Abilities, match_abilities
from junctor.routing.cascade import Cascade, Plan
from junctor.routing.checkable import Case, objection_to
from junctor.routing.conversations import (
    SHORTEST_PROMPT,
    Conversations,
    Fingerprints,
    Reading,
    fingerprint,
)
from junctor.routing.features import NAMES, Features, extract_features
from junctor.routing.ladder import Ladder, models_of
from junctor.routing.neighbours import find_neighbours
from junctor.routing.policy import Demand, Ranking, decide, pass_over, put_first
from junctor.routing.predictor import Prediction, Predictor, mean_p
from junctor.routing.rationed import Rationed, explain_wait, share_used
from junctor.routing.views import DISAGREE, Pool, look_again

NAME = "auto"
"What callers send as `model`."
_SHOWN = ("tokens", *NAMES)
"Names of `Decision.features`."


class _Sight(msgspec.Struct, frozen=True, gc=False):
    """What the router makes of one request."""

    ask: Prompt
    features: Features
    demand: Demand
    ranking: Ranking
    away: Mapping[str, str]
    "Who is set aside, and why."
    began: float
    prints: Fingerprints | None = None
    "Of its messages, where a prompt cache may hold them."
    ration: Ration | None = None
    "Its key's, of the strongest model."
    views_disagree: bool = False
    call: object = msgspec.field(default_factory=object)
    "Stands for this one: a request may make several, where it asks a fusion."


class Router:
    """Answers as the cheapest model that will do, and says why."""

    def __init__(
        self,
        models: Mapping[str, Model],
        predictor: Predictor,
        *,
        save_decision: Callable[[Decision], None],
        new_id: Callable[[], str],
        mode: Mode | None = None,
        floor: float | None = None,
        resilience: Resilience | None = None,
        abilities: Abilities | None = None,
        promise_holds: Callable[[], bool] = lambda: True,
        ladder: Ladder | None = None,
        keeps_answers: bool = True,
        asks_in_turn: bool = False,
        conversations: Conversations | None = None,
        rations: Rations | None = None,
        looks_again: bool = True,
        asks_neighbours: bool = False,
    ) -> None:
        """`models`: those to choose from; `mode` and `floor`: for requests that name neither.

        Without a mode, a floor says what will do; without both, the mode is `balanced`. `resilience` knows
        who is set aside, and asks; left out: one of its own, that asks each model once. `abilities`: as
        measured by a calibration. `promise_holds`: while it says no, the strongest model answers.
        `ladder`: for cascades; without `keeps_answers` their decisions do not quote what was answered, with
        `asks_in_turn` they ask one model after the other.
        `conversations`: who has read which prompt. `rations`: of keys that may have only so much of the
        strongest model. `looks_again`: whether the ends of a text are judged, too. `asks_neighbours`: whether
        like prompts of the calibration move predictions.
        """
        self._cards = [model.card for model in models.values()]
        self._predictor = predictor
        self._placed = predictor.place(self._cards, abilities)
        found = match_abilities(abilities if asks_neighbours else None, self._cards)
        names = [card.name for card in self._cards]
        self._neighbours = find_neighbours(abilities, found, names, predictor.version)
        self._strongest = self._find_strongest()
        self._rations = rations or Rations()
        self._resilience = resilience or Resilience(Policy(attempts=1))
        self._watched = {name: self._resilience.watch(model) for name, model in models.items()}
        self._conversations = conversations if conversations is not None and conversations.matters else None
        self._unpriced = frozenset(card.name for card in self._cards if card.price is None)
        self._looks_again = looks_again
        self._save_decision = save_decision
        self._new_id = new_id
        self._mode: Mode | None = mode
        self._floor = floor
        self._promise_holds = promise_holds
        self._ladder = ladder
        self._stronger = self._stronger_than(ladder)
        self._keeps_answers = keeps_answers
        self._asks_in_turn = asks_in_turn
        self.card = joint_card(NAME, self._cards)

    @property
    def strongest(self) -> ModelCard | None:
        """The model of the highest ability; None in an empty pool."""
        return next((card for card in self._cards if card.name == self._strongest), None)

    @property
    def abilities(self) -> Mapping[str, float]:
        """Mean probability of a good answer on the predictor's reference prompts, by model, 0..1."""
        artefact = self._predictor.artefact
        return {placed.name: mean_p(artefact, placed.ability) for placed in self._placed}

    def _find_strongest(self) -> str | None:
        placed = sorted(zip(self._placed, self._cards, strict=True), key=lambda pair: pair[0].ability)
        return placed[-1][1].name if placed else None

    def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Decide, say so, and pass on the answer of the chosen model, or of the next one that begins one.

        Raises `NoModelFits`, `BadRequest` and `StrongestShareUsed` at once.
        """
        seen = self._look(request)
        events = self._ask(request, seen)
        return events if seen.ration is None else seen.ration.count(events, seen.call)

    def _ask(self, request: ChatRequest, seen: _Sight) -> AsyncGenerator[Event, None]:
        ladder, ranking = self._ladder, seen.ranking
        if ladder is not None and seen.demand.mode is not None and self._promise_holds():
            objection = self._objection_to(ladder, request, seen)
            if objection is None and seen.demand.mode in ladder.promises:
                return self._climb(ladder, seen.demand.mode, request, seen)
            ranking = _without_cascade(ranking, ladder, seen.demand.mode_name, objection)
        decision = self._record(request, seen, ranking)
        self._save_decision(decision)
        watched = self._watch(seen)
        candidates = [watched[name] for name in ranking.order]
        return self._resilience.answer(candidates, request, Routed(decision))

    @property
    def climbs(self) -> tuple[str, ...]:
        """The models that a cascade may ask for one request, all of them; none without a ladder."""
        return models_of(self._ladder) if self._ladder is not None and self._ladder.promises else ()

    def most_usd(self, request: ChatRequest, tokens: int, answer_tokens: int) -> float | None:
        """As `Joint.most_usd`."""
        return _most_usd(self._cards, self.climbs, request.constraints, tokens, answer_tokens)

    def decide(self, request: ChatRequest) -> tuple[Decision, tuple[str, ...]]:
        """The decision for a request without a cascade, and the models to ask, in order. Asks nobody."""
        seen = self._look(request)
        return self._record(request, seen, seen.ranking), seen.ranking.order

    def _look(self, request: ChatRequest) -> _Sight:
        began = time.perf_counter()
        if not self._cards:
            raise NoModelFits(
                "the pool holds no model; add a [[models]] to junctor.toml, or pull a local one"
            )
        ask, limits = parse_prompt(request), request.constraints
        features = extract_features(ask.text)
        prints = self._fingerprints(request, ask)
        ration = self._rations.of(request.caller)
        demand = Demand(
            tokens=ask.tokens,
            max_tokens=request.max_tokens,
            needs=ask.needs.union(limits.needs),
            constraints=limits,
            mode=self._mode_for(limits),
            floor=self._floor if limits.quality is None else limits.quality,
            cached=self._conversations.recall(prints.before)
            if prints and self._conversations is not None
            else {},
            withheld=self._withheld(ration),
        )
        ranking, disagree = self._rank(demand, ask.text, features, ration)
        if not self._promise_holds() and self._strongest is not None:
            ranking = put_first(ranking, self._strongest, "the promise is broken")
        if away := self._resilience.set_aside():
            ranking = pass_over(ranking, away)
        return _Sight(ask, features, demand, ranking, away, began, prints, ration, disagree)

    def _rank(
        self, demand: Demand, text: str, features: Features, ration: Ration | None
    ) -> tuple[Ranking, bool]:
        """The ranking, and whether ends of the text have changed it."""
        predictions = self._predict(features)
        try:
            whole = decide(demand, self._cards, predictions)
        except NoModelFits:
            if ration is None or self._strongest is None or not demand.withheld:
                raise
            decide(replace(demand, withheld={}), self._cards, predictions)
            raise share_used(ration, self._strongest) from None
        if not self._looks_again:
            return whole, False
        pool = Pool(self._predict_text, partial(decide, demand, self._cards), self._unpriced)
        cheaper = look_again(text, whole, predictions, pool, demand.tolerance)
        return cheaper or whole, cheaper is not None

    def _predict(self, features: Features) -> Sequence[Prediction]:
        said = self._predictor.predict(features, self._placed)
        return said if self._neighbours is None else self._neighbours.correct(features.named, said)

    def _predict_text(self, text: str) -> Sequence[Prediction]:
        return self._predict(extract_features(text))

    def _fingerprints(self, request: ChatRequest, ask: Prompt) -> Fingerprints | None:
        """None where nobody can have the prompt in a cache, or where that would save nothing."""
        if self._conversations is None or ask.tokens < SHORTEST_PROMPT:
            return None
        return fingerprint(request, begun=ask.begun)

    def _withheld(self, ration: Ration | None) -> Mapping[str, str]:
        if ration is None or self._strongest is None:
            return {}
        wait = ration.wait(self._strongest)
        return {} if wait is None else {self._strongest: explain_wait(ration, self._strongest, wait)}

    def _watch(self, seen: _Sight) -> Mapping[str, Watched]:
        """The models as this call asks them."""
        changed = _wrap(self._watched, seen, self._conversations, self._strongest)
        watched = {name: self._resilience.watch(model) for name, model in changed.items()}
        return {**self._watched, **watched} if watched else self._watched

    # Cascades.

    def _stronger_than(self, ladder: Ladder | None) -> frozenset[str]:
        """Models beside the ladder that are stronger than its strongest: it says nothing of them."""
        if ladder is None:
            return frozenset()
        ability = {card.name: it.ability for it, card in zip(self._placed, self._cards, strict=True)}
        top = ability.get(ladder.strongest, 0.0)
        return frozenset(name for name, its in ability.items() if its > top) - {*models_of(ladder)}

    def _objection_to(self, ladder: Ladder, request: ChatRequest, seen: _Sight) -> str | None:
        case = Case(
            request=request,
            needs=seen.demand.needs,
            begun=seen.ask.begun,
            text=seen.ask.text,
            named=seen.features.named,
            floor=seen.demand.floor,
        )
        for candidate in seen.ranking.candidates if self._stronger else ():
            if candidate.name in self._stronger and candidate.ruled_out_by is None:
                return f"{candidate.name} is stronger than {ladder.strongest}, and was not calibrated"
        return objection_to(ladder, case, seen.ranking.candidates, seen.away, asks_in_turn=self._asks_in_turn)

    def _climb(
        self, ladder: Ladder, mode: Mode, request: ChatRequest, seen: _Sight
    ) -> AsyncGenerator[Event, None]:
        decision = self._record(request, seen, seen.ranking)
        plan = Plan(
            ladder=ladder, mode=mode, decision=decision, order=seen.ranking.order, question=seen.ask.text
        )
        cascade = Cascade(
            plan,
            self._watch(seen),
            self._resilience,
            self.card,
            save=self._save_decision,
            keeps_answers=self._keeps_answers,
            asks_in_turn=self._asks_in_turn,
        )
        return cascade.answer(request)

    def _mode_for(self, limits: Constraints) -> Mode | None:
        """The request's mode; else its floor decides alone; else the same of the defaults; else balanced."""
        if limits.mode is not None or limits.quality is not None:
            return limits.mode
        return self._mode or (None if self._floor is not None else "balanced")

    def _record(self, request: ChatRequest, seen: _Sight, ranking: Ranking) -> Decision:
        demand, named = seen.demand, seen.features.named
        features: dict[str, float] = dict(zip(_SHOWN, (float(demand.tokens), *named), strict=True))
        if seen.views_disagree:
            features[DISAGREE] = 1.0
        return Decision(
            id=self._new_id(),
            request_id=request.id,
            candidates=ranking.candidates,
            chosen=ranking.chosen.name,
            rule=ranking.rule,
            mode=demand.mode_name,
            floor=demand.floor,
            features=features,
            path="prompt",
            took_us=(time.perf_counter() - seen.began) * 1e6,
            saved_usd=ranking.saved_usd,
            artefact=self._predictor.version,
        )


def _without_cascade(ranking: Ranking, ladder: Ladder, mode: str, objection: str | None) -> Ranking:
    """One model answers, and the rule says why: there is an objection, or no promise for the mode."""
    if objection is not None:
        return replace(ranking, rule=f"{ranking.rule}; not cascaded: {objection}")
    why = f"no promise of {ladder.floor:.0%} of {ladder.strongest} for the mode {mode} ({ladder.version})"
    return replace(put_first(ranking, ladder.strongest, why), rule=f"{why}: the strongest model answers")


def _wrap(
    watched: Mapping[str, Watched], seen: _Sight, memory: Conversations | None, strongest: str | None
) -> Mapping[str, Model]:
    """Those of whom a call notes who reads its prompt, and the strongest, where its key has a share of it."""
    models, prints = dict[str, Model](), seen.prints
    if prints is not None and memory is not None:
        models |= {name: Reading(it.model, memory, prints.now) for name, it in watched.items()}
    if strongest is not None and seen.ration is not None:
        model = models.get(strongest) or watched[strongest].model
        models[strongest] = Rationed(model, seen.ration, seen.call)
    return models


def _most_usd(
    cards: Sequence[ModelCard], climbs: Collection[str], limits: Constraints, tokens: int, answer_tokens: int
) -> float | None:
    """At the dearest prices of those that may answer, or by all of a ladder; None: no price is known."""
    prices = {
        card.name: card.price
        for card in cards
        if card.price is not None
        and card.name not in limits.never
        and (not limits.only or card.name in limits.only)
    }
    if not prices:
        return None
    read = max(price.input for price in prices.values())
    said = max(price.output for price in prices.values())
    dearest = Price(input=read, output=said, source="the dearest").usd(tokens, answer_tokens)
    if not prices.keys() >= {*climbs}:
        return dearest  # no cascade
    return max(dearest, sum(prices[name].usd(tokens, answer_tokens) for name in climbs))
