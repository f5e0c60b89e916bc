"""Trying again, and asking another: only before the first text.

After the first text a second answer would contradict the first: the error goes out instead. Frames that
carry no text (a role, a ping) are held back until one does, so that nothing of a failed try is ever seen.

Backoff is exponential with full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
2015): clients that failed together do not come back together.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

from junctor.chat import (
    ChatRequest,
    Event,
    Finished,
    JunctorError,
    Model,
    ModelCard,
    Raw,
    Routed,
    Started,
    Text,
    Thought,
    ToolCall,
    UpstreamError,
    Usage,
)

BASE_S = 0.25
"The first wait is at most this long; each further one at most twice the one before."
CAP_S = 4.0
"No wait of our own choosing is longer."
PATIENCE_S = 10.0
"An upstream that asks for a longer wait (`Retry-After`) is not waited for: another model may be asked."

Sleep = Callable[[float], Awaitable[None]]


class Resilient:
    """A Model that tries its model again when it fails before the first text."""

    def __init__(
        self,
        model: Model,
        attempts: int = 3,
        *,
        sleep: Sleep = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`attempts` includes the first; `jitter` gives 0..1."""
        self.card: ModelCard = model.card
        self._model = model
        self._attempts = attempts
        self._sleep = sleep
        self._jitter = jitter

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """As `Model.answer`; raises the error of the last try."""
        for attempt in range(1, self._attempts + 1):
            said_something = False
            try:
                async with aclosing(hold_back_until_text(self._model.answer(request))) as events:
                    async for event in events:
                        said_something = True
                        yield event
                return
            except UpstreamError as error:
                wait_s = self._wait_s(attempt, error)
                if said_something or not error.transient or attempt == self._attempts or wait_s is None:
                    raise
            await self._sleep(wait_s)

    def _wait_s(self, attempt: int, error: UpstreamError) -> float | None:
        """Seconds until the next try; None when the upstream asks for more patience than we have."""
        if error.retry_after_s is not None:
            return error.retry_after_s if error.retry_after_s <= PATIENCE_S else None
        return self._jitter() * min(CAP_S, BASE_S * 2 ** (attempt - 1))


class Fallback:
    """A Model that asks others, in order, when the first fails before its text. Has the first's card."""

    def __init__(self, models: Sequence[Model]) -> None:
        self.card: ModelCard = models[0].card
        self._models = models

    def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """As `answer_first_of`."""
        return answer_first_of(self._models, request)


async def answer_first_of(models: Sequence[Model], request: ChatRequest) -> AsyncGenerator[Event, None]:
    """The answer of the first model that begins one.

    Raises the last model's error when none does; its message names every model and its failure.
    """
    failures: list[str] = []
    for model in models:
        said_something = False
        try:
            async with aclosing(hold_back_until_text(model.answer(request))) as events:
                async for event in events:
                    said_something = True
                    yield event
            return
        except JunctorError as error:
            failures.append(f"{model.card.name}: {error.message}")
            if said_something or not error.retryable:
                raise
            if model is models[-1]:
                if len(failures) > 1:
                    error.message = f"all {len(failures)} models failed. " + "; ".join(failures)
                    error.args = (error.message,)
                raise


async def hold_back_until_text(events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    """The same events, but none before the first that says something, or ends an answer that says nothing."""
    held: list[Event] = []
    speaking = False
    async with aclosing(events):
        async for event in events:
            speaking = speaking or says_something(event)
            if not speaking:
                held.append(event)
                continue
            for earlier in held:
                yield earlier
            held.clear()
            yield event


def says_something(event: Event) -> bool:
    """Whether the caller's answer has begun with this event."""
    match event:
        case Raw():
            return event.has_text
        case Text() | Thought() | ToolCall() | Finished():
            return True
        case Routed() | Started() | Usage():
            return False
