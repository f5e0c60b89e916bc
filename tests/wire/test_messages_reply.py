"""Replies of Anthropic's Messages API: what its SDK reads, and what our own parser makes of them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from junctor.chat import (
    AuthenticationFailed,
    BadRequest,
    BodyTooLarge,
    ChatRequest,
    Event,
    Finished,
    InternalError,
    JunctorError,
    NoModelFits,
    Overloaded,
    Raw,
    Started,
    Text,
    Thought,
    ToolCall,
    UnknownModel,
    UpstreamBroken,
    UpstreamRateLimited,
    UpstreamTimeout,
    Usage,
    WindowExceeded,
)
from junctor.wire.anthropic_answer import MessageStreamParser, parse_message
from junctor.wire.messages_reply import PING, MessagesRenderer, render_error, render_error_event
from junctor.wire.messages_request import MessagesCall
from junctor.wire.sse import EventParser, ServerEvent

SDK: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)


def render(events: list[Event], *, stream: bool = True) -> bytes:
    request = ChatRequest(model="auto", messages=msgspec.Raw(b"[1]"), stream=stream, id="req_7")
    renderer = MessagesRenderer(MessagesCall(request))
    sent = b"".join(piece for event in events for piece in renderer.render(event))
    return sent + renderer.end()


def frames(sent: bytes) -> list[ServerEvent]:
    return list(EventParser().feed(sent))


def streamed(events: list[Event]) -> list[dict[str, Any]]:
    """The events of a stream, each checked against the SDK's types."""
    found = [json.loads(frame.data) for frame in frames(render(events))]
    for event in found:
        SDK.validate_python(event)
    return found


ALL: list[Event] = [
    Started("small"),
    Thought("Hm."),
    Thought(signature="zz"),
    Thought(redacted="xx"),
    Text("I "),
    Text("call."),
    ToolCall(0, "t0", "f", '{"a"'),
    ToolCall(0, arguments=":1}"),
    ToolCall(1, "t1", "g", "{}"),
    Usage(20, 9, 10, cache_written_tokens=5, reasoning_tokens=3),
    Finished("tool_calls"),
]


def test_a_stream_is_what_the_sdk_reads() -> None:
    events = streamed(ALL)
    assert [event["type"] for event in events] == [
        "message_start",
        *["content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"],
        *["content_block_start", "content_block_stop"],
        *["content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"],
        *["content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"],
        *["content_block_start", "content_block_delta", "content_block_stop"],
        "message_delta",
        "message_stop",
    ]
    assert [frame.name for frame in frames(render(ALL))] == [event["type"] for event in events]
    start = events[0]["message"]
    assert (start["id"], start["model"], start["role"], start["content"]) == (
        "msg_7",
        "small",
        "assistant",
        [],
    )
    assert events[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert events[-2]["usage"] == {
        "input_tokens": 5,
        "cache_read_input_tokens": 10,
        "cache_creation_input_tokens": 5,
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 3},
    }


def test_a_whole_reply_is_what_the_sdk_reads() -> None:
    message = Message.model_validate_json(render(ALL, stream=False), strict=True)
    assert [block.type for block in message.content] == [
        "thinking",
        "redacted_thinking",
        "text",
        "tool_use",
        "tool_use",
    ]
    assert message.content[3].to_dict()["input"] == {"a": 1}
    assert (message.stop_reason, message.usage.input_tokens) == ("tool_use", 5)


@pytest.mark.parametrize(
    ("finished", "reason", "sequence"),
    [
        (Finished("stop"), "end_turn", None),
        (Finished("stop", "END"), "stop_sequence", "END"),
        (Finished("length"), "max_tokens", None),
        (Finished("content_filter"), "refusal", None),
    ],
)
def test_stop_reasons(finished: Finished, reason: str, sequence: str | None) -> None:
    whole = json.loads(render([Started("m"), finished], stream=False))
    end = streamed([Started("m"), finished])[-2]["delta"]
    assert (whole["stop_reason"], whole["stop_sequence"]) == (reason, sequence)
    assert (end["stop_reason"], end["stop_sequence"]) == (reason, sequence)


def test_an_answer_without_any_text_is_whole() -> None:
    assert [event["type"] for event in streamed([Started("m"), Finished("stop")])] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]


def test_relayed_frames_keep_their_bytes_and_get_their_names_back() -> None:
    """Also those that nobody knows. The last one waits for the end: then the row is durable."""
    data = [
        b'{"type":"message_start","x": 1.0}',
        b'{"type": "ping"}',
        b'{"new":1,"type":"tomorrow"}',
        b'{"type":"message_stop"}',
    ]
    request = ChatRequest(model="m", messages=msgspec.Raw(b"[1]"), stream=True, id="req_7")
    renderer = MessagesRenderer(MessagesCall(request))
    sent = [piece for one in data for piece in renderer.render(Raw(one))]
    list(renderer.render(Finished("stop")))
    names = [b"message_start", b"ping", b"tomorrow"]
    assert sent == [b"event: %b\ndata: %b\n\n" % pair for pair in zip(names, data, strict=False)]
    assert renderer.end() == b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def test_a_whole_relayed_reply_is_the_bytes_that_came() -> None:
    body = b'{ "content": [],  "x": 1.0 }'
    assert render([Started("m"), Raw(body), Finished("stop")], stream=False) == body


def test_a_stream_that_just_stops_is_broken() -> None:
    for stream in (True, False):
        with pytest.raises(UpstreamBroken):
            render([Started("m"), Text("a")], stream=stream)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BadRequest("no"), "invalid_request_error"),
        (NoModelFits("no"), "invalid_request_error"),
        (AuthenticationFailed("no"), "authentication_error"),
        (UnknownModel("no"), "not_found_error"),
        (BodyTooLarge("no"), "request_too_large"),
        (UpstreamRateLimited("no"), "rate_limit_error"),
        (Overloaded("no", retry_after_s=1), "overloaded_error"),
        (UpstreamTimeout("no"), "timeout_error"),
        (UpstreamBroken("no"), "api_error"),
        (InternalError("no"), "api_error"),
    ],
)
def test_errors_have_anthropics_envelope_and_our_code(error: JunctorError, kind: str) -> None:
    assert json.loads(render_error(error, "req_7")) == {
        "type": "error",
        "error": {"type": kind, "message": "no", "details": {"error_code": error.code}},
        "request_id": "req_7",
    }
    (event,) = frames(render_error_event(error, "req_7"))
    assert (event.name, event.data) == ("error", render_error(error, "req_7"))


def test_too_long_a_prompt_is_said_in_the_words_that_claude_code_looks_for() -> None:
    said = json.loads(render_error(WindowExceeded("7 > 5", param="messages"), ""))
    assert said["error"]["message"] == "prompt is too long: 7 > 5"
    assert said["error"]["details"]["param"] == "messages"


def test_an_upstream_of_the_same_dialect_is_quoted() -> None:
    error = UpstreamBroken("in our words")
    error.said = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    assert render_error(error, "req_7") == error.said
    assert render_error_event(error, "req_7") == b"event: error\ndata: " + error.said + b"\n\n"


def test_the_sign_of_life_is_a_ping() -> None:
    assert PING == b'event: ping\ndata: {"type": "ping"}\n\n'


WORDS = st.text(min_size=1, max_size=5)
TALKS = st.lists(
    WORDS.map(Text)
    | st.builds(lambda text, proof: Thought(text, signature=proof), WORDS, WORDS)
    | st.builds(lambda data: Thought(redacted=data), WORDS)
    | st.builds(
        lambda name, given: ToolCall(0, "", name, json.dumps(given)),
        WORDS,
        st.dictionaries(WORDS, st.integers(-9, 9) | WORDS, max_size=2),
    ),
    max_size=6,
)
USAGES = st.builds(
    lambda fresh, out, read, written, thinking: Usage(
        fresh + read + written, out, read, cache_written_tokens=written, reasoning_tokens=thinking
    ),
    *[st.integers(0, 999)] * 5,
)
ENDS = st.builds(Finished, st.sampled_from(["length", "content_filter", "tool_calls"])) | st.builds(
    Finished, st.just("stop"), st.none() | WORDS
)


def numbered(talk: list[Event]) -> list[Event]:
    """Calls with their numbers and ids; adjacent texts as one, as no reply tells them apart."""
    said: list[Event] = []
    calls = 0
    for event in talk:
        if isinstance(event, ToolCall):
            said.append(ToolCall(calls, f"t{calls}", event.name, event.arguments))
            calls += 1
        elif isinstance(event, Text) and said and isinstance(said[-1], Text):
            said[-1] = Text(said[-1].text + event.text)
        else:
            said.append(event)
    return said


def together(events: list[Event]) -> list[Event]:
    """The pieces of each block of a stream as one; the last usage alone."""
    said: list[Event] = []
    for event in events:
        last = said[-1] if said else None
        match event, last:
            case Text(), Text():
                said[-1] = Text(last.text + event.text)
            case Thought(), Thought() if not last.signature and not last.redacted and not event.redacted:
                said[-1] = Thought(last.text + event.text, signature=event.signature)
            case ToolCall(), ToolCall() if event.index == last.index:
                said[-1] = ToolCall(last.index, last.id, last.name, last.arguments + event.arguments)
            case Usage(), _:
                said = [one for one in said if not isinstance(one, Usage)]
                said.append(event)
            case _:
                said.append(event)
    return said


@given(TALKS, USAGES, ENDS)
def test_our_own_parser_reads_the_same_answer(talk: list[Event], usage: Usage, finished: Finished) -> None:
    events = numbered(talk)
    sent = [Started("m"), *events, usage, finished]
    parser = MessageStreamParser(relay=False)
    back = [event for frame in frames(render(sent)) for event in parser.parse(frame.data)]
    assert together([*back, parser.end()]) == [*events, usage, finished]
    whole = list(parse_message(render(sent, stream=False), relay=False))
    assert _same_json(whole) == _same_json([*events, usage, finished])


def _same_json(events: list[Event]) -> list[Any]:
    """Arguments of calls as what they say: a whole reply holds an object, not its text."""
    return [
        (event.index, event.id, event.name, json.loads(event.arguments))
        if isinstance(event, ToolCall)
        else event
        for event in events
    ]
