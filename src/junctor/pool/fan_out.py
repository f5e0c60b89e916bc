"""Ask several models at once for one request, and hear of each as it comes.

    async with aclosing(ask_all(asks, within_s=60)) as replies:
        async for reply in replies:          # in the order in which they end, failures too
            if settled(reply):
                break                        # those still at work are cancelled

A member that fails, or is too late, is a `Reply` with its error. Only when all of them fail is that raised,
after the last one was given.

Whoever stops reading cancels the rest, and so does the deadline, and a quorum once its grace is over. The
cancelled calls are seen off before this ends: what they cost is reported by then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from math import inf
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
    began = clock()
    deadline = inf if within_s is None else began + within_s
    replies = list[Reply]()
    tasks = {asyncio.create_task(_ask(at, ask, within_s, clock)): at for at, ask in enumerate(asks)}
    running: set[asyncio.Task[Reply]] = set(tasks)
    try:
        while running and clock() < deadline:
            left_s = None if deadline == inf else max(0.0, deadline - clock())
            done, running = await asyncio.wait(running, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=tasks.__getitem__):
                replies.append(task.result())
                if quorum is not None and sum(reply.error is None for reply in replies) == quorum:
                    deadline = min(deadline, clock() + grace_s)
                yield replies[-1]
        for task in sorted(running, key=tasks.__getitem__):
            replies.append(_give_up(tasks[task], asks[tasks[task]], clock() - began))
            yield replies[-1]
    finally:
        await _call_off(tasks)
    if replies and all(reply.error for reply in replies):
        raise _all_failed(replies)


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


def _give_up(at: int, ask: Ask, waited_s: float) -> Reply:
    name = ask.model.card.name
    error = UpstreamTimeout(
        f"the model `{name}` had not answered after {waited_s:.3g} s, and was waited for no longer",
        model=name,
    )
    return Reply(at=at, model=name, error=error, took_s=waited_s, is_late=True)


async def _call_off(tasks: Mapping[asyncio.Task[Reply], int]) -> None:
    """Cancel those that are still at work, and wait until they have let go."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    if running:
        done, _ = await asyncio.wait(running, timeout=SETTLE_S)
        for task in done:
            if not task.cancelled():
                task.exception()  # taken notice of: it is too late


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
