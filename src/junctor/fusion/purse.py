"""What is left of a fusion's `max_usd`: every call has its part before it is made, and writes no more.

    books = Books(on_a_budget(models, Purse(max_usd)), resilience)

A member's part is its share, which its seat says (panel.py), as the `max_usd` of what it is asked. A judge or
a writer has half of what is left by then, and enough for an everyday answer where there is so much. A call
whose part pays for nothing is refused; so is one of a model whose price nobody knows.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from math import floor
from typing import NamedTuple

from msgspec.structs import replace

from junctor.chat import ChatRequest, Event, Model, ModelCard, NoModelFits
from junctor.fusion.panel import LIMITS, TYPICAL_TOKENS, most_usd
from junctor.pool.metered import Charged, Spent
from junctor.pool.prompt import parse_prompt

LEAST_TOKENS = 16
"Who cannot pay for so many is not asked: OpenAI takes no lower limit."
SURE_TOKENS = 8192
"""A limit above it is left out where the card does not say how much a model can write: some refuse a higher
one than that, and hardly any answer is longer."""


class Purse:
    """The money of one request."""

    def __init__(self, usd: float) -> None:
        self.left = usd
        "Neither spent nor held, USD; below 0 where calls came to more than was held for them."

    def hold(self, usd: float) -> None:
        """A call begins that may come to so much."""
        self.left -= usd

    def settle(self, held: float, spent: float) -> None:
        """It has ended, and came to so much."""
        self.left += held - spent


class _Part(NamedTuple):
    """What one call may have."""

    usd: float
    max_tokens: int | None


class OnABudget:
    """A Model around a Model: asks it for no more than the purse pays for."""

    def __init__(self, model: Model, purse: Purse) -> None:
        self.card: ModelCard = model.card
        self._model = model
        self._purse = purse

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """As `Model.answer`. Raises `NoModelFits` where nobody knows what it costs, or it costs too much."""
        part, calls = self._part(request), list[Spent]()
        asked = replace(request, constraints=replace(request.constraints, max_usd=part.usd))
        if part.max_tokens != request.max_tokens:
            rest = {name: value for name, value in request.passthrough.items() if name not in LIMITS}
            asked = replace(asked, max_tokens=part.max_tokens, passthrough=rest)
        self._purse.hold(part.usd)
        try:
            async with aclosing(Charged(self._model, calls.append).answer(asked)) as events:
                async for event in events:
                    yield event
        finally:
            self._purse.settle(part.usd, sum(call.usd for call in calls))

    def _part(self, request: ChatRequest) -> _Part:
        tokens, limit, left = parse_prompt(request).tokens, request.max_tokens, self._purse.left
        share, said = request.constraints.max_usd, limit or TYPICAL_TOKENS
        asked = replace(request, constraints=replace(request.constraints, max_usd=None))
        read, usual, whole, most = (
            most_usd(self._model, asked, tokens, answer)
            for answer in (0, min(said, TYPICAL_TOKENS), said, SURE_TOKENS)
        )
        if read is None or usual is None or whole is None or most is None:
            raise NoModelFits(f"the price of `{self.card.name}` is not known, so it cannot keep to max_usd")
        usd = min(left, max(usual, left / 2 if share is None else share))
        if limit is not None:
            usd = min(usd, whole)
        a_token = (most - read) / SURE_TOKENS
        if a_token <= 0:
            if read > usd:
                raise self._too_dear(left)
            return _Part(usd, limit)  # its answer costs nothing
        pays_for = floor((usd - read) / a_token * (1 + 1e-9))
        if pays_for < min(LEAST_TOKENS, limit or LEAST_TOKENS):
            raise self._too_dear(left)
        return _Part(usd, self._limit(limit, pays_for, tokens))

    def _limit(self, stated: int | None, pays_for: int, prompt_tokens: int) -> int | None:
        """None: it cannot write more than it may anyway, or might refuse to be told so."""
        if stated is not None:
            return min(stated, pays_for)
        most = SURE_TOKENS if self.card.max_output is None else self.card.max_output
        return pays_for if pays_for < min(most, self.card.window - prompt_tokens) else None

    def _too_dear(self, left: float) -> NoModelFits:
        return NoModelFits(f"max_usd leaves {max(0.0, left):.2g} USD: too little for `{self.card.name}`")


def on_a_budget(models: Mapping[str, Model], purse: Purse) -> dict[str, Model]:
    """The models, all paid for from one purse."""
    return {name: OnABudget(model, purse) for name, model in models.items()}
