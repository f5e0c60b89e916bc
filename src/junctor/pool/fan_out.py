"""Ask several models at once for one request, and hear of each as it comes.

    async with aclosing(ask_all(asks, within_s=60)) as replies:
        async for reply in replies:          # in the order in which they end, failures too
            if settled(reply):
                break                        # those still at work are cancelled

A member that fails, or is too late, is a `Reply` with its error. Only when all of them fail is that raised,
after the last one was given.

Whoever stops reading cancels the rest, and so does the deadline, and a quorum once its grace is over. The
cancelled calls are seen off before this ends: what they cost is reported by then.

Time is kept beside the reading: however slowly somebody reads, an answer that was whole before the deadline
counts, and nobody is left at work after it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import NamedTuple

import msgspec

from junctor.chat import (
    Answer,
    ChatRequest,
    Drafted,
    Event,
    Judging,
    JunctorError,
    Model,
    Routed,
    Settled,
    Text,
    UpstreamTimeout,
    collect,
)

SETTLE_S = 0.1
"How long cancelled calls may take to let go. They close sockets: this is for the unforeseen."


class Ask(NamedTuple):
    """One member of a fan-out. The same model may be asked several times."""

    model: Model
    request: ChatRequest
    "Answered with decoded events, whatever it says of a relay."


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one ask."""

    at: int
    "Its place among the asks."
    model: str
    "Who was asked: its name in the pool."
    answer: Answer | None = None
    "The whole answer, with its usage and finish reason; None when there is none."
    events: tuple[Event, ...] = ()
    "The answer as it came, for `say_again`."
    error: JunctorError | None = None
    "Why there is no answer."
    took_s: float
    "Until it was whole, or failed, or was given up."
    is_late: bool = False
    "Whether it was given up: it might have come to an answer."


async def ask_all(
    asks: Sequence[Ask],
    *,
    within_s: float | None = None,
    quorum: int | None = None,
    grace_s: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncGenerator[Reply, None]:
    """One reply for each ask, as they come.

    `within_s`: the deadline, from now on. `quorum`: once so many have answered, the others get `grace_s`
    more. `clock` gives seconds, never backwards. Raises the first failure when nobody answers; its message
    names all.
    """
    calls, replies = _Calls(asks, within_s, quorum, grace_s, clock), list[Reply]()
    try:
        while len(replies) < len(asks):
            replies.append((await calls.ended.get()).result())
            yield replies[-1]
    finally:
        await calls.close()
    if replies and all(reply.error for reply in replies):
        raise _all_failed(replies)


class _Calls:
    """The calls of one fan-out while they are under way. They begin at once; whoever made it closes it."""

    def __init__(
        self,
        asks: Sequence[Ask],
        within_s: float | None,
        quorum: int | None,
        grace_s: float,
        clock: Callable[[], float],
    ) -> None:
        self.ended = asyncio.Queue[asyncio.Future[Reply]]()
        "As they end, one for each ask: those that are given up, too."
        self._asks = asks
        self._missing = quorum
        "Answers that the quorum still needs."
        self._grace_s = grace_s
        self._clock = clock
        self._began = clock()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks = [asyncio.create_task(_ask(at, ask, within_s, clock)) for at, ask in enumerate(asks)]
        self._awaited = {task: at for at, task in enumerate(self._tasks)}
        for task in self._tasks:
            task.add_done_callback(self._end)
        if within_s is not None and within_s <= 0:
            self._give_up()
        elif within_s is not None:
            self._wait_no_longer_than(within_s)

    def _end(self, task: asyncio.Task[Reply]) -> None:
        if self._awaited.pop(task, None) is None:
            return
        self.ended.put_nowait(task)
        if self._missing is None or task.cancelled() or task.exception() is not None:
            return
        self._missing -= task.result().error is None
        if self._missing == 0:
            self._missing = None
            self._wait_no_longer_than(self._grace_s)

    def _wait_no_longer_than(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        if self._timer is not None and self._timer.when() <= until:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(until, self._give_up)

    def _give_up(self) -> None:
        """The deadline is over for those that are still at work."""
        loop, waited_s = asyncio.get_running_loop(), self._clock() - self._began
        for task, at in self._awaited.items():
            given_up: asyncio.Future[Reply] = loop.create_future()
            given_up.set_result(_given_up(at, self._asks[at], waited_s))
            self.ended.put_nowait(given_up)
            task.cancel()
        self._awaited.clear()

    async def close(self) -> None:
        """Call off those that are still at work, and wait until all have let go."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._awaited:
            task.cancel()
        self._awaited.clear()
        if running := [task for task in self._tasks if not task.done()]:
            await asyncio.wait(running, timeout=SETTLE_S)
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.exception()  # taken notice of: it is too late


def say_again(reply: Reply) -> Iterator[Event]:
    """The events of a collected answer, for whoever has it now; its text comes in as few pieces as it can.

    Without those that say how it came about.
    """
    text = list[str]()
    for event in reply.events:
        if isinstance(event, Text):
            text.append(event.text)
            continue
        if text:
            yield Text("".join(text))
            text.clear()
        if not isinstance(event, Routed | Drafted | Settled | Judging):
            yield event
    if text:
        yield Text("".join(text))


async def _ask(at: int, ask: Ask, within_s: float | None, clock: Callable[[], float]) -> Reply:
    began, kept = clock(), list[Event]()
    limits = [limit for limit in (within_s, ask.request.within_s) if limit is not None]
    request = msgspec.structs.replace(ask.request, relay=None, within_s=min(limits, default=None))
    name = ask.model.card.name
    try:
        answer = await collect(_keeping(ask.model.answer(request), kept))
    except JunctorError as error:
        return Reply(at=at, model=name, error=error, took_s=clock() - began)
    return Reply(at=at, model=name, answer=answer, events=tuple(kept), took_s=clock() - began)


async def _keeping(events: AsyncGenerator[Event, None], kept: list[Event]) -> AsyncGenerator[Event, None]:
    async with aclosing(events):
        async for event in events:
            kept.append(event)
            yield event


def _given_up(at: int, ask: Ask, waited_s: float) -> Reply:
    name = ask.model.card.name
    error = UpstreamTimeout(
        f"the model `{name}` had not answered after {waited_s:.3g} s, and was waited for no longer",
        model=name,
    )
    return Reply(at=at, model=name, error=error, took_s=waited_s, is_late=True)


def _all_failed(replies: Sequence[Reply]) -> JunctorError:
    """The first failure, in the order of the asks; one of many names them all."""
    errors = {
        reply.model: reply.error for reply in sorted(replies, key=lambda reply: reply.at) if reply.error
    }
    error = next(iter(errors.values()))
    if len(errors) > 1:
        said = "; ".join(f"{name}: {each.message}" for name, each in errors.items())
        error.message = f"all {len(errors)} models failed. {said}"
        error.args = (error.message,)
        error.said = None
    return error
