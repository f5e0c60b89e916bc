"""A model that a request names: it answers, or a fallback of its does, within the limits that are stated.

`auto` chooses under a request's limits; who names a model has chosen, and its limits hold all the same: the
model keeps them or is refused, and a fallback that does not keep them is not asked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence

from msgspec.structs import replace

from junctor.chat import ChatRequest, Constraints, Event, Model, ModelCard, NoModelFits
from junctor.pool.metered import count_prompt_tokens
from junctor.pool.prompt import parse_prompt
from junctor.pool.resilient import Resilience, Resilient
from junctor.routing.abilities import Abilities
from junctor.routing.features import extract_features
from junctor.routing.policy import Demand, keep_to_limits
from junctor.routing.predictor import Prediction, Predictor
from junctor.routing.refusals import check_names

Forecast = Callable[[str], Mapping[str, Prediction]]
"What is expected of each model, by its name, for the text of a prompt."
_NO_LIMITS = Constraints()
_VECTORS = Prediction(name="", p_good=0.0, source="none", output_tokens=0.0)
"What is expected of a model for embeddings: it writes no text."


def forecast_of(
    predictor: Predictor, cards: Sequence[ModelCard], abilities: Abilities | None = None
) -> Forecast:
    """What is expected of these models, which the router chooses from. `abilities`: as calibrated."""
    placed = predictor.place(cards, abilities)

    def forecast(text: str) -> Mapping[str, Prediction]:
        return {said.name: said for said in predictor.predict(extract_features(text), placed)}

    return forecast


class Named:
    """A Model that stands for the first of several, and for the others when that fails before its text."""

    def __init__(
        self,
        models: Sequence[Model],
        resilience: Resilience,
        *,
        names: Collection[str] = (),
        forecast: Forecast | None = None,
    ) -> None:
        """`models`: the one that is named, then its fallbacks. `names`: all that `only` and `never` may name.
        `forecast`: None for models that make embeddings."""
        self.card: ModelCard = models[0].card
        self._models = {model.card.name: model for model in models}
        self._resilience = resilience
        self._names = names
        self._forecast = forecast
        self._all = Resilient(models, resilience)

    def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """As `Resilience.answer`. Raises `NoModelFits` and `BadRequest` at once."""
        limits = request.constraints
        if limits == _NO_LIMITS or replace(limits, mode=None) == _NO_LIMITS:
            return self._all.answer(request)
        check_names(limits, self._names)
        kept = self._keep_to(limits, request)
        if len(kept) == len(self._models):
            return self._all.answer(request)
        return Resilient([self._models[name] for name in kept], self._resilience).answer(request)

    def _keep_to(self, limits: Constraints, request: ChatRequest) -> tuple[str, ...]:
        cards = [model.card for model in self._models.values()]
        if self._forecast is None:
            if limits.quality is not None:
                raise NoModelFits(
                    f"nothing is known of how good the embeddings of `{self.card.name}` are: leave out "
                    "`junctor.quality`",
                    param="junctor.quality",
                )
            tokens, predictions = count_prompt_tokens(request), [_VECTORS] * len(cards)
        else:
            prompt = parse_prompt(request)
            said = self._forecast(prompt.text)
            tokens, predictions = prompt.tokens, [said[card.name] for card in cards]
        demand = Demand(
            tokens=tokens,
            max_tokens=request.max_tokens,
            needs=frozenset(limits.needs),
            constraints=limits,
            floor=limits.quality,
        )
        return keep_to_limits(demand, cards, predictions)
