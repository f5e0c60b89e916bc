"""Which models answer under each name: what a key may ask for, and what an answer can cost at most. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from junctor.chat import ChatRequest, ModelCard, ModelForbidden
from junctor.gateway.keys import NANO, Caller

TYPICAL_ANSWER_TOKENS = 500
"For rates, of a request that states no limit: answers to everyday prompts have some 200 to 700."
LONG_ANSWER_TOKENS = 4000
"""For budgets, of a request that states no limit: few answers are longer. Too much costs nobody anything, it
only lets fewer requests of one key go at the same time."""
_ENVELOPE_TOKENS = 100
"Of a small prompt, what our count (from its size as JSON) may take for tokens that are none."


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a request may come to, before it is answered. Money is in 1e-9 USD."""

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


class Menu:
    """The names of one pool."""

    def __init__(
        self, named: Mapping[str, Sequence[ModelCard]], routed: Mapping[str, Sequence[ModelCard]]
    ) -> None:
        """`named`: for each model, it and its fallbacks; `routed`: for each router, those it chooses from."""
        self._named = named
        self._routed = routed

    def permit(self, caller: Caller, name: str, request: ChatRequest) -> ChatRequest:
        """The request as the caller's key allows it: a router chooses among the key's models alone.

        Raises `ModelForbidden`.
        """
        if not caller.models or (name in caller.models and name not in self._routed):
            return request
        if name not in self._routed:
            raise ModelForbidden(
                f"this API key may not use the model `{name}`; it may use: {_listed(caller.models)}",
                param="model",
            )
        allowed = [card.name for card in self._routed[name] if card.name in caller.models]
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

    def estimate(self, name: str, request: ChatRequest, prompt_tokens: int) -> Estimate:
        """What a request may come to at the dearest model that may answer it."""
        limits = request.constraints
        cards = self._named.get(name) or [
            card
            for card in self._routed.get(name, ())
            if card.name not in limits.never and (not limits.only or card.name in limits.only)
        ]
        limit = request.max_tokens
        stated = _dearest(cards, 0, limit or 0)
        surely_read = max(0, prompt_tokens - _ENVELOPE_TOKENS) // 2
        return Estimate(
            model=name,
            tokens=prompt_tokens + (TYPICAL_ANSWER_TOKENS if limit is None else limit),
            prompt_nano=_dearest(cards, prompt_tokens, 0),
            stated_nano=stated,
            least_nano=stated + _dearest(cards, surely_read, 0),
            most_nano=_dearest(cards, prompt_tokens, LONG_ANSWER_TOKENS if limit is None else limit),
        )


def _dearest(cards: Iterable[ModelCard], prompt_tokens: int, answer_tokens: int) -> int:
    return max((_nano(card, prompt_tokens, answer_tokens) for card in cards), default=0)


def _nano(card: ModelCard, prompt_tokens: int, answer_tokens: int) -> int:
    """At the card's price; the prompt as if all of it were written to the cache, where that is dearer."""
    if card.price is None:
        return 0
    tokens = answer_tokens if card.max_output is None else min(answer_tokens, card.max_output)
    price = card.price
    plain, cached = price.usd(prompt_tokens, tokens), price.usd(prompt_tokens, tokens, 0, prompt_tokens)
    return round(max(plain, cached) * NANO)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
