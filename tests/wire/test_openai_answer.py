"""OpenAI answers as events: decoded or relayed, in any form that servers give them."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import Event, Finished, Raw, Text, Thought, ToolCall, UpstreamBroken, Usage
from junctor.wire.openai_answer import ChunkParser, error_message, parse_reply

USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}}


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **fields: Any) -> bytes:
    choices = [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    return json.dumps({"id": "x", "choices": choices} | fields).encode()


def stream(*frames: bytes, relay: bool = False) -> list[Event]:
    parser = ChunkParser(relay=relay)
    return [*(event for frame in frames for event in parser.parse(frame)), parser.end()]


def whole(
    message: dict[str, Any], finish: str | None = "stop", *, relay: bool = False, **fields: Any
) -> list[Event]:
    body = {"choices": [{"index": 0, "message": message, "finish_reason": finish}]} | fields
    return list(parse_reply(json.dumps(body).encode(), relay=relay))


def test_a_stream_of_text() -> None:
    frames = [
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning_content": "Hm."}),
        chunk({"content": "Hello"}),
        chunk({"content": " you"}),
        chunk({}, "stop"),
        b'{"choices": [], "usage": ' + json.dumps(USAGE).encode() + b"}",
        b"[DONE]",
    ]
    assert stream(*frames) == [Thought("Hm."), Text("Hello"), Text(" you"), Usage(9, 4, 3), Finished("stop")]


def test_the_stop_sequence_that_ended_it() -> None:
    """vLLM says which one it was; where it stopped by itself it gives null, or the id of a token."""
    for said, known in (("END", "END"), (None, None), (128009, None)):
        choice = {"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": said}
        frame = json.dumps({"choices": [choice]}).encode()
        assert stream(frame, b"[DONE]")[-1] == Finished("stop", known)
        body = {"choices": [choice | {"message": {"content": "Hi"}}]}
        assert list(parse_reply(json.dumps(body).encode(), relay=False))[-1] == Finished("stop", known)


def choice_chunk(index: int, content: str = "", finish: str | None = None) -> bytes:
    body = {"index": index, "delta": {"content": content}, "finish_reason": finish}
    return json.dumps({"id": "x", "choices": [body]}).encode()


def test_a_stream_of_several_choices_is_whole_when_each_has_ended() -> None:
    halves = [choice_chunk(0, "a"), choice_chunk(1, "b"), choice_chunk(0, finish="stop")]
    with pytest.raises(UpstreamBroken, match="in the middle"):
        stream(*halves, relay=True)
    assert stream(*halves, choice_chunk(1, finish="length"), relay=True)[-1] == Finished("length")
    assert stream(*halves, b"[DONE]", relay=True)[-1] == Finished("stop"), "the server says it is over"


def test_relayed_frames_are_the_bytes_that_came() -> None:
    frames = [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hello"}, usage=None),
        chunk({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]}),
        chunk({"reasoning": "so"}),
        chunk({}, "length", usage=USAGE),
    ]
    events = stream(*frames, b"[DONE]", relay=True)
    raws = [event for event in events if isinstance(event, Raw)]
    assert [raw.frame for raw in raws] == frames
    assert [raw.has_text for raw in raws] == [False, True, True, True, False]
    assert events[-2:] == [Usage(9, 4, 3), Finished("length")]


def test_the_last_usage_holds_whatever_its_choices_are() -> None:
    early = chunk({"content": "a"}, usage={"prompt_tokens": 1, "completion_tokens": 1})
    late = chunk({}, "stop", usage=USAGE)
    usages = [event for event in stream(early, late) if isinstance(event, Usage)]
    assert usages[-1] == Usage(9, 4, 3)


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None}])
def test_an_empty_usage_is_none(usage: Any) -> None:
    assert not [e for e in stream(chunk({"content": "a"}, "stop", usage=usage)) if isinstance(e, Usage)]


def test_counts_that_cannot_be_are_bounded() -> None:
    usage = {"prompt_tokens": -5, "completion_tokens": 10**30}
    assert Usage(0, 10**12) in stream(chunk({}, "stop", usage=usage))


def test_cached_tokens_of_servers_with_another_field() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "prompt_cache_hit_tokens": 7}
    assert Usage(9, 1, 7) in whole({"content": "a"}, usage=usage)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("eos", "stop"),
    ],
)
def test_finish_reasons(word: str, reason: Any) -> None:
    assert stream(chunk({"content": "a"}, word))[-1] == Finished(reason)
    assert whole({"content": "a"}, word)[-1] == Finished(reason)


def test_tool_calls_come_in_pieces_and_carry_their_name_once() -> None:
    def piece(index: int | None, **function: str) -> bytes:
        return chunk({"tool_calls": [{"index": index, "function": function}]})

    begin = chunk({"tool_calls": [{"index": 0, "id": "c0", "function": {"name": "f", "arguments": ""}}]})
    second = chunk({"tool_calls": [{"index": 1, "id": "c1", "function": {"name": "g", "arguments": "{}"}}]})
    events = stream(
        begin, piece(0, arguments='{"a"'), piece(0, arguments=":1}"), second, chunk({}, "tool_calls")
    )
    assert events == [
        ToolCall(0, "c0", "f", ""),
        ToolCall(0, arguments='{"a"'),
        ToolCall(0, arguments=":1}"),
        ToolCall(1, "c1", "g", "{}"),
        Finished("tool_calls"),
    ]


def test_tool_calls_without_index_or_id_are_numbered() -> None:
    calls = [
        {"id": "a", "function": {"name": "f", "arguments": {"x": 1}}},
        {"id": "b", "function": {"name": "g"}},
    ]
    assert stream(chunk({"tool_calls": calls}, "stop")) == [
        ToolCall(0, "a", "f", '{"x":1}'),
        ToolCall(1, "b", "g", ""),
        Finished("tool_calls"),
    ]
    nameless = [{"function": {"name": "f", "arguments": "{}"}}]
    assert whole({"content": None, "tool_calls": nameless})[0] == ToolCall(0, "call_0", "f", "{}")


def test_the_old_function_call_is_a_tool_call() -> None:
    pieces = [
        chunk({"function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": "{}"}}),
    ]
    assert stream(*pieces, chunk({}, "function_call")) == [
        ToolCall(0, "call_0", "f", ""),
        ToolCall(0, arguments="{}"),
        Finished("tool_calls"),
    ]


def test_content_in_parts_and_refusals_are_text() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "yes"},
    ]
    assert whole({"content": parts}) == [Thought("hm"), Text("yes"), Finished("stop")]
    assert whole({"content": None, "refusal": "No."}) == [Text("No."), Finished("stop")]


def test_other_choices_do_not_mix_into_the_first() -> None:
    other = json.dumps({"choices": [{"index": 1, "delta": {"content": "other"}}]}).encode()
    assert stream(chunk({"content": "a"}), other, chunk({}, "stop")) == [Text("a"), Finished("stop")]


def test_a_whole_reply_is_relayed_whole() -> None:
    body = b'{ "choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "tomorrow": 1 }'
    assert list(parse_reply(body, relay=True)) == [Raw(body), Finished("stop")]


def test_a_stream_that_ends_early_is_broken() -> None:
    with pytest.raises(UpstreamBroken, match="middle of the answer"):
        stream(chunk({"content": "half"}))
    with pytest.raises(UpstreamBroken, match="middle of the answer"):
        stream(chunk({"content": "half"}), b"[DONE]")


def test_whatever_follows_done_is_ignored() -> None:
    parser = ChunkParser(relay=True)
    frames = [chunk({"content": "a"}, "stop"), b"[DONE]", b"[DONE]", chunk({"content": "b"}), b"garbage"]
    assert len([event for frame in frames for event in parser.parse(frame)]) == 1
    assert parser.done


@pytest.mark.parametrize("relay", [True, False])
def test_an_error_in_the_stream_is_broken_and_tells_why(relay: bool) -> None:
    parser = ChunkParser(relay=relay)
    with pytest.raises(UpstreamBroken, match="the engine overheated"):
        list(parser.parse(b'{"error": {"message": "the engine overheated"}}'))


def test_error_messages_of_every_form() -> None:
    assert error_message({"message": "a"}) == "a"
    assert error_message("b") == "b"
    assert error_message({"detail": "c"}) == "{'detail': 'c'}"
    assert len(error_message("x" * 5000)) == 1000


BAD = [b"", b"{", b"[]", b'{"choices": 5}', b'{"choices": [{"delta": "x"}]}', b'{"choices":' + b"[" * 100_000]


@pytest.mark.parametrize("relay", [True, False])
@pytest.mark.parametrize("data", BAD)
def test_garbage_is_broken(data: bytes, relay: bool) -> None:
    with pytest.raises(UpstreamBroken):
        list(ChunkParser(relay=relay).parse(data))
    with pytest.raises(UpstreamBroken):
        list(parse_reply(data, relay=relay))


def test_a_reply_without_choices_is_broken() -> None:
    with pytest.raises(UpstreamBroken, match="choices"):
        list(parse_reply(b'{"object": "list"}', relay=True))


def test_a_tool_call_of_no_known_form_is_broken() -> None:
    with pytest.raises(UpstreamBroken, match="tool"):
        stream(chunk({"tool_calls": "f()"}, "stop"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["content", "tool_calls", "index", "function", "name", "x"]), inner)
    ),
    max_leaves=10,
)


@given(JSON, JSON, st.booleans())
def test_any_json_is_events_or_broken(delta: Any, usage: Any, relay: bool) -> None:
    frame = json.dumps({"choices": [{"index": 0, "delta": delta}], "usage": usage}).encode()
    with suppress(UpstreamBroken):
        list(ChunkParser(relay=relay).parse(frame))
    with suppress(UpstreamBroken):
        list(parse_reply(frame.replace(b'"delta"', b'"message"'), relay=relay))


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_are_events_or_broken(data: bytes, relay: bool) -> None:
    with suppress(UpstreamBroken):
        list(ChunkParser(relay=relay).parse(data))
