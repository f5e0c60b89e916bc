"""The strongest model of a pool, for keys that may have only a share of its answers.

The router rules it out for them while their share is used up, and says so in the decision. `Rationed` stands
before the model and sees to it that many requests at once do not exceed the share either, whichever way they
come to the model: chosen, as the next after a failure, or as the end of a cascade.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Hashable
from contextlib import aclosing

from junctor.chat import ChatRequest, Event, Model, ModelCard, Started
from junctor.pool.ration import WINDOW, Ration, Wait
from junctor.routing.errors import StrongestShareUsed

_HOUR_S = 3600


class Rationed:
    """A Model around a Model, for one call of the router."""

    def __init__(self, model: Model, ration: Ration, call: Hashable) -> None:
        """`call`: as `Ration` has it."""
        self.card: ModelCard = model.card
        self._model = model
        self._ration = ration
        self._call = call

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """As `Model.answer`. Raises `StrongestShareUsed`, and another model may take the request."""
        if not self._ration.take(self._call, self.card.name):
            raise share_used(self._ration, self.card.name)
        begun = False
        try:
            async with aclosing(self._model.answer(request)) as events:
                async for event in events:
                    begun = begun or isinstance(event, Started)
                    yield event
        finally:
            if not begun:
                self._ration.give_back(self._call)


def explain_wait(ration: Ration, strongest: str, wait: Wait) -> str:
    """Why a key may not have the strongest model now, and when it may again."""
    if ration.places == 0:
        return f"this API key may have no answer of {strongest} by `auto`"
    again = "once an answer in progress has ended"
    if wait.answers:
        others = "one answer" if wait.answers == 1 else f"{wait.answers} answers"
        again = f"after {others} of other models, or in {_render_time(wait.seconds)}"
    return (
        f"of {WINDOW} answers by `auto`, this API key may have {ration.places} of {strongest}, and has had "
        f"them; again {again}"
    )


def share_used(ration: Ration, strongest: str) -> StrongestShareUsed:
    """The error for a request that no other model can take."""
    wait = ration.wait(strongest) or Wait(0, 1.0)
    return StrongestShareUsed(
        f"only {strongest} can answer this request, and {explain_wait(ration, strongest, wait)}. Ask a model "
        "by its name, or loosen the request's limits",
        retry_after_s=wait.seconds,
    )


def _render_time(seconds: float) -> str:
    if seconds >= 2 * _HOUR_S:
        return f"{seconds / _HOUR_S:.0f} h"
    return f"{-(-seconds // 60):.0f} min" if seconds > 60 else f"{-(-seconds // 1):.0f} s"
