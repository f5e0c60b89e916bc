"""Replies of the Responses API: what our own parser of upstreams reads of them is what was said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import (
    Event,
    Finished,
    Raw,
    Started,
    Text,
    Thought,
    ToolCall,
    UpstreamBroken,
    UpstreamRateLimited,
    Usage,
)
from junctor.wire.responses_answer import ResponseStreamParser, parse_response
from junctor.wire.responses_reply import ResponsesRenderer, event_type
from junctor.wire.responses_request import ResponsesCall, parse_request
from junctor.wire.sse import EventParser, ServerEvent

SUFFIX = "0193" + "ab" * 14
USAGE = Usage(10, 5, 3, cache_written_tokens=2, reasoning_tokens=1)


def call(**fields: Any) -> ResponsesCall:
    body = {"model": "auto", "input": "Hi", "include": ["reasoning.encrypted_content"], **fields}
    return parse_request(json.dumps(body).encode(), {}, request_id=f"req_{SUFFIX}", caller="")


def rendered(events: Sequence[Event], **fields: Any) -> tuple[ResponsesRenderer, bytes]:
    renderer = ResponsesRenderer(call(**fields), created=1)
    pieces = [piece for event in events for piece in renderer.render(event)]
    return renderer, b"".join(pieces) + renderer.end()


def server_events(data: bytes) -> list[ServerEvent]:
    return list(EventParser().feed(data))


def normal(events: Sequence[Event]) -> list[Event]:
    """The same events with neighbouring pieces joined: a stream may cut them elsewhere."""
    joined: list[Event] = []
    for event in events:
        last = joined[-1] if joined else None
        match event:
            case Text(text="") | Started():
                continue
            case Text() if isinstance(last, Text):
                joined[-1] = Text(last.text + event.text)
            case Thought() if isinstance(last, Thought) and not (last.signature or last.redacted):
                if event.redacted:
                    joined.append(event)
                else:
                    joined[-1] = Thought(last.text + event.text, signature=event.signature)
            case ToolCall() if isinstance(last, ToolCall) and last.index == event.index:
                joined[-1] = msgspec.structs.replace(last, arguments=last.arguments + event.arguments)
            case _:
                joined.append(event)
    return joined


TEXT = st.text(min_size=1, max_size=12)
BLOCK = st.one_of(
    TEXT.map(lambda text: [Text(text)]),
    st.tuples(TEXT, TEXT).map(lambda two: [Thought(two[0]), Thought(two[1])]),
    st.tuples(TEXT, TEXT).map(lambda two: [Thought(two[0]), Thought(signature=two[1])]),
    TEXT.map(lambda data: [Thought(redacted=data)]),
)
REASONS = st.sampled_from(["stop", "length", "content_filter"])


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """What models say: blocks of thought and text in any order, then calls, the count and the end."""
    said: list[Event] = [event for block in draw(st.lists(BLOCK, max_size=4)) for event in block]
    calls = draw(st.integers(0, 3))
    for index in range(calls):
        said.append(ToolCall(index, f"call_{index}", draw(TEXT)))
        said += [ToolCall(index, arguments=piece) for piece in draw(st.lists(TEXT, max_size=3))]
    reason = "tool_calls" if calls else draw(REASONS)
    return [Started("small"), *said, USAGE, Finished(reason)]


@given(answers())
def test_a_stream_says_what_the_events_said(events: list[Event]) -> None:
    _, data = rendered(events, stream=True)
    parser = ResponseStreamParser(relay=False)
    heard = [event for one in server_events(data) for event in parser.parse(one.data)]
    assert parser.done
    assert normal([*heard, parser.end()]) == normal(events)


@given(answers())
def test_a_whole_reply_says_what_the_events_said(events: list[Event]) -> None:
    _, data = rendered(events)
    assert normal([*parse_response(data, relay=False)]) == normal(events)


@given(answers())
def test_the_events_are_numbered_named_and_end_with_the_whole_response(events: list[Event]) -> None:
    _, data = rendered(events, stream=True)
    streamed = server_events(data)
    decoded = [json.loads(one.data) for one in streamed]
    assert [one["sequence_number"] for one in decoded] == list(range(len(decoded)))
    assert [one["type"] for one in decoded] == [one.name for one in streamed]
    assert [one["type"] for one in decoded[:2]] == ["response.created", "response.in_progress"]
    last = decoded[-1]["response"]
    whole = json.loads(rendered(events)[1])
    assert {**last, "store": True, "completed_at": 0} == {**whole, "completed_at": 0}
    done = [one["item"] for one in decoded if one["type"] == "response.output_item.done"]
    assert sorted(item["id"] for item in done) == sorted(item["id"] for item in last["output"])
    assert all(item in last["output"] for item in done)


def test_proofs_are_shown_to_those_who_ask() -> None:
    events = [Thought("Hm."), Thought(signature="s"), Text("Yes."), Finished("stop")]
    shown = json.loads(rendered(events)[1])["output"][0]
    hidden = json.loads(rendered(events, include=[])[1])["output"][0]
    assert shown == {**hidden, "encrypted_content": shown["encrypted_content"]}
    renderer, _ = rendered(events, include=[])
    kept = renderer.kept()
    assert kept is not None
    assert kept.output[0] == shown
    assert json.loads(bytes(kept.response))["output"][0] == hidden


def test_a_stream_that_is_cut_fails_and_says_why() -> None:
    renderer = ResponsesRenderer(call(stream=True), created=1)
    begun = b"".join(renderer.render(Text("Half")))
    error = UpstreamRateLimited("it asks for a pause", model="m")
    *_, failed, named = server_events(begun + renderer.fail(error))
    assert (failed.name, named.name) == ("response.failed", "error")
    response = json.loads(failed.data)["response"]
    assert response["status"] == "failed"
    assert response["error"] == {"code": "rate_limit_exceeded", "message": "it asks for a pause"}
    assert response["output"][0]["content"][0]["text"] == "Half"
    said = json.loads(named.data)
    assert said["sequence_number"] == json.loads(failed.data)["sequence_number"] + 1
    assert (said["code"], said["message"]) == ("upstream_rate_limited", "it asks for a pause")
    assert set(said["error"]) == {"message", "type", "param", "code"}
    assert renderer.kept() is None


FRAMES = [
    b'{"type":"response.created","sequence_number":0,"response":{"id":"resp_u","output":[]}}',
    b'{"type":"response.output_text.delta","sequence_number":1,"delta":"Hi","output_index":0}',
    b'{"type":"response.completed","sequence_number":2,"response":{"id":"resp_u","output":[{"id":"msg_u"}]}}',
]


def test_relayed_frames_pass_as_they_are_and_the_last_waits_for_the_end() -> None:
    renderer = ResponsesRenderer(call(stream=True), created=1)
    sent = [piece for frame in FRAMES for piece in renderer.render(Raw(frame))]
    assert len(sent) == 2
    list(renderer.render(Finished("stop")))
    heard = server_events(b"".join(sent) + renderer.end())
    assert [(one.data, one.name) for one in heard] == [(frame, event_type(frame)) for frame in FRAMES]
    kept = renderer.kept()
    assert kept is not None
    assert kept.id == "resp_u"
    assert kept.output[0]["id"] == "msg_u"


def test_a_relayed_stream_that_is_cut_fails_under_its_own_id() -> None:
    renderer = ResponsesRenderer(call(stream=True), created=1)
    for frame in FRAMES[:2]:
        list(renderer.render(Raw(frame)))
    failed, _ = server_events(renderer.fail(UpstreamBroken("it broke", model="m")))
    said = json.loads(failed.data)
    assert said["sequence_number"] == 2
    assert (said["response"]["id"], said["response"]["status"]) == ("resp_u", "failed")


def test_a_whole_relayed_reply_passes_as_it_is() -> None:
    body = b'{"id": "resp_u",  "object": "response", "output": []}'
    renderer, data = rendered([Raw(body), Finished("stop")])
    assert data == body
    kept = renderer.kept()
    assert kept is not None
    assert bytes(kept.response) == body


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"id": 1, "output": []}', b'{"id":"r","output":[1]}'])
def test_a_relayed_reply_that_is_odd_passes_and_is_not_kept(body: bytes) -> None:
    renderer, data = rendered([Raw(body), Finished("stop")])
    assert data == body
    assert renderer.kept() is None


def test_an_answer_without_its_end_is_broken() -> None:
    renderer = ResponsesRenderer(call(), created=1)
    list(renderer.render(Text("Hi")))
    with pytest.raises(UpstreamBroken):
        renderer.end()


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        (b'{"type":"response.created"}', "response.created"),
        (b' { "type" : "error" , "x": 1}', "error"),
        (b'{"sequence_number":1,"type":"response.completed"}', "response.completed"),
        (b'{"type":"a\\nb"}', ""),
        (b'{"type":"a\nb"}', ""),
        (b'{"type":7}', ""),
        (b"[]", ""),
        (b"\xff", ""),
    ],
)
def test_the_type_of_an_event(frame: bytes, name: str) -> None:
    """A type becomes a line of the stream: nothing but a plain name may."""
    assert event_type(frame) == name
