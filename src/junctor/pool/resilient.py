"""From a request to an answer that has begun, whatever the models do.

For each request, until a first text has come:

    choose one (`choice.py`) -> ask it -> its first text | its failure: choose again, perhaps after a wait
    and, where hedging is on, ask a second one beside it when the first is late (`hedged.py`)

After the first text a second answer would contradict the first: the error goes out instead. Frames that
carry no text (a role, a ping) are held back until one does, so that nothing of a failed try is ever seen.

Backoff is exponential with full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
2015): clients that failed together do not come back together. Every time is monotonic: a wall clock that is
set neither ends nor prolongs anything.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any

from junctor.chat import ChatRequest, Event, JunctorError, Model, ModelCard, Routed
from junctor.pool.choice import Chooser, Counts, Policy, Visit, Watched
from junctor.pool.hedged import Opened, open_answer, race
from junctor.pool.outlier import Call, Health, ModelHealth
from junctor.pool.retry_budget import HedgeBudget

Sleep = Callable[[float], Awaitable[None]]


class Resilience:
    """One pool's health, budgets and policy. Belongs to one event loop."""

    def __init__(
        self,
        policy: Policy,
        *,
        counts: Counts | None = None,
        health: Mapping[str, Health] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`health`: what is known already; `clock`: seconds, never backwards; `jitter` gives 0..1."""
        self.counts = counts or Counts()
        self._policy = policy
        self._clock = clock
        self._sleep = sleep
        self._chooser = Chooser(policy, self.counts, clock, jitter)
        self._hedges = HedgeBudget(policy.hedge_share) if policy.hedge_share else None
        self._health: dict[str, Health] = {**(health or {})}
        self._jitter = jitter

    def successor(self, policy: Policy, unchanged: Collection[str]) -> Resilience:
        """One with another policy, that counts on and knows what this one knows of the unchanged models."""
        kept = {name: health for name, health in self._health.items() if name in unchanged}
        for health in kept.values():
            health.rule = policy.ejection
        return Resilience(
            policy,
            counts=self.counts,
            health=kept,
            clock=self._clock,
            sleep=self._sleep,
            jitter=self._jitter,
        )

    @property
    def total_s(self) -> float:
        """What a whole answer may take, all tries included, seconds."""
        return self._policy.total_s

    def watch(self, model: Model) -> Watched:
        """The model with its health, which belongs to its name: whoever watches it shares it."""
        name = model.card.name
        if name not in self._health:
            self._health[name] = Health(name, self._policy.ejection, self._clock, self.counts.count_set_aside)
        return Watched(model, self._health[name])

    def health(self) -> dict[str, ModelHealth]:
        """The health of every watched model, by name, as of now."""
        return {name: health.snapshot() for name, health in self._health.items()}

    def set_aside(self) -> Mapping[str, str]:
        """The models that are not asked now: name -> why, in words."""
        return {
            name: why
            for name, health in self._health.items()
            if health.state != "ok" and (why := health.away_because) is not None
        }

    async def answer(
        self, candidates: Sequence[Watched], request: ChatRequest, routed: Routed | None = None
    ) -> AsyncGenerator[Event, None]:
        """The answer of the first candidate that begins one; before it `routed`, which led to them.

        Raises the error of the last one asked when none does; its message names every model and its failure.
        Raises `UpstreamUnavailable`, or `UpstreamRateLimited`, when there is none that may be asked.
        """
        if routed is not None:
            yield routed
        total_s = self._policy.total_s
        limit_s = total_s if request.within_s is None else min(total_s, request.within_s)
        visit = Visit(candidates, request, self._clock() + limit_s)
        self._chooser.begin()
        if self._hedges is not None:
            self._hedges.request()
        opened = await self._open(visit)
        try:
            for event in opened.held:
                yield event
            async for event in opened.events:
                yield event
            opened.health.finished()
        except JunctorError as error:
            opened.health.failed(opened.call, error)
            raise
        finally:
            await opened.close()

    async def _open(self, visit: Visit) -> Opened:
        while True:
            chosen = self._chooser.choose(visit)
            if not isinstance(chosen, tuple):
                await self._sleep(chosen)
                continue
            watched, call = chosen
            try:
                if self._hedges is not None and (after_s := _hedge_after(visit, call)) is not None:
                    return await self._ask_two(visit, watched, call, after_s)
                return await self._ask(visit, watched, call)
            except JunctorError as error:
                if not error.retryable:
                    raise

    async def _ask(self, visit: Visit, watched: Watched, call: Call) -> Opened:
        request = visit.ask(watched, call, self._policy, self._clock)
        try:
            return await open_answer(watched.model, watched.health, call, request)
        except JunctorError as error:
            self._chooser.failed(visit, watched, error)
            raise

    async def _ask_two(self, visit: Visit, watched: Watched, call: Call, after_s: float) -> Opened:
        first = self._ask(visit, watched, call)
        opened = await race(first, after_s, lambda: self._ask_second(visit, watched))
        if opened.call is not call:
            self.counts.hedges_won += 1
            watched.health.cut(call, after_s)
        return opened

    def _ask_second(self, visit: Visit, first: Watched) -> Coroutine[Any, Any, Opened] | None:
        """The next candidate that is well and not itself late; None without one, or without budget."""
        assert self._hedges is not None
        for watched in visit.candidates:
            health = watched.health
            if watched is first or watched in visit.tries:
                continue
            if health.state != "ok" or health.is_crowded:
                continue
            call = health.admit(visit.request)
            if call is None:
                continue
            if not self._hedges.take():
                health.left(call)
                return None
            self.counts.hedges += 1
            return self._ask(visit, watched, call)
        return None


def _hedge_after(visit: Visit, call: Call) -> float | None:
    """Seconds after which to ask a second model as well; None: never.

    A request with a limit on its cost is not hedged: it would be paid for twice.
    """
    if len(visit.candidates) == 1 or visit.request.constraints.max_usd is not None:
        return None
    return call.times.p95


class Resilient:
    """A Model that stands for the first of several, and for the others when that fails before its text."""

    def __init__(self, models: Sequence[Model], resilience: Resilience) -> None:
        """`models`: the one it has the card of, then its fallbacks."""
        self.card: ModelCard = models[0].card
        self._candidates = [resilience.watch(model) for model in models]
        self._resilience = resilience

    def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """As `Resilience.answer`."""
        return self._resilience.answer(self._candidates, request)
