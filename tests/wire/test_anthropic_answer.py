"""Anthropic's answers as events."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import (
    Event,
    Finished,
    Raw,
    Text,
    Thought,
    ToolCall,
    UpstreamBroken,
    UpstreamError,
    UpstreamRateLimited,
    Usage,
)
from junctor.wire.anthropic_answer import STOP_REASONS, MessageStreamParser, parse_message, type_of_event


def start(**usage: int) -> dict[str, Any]:
    return {"type": "message_start", "message": {"id": "m", "content": [], "usage": usage}}


def block(index: int, **content: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": content}


def delta(index: int, **piece: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": piece}


def end(reason: str | None, **usage: int) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


STOP = {"type": "message_stop"}


def stream(*events: dict[str, Any], relay: bool = False) -> list[Event]:
    parser = MessageStreamParser(relay=relay)
    return [*(found for event in events for found in parser.parse(json.dumps(event).encode())), parser.end()]


TALK = [
    start(input_tokens=3, cache_read_input_tokens=10, cache_creation_input_tokens=5, output_tokens=1),
    {"type": "ping"},
    block(0, type="thinking", thinking=""),
    delta(0, type="thinking_delta", thinking="Hm."),
    delta(0, type="signature_delta", signature="zzz"),
    {"type": "content_block_stop", "index": 0},
    block(1, type="text", text=""),
    delta(1, type="text_delta", text="Hel"),
    delta(1, type="text_delta", text="lo"),
    {"type": "content_block_stop", "index": 1},
    end("end_turn", output_tokens=7),
    STOP,
]


def test_a_stream_of_text_and_thinking() -> None:
    assert stream(*TALK) == [
        Usage(18, 1, 10, cache_written_tokens=5),
        Thought("Hm."),
        Thought(signature="zzz"),
        Text("Hel"),
        Text("lo"),
        Usage(18, 7, 10, cache_written_tokens=5),
        Finished("stop"),
    ]


def test_tool_calls_are_numbered_apart_from_blocks() -> None:
    events = stream(
        block(0, type="text", text="I call."),
        block(1, type="tool_use", id="t1", name="f", input={}),
        delta(1, type="input_json_delta", partial_json=""),
        delta(1, type="input_json_delta", partial_json='{"a"'),
        delta(1, type="input_json_delta", partial_json=": 1}"),
        {"type": "content_block_stop", "index": 1},
        block(2, type="tool_use", id="t2", name="g", input={}),
        {"type": "content_block_stop", "index": 2},
        end("tool_use"),
        STOP,
    )
    assert events == [
        Text("I call."),
        ToolCall(0, "t1", "f"),
        ToolCall(0, arguments='{"a"'),
        ToolCall(0, arguments=": 1}"),
        ToolCall(1, "t2", "g"),
        ToolCall(1, arguments="{}"),
        Usage(0, 0),
        Finished("tool_calls"),
    ]


def test_relayed_frames_are_the_bytes_that_came() -> None:
    events = stream(*TALK, relay=True)
    raws = [event for event in events if isinstance(event, Raw)]
    assert [json.loads(raw.frame) for raw in raws] == TALK
    assert [raw.has_text for raw in raws] == [event["type"] == "content_block_delta" for event in TALK]
    assert events[-1] == Finished("stop")
    assert Usage(18, 7, 10, cache_written_tokens=5) in events


@pytest.mark.parametrize("word", [*STOP_REASONS, "a_word_of_tomorrow"])
def test_stop_reasons(word: str) -> None:
    assert stream(end(word), STOP)[-1] == Finished(STOP_REASONS.get(word, "stop"))


def test_the_stop_sequence_that_ended_it() -> None:
    event = {"type": "message_delta", "delta": {"stop_reason": "stop_sequence", "stop_sequence": "END"}}
    assert stream(event, STOP)[-1] == Finished("stop", "END")
    body = {"content": [], "stop_reason": "stop_sequence", "stop_sequence": "END"}
    assert list(parse_message(json.dumps(body).encode(), relay=False))[-1] == Finished("stop", "END")


def test_thinking_that_is_encrypted_or_not_shown() -> None:
    """A block may hold its proof alone: the model still wants it back."""
    events = stream(
        block(0, type="redacted_thinking", data="xx"),
        block(1, type="thinking", thinking="", signature=""),
        delta(1, type="signature_delta", signature="zz"),
        end("end_turn"),
        STOP,
    )
    assert events[:2] == [Thought(redacted="xx"), Thought(signature="zz")]


@pytest.mark.parametrize("relay", [True, False])
def test_events_that_nobody_knows_pass_whatever_they_hold(relay: bool) -> None:
    strange = {"type": "tomorrow", "index": "x", "delta": 5, "usage": []}
    parser = MessageStreamParser(relay=relay)
    data = json.dumps(strange).encode()
    assert list(parser.parse(data)) == ([Raw(data, has_text=False)] if relay else [])


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'{"type":"content_block_delta","index":0}', "content_block_delta"),
        (b'{ "type" : "ping" }', "ping"),
        (b'{"index": 1, "type": "message_stop"}', "message_stop"),
        (b'{"message": {"type": "message"}, "type": "message_start"}', "message_start"),
        (b'{"index": 1}', ""),
        (b"garbage", ""),
    ],
)
def test_the_type_of_an_event(data: bytes, kind: str) -> None:
    assert type_of_event(data) == kind


def test_the_sdks_stop_reasons_are_all_known() -> None:
    stop_reason = pytest.importorskip("anthropic.types.stop_reason").StopReason
    assert set(stop_reason.__args__) == set(STOP_REASONS)


def test_a_whole_message() -> None:
    content = [
        {"type": "thinking", "thinking": "Hm.", "signature": "z"},
        {"type": "redacted_thinking", "data": "xx"},
        {"type": "text", "text": "Yes."},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
    ]
    usage: dict[str, Any] = {"input_tokens": 4, "cache_read_input_tokens": 6, "output_tokens": 2}
    usage["output_tokens_details"] = {"thinking_tokens": 1}
    body = json.dumps({"content": content, "stop_reason": "tool_use", "usage": usage}).encode()
    assert list(parse_message(body, relay=False)) == [
        Thought("Hm.", signature="z"),
        Thought(redacted="xx"),
        Text("Yes."),
        ToolCall(0, "t1", "f", '{"a":1}'),
        Usage(10, 2, 6, reasoning_tokens=1),
        Finished("tool_calls"),
    ]
    assert next(parse_message(body, relay=True)) == Raw(body)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("overloaded_error", UpstreamBroken),
        ("api_error", UpstreamBroken),
        ("rate_limit_error", UpstreamRateLimited),
    ],
)
@pytest.mark.parametrize("relay", [True, False])
def test_an_error_in_the_stream(kind: str, error: type[UpstreamError], relay: bool) -> None:
    event = {"type": "error", "error": {"type": kind, "message": "Too busy"}}
    with pytest.raises(error, match="Too busy") as caught:
        stream(event, relay=relay)
    assert caught.value.said == (json.dumps(event).encode() if relay else None)


def test_a_stream_that_ends_early_is_broken() -> None:
    with pytest.raises(UpstreamBroken, match="middle of the answer"):
        stream(*TALK[:-2])


def test_whatever_follows_the_stop_is_ignored() -> None:
    parser = MessageStreamParser(relay=False)
    for event in TALK:
        list(parser.parse(json.dumps(event).encode()))
    assert parser.done
    assert list(parser.parse(b"garbage")) == []


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"index": 1}', b'{"type": 5}', b'{"type":' + b"[" * 100_000]
)
def test_garbage_is_broken(data: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        list(MessageStreamParser(relay=False).parse(data))
    with pytest.raises(UpstreamBroken):
        list(parse_message(data, relay=False))


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_are_events_or_an_upstream_error(data: bytes, relay: bool) -> None:
    with suppress(UpstreamError):
        list(MessageStreamParser(relay=relay).parse(data))
    with suppress(UpstreamError):
        list(parse_message(data, relay=relay))


KINDS = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "error",
]
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.dictionaries(
        st.sampled_from(["type", "text", "message", "usage", "input_tokens", "id", "name", "partial_json"]),
        inner,
    ),
    max_leaves=6,
)


@given(st.sampled_from(KINDS), VALUE, VALUE, VALUE, VALUE)
def test_any_event_is_events_or_an_upstream_error(
    kind: str, index: Any, delta: Any, block: Any, usage: Any
) -> None:
    event = {"type": kind, "index": index, "delta": delta, "content_block": block, "usage": usage}
    with suppress(UpstreamError):
        list(MessageStreamParser(relay=False).parse(json.dumps(event).encode()))
