"""Turn a stream of events into one `Answer`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from junctor.chat.errors import UpstreamBroken
from junctor.chat.events import (
    Decision,
    Drafted,
    Event,
    Finished,
    FinishReason,
    Judging,
    Raw,
    Routed,
    Settled,
    Started,
    Text,
    Thought,
    ToolCall,
    Usage,
)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer."""

    model: str
    "Who answered: its name in the pool."
    text: str
    thought: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    "Whole calls: each with its id, name and complete arguments."
    usage: Usage | None = None
    reason: FinishReason
    decision: Decision | None = None


async def collect(events: AsyncGenerator[Event, None]) -> Answer:
    """Read a stream to its end. The request must not ask for a relay (`relay=None`).

    Raises what the stream raises, and `UpstreamBroken` when it ends without `Finished`.
    """
    model, text, thought = "", list[str](), list[str]()
    calls: dict[int, ToolCall] = {}
    usage, reason, decision = None, None, None
    async with aclosing(events):
        async for event in events:
            match event:
                case Text():
                    text.append(event.text)
                case Thought():
                    thought.append(event.text)
                case ToolCall():
                    calls[event.index] = join_tool_call(calls.get(event.index), event)
                case Started():
                    model = event.model
                case Usage():
                    usage = event
                case Finished():
                    reason = event.reason
                case Routed():
                    decision = event.decision
                case Drafted() | Settled() | Judging():
                    pass
                case Raw():
                    raise TypeError("collect() needs decoded events: ask with relay=None")
    if reason is None:
        raise UpstreamBroken("the answer ended without a finish reason", model=model)
    return Answer(
        model=model,
        text="".join(text),
        thought="".join(thought),
        tool_calls=tuple(calls[index] for index in sorted(calls)),
        usage=usage,
        reason=reason,
        decision=decision,
    )


def join_tool_call(so_far: ToolCall | None, piece: ToolCall) -> ToolCall:
    """A tool call with the next piece of it appended."""
    if so_far is None:
        return piece
    return ToolCall(
        index=piece.index,
        id=so_far.id or piece.id,
        name=so_far.name or piece.name,
        arguments=so_far.arguments + piece.arguments,
    )
