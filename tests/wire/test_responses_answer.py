"""What Responses upstreams answer, also those that imitate OpenAI's by halves, as events."""

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
from junctor.wire.responses_answer import ResponseStreamParser, parse_response
from junctor.wire.responses_reasoning import NATIVE

MESSAGE = {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "Hello."}]}
CALL = {"type": "function_call", "id": "f", "call_id": "c", "name": "g", "arguments": "{}"}
REASONING = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "Hm."}],
    "encrypted_content": "proof",
}
USAGE = {
    "input_tokens": 10,
    "output_tokens": 5,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens_details": {"reasoning_tokens": 2},
}


def heard(*frames: Any, relay: bool = False) -> list[Event]:
    parser = ResponseStreamParser(relay=relay)
    events = [
        event
        for frame in frames
        for event in parser.parse(frame if isinstance(frame, bytes) else json.dumps(frame).encode())
    ]
    return [*events, parser.end()]


def done(index: int, item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def completed(*items: Any, **fields: Any) -> dict[str, Any]:
    response = {"id": "r", "status": "completed", "output": items, "usage": USAGE, **fields}
    return {"type": "response.completed", "response": response}


COUNTED = Usage(10, 5, 4, reasoning_tokens=2)
SAID = [
    Thought("Hm."),
    Thought(signature=f"{NATIVE}rs_1:proof"),
    Text("Hello."),
    ToolCall(0, "c", "g"),
    ToolCall(0, arguments="{}"),
]


def test_a_whole_reply() -> None:
    body = {"status": "completed", "output": [REASONING, MESSAGE, CALL], "usage": USAGE}
    assert [*parse_response(json.dumps(body).encode(), relay=False)] == [
        *SAID,
        COUNTED,
        Finished("tool_calls"),
    ]


def test_a_server_that_sends_whole_items_only() -> None:
    """No deltas: what an item says comes with its end, and once."""
    items = [REASONING, MESSAGE, CALL]
    frames = [*(done(index, item) for index, item in enumerate(items)), completed(*items)]
    assert heard(*frames) == [*SAID, COUNTED, Finished("tool_calls")]


def test_a_server_that_sends_the_last_event_only() -> None:
    assert heard(completed(REASONING, MESSAGE, CALL)) == [*SAID, COUNTED, Finished("tool_calls")]


def test_parts_of_a_summary_are_paragraphs() -> None:
    def part(index: int, text: str) -> list[dict[str, Any]]:
        return [
            {"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": index},
            {"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": text},
        ]

    thoughts = heard(*part(0, "One."), *part(1, "Two."), completed())[:3]
    assert "".join(event.text for event in thoughts if isinstance(event, Thought)) == "One.\n\nTwo."


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter"),
        ({"status": "incomplete", "incomplete_details": None}, "length"),
        ({"status": None}, "stop"),
    ],
)
def test_why_it_ended(fields: dict[str, Any], reason: str) -> None:
    assert heard(completed(**fields))[-1] == Finished(reason)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (completed(status="failed", error={"code": "server_error", "message": "no"}), UpstreamBroken),
        (completed(status="failed", error={"code": "rate_limit_exceeded"}), UpstreamRateLimited),
        ({"type": "error", "code": "insufficient_quota", "message": "no"}, UpstreamRateLimited),
        ({"type": "error", "error": {"message": "no"}}, UpstreamBroken),
        ({"type": "error", "error": None}, UpstreamBroken),
        (b"{", UpstreamBroken),
    ],
)
@pytest.mark.parametrize("relay", [True, False])
def test_a_failure_is_raised(frame: Any, kind: type[UpstreamError], relay: bool) -> None:
    if frame == b"{" and relay:
        return
    with pytest.raises(kind):
        heard({"type": "response.created"}, frame, relay=relay)


def test_a_stream_that_just_stops_is_broken() -> None:
    with pytest.raises(UpstreamBroken, match="middle"):
        heard({"type": "response.output_text.delta", "output_index": 0, "delta": "Ha"})
    with pytest.raises(UpstreamBroken, match="middle"):
        heard(b"[DONE]")


def test_relayed_frames_pass_with_their_count() -> None:
    frames = [
        b'{"type":"response.created", "odd":  1}',
        b'{"type":"response.web_search_call.searching"}',
        b'{"type":"response.output_text.delta","delta":"H"}',
        json.dumps(completed(MESSAGE)).encode(),
    ]
    events = heard(*frames, b"[DONE]", relay=True)
    assert events == [
        Raw(frames[0], has_text=False),
        Raw(frames[1], has_text=False),
        Raw(frames[2], has_text=True),
        Raw(frames[3], has_text=False),
        COUNTED,
        Finished("stop"),
    ]


def test_a_whole_relayed_reply() -> None:
    body = b'{"id":"r", "output": []}'
    assert [*parse_response(body, relay=True)] == [Raw(body), Finished("stop")]


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"output": 7}', b'{"status":"failed","error":{"message":"no"},"output":[]}']
)
def test_a_whole_reply_that_is_none(body: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        list(parse_response(body, relay=False))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
KINDS = st.sampled_from(
    [f"response.{name}" for name in ("completed", "failed", "output_item.added", "output_item.done")]
    + [f"response.{name}.delta" for name in ("output_text", "function_call_arguments", "reasoning_text")]
    + ["error", "other"]
)
FRAME = st.fixed_dictionaries(
    {"type": KINDS},
    optional={
        "delta": JSON,
        "item": JSON | st.fixed_dictionaries({"type": st.just("function_call"), "arguments": JSON}),
        "response": JSON,
        "error": JSON,
        "output_index": st.integers(-2, 2) | JSON,
    },
)


@given(st.lists(FRAME | st.binary(max_size=30), max_size=6), st.booleans())
def test_nothing_but_upstream_errors(frames: list[Any], relay: bool) -> None:
    with suppress(UpstreamError):
        heard(*frames, relay=relay)
