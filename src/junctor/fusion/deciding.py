"""What becomes of the members' answers: whose is given, or that a new one is written. One method a mode."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing

from msgspec.structs import replace

from junctor.chat import Analysis, ChatRequest, Event, Judging
from junctor.fusion.ballot import Ballot, margin
from junctor.fusion.bench import Bench, Role
from junctor.fusion.case import render_candidate
from junctor.fusion.hearing import IN_WORDS, Hearing, Round, vote_of
from junctor.fusion.panel import Seat
from junctor.fusion.plan import Plan
from junctor.fusion.record import Record
from junctor.fusion.tools import without_tools
from junctor.fusion.writing import render_debate


class Decider:
    """Decides once all have been heard, and notes it in the record."""

    def __init__(
        self,
        plan: Plan,
        seats: Sequence[Seat],
        ballot: Ballot,
        hearing: Hearing,
        bench: Bench,
        record: Record,
        *,
        votes: str,
        has_tools: bool,
        left_s: Callable[[], float],
    ) -> None:
        """`votes`: where the weights come from. `left_s`: seconds that are left for all of it."""
        self.analysis: Analysis | None = None
        "What the answers have in common and where they differ, once they are to be merged."
        self._plan = plan
        self._seats = seats
        self._ballot = ballot
        self._hearing = hearing
        self._bench = bench
        self._record = record
        self._votes = votes
        self._has_tools = has_tools
        self._left_s = left_s

    async def decide(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Tells of judges as they are asked, and of members in a debate."""
        heard = self._hearing.replies
        if self._has_tools and (caller := self._count_calls()) is not None:
            self._record.settle("vote", self._explain_vote(), caller)
            return
        self._count()
        if len(heard) == 1 and not self._record.verdict.saved_answers:
            self._record.settle("one answer", "it is the only one that came", next(iter(heard)))
            return
        if self._has_tools and (calling := self._calling):
            because = "no call has whole JSON arguments to be compared by: the best member's is given"
            self._record.settle("best member", because, self._best_of(calling))
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
                self._ballot.put(at, vote_of(reply.answer, self._hearing.question, has_tools=False))
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
            sides = [at for it in standpoints[:2] for at in it.members]
            judge = self._bench.judge_of(sides, self._hearing.replies)
        if judge is None or margin(standpoints) >= self._bench.weigh(judge):
            return
        yield Judging(judge, len(rivals))
        await self._judge("vote+judge", judge, rivals, request)

    async def _pick(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """A judge chooses among all that differ."""
        apart = [it.members[0] for it in self._ballot.count()]
        apart += [at for at in self._hearing.replies if self._ballot.answers[at] is None]
        if len(apart) == 1:
            self._record.settle("best-of", "all give the same answer", apart[0])
            return
        judge = self.writer  # whoever has answered has an answer of its own among them
        yield Judging(judge, len(apart))
        await self._judge("best-of", judge, apart, request)

    async def _judge(self, path: str, judge: str, shown: Sequence[int], request: ChatRequest) -> None:
        texts = {at: self._words(at) for at in shown}
        opinion = await self._bench.compare(judge, texts, request, self._left_s())
        if opinion.failed is not None:
            self._do_without("judge", judge, opinion.failed)
        elif opinion.preferred is None:
            because = f"{judge} sees no difference, or contradicts itself when the order changes"
            self._record.settle(path, because, self.leader)
        else:
            self._record.settle(path, f"{judge} prefers this answer in both orders", opinion.preferred)

    async def _merge(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """The answers are compared, for a new one to be written."""
        writer = self.writer
        yield Judging(writer, len(self._hearing.replies))
        told = self.told
        # Half of what is left: whoever compares for long leaves time to write without it.
        self.analysis, failure = await self._bench.analyse(writer, told, request, self._left_s() / 2)
        if failure is not None:
            self._record.degrade(f"no analysis by {writer}: {failure}")
        self._record.write(writer, f"written by {writer} from {len(told)} answers")

    async def _argue(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """One more round, in which each sees the answers that differ from its own; then the vote."""
        may_differ = len(self._ballot.count()) > 1 and not self._ballot.is_open
        seats = [self._challenge(at, request) for at in range(len(self._seats))] if may_differ else []
        if may_differ and not self._bench.can_argue(seats):
            self._record.degrade("no second round: max_usd leaves nothing for it")
        elif may_differ:
            within_s = min(self._plan.deadline_ms / 1e3, self._left_s())
            round_ = Round(seats=seats, may_stop=False, within_s=within_s, quorum=None, grace_s=0.0, number=2)
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
        asked = without_tools(replace(seat.request, messages=messages))
        return replace(seat, request=asked, tools_as_text=False)

    def do_without(self, writer: str, failure: str) -> None:
        """Settle it without a new answer. Raises `UpstreamBroken` where it is to fail then."""
        self._do_without("writer", writer, failure)

    def _do_without(self, role: Role, name: str, failure: str) -> None:
        leader = self.leader
        chosen, because = self._bench.do_without(role, name, failure, leader=leader)
        path = "vote" if self._is_counted and chosen == leader else "best member"
        self._record.settle(path, because, chosen)

    @property
    def writer(self) -> str:
        """Who writes what is merged."""
        return self._bench.writer_of(self._hearing.replies)

    @property
    def leader(self) -> int:
        """Whose answer leads the vote; where nothing can be compared, the best member's."""
        return self._ballot.count()[0].members[0] if self._is_counted else self._best

    @property
    def _is_counted(self) -> bool:
        return bool(self._ballot.count()) and not self._ballot.is_open

    @property
    def _best(self) -> int:
        """The best of those that have answered."""
        return self._best_of(self._hearing.replies)

    def _best_of(self, seats: Iterable[int]) -> int:
        best, weights = self._record.roll.best, self._ballot.vote.weights
        return max(seats, key=lambda at: (at == best, weights[at]))

    @property
    def _calling(self) -> Sequence[int]:
        """Whose answer is a call. It is given as it is: a new answer would be prose instead of a call."""
        replies = self._hearing.replies.items()
        return [at for at, reply in replies if reply.answer is not None and reply.answer.tool_calls]

    def _settle_best(self, why: str) -> None:
        self._record.settle("best member", f"{why}: the best member's is given", self._best)

    @property
    def told(self) -> Sequence[tuple[str, str]]:
        """All answers, with the members' names."""
        return [(self._seats[at].name, self._words(at)) for at in sorted(self._hearing.replies)]

    def _words(self, at: int) -> str:
        answer = self._hearing.replies[at].answer
        assert answer is not None
        return render_candidate(answer)

    def _explain_vote(self) -> str:
        first, heard = self._ballot.count()[0], len(self._hearing.replies)
        if len(first.members) > 1:
            agree = f"{len(first.members)} of {heard} answers agree"
        elif heard > 1:
            agree = f"the likeliest of {heard} answers"
        else:
            agree = "those called off could not have outvoted it"
        return f"{agree}, right with a probability of {first.p:.0%}"
