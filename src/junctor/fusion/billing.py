"""What the calls of one fusion come to: each is put on its bill when it ends, however it does.

The bill is made of what the meters say (pool/metered.py), as the ledger's rows are: a call that fails, is
called off, or is tried again costs what it had come to by then. Where a model has others answer for it
(`auto`, a fusion), all of their calls count, and nothing that it says of itself does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from junctor.chat import Model, Usage
from junctor.pool.metered import Charged, Spent
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
"Takes what one call came to, once it has ended."


class Books:
    """The models of one fusion; whoever asks one says on whose account."""

    def __init__(self, models: Mapping[str, Model], resilience: Resilience) -> None:
        """`models`: by name; each metered, or with metered ones behind it."""
        self.cards = {name: model.card for name, model in models.items()}
        for model in models.values():
            resilience.watch(model)
        self._models = models
        self._resilience = resilience

    def open(self, name: str, pay: Pay) -> Model:
        """That model, with its retries, and without another to take its place."""
        return Resilient([billed(self._models[name], pay)], self._resilience)


def billed(model: Model, pay: Pay) -> Model:
    """The model, with each call that is made for it put on a bill."""
    return Charged(model, lambda spent: pay(bill_of(spent)))


def bill_of(spent: Spent) -> Bill:
    """What one call came to."""
    usage = Usage(
        spent.input_tokens,
        spent.output_tokens,
        spent.cached_tokens,
        estimated=spent.estimated,
        cache_written_tokens=spent.cache_written_tokens,
        reasoning_tokens=spent.reasoning_tokens,
    )
    return Bill(usage, spent.usd)
