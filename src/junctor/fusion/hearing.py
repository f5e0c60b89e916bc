"""One round of a fusion: the members are asked at once, and heard until nothing more can change."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial

import msgspec
from msgspec.structs import replace

from junctor.chat import (
    Answer,
    ChatRequest,
    Drafted,
    Event,
    JunctorError,
    Model,
    ModelCard,
    Settled,
    Text,
    Thought,
    ToolCall,
    UpstreamBroken,
    UpstreamUnavailable,
)
from junctor.fusion.ballot import Ballot
from junctor.fusion.billing import Books
from junctor.fusion.panel import Seat
from junctor.fusion.roll import Roll
from junctor.fusion.tools import parse_tool_call
from junctor.pool.answers import answer_of
from junctor.pool.fan_out import Ask, Reply, ask_all

IN_WORDS = "in words"
"What a member answers that calls no tool where it could."


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What one round may take."""

    seats: Sequence[Seat]
    may_stop: bool
    "Whether it ends when the votes are settled."
    within_s: float
    quorum: int | None
    grace_s: float
    tools: ChatRequest | None = None
    "The request, where it has tools: calls are told apart from words."
    number: int = 1
    "From 1."


class Hearing:
    """What the members say in one round."""

    def __init__(
        self, books: Books, ballot: Ballot, roll: Roll, clock: Callable[[], float], question: str = ""
    ) -> None:
        self.question = question
        "What was asked, as `Prompt.text` has it."
        self.replies = dict[int, Reply]()
        "Whole answers, by seat."
        self.failure: JunctorError = UpstreamUnavailable("no member was asked")
        "When nobody has answered: why."
        self._books = books
        self._ballot = ballot
        self._roll = roll
        self._clock = clock

    async def hear(self, round_: Round) -> AsyncGenerator[Event, None]:
        """Ask, and tell of each as it comes. Failures are heard, and not raised."""
        began = self._clock()
        asked = [at for at, seat in enumerate(round_.seats) if seat.left_out is None]
        waiting = set(asked)
        for at in set(range(len(round_.seats))).difference(asked):
            if at not in self.replies:
                self._ballot.fail(at)
        asks = [self._ask(at, round_.seats[at]) for at in asked]
        replies = ask_all(
            asks,
            within_s=round_.within_s,
            quorum=round_.quorum,
            grace_s=round_.grace_s,
            clock=self._clock,
        )
        try:
            async with aclosing(replies):
                async for reply in replies:
                    at = asked[reply.at]
                    waiting.discard(at)
                    yield self._take(at, reply, round_)
                    if waiting and round_.may_stop and self._is_settled(round_):
                        leader = self._ballot.count()[0].members[0]
                        yield Settled(
                            round_.seats[leader].name, awaited=len(asked) - len(waiting), asked=len(asked)
                        )
                        break
        except JunctorError as error:
            self.failure = error
        for at in waiting:
            self._roll.spare(at, self._clock() - began)

    def _ask(self, at: int, seat: Seat) -> Ask:
        return Ask(Speaking(self._books.open(seat.name, partial(self._roll.pay, at=at))), seat.request)

    def _is_settled(self, round_: Round) -> bool:
        """Words are settled by nobody's calls: what they say has yet to be compared."""
        if not self._ballot.is_settled:
            return False
        return round_.tools is None or self._ballot.count()[0].answer != IN_WORDS

    def _take(self, at: int, reply: Reply, round_: Round) -> Drafted:
        if reply.answer is None:
            if at not in self.replies:
                self._ballot.fail(at)
            return Drafted(self._roll.fail(at, reply), round=round_.number)
        is_cut = reply.answer.reason in ("length", "content_filter")
        if is_cut and at in self.replies:
            error = UpstreamBroken("its answer was cut short", model=reply.model)
            failed = self._roll.fail(at, replace(reply, answer=None, error=error))
            return Drafted(failed, round=round_.number)
        if round_.seats[at].tools_as_text and round_.tools is not None:
            reply = replace(reply, answer=parse_tool_call(reply.answer, round_.tools))
        assert reply.answer is not None
        answer = vote_of(reply.answer, self.question, has_tools=round_.tools is not None)
        if is_cut:
            self._ballot.fail(at)  # it says nothing of whether the question is an open one
        else:
            self._ballot.put(at, answer)
        self.replies[at] = reply
        return Drafted(self._roll.hear(at, answer, reply.took_s), reply.answer.text, round_.number)


def vote_of(answer: Answer, question: str, *, has_tools: bool) -> str | None:
    """What an answer votes for; None: nothing that could be compared."""
    if has_tools and not answer.tool_calls:
        return IN_WORDS
    return answer_of(answer, question)


def is_answer(event: Event) -> bool:
    """Whether it is more than silence."""
    match event:
        case Text():
            return event.text != "" and not event.text.isspace()
        case ToolCall():
            return True
        case _:
            return False


class Speaking:
    """A Model that has to say something: an empty answer is a failure, and counts for no quorum."""

    def __init__(self, model: Model) -> None:
        self.card: ModelCard = model.card
        self._model = model

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """As `Model.answer`. Raises `UpstreamBroken` at the end of an answer without words or calls."""
        has_said, has_thought = False, False
        async with aclosing(self._model.answer(request)) as events:
            async for event in events:
                has_said = has_said or is_answer(event)
                has_thought = has_thought or isinstance(event, Thought)
                yield event
        if not has_said:
            what = "thought, and said nothing" if has_thought else "said nothing"
            raise UpstreamBroken(f"the model `{self.card.name}` {what}", model=self.card.name)
