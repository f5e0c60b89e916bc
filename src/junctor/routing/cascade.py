"""A cascade: cheap models answer first, and the strongest one only where their answers do not settle it.

    Routed -> the first rung -> vote -> enough? its answer
                                     -> else one more model, and the vote again
           -> at last the strongest -> whose answer is taken? -> Routed -> that answer's events

The rule is the ladder's, exactly as it was learnt (`calibration/rules.py`): after each rung the answers are
counted, and the next model is asked where that is expected to bring more than it costs. A model that fails,
or whose reply is cut short, has given no answer that can be compared. When there is none at all, the
strongest one is asked at once.

A rung's models are asked at once, or in turn, where they share one machine. That changes nothing but the time
it takes: the rule was calibrated on the answers of all of them, so all of them are asked.

The strongest model's answer is passed on as it comes where no other answer could be taken any more; otherwise
it is heard to its end first. If it fails, the best answer so far is taken, and the record says so.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress

import msgspec
from msgspec.structs import replace

from junctor.chat import (
    ChatRequest,
    Decision,
    Drafted,
    Event,
    JunctorError,
    Mode,
    ModelCard,
    Routed,
    Started,
    UpstreamUnavailable,
    Usage,
)
from junctor.pool.answers import answer_of
from junctor.pool.choice import Watched
from junctor.pool.fan_out import Ask, Reply, ask_all, say_again
from junctor.pool.metered import Charged, Spent
from junctor.pool.resilient import Resilience
from junctor.routing.escalation import Heard, Record, hear, render_draft
from junctor.routing.ladder import Ladder

DRAFT_S = 60.0
"A cheap model that takes longer has not answered: the strongest would have been quicker by then."


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What one request climbs."""

    ladder: Ladder
    mode: Mode
    "One that the ladder has a promise for."
    decision: Decision
    "As the router sees it before anybody is asked."
    order: tuple[str, ...]
    "The models that may answer, in the order to fall back on."
    question: str
    "What is asked, as `Prompt.text` has it."


class Cascade:
    """A Model for one request, that answers by asking others."""

    def __init__(
        self,
        plan: Plan,
        models: Mapping[str, Watched],
        resilience: Resilience,
        card: ModelCard,
        *,
        save: Callable[[Decision], None],
        keeps_answers: bool = True,
        asks_in_turn: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`models`: metered. `save` takes the decision once, however it ends. `clock` gives seconds, never
        backwards.

        Without `keeps_answers` the decision says which answers were equal, and not what they were. With
        `asks_in_turn` no two models are asked at once.
        """
        self.card = card
        self._order = plan.order
        self._ladder = plan.ladder
        self._question = plan.question
        self._models = {
            name: Watched(Charged(watched.model, self._pay), watched.health)
            for name, watched in models.items()
        }
        self._resilience = resilience
        self._save = save
        self._asks_in_turn = asks_in_turn
        self._clock = clock
        self._spent = dict[str, list[Spent]]()
        "What calls came to, however they ended, by model."
        prices = {name: watched.model.card.price for name, watched in models.items()}
        self._record = Record(plan.decision, plan.ladder, plan.mode, prices, verbatim=keeps_answers)
        self._replies = dict[str, Reply]()
        "Whole answers, by model."
        self._live: Heard | None = None
        "An answer that is passed on as it comes."
        self._ends_at = 0.0

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Climb, and answer. Raises the strongest model's error when there is no other answer either."""
        limit_s = self._resilience.total_s
        if request.within_s is not None:
            limit_s = min(limit_s, request.within_s)
        self._ends_at = self._clock() + limit_s
        yield Routed(self._record.decision)
        try:
            taken: str | None = None
            for rung in self._ladder.rungs:
                async with aclosing(self._draft(rung.models, request)) as drafts:
                    async for drafted in drafts:
                        yield drafted
                taken = self._record.count(rung)
                if taken is not None or not self._record.can_compare:
                    break
            async with aclosing(self._say(taken) if taken else self._escalate(request)) as events:
                async for event in events:
                    yield event
        finally:
            self._save(self._record.finish(self._live))

    def _pay(self, spent: Spent) -> None:
        """Each call costs what it had come to when it ended, tries that failed too."""
        self._spent.setdefault(spent.model, []).append(spent)
        self._record.pay(spent.usd)

    def _usd_of(self, model: str) -> float:
        return sum(spent.usd for spent in self._spent.get(model, ()))

    async def _draft(self, names: Sequence[str], request: ChatRequest) -> AsyncGenerator[Drafted, None]:
        """Ask a rung. Who is set aside is not asked, and has not answered."""
        away = self._resilience.set_aside()
        heard = {
            name: Heard(model=name, error=UpstreamUnavailable(away[name], model=name))
            for name in names
            if name in away
        }
        asked = [name for name in names if name not in away]
        turns = [[name] for name in asked] if self._asks_in_turn else [asked]
        ends_at = self._clock() + self._left_s / 2
        for at, turn in enumerate(turns):
            share_s = max(0.0, ends_at - self._clock()) / (len(turns) - at)
            async with aclosing(self._ask(turn, request, min(DRAFT_S, share_s))) as answers:
                async for each, drafted in answers:
                    heard[each.model] = each
                    yield drafted
        # Only now: what was called off has been reported.
        self._record.add([replace(heard[name], usd=self._usd_of(name)) for name in names])

    async def _ask(
        self, names: Sequence[str], request: ChatRequest, within_s: float
    ) -> AsyncGenerator[tuple[Heard, Drafted], None]:
        """Ask some at once, and hear each to its end. Failures are heard, and not raised."""
        asks = [Ask(_Alone(self._models[name], self._resilience), request) for name in names]
        with suppress(JunctorError):  # when all fail; each has said so itself
            async with aclosing(ask_all(asks, within_s=within_s, clock=self._clock)) as replies:
                async for reply in replies:
                    heard = self._hear(reply)
                    said = reply.answer.text if reply.answer else ""
                    yield heard, Drafted(render_draft(heard, heard.answer), said)

    def _hear(self, reply: Reply) -> Heard:
        usd = self._usd_of(reply.model)
        if reply.answer is None:
            return Heard(model=reply.model, error=reply.error, usd=usd, took_ms=reply.took_s * 1e3)
        self._replies[reply.model] = reply
        return hear(reply.model, reply.answer, answer_of(reply.answer, self._question), usd, reply.took_s)

    @property
    def _left_s(self) -> float:
        return max(0.0, self._ends_at - self._clock())

    async def _say(self, name: str) -> AsyncGenerator[Event, None]:
        """The answer of a model that has answered."""
        yield Routed(self._record.decision)
        for event in say_again(self._replies[name]):
            yield event

    # The strongest model.

    async def _escalate(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        is_certain = self._record.is_certain
        try:
            async with aclosing(self._pass_on(request) if is_certain else self._hear_out(request)) as events:
                async for event in events:
                    yield event
            return
        except JunctorError as error:
            if self._live is not None:
                raise  # some of an answer is out
            failure = error
        async with aclosing(self._fall_back(failure, request)) as events:
            async for event in events:
                yield event

    async def _pass_on(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """The strongest model's answer as it comes, in the caller's own dialect where it can be."""
        name, compares = self._ladder.strongest, self._record.can_compare
        why = "the answers before it did not settle it" if compares else "no answers could be compared"
        self._record.settle_live(f"{why}, so {name} was asked")
        async with aclosing(self._ask_in_order([name], request)) as events:
            async for event in events:
                yield event

    async def _hear_out(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """The strongest model's whole answer is heard; then the one that is taken is said."""
        name = self._ladder.strongest
        last = Heard(model=name)
        async with aclosing(self._ask([name], request, self._left_s)) as answers:
            async for heard, drafted in answers:
                last = heard
                yield drafted
        self._record.add([replace(last, usd=self._usd_of(name))])
        if (error := self._record.heard[-1].error) is not None:
            raise error
        async with aclosing(self._say(self._record.conclude())) as events:
            async for event in events:
                yield event

    async def _fall_back(self, failure: JunctorError, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """The best answer so far; else another model's. Raises the failure when there is neither."""
        why, standing = f"{self._ladder.strongest} failed ({type(failure).code})", self._record.standing
        whole = [name for name in self._order if name in self._replies]
        asked = {heard.model for heard in self._record.heard} | {self._ladder.strongest}
        rest = [name for name in self._order if name not in asked]
        if standing is not None and standing.top is not None:
            name = self._record.heard[standing.top].model
            because = (
                f"{why}; the likeliest answer before it is right with a probability of {standing.p_top:.0%}"
            )
            self._record.settle(name, because, degraded=True)
            events = self._say(name)
        elif whole:
            self._record.settle(whole[0], f"{why}; another whole answer is taken", degraded=True)
            events = self._say(whole[0])
        elif rest and failure.retryable:
            self._record.settle(rest[0], f"{why}, as did all that were asked before it", degraded=True)
            events = self._ask_in_order(rest, request)
        else:
            raise failure
        async with aclosing(events):
            async for event in events:
                yield event

    async def _ask_in_order(self, names: Sequence[str], request: ChatRequest) -> AsyncGenerator[Event, None]:
        """The answer of the first that begins one, as it comes."""
        candidates = [self._models[name] for name in names]
        left, began = replace(request, within_s=self._left_s), self._clock()
        opened = self._resilience.answer(candidates, left, Routed(self._record.decision))
        try:
            async with aclosing(opened) as events:
                async for event in events:
                    if isinstance(event, Started):
                        self._live = Heard(model=event.model)
                    yield event
        finally:
            if self._live is not None:
                self._live = self._bill(self._live, (self._clock() - began) * 1e3)

    def _bill(self, live: Heard, took_ms: float) -> Heard:
        """With what it came to, whole or as far as it was passed on."""
        spent = self._spent[live.model][-1]
        usage = Usage(
            spent.input_tokens,
            spent.output_tokens,
            spent.cached_tokens,
            estimated=spent.estimated,
            cache_written_tokens=spent.cache_written_tokens,
        )
        return replace(live, usage=usage, usd=self._usd_of(live.model), took_ms=took_ms)


class _Alone:
    """One model with its retries, and without another to take its place."""

    def __init__(self, watched: Watched, resilience: Resilience) -> None:
        self.card = watched.model.card
        self._watched = watched
        self._resilience = resilience

    def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        return self._resilience.answer([self._watched], request)
