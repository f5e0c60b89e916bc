"""The router: a Model that answers by choosing a Model.

parse_ask -> extract_features -> predict -> policy.decide -> pass over the set aside -> Routed
-> the chosen one, else the next
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping

from junctor.chat import (
    ChatRequest,
    Constraints,
    Decision,
    Event,
    Mode,
    Model,
    ModelCard,
    NoModelFits,
    Routed,
)
from junctor.pool.choice import Policy
from junctor.pool.resilient import Resilience
from junctor.routing.abilities import Abilities
from junctor.routing.ask import parse_ask
from junctor.routing.features import NAMES, Features, extract_features
from junctor.routing.policy import Demand, Ranking, decide, pass_over, put_first
from junctor.routing.predictor import Predictor

NAME = "auto"
"What callers send as `model`."
_SHOWN = ("tokens", *NAMES)
"Names of `Decision.features`."


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
    ) -> None:
        """`models`: those to choose from; `mode` and `floor`: for requests that name neither.

        Without a mode, a floor says what will do; without both, the mode is `balanced`. `resilience` knows
        who is set aside, and asks; left out: one of its own, that asks each model once. `abilities`: as
        measured by a calibration. `promise_holds`: while it says no, the strongest model answers.
        """
        self._resilience = resilience or Resilience(Policy(attempts=1))
        self._watched = {name: self._resilience.watch(model) for name, model in models.items()}
        self._cards = [model.card for model in models.values()]
        self._predictor = predictor
        self._placed = predictor.place(self._cards, abilities)
        self._save_decision = save_decision
        self._new_id = new_id
        self._mode: Mode | None = mode
        self._floor = floor
        self._promise_holds = promise_holds
        self.card = _card_of(self._cards)

    @property
    def strongest(self) -> ModelCard | None:
        """The model of the highest ability; None in an empty pool."""
        placed = sorted(zip(self._placed, self._cards, strict=True), key=lambda pair: pair[0].ability)
        return placed[-1][1] if placed else None

    def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Decide, say so, and pass on the answer of the chosen model, or of the next one that begins one.

        Raises `NoModelFits` and `BadRequest` at once.
        """
        decision, order = self.decide(request)
        self._save_decision(decision)
        candidates = [self._watched[name] for name in order]
        return self._resilience.answer(candidates, request, Routed(decision))

    def decide(self, request: ChatRequest) -> tuple[Decision, tuple[str, ...]]:
        """The decision for a request, and the models to ask, in order. Asks nobody."""
        began = time.perf_counter()
        if not self._cards:
            raise NoModelFits(
                "the pool holds no model; add a [[models]] to junctor.toml, or pull a local one"
            )
        ask, limits = parse_ask(request), request.constraints
        features = extract_features(ask.text)
        demand = Demand(
            tokens=ask.tokens,
            max_tokens=request.max_tokens,
            needs=ask.needs.union(limits.needs),
            constraints=limits,
            mode=self._mode_for(limits),
            floor=self._floor if limits.quality is None else limits.quality,
        )
        ranking = decide(demand, self._cards, self._predictor.predict(features, self._placed))
        if not self._promise_holds() and (strongest := self.strongest) is not None:
            ranking = put_first(ranking, strongest.name, "the promise is broken")
        if away := self._resilience.set_aside():
            ranking = pass_over(ranking, away)
        decision = self._record(request, demand, features, ranking, began)
        return decision, ranking.order

    def _mode_for(self, limits: Constraints) -> Mode | None:
        """The request's mode; else its floor decides alone; else the same of the defaults; else balanced."""
        if limits.mode is not None or limits.quality is not None:
            return limits.mode
        return self._mode or (None if self._floor is not None else "balanced")

    def _record(
        self, request: ChatRequest, demand: Demand, features: Features, ranking: Ranking, began: float
    ) -> Decision:
        return Decision(
            id=self._new_id(),
            request_id=request.id,
            candidates=ranking.candidates,
            chosen=ranking.chosen.name,
            rule=ranking.rule,
            mode=demand.mode_name,
            floor=demand.floor,
            features=dict(zip(_SHOWN, (float(demand.tokens), *features.named), strict=True)),
            path="prompt",
            took_us=(time.perf_counter() - began) * 1e6,
            saved_usd=ranking.saved_usd,
            artefact=self._predictor.version,
        )


def _card_of(cards: list[ModelCard]) -> ModelCard:
    """What the router can do: whatever one of its models can."""
    return ModelCard(
        name=NAME,
        provider="junctor",
        window=max((card.window for card in cards), default=0),
        skills=frozenset(skill for card in cards for skill in card.skills),
    )
