"""The answer of a fusion, as the caller gets it: a member's, or a new one; with what all calls took."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing

from junctor.chat import (
    ChatRequest,
    Decision,
    Drafted,
    Event,
    Finished,
    Judging,
    JunctorError,
    Routed,
    Settled,
    Started,
    Thought,
    Usage,
)
from junctor.fusion.billing import Books
from junctor.fusion.hearing import is_answer
from junctor.fusion.panel import Seat
from junctor.fusion.record import Record
from junctor.pool.fan_out import Reply, say_again


class NotWritten(Exception):
    """There is no new answer: the writer was not asked, or failed before its first words."""


class Teller:
    """Passes the answer on, between the record as it is before it and as it is after it."""

    def __init__(self, books: Books, seats: Sequence[Seat], record: Record, decision: Decision) -> None:
        self._books = books
        self._seats = seats
        self._record = record
        self._decision = decision

    def give(self, replies: Mapping[int, Reply]) -> Iterator[Event]:
        """The chosen member's answer."""
        chosen = self._record.verdict.chosen
        assert chosen is not None
        reply = replies[chosen]
        assert reply.answer is not None
        said = say_again(reply)
        if self._seats[chosen].tools_as_text and reply.answer.tool_calls:
            said = iter((Started(reply.model), *reply.answer.tool_calls, Finished("tool_calls")))
        yield Routed(self._record.decide(self._decision))
        for event in said:
            match event:
                case Finished():
                    yield from self._end(event)
                case Usage():
                    pass
                case _:
                    yield event

    async def write(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """A new answer, as it comes. Raises `NotWritten` before its first words: thoughts alone are none."""
        begun, held, finished = False, list[Event](), None
        writer = self._books.open(request.model, self._record.roll.pay)
        yield Routed(self._record.decide(self._decision))
        try:
            async with aclosing(writer.answer(request)) as events:
                async for event in events:
                    match event:
                        case Finished():
                            finished = event
                        case Usage() | Routed() | Drafted() | Settled() | Judging():
                            pass
                        case _:
                            begun = begun or is_answer(event)
                            held.append(event)
                    if begun:
                        for each in held:
                            yield each
                        held.clear()
        except JunctorError as error:
            if begun:
                raise
            raise NotWritten(error.message) from error
        if finished is None or not begun:
            has_thought = any(isinstance(event, Thought) for event in held)
            raise NotWritten("it thought, and said nothing" if has_thought else "it said nothing")
        # Not before the call has ended: its bill is made out by then.
        for last in self._end(finished):
            yield last

    def _end(self, finished: Finished) -> Iterator[Event]:
        """What all of it took, the record as it is now complete, and the end."""
        yield self._record.roll.spent.usage
        yield Routed(self._record.decide(self._decision))
        yield finished
