"""What the calls of one fusion come to: each is put on its bill, however it ends.

As the ledger counts them (pool/metered.py): a call that fails, is called off, or is tried again costs what it
had come to by then. Where a model has others answer for it (`auto`, a fusion), all of theirs count.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

import msgspec

from junctor.chat import (
    ChatRequest,
    Decision,
    Event,
    Finished,
    JunctorError,
    Model,
    ModelCard,
    Price,
    Routed,
    Started,
    Usage,
)
from junctor.pool.metered import Meter, cost_of
from junctor.pool.resilient import Resilience, Resilient


class Bill(msgspec.Struct, frozen=True):
    """What calls came to."""

    usage: Usage = Usage(0, 0)
    usd: float = 0.0

    def __add__(self, other: Bill) -> Bill:
        one, two = self.usage, other.usage
        return Bill(
            Usage(
                one.input_tokens + two.input_tokens,
                one.output_tokens + two.output_tokens,
                one.cached_tokens + two.cached_tokens,
                estimated=one.estimated or two.estimated,
                cache_written_tokens=one.cache_written_tokens + two.cache_written_tokens,
                reasoning_tokens=one.reasoning_tokens + two.reasoning_tokens,
            ),
            self.usd + other.usd,
        )


Pay = Callable[[Bill], None]
"Takes what one call came to, before its end is passed on."


class Billed:
    """A Model around a Model: says exactly once for each answer that was begun what it came to."""

    def __init__(self, model: Model, pay: Pay, prices: Mapping[str, Price] | None = None) -> None:
        """`prices`: of the models that may answer for this one, where it has no price of its own."""
        self.card: ModelCard = model.card
        self._model = model
        self._pay = pay
        self._prices = prices or {}

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """As `Model.answer`."""
        call = _Call(self.card, request, self._prices)
        is_paid = False
        try:
            async with aclosing(self._model.answer(request)) as events:
                async for event in events:
                    call.see(event)
                    if isinstance(event, Finished):
                        is_paid = True
                        self._pay(call.bill())
                    yield event
        except JunctorError as error:
            call.meter.fail(error)
            raise
        except (GeneratorExit, asyncio.CancelledError):
            call.meter.abandon()
            raise
        finally:
            if not is_paid:
                self._pay(call.bill())


class _Call:
    """One call of a model."""

    def __init__(self, card: ModelCard, request: ChatRequest, prices: Mapping[str, Price]) -> None:
        self.meter = Meter(card, request, time.perf_counter)
        self._card = card
        self._prices = prices
        self._said: Usage | None = None
        self._decision: Decision | None = None
        self._who = card.name

    def see(self, event: Event) -> None:
        self.meter.see(event)
        match event:
            case Usage():
                self._said = event
            case Started():
                self._who = event.model
            case Routed():
                self._decision, self._who = event.decision, event.decision.chosen
            case _:
                pass

    def bill(self) -> Bill:
        """As of now."""
        if self._said is not None and self.meter.finished:
            usage = self._said
        else:
            spent = self.meter.spent()
            usage = Usage(
                spent.input_tokens,
                spent.output_tokens,
                spent.cached_tokens,
                estimated=spent.estimated,
                cache_written_tokens=spent.cache_written_tokens,
            )
        usd = cost_within(self._decision)
        if usd is None:
            usd = cost_of(usage, self._card.price or self._prices.get(self._who))
        return Bill(usage, usd)


class Books:
    """The models of one fusion; whoever asks one says on whose account."""

    def __init__(self, models: Mapping[str, Model], resilience: Resilience) -> None:
        """`models`: by name, each metered."""
        self.cards = {name: model.card for name, model in models.items()}
        for model in models.values():
            resilience.watch(model)
        self._models = models
        self._resilience = resilience
        self.prices = {name: card.price for name, card in self.cards.items() if card.price is not None}

    def open(self, name: str, pay: Pay) -> Model:
        """That model, with its retries, and without another to take its place."""
        return Resilient([Billed(self._models[name], pay, self.prices)], self._resilience)


def cost_within(decision: Decision | None) -> float | None:
    """What all calls behind an answer cost together, USD; None: it was a single one."""
    if decision is None:
        return None
    if decision.fusion is not None:
        return decision.fusion.usd
    return None if decision.escalation is None else decision.escalation.usd
