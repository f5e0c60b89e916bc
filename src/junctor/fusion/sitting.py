"""One request's fusion: the members are heard, and one answer comes of theirs.

    Routed -> hear the members (Drafted* Settled?) -> decide (Judging*) -> Routed -> the answer -> Routed

One that alone has answered is given as it is. What members call is counted like what they say, and one call
comes out: nothing is run here, so nothing is run twice.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing

import msgspec
from msgspec.structs import replace

from junctor.chat import (
    Analysis,
    ChatRequest,
    Constraints,
    Decision,
    Event,
    Judging,
    Model,
    Routed,
)
from junctor.fusion.ballot import Ballot, margin
from junctor.fusion.bench import Bench
from junctor.fusion.case import render_candidate
from junctor.fusion.hearing import IN_WORDS, Hearing, Round, vote_of
from junctor.fusion.panel import Seat
from junctor.fusion.plan import Plan
from junctor.fusion.record import Record
from junctor.fusion.roll import Roll
from junctor.fusion.telling import NotWritten, Teller
from junctor.fusion.weights import Weights
from junctor.fusion.writing import render_debate, render_writing
from junctor.pool.prompt import Prompt


class Sitting:
    """A Model for one request, that answers by asking several."""

    def __init__(
        self,
        plan: Plan,
        seats: Sequence[Seat],
        models: Mapping[str, Model],
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
        """`models`: members and judges by name, each with its retries. `save` takes the decision once."""
        cards = {name: model.card for name, model in models.items()}
        self._plan = plan
        self._seats = seats
        self._models = models
        self._decision = decision
        self._save = save
        self._clock = clock
        roll = Roll(seats, cards, weights, prompt_tokens=prompt_tokens, verbatim=keeps_answers)
        self._record = Record(plan, roll)
        vote, self._votes = weights.vote_for([seat.name for seat in seats])
        self._bench = Bench(plan, seats, models, self._record, weights, prompt.tokens)
        counts = plan.mode in ("vote", "debate")
        self._ballot = Ballot(vote, self._bench.least_lead, may_be_open=not counts)
        self._hearing = Hearing(models, self._ballot, roll, clock)
        self._teller = Teller(models, seats, self._record, decision)
        self._has_tools = "tools" in prompt.needs
        self._analysis: Analysis | None = None
        self._ends_at = clock() + total_s

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Hear, decide, and answer. Raises the members' error when nobody has answered."""
        yield Routed(self._record.decide(self._decision))
        try:
            for part in (self._hear, self._decide, self._say):
                async with aclosing(part(request)) as events:
                    async for event in events:
                        yield event
        finally:
            self._save(self._record.decide(self._decision))

    @property
    def _left_s(self) -> float:
        return max(0.0, self._ends_at - self._clock())

    async def _hear(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        plan = self._plan
        round_ = Round(
            seats=self._seats,
            may_stop=plan.mode in ("auto", "vote"),
            within_s=min(plan.deadline_ms / 1e3, self._left_s),
            quorum=plan.quorum,
            grace_s=plan.grace_ms / 1e3,
            tools=request if self._has_tools else None,
        )
        async with aclosing(self._hearing.hear(round_)) as events:
            async for event in events:
                yield event
        if not self._hearing.replies:
            raise self._hearing.failure

    # What becomes of the answers.

    async def _decide(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        heard = self._hearing.replies
        if self._has_tools and (caller := self._count_calls()) is not None:
            self._record.settle("vote", self._explain_vote(), caller)
            return
        self._count()
        if len(heard) == 1 and not self._ballot.is_settled:
            self._record.settle("one answer", "it is the only one that came", next(iter(heard)))
            return
        async with aclosing(self._choose(request)) as events:
            async for event in events:
                yield event

    def _choose(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        match self._plan.mode:
            case "merge":
                return self._merge(request)
            case "best-of":
                return self._pick(request)
            case "debate":
                return self._argue(request)
            case "auto" if self._ballot.is_open:
                return self._merge(request)
            case "auto" | "vote":
                return self._elect(request)

    def _count(self) -> None:
        self._record.count(self._ballot.count(), self._ballot.vote.weights, self._votes)

    def _count_calls(self) -> int | None:
        """Whose call is made; None: the members answer in words, and their words alone count from now on."""
        self._count()
        standpoints = self._ballot.count()
        if standpoints and standpoints[0].answer != IN_WORDS:
            return standpoints[0].members[0]
        talk = any(it.answer == IN_WORDS for it in standpoints)
        for at, reply in list(self._hearing.replies.items()):
            assert reply.answer is not None
            if reply.answer.tool_calls and talk:
                del self._hearing.replies[at]
                self._ballot.fail(at)
            else:
                self._ballot.put(at, vote_of(reply.answer, has_tools=False))
        return None

    async def _elect(self, request: ChatRequest, path: str = "vote") -> AsyncGenerator[Event, None]:
        """By vote; in the mode `auto` a judge is asked where the first two are close."""
        standpoints = self._ballot.count()
        if not standpoints or self._ballot.is_open:
            self._settle_best("the answers cannot be compared")
            return
        rivals = [it.members[0] for it in standpoints[:2]]
        self._record.settle(path, self._explain_vote(), rivals[0])
        judge = None
        if self._plan.mode == "auto" and len(rivals) > 1:
            judge = self._bench.judge_of(rivals, self._hearing.replies)
        if judge is None or margin(standpoints) >= self._bench.weigh(judge):
            return
        yield Judging(judge, len(rivals))
        await self._judge("vote+judge", judge, rivals, request, vote=rivals[0])

    async def _pick(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """A judge chooses among all that differ."""
        apart = [it.members[0] for it in self._ballot.count()]
        apart += [at for at in self._hearing.replies if self._ballot.answers[at] is None]
        if len(apart) == 1:
            self._record.settle("best-of", "all give the same answer", apart[0])
            return
        judge = self._bench.judge_of(apart, self._hearing.replies) or self._bench.writer
        yield Judging(judge, len(apart))
        await self._judge("best-of", judge, apart, request, vote=self._leader)

    async def _judge(
        self, path: str, judge: str, shown: Sequence[int], request: ChatRequest, *, vote: int
    ) -> None:
        texts = {at: self._words(at) for at in shown}
        opinion = await self._bench.compare(judge, texts, request, self._left_s)
        if opinion.failed is not None:
            chosen, because = self._bench.do_without(judge, opinion.failed, vote=vote)
            self._record.settle("vote" if chosen == vote else "best member", because, chosen)
        elif opinion.preferred is None:
            because = f"{judge} sees no difference, or contradicts itself when the order changes"
            self._record.settle(path, because, vote)
        else:
            self._record.settle(path, f"{judge} prefers this answer in both orders", opinion.preferred)

    async def _merge(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """The answers are compared, for a new one to be written."""
        writer = self._bench.writer
        yield Judging(writer, len(self._hearing.replies))
        told = self._told
        self._analysis, failure = await self._bench.analyse(told, request, self._left_s)
        if failure is not None:
            self._record.degrade(f"no analysis by {writer}: {failure}")
        self._record.write(writer, f"written by {writer} from {len(told)} answers")

    async def _argue(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """One more round, in which each sees the answers that differ from its own; then the vote."""
        if len(self._ballot.count()) > 1 and not self._ballot.is_open:
            seats = [self._challenge(at, request) for at in range(len(self._seats))]
            within_s = min(self._plan.deadline_ms / 1e3, self._left_s)
            round_ = Round(seats=seats, may_stop=False, within_s=within_s, quorum=None, grace_s=0.0)
            async with aclosing(self._hearing.hear(round_)) as events:
                async for event in events:
                    yield event
            self._count()
        async with aclosing(self._elect(request, "debate")) as events:
            async for event in events:
                yield event

    def _challenge(self, at: int, request: ChatRequest) -> Seat:
        """A member's place in the second round."""
        seat, reply = self._seats[at], self._hearing.replies.get(at)
        if reply is None:
            return replace(seat, left_out=seat.left_out or "it did not answer")
        own = self._ballot.answers[at]
        others = [self._words(it.members[0]) for it in self._ballot.count() if it.answer != own]
        if not others:
            return replace(seat, left_out="all others agree with it")
        messages = render_debate(request, self._words(at), others)
        asked = replace(seat.request, messages=messages, tools=None, tool_choice=None)
        return replace(seat, request=asked, tools_as_text=False)

    @property
    def _leader(self) -> int:
        """Whose answer leads the vote; where nothing can be compared, the best member's."""
        standpoints = self._ballot.count()
        return self._best if not standpoints or self._ballot.is_open else standpoints[0].members[0]

    @property
    def _best(self) -> int:
        """The best of those that have answered."""
        best, weights = self._record.roll.best, self._ballot.vote.weights
        return max(self._hearing.replies, key=lambda at: (at == best, weights[at]))

    def _settle_best(self, why: str) -> None:
        best = self._best
        self._record.settle("best member", f"{why}: the best member's is given", best)

    @property
    def _told(self) -> Sequence[tuple[str, str]]:
        """All answers, with the members' names."""
        return [(self._seats[at].name, self._words(at)) for at in sorted(self._hearing.replies)]

    def _words(self, at: int) -> str:
        answer = self._hearing.replies[at].answer
        assert answer is not None
        return render_candidate(answer)

    def _explain_vote(self) -> str:
        first, heard = self._ballot.count()[0], len(self._hearing.replies)
        agree = (
            f"{len(first.members)} of {heard} answers agree"
            if len(first.members) > 1
            else (f"the likeliest of {heard} answers")
        )
        return f"{agree}, right with a probability of {first.p:.0%}"

    async def _say(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """The chosen answer, or a new one; where that is not written, the leading one."""
        if self._record.verdict.chosen is None:
            try:
                async with aclosing(self._write(request)) as events:
                    async for event in events:
                        yield event
                return
            except NotWritten as error:
                chosen, because = self._bench.do_without(self._bench.writer, str(error), vote=self._leader)
                self._record.settle("best member", because, chosen)
        for event in self._teller.give(self._hearing.replies):
            yield event

    def _write(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        writer, told = self._bench.writer, self._told
        messages = render_writing(request, told, self._analysis)
        can_pay = self._bench.can_pay(writer, 1, [text for _, text in told])
        return self._teller.write(_writing(request, writer, messages, self._left_s), can_pay=can_pay)


def _writing(request: ChatRequest, writer: str, messages: msgspec.Raw, left_s: float) -> ChatRequest:
    """The request for the new answer: the caller's own, with the answers it is to be made of."""
    return replace(
        request,
        model=writer,
        messages=messages,
        tools=None,
        tool_choice=None,
        relay=None,
        fusion=None,
        constraints=Constraints(),
        within_s=left_s,
    )
