"""Which models answer under each name: what a key may ask for, and what an answer can cost at most. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import inf
from typing import NamedTuple

import msgspec

from junctor.chat import ChatRequest, Model, ModelCard, ModelForbidden, Pool, UnknownModel
from junctor.gateway.keys import NANO, Caller
from junctor.pool.pool import ALIAS_PREFIX, find

TYPICAL_ANSWER_TOKENS = 500
"For rates, of a request that states no limit: answers to everyday prompts have some 200 to 700."
LONG_ANSWER_TOKENS = 4000
"""For budgets, of a request that states no limit: few answers are longer. Too much costs nobody anything, it
only lets fewer requests of one key go at the same time."""
_NANO_PER_TOKEN = NANO / 1_000_000
"At one USD for a million."
_ENVELOPE_TOKENS = 100
"Of a small prompt, what our count (from its size as JSON) may take for tokens that are none."


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a request may come to, before it is answered. Money is in 1e-9 USD, of one call of a model."""

    model: str
    "The name in the pool that it asks for."
    tokens: int
    "Read and written."
    prompt_nano: int
    "The prompt."
    stated_nano: int
    "The answer, where the request states a limit for it; else 0."
    least_nano: int
    "What the prompt costs even if we count twice too much, and `stated_nano`."
    most_nano: int
    "The prompt, and a long answer where no limit is stated. 0: nothing of it costs anything."
    calls: int = 1
    "Models that may be asked at the same time: 2 where the request may be hedged."


class Menu:
    """The names of one pool."""

    def __init__(
        self,
        named: Mapping[str, Sequence[ModelCard]],
        routed: Mapping[str, Sequence[ModelCard]],
        *,
        hedges: bool = False,
        together: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        """`named`: for each model, it and its fallbacks; `routed`: for each router, those it chooses from.

        `hedges`: whether a second model is asked when the first is late. `together`: for each router, models
        that may all be asked for one request.
        """
        self._hedges = hedges
        self._together = {name: frozenset(models) for name, models in (together or {}).items()}
        self._named = {name: [_rate_of(card) for card in cards] for name, cards in named.items()}
        self._routed = {name: [_rate_of(card) for card in cards] for name, cards in routed.items()}

    def permit(self, caller: Caller, name: str, request: ChatRequest) -> ChatRequest:
        """The request as the caller's key allows it: a router chooses among the key's models alone.

        Raises `ModelForbidden`.
        """
        if not caller.models or (name in caller.models and name not in self._routed):
            return request
        if name not in self._routed:
            raise _forbidden(caller, name)
        allowed = [rate.model for rate in self._routed[name] if rate.model in caller.models]
        if not allowed and set(caller.models) == {name}:
            return request  # the router alone is allowed, and with it all that it chooses from
        wanted = request.constraints.only
        only = tuple(model for model in allowed if not wanted or model in wanted)
        if not only:
            asked = f" and asks for {_listed(wanted)} only" if wanted else ""
            raise ModelForbidden(
                f"this API key may use {_listed(caller.models)}{asked}: `{name}` has nothing to choose from",
                param="junctor.only" if wanted else "model",
            )
        constraints = msgspec.structs.replace(request.constraints, only=only)
        return msgspec.structs.replace(request, constraints=constraints)

    def permits(self, caller: Caller, name: str) -> bool:
        """Whether the caller's key may use it: `permit` lets a request that states no limits pass."""
        if not caller.models or set(caller.models) == {name}:
            return True
        if name not in self._routed:
            return name in caller.models
        return any(rate.model in caller.models for rate in self._routed[name])

    def find(self, caller: Caller, pool: Pool, name: str) -> Model:
        """A model of the pool, for a caller who knows of those alone that the key may use.

        Raises `ModelForbidden`, and `UnknownModel`, which names no others.
        """
        if not caller.models:
            return find(pool, name)
        own = {each: model for each, model in pool.items() if self.permits(caller, each)}
        try:
            return find(own, name)
        except UnknownModel:
            if len(own) < len(pool) and (name in pool or name.removeprefix(ALIAS_PREFIX) in pool):
                raise _forbidden(caller, name) from None
            raise

    def estimate(self, name: str, request: ChatRequest, prompt_tokens: int) -> Estimate:
        """What a request may come to at the dearest model that may answer it, or at all of a cascade's."""
        limits = request.constraints
        rates = self._named.get(name) or [
            rate
            for rate in self._routed.get(name, ())
            if rate.model not in limits.never and (not limits.only or rate.model in limits.only)
        ]
        limit, together = request.max_tokens, self._together.get(name, frozenset())
        surely_read = max(0, prompt_tokens - _ENVELOPE_TOKENS) // 2
        prompt = stated = least = most = all_most = 0.0
        for rate in rates:
            read = prompt_tokens * rate.input
            said = min(limit or 0, rate.max_output) * rate.output
            long = said if limit else min(LONG_ANSWER_TOKENS, rate.max_output) * rate.output
            prompt, stated, most = max(prompt, read), max(stated, said), max(most, read + long)
            least = max(least, surely_read * rate.input + said)
            all_most += (read + long) * (rate.model in together)
        calls = 2 if self._hedges and len(rates) > 1 and limits.max_usd is None else 1
        if together.issubset(rate.model for rate in rates):
            most = max(most, all_most / calls)
        return Estimate(
            model=name,
            tokens=prompt_tokens + (TYPICAL_ANSWER_TOKENS if limit is None else limit),
            prompt_nano=round(prompt),
            stated_nano=round(stated),
            least_nano=round(least),
            most_nano=round(most),
            calls=calls,
        )


class _Rate(NamedTuple):
    """What a model takes for a token, 1e-9 USD."""

    model: str
    input: float
    "As if the prompt was written to the model's cache, where that is dearer."
    output: float
    max_output: float


def _rate_of(card: ModelCard) -> _Rate:
    most = inf if card.max_output is None else card.max_output
    if card.price is None:
        return _Rate(card.name, 0.0, 0.0, most)
    price = card.price
    read = max(price.input, price.cache_write or 0.0)
    return _Rate(card.name, read * _NANO_PER_TOKEN, price.output * _NANO_PER_TOKEN, most)


def _forbidden(caller: Caller, name: str) -> ModelForbidden:
    return ModelForbidden(
        f"this API key may not use the model `{name}`; it may use: {_listed(caller.models)}", param="model"
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
