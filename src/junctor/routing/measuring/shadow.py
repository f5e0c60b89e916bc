"""Shadow sampling: of a random share of what `auto` gave to a cheaper model, the strongest is asked, too.

    Shadowed (a Model around the router) -> Transcript of the reply -> once it has ended: a Sample
    ShadowQueue (in the background) -> Examiner: ask the strongest, compare -> a row of `shadows`

A request that is not drawn goes straight to the router. One that is drawn gets its reply unchanged: the
events pass, and are noted beside. What comes after makes nobody wait: where there is no room, no money, or
too much to do, the sample is dropped, and counted.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import msgspec

from junctor.chat import Answer, ChatRequest, Decision, Event, Model
from junctor.routing.measuring.transcript import Transcript
from junctor.routing.policy import STRONGEST_SHARE

log = logging.getLogger(__name__)

WAITING = 32
"Samples that may wait: with their requests and replies they hold memory."
AT_ONCE = 2
"Samples that are examined at the same time."
MOST_PROMPT_BYTES = 256 * 1024
"Longer requests are not sampled: `WAITING` of them are held in memory."
STOP_S = 1.0
"How long a stop waits for those that are being examined, at most."

_ABOUT_THE_ANSWER = frozenset({"max_usd", "max_first_token_ms", "max_total_ms", "quality", STRONGEST_SHARE})
"Limits that a shadow need not keep: nobody waits for it, and the caller does not pay."

_NOT_TO_SEE = frozenset({"only", "never"})
"Limits that are about who reads the request."

Work = Callable[[], Coroutine[Any, Any, None]]


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A reply that is to be compared with the strongest model's."""

    request: ChatRequest
    decision: Decision
    strongest: str
    answer: Answer
    "What the caller got."


class ShadowQueue:
    """Work in the background, of low priority. Belongs to one event loop; one a process."""

    def __init__(
        self,
        is_busy: Callable[[], bool] = lambda: False,
        *,
        waiting: int = WAITING,
        at_once: int = AT_ONCE,
    ) -> None:
        """`is_busy`: whether the server has too much to do for its callers already."""
        self.dropped: Counter[str] = Counter()
        "What was not examined, by why."
        self._is_busy = is_busy
        self._most_waiting = waiting
        self._at_once = at_once
        self._waiting: deque[Work] = deque()
        self._running = set[asyncio.Task[None]]()
        self._stopped = False

    def put(self, work: Work) -> None:
        """Do it when there is time. Never waits, never raises."""
        if self._stopped:
            self.drop("stopping")
        elif len(self._waiting) >= self._most_waiting:
            self.drop("queue_full")
        else:
            self._waiting.append(work)
            self._begin()

    def drop(self, why: str) -> None:
        """Count a sample that is not examined."""
        self.dropped[why] += 1

    async def stop(self) -> None:
        """Drop what waits, cancel what runs, and wait for its end, `STOP_S` at most."""
        self._stopped = True
        self.dropped["stopping"] += len(self._waiting) + len(self._running)
        self._waiting.clear()
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=STOP_S)

    async def emptied(self) -> None:
        """Wait until nothing waits and nothing runs."""
        while self._running:
            await asyncio.wait(self._running)

    def _begin(self) -> None:
        while self._waiting and len(self._running) < self._at_once:
            work = self._waiting.popleft()
            if self._is_busy():
                self.drop("busy")
                continue
            task = asyncio.create_task(work())
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.drop("error")
            log.error("a shadow failed through our own fault", exc_info=error)
        self._begin()


class Shadowed:
    """A Model that answers as the router it stands for, and hands on samples of the replies."""

    def __init__(
        self,
        router: Model,
        *,
        share: float,
        strongest: str,
        examine: Callable[[Sample], Coroutine[Any, Any, None]],
        queue: ShadowQueue,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`share`: of the requests, 0..1; `draw` gives 0..1, such as that of a `random.Random(seed)`."""
        self.card = router.card
        self._router = router
        self._share = share
        self._strongest = strongest
        self._examine = examine
        self._queue = queue
        self._draw = draw

    def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """As the router's."""
        if self._draw() >= self._share or len(bytes(request.body or request.messages)) > MOST_PROMPT_BYTES:
            return self._router.answer(request)
        return self._watch(request)

    async def _watch(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        transcript = Transcript(request)
        async with aclosing(self._router.answer(request)) as events:
            async for event in events:
                transcript.see(event)
                yield event
        self._queue.put(lambda: self._consider(request, transcript))

    async def _consider(self, request: ChatRequest, transcript: Transcript) -> None:
        """Examine it, where it was somebody else's answer and the strongest model may see the request."""
        decision, model, strongest = transcript.decision, transcript.model, self._strongest
        if decision is None or model is None or model == strongest:
            return
        answer = transcript.read()
        if answer is None:
            self._queue.drop("unreadable")
        elif not may_answer(decision, strongest):
            self._queue.drop("not_allowed")
        else:
            sample = Sample(request=request, decision=decision, strongest=strongest, answer=answer)
            await self._examine(sample)


def may_see(decision: Decision, name: str) -> bool:
    """Whether a model may be shown the request: neither the caller nor its key keeps it from this model."""
    return _ruled_out_by(decision, name) not in _NOT_TO_SEE


def may_answer(decision: Decision, name: str) -> bool:
    """Whether a model may be shown the request, and can answer it.

    Limits on cost, time and predicted quality do not count: they are about the answer that the caller gets.
    """
    why = _ruled_out_by(decision, name)
    return why is None or why in _ABOUT_THE_ANSWER


def _ruled_out_by(decision: Decision, name: str) -> str | None:
    """The constraint that rules a model out; `never` for one that the decision does not know."""
    known = (candidate.ruled_out_by for candidate in decision.candidates if candidate.name == name)
    return next(known, "never")
