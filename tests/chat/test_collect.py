"""A stream of events becomes one answer, or says why it cannot."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from junctor.chat import (
    Event,
    Finished,
    Raw,
    Started,
    Text,
    Thought,
    ToolCall,
    UpstreamBroken,
    Usage,
    collect,
    join_tool_call,
)

pytestmark = pytest.mark.anyio


async def stream(*events: Event) -> AsyncGenerator[Event, None]:
    for event in events:
        yield event


async def test_pieces_are_joined_in_order() -> None:
    answer = await collect(
        stream(
            Started("small"),
            Thought("hm"),
            Text("Hel"),
            Text("lo"),
            Usage(3, 1),
            Usage(3, 2),
            Finished("stop"),
        )
    )
    assert (answer.model, answer.thought, answer.text, answer.reason) == ("small", "hm", "Hello", "stop")
    assert answer.usage == Usage(3, 2)


async def test_parallel_tool_calls_are_told_apart_by_index() -> None:
    answer = await collect(
        stream(
            Started("small"),
            ToolCall(1, id="b", name="two", arguments=""),
            ToolCall(0, id="a", name="one", arguments='{"x"'),
            ToolCall(1, arguments="{}"),
            ToolCall(0, arguments=":1}"),
            Finished("tool_calls"),
        )
    )
    assert answer.tool_calls == (
        ToolCall(0, id="a", name="one", arguments='{"x":1}'),
        ToolCall(1, id="b", name="two", arguments="{}"),
    )


async def test_an_answer_cut_short_is_an_error_not_an_answer() -> None:
    with pytest.raises(UpstreamBroken, match="without a finish reason"):
        await collect(stream(Started("small"), Text("Hel")))


async def test_raw_frames_cannot_be_collected() -> None:
    with pytest.raises(TypeError, match="relay=None"):
        await collect(stream(Started("small"), Raw(b"{}")))


async def test_the_stream_is_closed_when_collecting_fails() -> None:
    """Whoever stops reading closes the generator, so that the upstream call is cancelled."""
    closed: list[bool] = []

    async def upstream() -> AsyncGenerator[Event, None]:
        try:
            yield Raw(b"{}")
            yield Finished("stop")
        finally:
            closed.append(True)

    with pytest.raises(TypeError):
        await collect(upstream())
    assert closed == [True]


def test_a_tool_call_keeps_its_first_id_and_name() -> None:
    first = ToolCall(0, id="a", name="one", arguments="{")
    assert join_tool_call(None, first) is first
    assert join_tool_call(first, ToolCall(0, id="zzz", name="zzz", arguments="}")) == ToolCall(
        0, id="a", name="one", arguments="{}"
    )
