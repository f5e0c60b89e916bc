"""Replies in OpenAI's form: checked against the official SDK's types, and read back by our own parser."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from junctor.chat import (
    BadRequest,
    ChatRequest,
    Event,
    Finished,
    JunctorError,
    Raw,
    Started,
    Text,
    Thought,
    ToolCall,
    UpstreamBroken,
    UpstreamRefused,
    Usage,
    join_tool_call,
)
from junctor.wire.openai_answer import DONE, ChunkParser, parse_reply
from junctor.wire.openai_reply import (
    ChatRenderer,
    is_usage_only,
    render_error,
    render_error_event,
)
from junctor.wire.openai_request import Call
from junctor.wire.sse import EventParser

PIECES = st.lists(
    st.text(max_size=8).map(Text)
    | st.text(max_size=8).map(Thought)
    | st.tuples(st.integers(0, 2), st.text(max_size=8)).map(
        lambda pair: ToolCall(pair[0], arguments=pair[1])
    ),
    max_size=12,
)
USAGES = st.none() | st.builds(Usage, st.integers(0, 9999), st.integers(0, 9999), st.integers(0, 99))


def call(*, stream: bool, include_usage: bool = False) -> Call:
    request = ChatRequest(model="auto", messages=msgspec.Raw(b"[1]"), stream=stream, id="req_7")
    return Call(request, include_usage)


def render(events: list[Event], *, stream: bool = True, include_usage: bool = False) -> bytes:
    renderer = ChatRenderer(call(stream=stream, include_usage=include_usage), created=1_700_000_000)
    sent = b"".join(piece for event in events for piece in renderer.render(event))
    return sent + renderer.end()


def frames(sent: bytes) -> list[bytes]:
    return [event.data for event in EventParser().feed(sent)]


def chunks(sent: bytes) -> list[ChatCompletionChunk]:
    data = frames(sent)
    assert data[-1] == DONE
    return [ChatCompletionChunk.model_validate_json(frame, strict=True) for frame in data[:-1]]


HELLO: list[Event] = [Started("small"), Text("Hello"), Text(" you"), Usage(9, 2, 4), Finished("stop")]


def test_a_stream_is_what_the_sdk_reads() -> None:
    seen = chunks(render(HELLO))
    assert [chunk.choices[0].delta.content for chunk in seen] == ["Hello", " you", None]
    assert seen[0].choices[0].delta.role == "assistant"
    assert seen[1].choices[0].delta.role is None
    assert seen[-1].choices[0].finish_reason == "stop"
    assert {chunk.id for chunk in seen} == {"chatcmpl-7"}
    assert {chunk.model for chunk in seen} == {"small"}
    assert all(chunk.usage is None for chunk in seen)


def test_usage_comes_last_and_only_when_asked_for() -> None:
    seen = chunks(render(HELLO, include_usage=True))
    assert seen[-1].choices == []
    usage = seen[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (9, 2, 11)
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 4


def test_an_answer_without_any_text_still_has_its_role_and_end() -> None:
    seen = chunks(render([Started("small"), Finished("length")]))
    assert seen[0].choices[0].delta.role == "assistant"
    assert seen[-1].choices[0].finish_reason == "length"


def test_a_whole_reply_is_what_the_sdk_reads() -> None:
    events = [Started("small"), Thought("hm"), *HELLO[1:]]
    reply = ChatCompletion.model_validate_json(render(events, stream=False), strict=True)
    assert reply.choices[0].message.content == "Hello you"
    assert reply.choices[0].message.refusal is None
    assert reply.choices[0].finish_reason == "stop"
    assert reply.model == "small"
    assert reply.usage is not None
    assert reply.usage.total_tokens == 11
    assert json.loads(render(events, stream=False))["choices"][0]["message"]["reasoning_content"] == "hm"


def test_tool_calls_are_what_the_sdk_reads() -> None:
    events: list[Event] = [
        Started("small"),
        ToolCall(0, "c0", "f", '{"a"'),
        ToolCall(0, arguments=": 1}"),
        ToolCall(1, "c1", "g", "{}"),
        Finished("tool_calls"),
    ]
    reply = ChatCompletion.model_validate_json(render(events, stream=False))
    calls = reply.choices[0].message.tool_calls or []
    assert [(c.id, c.type, c.function.name, c.function.arguments) for c in calls if c.type == "function"] == [
        ("c0", "function", "f", '{"a": 1}'),
        ("c1", "function", "g", "{}"),
    ]
    assert reply.choices[0].message.content is None
    first, second, third, _ = chunks(render(events))
    pieces = [(chunk.choices[0].delta.tool_calls or [])[0] for chunk in (first, second, third)]
    assert [(p.index, p.id, p.type) for p in pieces] == [
        (0, "c0", "function"),
        (0, None, None),
        (1, "c1", "function"),
    ]
    assert pieces[1].function is not None
    assert pieces[1].function.name is None


def joined(events: list[Event]) -> tuple[Any, ...]:
    """What an answer comes to, however it is cut into pieces."""
    calls: dict[int, ToolCall] = {}
    for event in events:
        if isinstance(event, ToolCall):
            calls[event.index] = join_tool_call(calls.get(event.index), event)
    text = "".join(event.text for event in events if isinstance(event, Text))
    thought = "".join(event.text for event in events if isinstance(event, Thought))
    usage = [event for event in events if isinstance(event, Usage)]
    made = [(call.id, call.name, call.arguments) for _, call in sorted(calls.items())]
    return text, thought, made, usage, [event for event in events if isinstance(event, Finished)]


def named(pieces: list[Event]) -> list[Event]:
    """The same, with an id and a name at the first piece of each tool call."""
    seen: set[int] = set()
    events: list[Event] = []
    for piece in pieces:
        if isinstance(piece, ToolCall) and piece.index not in seen:
            seen.add(piece.index)
            piece = msgspec.structs.replace(piece, id=f"id{piece.index}", name=f"name{piece.index}")
        events.append(piece)
    return events


@given(PIECES, USAGES, st.sampled_from(["stop", "length", "content_filter"]), st.integers(1, 50))
def test_a_stream_round_trips_however_it_is_cut(
    pieces: list[Event], usage: Usage | None, reason: Any, size: int
) -> None:
    events = [*named(pieces), *([usage] if usage else []), Finished(reason)]
    if any(isinstance(event, ToolCall) for event in events):
        events[-1] = Finished("tool_calls")
    sent = render([Started("m"), *events], include_usage=True)
    sse, parser = EventParser(), ChunkParser(relay=False)
    cut = [sent[at : at + size] for at in range(0, len(sent), size)]
    read = [e for piece in cut for frame in sse.feed(piece) for e in parser.parse(frame.data)]
    assert joined([*read, parser.end()]) == joined(events)


@given(PIECES, USAGES)
def test_a_whole_reply_round_trips(pieces: list[Event], usage: Usage | None) -> None:
    events = [*named(pieces), *([usage] if usage else [])]
    has_calls = any(isinstance(event, ToolCall) for event in events)
    events.append(Finished("tool_calls" if has_calls else "stop"))
    body = render([Started("m"), *events], stream=False)
    assert joined(list(parse_reply(body, relay=False))) == joined(events)


def test_relayed_frames_pass_untouched_and_done_is_ours() -> None:
    odd = b'{ "choices":[{"delta":{"content":"x"}}] ,"tomorrow":1}'
    sent = render([Started("m"), Raw(odd), Finished("stop")])
    assert sent == b"data: " + odd + b"\n\ndata: [DONE]\n\n"


def test_a_relayed_reply_passes_untouched() -> None:
    body = b'{ "choices" : [] , "tomorrow": 1 }\n'
    assert render([Started("m"), Raw(body), Usage(1, 1), Finished("stop")], stream=False) == body


USAGE_ONLY = b'{"id":"x","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}'


def test_the_usage_chunk_that_only_we_asked_for_is_hidden() -> None:
    events: list[Event] = [Raw(b'{"choices":[{}]}'), Raw(USAGE_ONLY, has_text=False), Finished("stop")]
    assert USAGE_ONLY not in render(events)
    assert USAGE_ONLY in render(events, include_usage=True)


def test_other_frames_with_usage_or_without_choices_are_not_hidden() -> None:
    """Azure's first chunk has no choices; some servers put usage beside the last choice."""
    for frame in (
        b'{"choices":[],"prompt_filter_results":[1],"usage":null}',
        b'{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}',
        b'{"choices":[],"x":"about \\"usage\\""}',
    ):
        assert not is_usage_only(frame)
        assert frame in render([Raw(frame, has_text=False), Finished("stop")])


def test_a_stream_without_an_end_is_an_error() -> None:
    renderer = ChatRenderer(call(stream=True))
    list(renderer.render(Text("half")))
    with pytest.raises(UpstreamBroken):
        renderer.end()


@pytest.mark.parametrize(
    "error",
    [
        BadRequest("no", param="junctor.mode"),
        UpstreamRefused("no", status=418, code="teapot"),
        JunctorError("no"),
    ],
)
def test_an_error_has_all_four_keys(error: JunctorError) -> None:
    envelope = json.loads(render_error(error))
    assert list(envelope) == ["error"]
    assert envelope["error"] == {
        "message": "no",
        "type": error.type,
        "param": error.param,
        "code": error.code,
    }
    assert frames(render_error_event(error)) == [render_error(error)]


def test_an_empty_answer_is_rendered_whole() -> None:
    body = json.loads(render([Started("m"), Finished("stop")], stream=False))
    assert body["choices"][0]["message"]["content"] == ""
    assert body["created"] == 1_700_000_000
    assert "usage" not in body


THOUGHTS: list[Event] = [
    Started("m"),
    Thought("Hm, "),
    Thought("so."),
    Thought(signature="zz"),
    Thought(redacted="xx"),
    Thought("Two.", signature="yy"),
    Text("Yes."),
    Usage(9, 5, 4, cache_written_tokens=3, reasoning_tokens=2),
    Finished("stop", "END"),
]
BLOCKS = [
    {"type": "thinking", "thinking": "Hm, so.", "signature": "zz"},
    {"type": "redacted_thinking", "data": "xx"},
    {"type": "thinking", "thinking": "Two.", "signature": "yy"},
]


def test_reasoning_with_its_proof_whole() -> None:
    """LiteLLM's convention: the text for people, the blocks for the next request."""
    body = json.loads(render(THOUGHTS, stream=False))
    choice = body["choices"][0]
    assert choice["message"]["reasoning_content"] == "Hm, so.Two."
    assert choice["message"]["thinking_blocks"] == BLOCKS
    assert choice["stop_reason"] == "END"
    assert body["usage"]["prompt_tokens_details"] == {"cached_tokens": 4, "cache_write_tokens": 3}
    assert body["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}


def test_reasoning_with_its_proof_streamed() -> None:
    """A block is sent whole when its proof is there, so that a client only has to collect them."""
    seen = [json.loads(frame) for frame in frames(render(THOUGHTS, include_usage=True))[:-1]]
    deltas = [chunk["choices"][0]["delta"] for chunk in seen if chunk["choices"]]
    assert [block for delta in deltas for block in delta.get("thinking_blocks", [])] == BLOCKS
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "Hm, so.Two."
    assert "".join(delta.get("content", "") for delta in deltas) == "Yes."
    ends = [chunk["choices"][0] for chunk in seen if chunk["choices"]][-1]
    assert (ends["finish_reason"], ends["stop_reason"]) == ("stop", "END")
    assert seen[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}


def test_reasoning_without_a_proof_has_no_blocks() -> None:
    events = [Started("m"), Thought("Hm."), Text("Yes."), Finished("stop")]
    assert b"thinking_blocks" not in render(events) + render(events, stream=False)


def test_an_upstream_of_the_same_dialect_is_quoted() -> None:
    error = UpstreamRefused("in our words", status=400)
    error.said = b'{"error": {"message": "in its words"}}'
    assert render_error(error) == error.said
