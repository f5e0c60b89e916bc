"""An answer that has begun, and how to get one from two models: the first text wins.

J. Dean and L. Barroso, "The Tail at Scale", CACM 2013: ask a second time only once the first answer is later
than the 95th percentile, and a few per cent of extra calls take most of the tail away.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from typing import Any

from junctor.chat import (
    ChatRequest,
    Drafted,
    Event,
    Finished,
    Judging,
    JunctorError,
    Model,
    Raw,
    Routed,
    Settled,
    Started,
    Text,
    Thought,
    ToolCall,
    UpstreamBroken,
    Usage,
)
from junctor.pool.outlier import Call, Health

SETTLE_S = 1.0
"How long a cancelled call may take to let go. It closes a socket: this is for the unforeseen."


class Opened:
    """An answer whose first text has come."""

    __slots__ = ("call", "events", "health", "held", "losers")

    def __init__(
        self, health: Health, call: Call, events: AsyncGenerator[Event, None], held: list[Event]
    ) -> None:
        self.health = health
        self.call = call
        self.events = events
        "What is still to come."
        self.held = held
        "What has come, up to and including the first text."
        self.losers: Sequence[asyncio.Task[Opened]] = ()
        "Calls that were cancelled in its favour."

    async def close(self) -> None:
        """Let go of the answer, whole or not, and see the losers off: then all that it cost is reported."""
        self.health.left(self.call)
        await self.events.aclose()
        if self.losers:
            await _see_off(self.losers)


async def open_answer(model: Model, health: Health, call: Call, request: ChatRequest) -> Opened:
    """Ask, and wait for the first text. Raises `JunctorError` when there is none."""
    events = model.answer(request)
    held: list[Event] = []
    opened = False
    try:
        async for event in events:
            held.append(event)
            if says_something(event):
                health.text_came(call)
                opened = True
                return Opened(health, call, events, held)
        raise UpstreamBroken("the answer ended before it said anything", model=model.card.name)
    except JunctorError as error:
        health.failed(call, error)
        raise
    finally:
        if not opened:
            health.left(call)
            await events.aclose()


def says_something(event: Event) -> bool:
    """Whether the caller's answer has begun with this event."""
    match event:
        case Raw():
            return event.has_text
        case Text() | Thought() | ToolCall() | Finished():
            return True
        case Routed() | Drafted() | Settled() | Judging() | Started() | Usage():
            return False


async def race(
    first: Coroutine[Any, Any, Opened],
    after_s: float,
    second: Callable[[], Coroutine[Any, Any, Opened] | None],
) -> Opened:
    """The answer that begins first. `second` is called when the first has not begun after so long.

    It may give None: then there is none. The loser is cancelled at once. Raises the error of the first, when
    both fail; an error that is not retryable ends the race.
    """
    tasks = [asyncio.create_task(first)]
    try:
        await _wait_for(tasks[0], after_s)
        if tasks[0].done():
            return tasks[0].result()
        if (other := second()) is not None:
            tasks.append(asyncio.create_task(other))
        winner = await _first_to_open(tasks)
    except BaseException:
        await _call_off(tasks)
        await _see_off(tasks)
        raise
    opened = winner.result()
    opened.losers = [task for task in tasks if task is not winner]
    await _call_off(opened.losers)
    return opened


async def _wait_for(task: asyncio.Task[Opened], seconds: float) -> None:
    """Until it is done, or so long. `asyncio.wait` does this too; here it is on every request's way."""
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[None] = loop.create_future()

    def wake(_: object = None) -> None:
        if not woken.done():
            woken.set_result(None)

    timer = loop.call_later(seconds, wake)
    task.add_done_callback(wake)
    try:
        await woken
    finally:
        timer.cancel()


async def _first_to_open(tasks: Sequence[asyncio.Task[Opened]]) -> asyncio.Task[Opened]:
    running = set(tasks)
    while running:
        _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task in running:
                continue
            error = task.exception()
            if error is None:
                return task
            if not (isinstance(error, JunctorError) and error.retryable):
                raise error
    error = tasks[0].exception()
    assert error is not None
    raise error


async def _call_off(tasks: Sequence[asyncio.Task[Opened]]) -> None:
    for task in tasks:
        if not task.cancel() and not task.cancelled() and task.exception() is None:
            # It has begun, too, in the same moment.
            await task.result().close()


async def _see_off(tasks: Sequence[asyncio.Task[Opened]]) -> None:
    done, _ = await asyncio.wait(tasks, timeout=SETTLE_S)
    for task in done:
        if not task.cancelled():
            task.exception()  # taken notice of: it lost
