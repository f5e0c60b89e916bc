"""One request's fusion: the members are heard, and one answer comes of theirs.

    Routed -> hear the members (Drafted* Settled?) -> decide (Judging*) -> Routed -> the answer -> Routed

One that alone has answered is given as it is. What members call is counted like what they say, and one call
comes out: nothing is run here, so nothing is run twice.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import msgspec
from msgspec.structs import replace

from junctor.chat import (
    ChatRequest,
    Decision,
    Event,
    Routed,
)
from junctor.fusion.ballot import Ballot
from junctor.fusion.bench import Bench
from junctor.fusion.billing import Books
from junctor.fusion.case import TooLong, fit
from junctor.fusion.deciding import Decider
from junctor.fusion.hearing import Hearing, Round
from junctor.fusion.panel import Seat, for_one_answer
from junctor.fusion.plan import Plan, who_may
from junctor.fusion.record import Record
from junctor.fusion.roll import Roll
from junctor.fusion.telling import NotWritten, Teller
from junctor.fusion.tools import without_tools
from junctor.fusion.weights import Weights
from junctor.fusion.writing import parts_of, render_writing
from junctor.pool.prompt import Prompt


class Sitting:
    """A Model for one request, that answers by asking several."""

    def __init__(
        self,
        plan: Plan,
        seats: Sequence[Seat],
        books: Books,
        weights: Weights,
        prompt: Prompt,
        *,
        decision: Decision,
        prompt_tokens: int,
        total_s: float,
        save: Callable[[Decision], None],
        keeps_answers: bool,
        clock: Callable[[], float],
    ) -> None:
        """`books`: of members and judges. `save` takes the decision once."""
        self._plan = plan
        self._seats = seats
        self._books = books
        self._decision = decision
        self._save = save
        self._clock = clock
        roll = Roll(seats, books.cards, weights, prompt_tokens=prompt_tokens, verbatim=keeps_answers)
        self._record = Record(plan, roll)
        vote, votes = weights.vote_for([seat.name for seat in seats])
        self._bench = Bench(plan, seats, books, self._record, weights, prompt.tokens)
        counts = plan.mode in ("vote", "debate")
        self._ballot = Ballot(vote, self._bench.least_lead, may_be_open=not counts)
        self._hearing = Hearing(books, self._ballot, roll, clock, prompt.text)
        self._teller = Teller(books, seats, self._record, decision)
        self._has_tools = "tools" in prompt.needs
        self._prompt_tokens = prompt.tokens
        self._ends_at = clock() + total_s
        self._decider = Decider(
            plan,
            seats,
            self._ballot,
            self._hearing,
            self._bench,
            self._record,
            votes=votes,
            has_tools=self._has_tools,
            left_s=self._left_s,
        )

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Hear, decide, and answer. Raises the members' error when nobody has answered."""
        yield Routed(self._record.decide(self._decision))
        try:
            for part in (self._hear, self._decider.decide, self._say):
                async with aclosing(part(request)) as events:
                    async for event in events:
                        yield event
        finally:
            self._save(self._record.decide(self._decision))

    def _left_s(self) -> float:
        return max(0.0, self._ends_at - self._clock())

    async def _hear(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        plan = self._plan
        round_ = Round(
            seats=self._seats,
            may_stop=plan.mode in ("auto", "vote"),
            within_s=min(plan.deadline_ms / 1e3, self._left_s()),
            quorum=plan.quorum,
            grace_s=plan.grace_ms / 1e3,
            tools=request if self._has_tools else None,
        )
        async with aclosing(self._hearing.hear(round_)) as events:
            async for event in events:
                yield event
        if not self._hearing.replies:
            raise self._hearing.failure

    async def _say(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """The chosen answer, or a new one; where that is not written, the leading one."""
        if self._record.verdict.chosen is None:
            try:
                async with aclosing(self._write(request)) as events:
                    async for event in events:
                        yield event
                return
            except NotWritten as error:
                self._decider.do_without(self._decider.writer, str(error))
        for event in self._teller.give(self._hearing.replies):
            yield event

    def _write(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Raises `NotWritten` where the answers are too much for the writer, and for `max_usd`."""
        writer, told = self._decider.writer, self._decider.told
        if not self._bench.can_pay(writer, 1, [text for _, text in told]):
            raise NotWritten("max_usd leaves nothing for it")
        try:
            room = fit(self._books.cards[writer], parts_of(told, self._decider.analysis), self._prompt_tokens)
        except TooLong as error:
            raise NotWritten(str(error)) from error
        messages = render_writing(request, told, self._decider.analysis, most_chars=room)
        return self._teller.write(_writing(request, writer, messages, self._left_s()))


def _writing(request: ChatRequest, writer: str, messages: msgspec.Raw, left_s: float) -> ChatRequest:
    """The request for the new answer: the caller's own, with the answers it is to be made of."""
    return replace(
        without_tools(for_one_answer(request)),
        model=writer,
        messages=messages,
        relay=None,
        fusion=None,
        constraints=who_may(request),
        within_s=left_s,
    )
