"""Upstreams and callers of Anthropic's API: relayed byte for byte, quoted, counted; others translated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from junctor.chat import (
    ChatRequest,
    Event,
    Finished,
    JunctorError,
    ModelCard,
    Raw,
    Started,
    UnsupportedByModel,
    UpstreamBroken,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamUnauthorised,
    WindowExceeded,
)
from junctor.pool.responses_upstream import OpenAIResponsesUpstream
from junctor.pool.transport import Timeouts, Transport
from junctor.pool.upstream import AnthropicUpstream, OpenAIUpstream, Upstream
from junctor.wire import messages_request, openai_request
from recorded_server import RecordedServer, Scripted, event_of, recorded_server

pytestmark = pytest.mark.anyio

KEY = "sk-do-not-show"
SHORT = Timeouts(first_token_s=5.0, idle_s=5.0, total_s=10.0)
USER = [{"role": "user", "content": "Hi"}]
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "content": [{"type": "text", "text": "Yes."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "output_tokens": 2},
}
FRAMES = [
    {"type": "message_start", "message": MESSAGE | {"content": []}},
    {"type": "ping"},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Yes."}},
    {"type": "an_event_of_tomorrow", "index": "x"},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
COMPLETION = {"choices": [{"index": 0, "message": {"content": "Yes."}, "finish_reason": "stop"}]}


@pytest.fixture
def server() -> Iterator[RecordedServer]:
    with recorded_server() as it:
        it.script(MESSAGE)
        yield it


def anthropic(server: RecordedServer, transport: Transport) -> AnthropicUpstream:
    card = ModelCard(name="m", upstream="claude-x", dialect="anthropic_messages")
    return AnthropicUpstream(card, base_url=server.base_url, key=KEY, transport=transport, timeouts=SHORT)


def openai(server: RecordedServer, transport: Transport) -> OpenAIUpstream:
    card = ModelCard(name="m", upstream="gpt-x")
    return OpenAIUpstream(card, base_url=server.base_url, key=KEY, transport=transport, timeouts=SHORT)


def messages(headers: dict[str, str] | None = None, **fields: Any) -> ChatRequest:
    body = {"model": "m", "max_tokens": 9, "messages": USER} | fields
    data = json.dumps(body, separators=(",", ":")).encode()
    return messages_request.parse_request(data, headers or {}, request_id="r", caller="").request


def chat(**fields: Any) -> ChatRequest:
    data = json.dumps({"model": "m", "messages": USER} | fields).encode()
    return openai_request.parse_request(data, {}, request_id="r", caller="").request


async def events_of(upstream: Upstream, request: ChatRequest) -> list[Event]:
    return [event async for event in upstream.answer(request)]


async def failure_of(upstream: Upstream, request: ChatRequest) -> JunctorError:
    with pytest.raises(JunctorError) as caught:
        await events_of(upstream, request)
    return caught.value


async def test_the_body_and_its_headers_go_on_as_they_came(
    server: RecordedServer, transport: Transport
) -> None:
    headers = {"anthropic-beta": "context-1,tools-2", "anthropic-version": "2024-01-01"}
    request = messages(headers, thinking={"type": "adaptive"}, tomorrow=[1.0], junctor={"mode": "cost"})
    assert request.body is not None
    await events_of(anthropic(server, transport), request)
    (sent,) = server.seen
    expected = bytes(request.body).replace(b'"model":"m"', b'"model":"claude-x"')
    assert sent.body == expected.replace(b',"junctor":{"mode":"cost"}', b"")
    assert (sent.path, sent.headers["x-api-key"]) == ("/v1/messages", KEY)
    assert sent.headers["anthropic-beta"] == "context-1,tools-2"
    assert sent.headers["anthropic-version"] == "2024-01-01"


async def test_a_version_is_always_said(server: RecordedServer, transport: Transport) -> None:
    for request in (messages(), chat()):
        await events_of(anthropic(server, transport), request)
        assert server.seen[-1].headers["anthropic-version"] == "2023-06-01"
        assert "anthropic-beta" not in server.seen[-1].headers


async def test_every_frame_of_a_stream_is_relayed(server: RecordedServer, transport: Transport) -> None:
    server.script(FRAMES)
    events = await events_of(anthropic(server, transport), messages(stream=True))
    raws = [event for event in events if isinstance(event, Raw)]
    assert b"".join(b"event: %b\ndata: %b\n\n" % (kind_of(raw.frame), raw.frame) for raw in raws) == b"".join(
        event_of(frame) for frame in FRAMES
    )
    assert [raw.has_text for raw in raws] == [frame["type"] == "content_block_delta" for frame in FRAMES]
    assert events[-1] == Finished("stop")


def kind_of(frame: bytes) -> bytes:
    return json.loads(frame)["type"].encode()


@pytest.mark.parametrize(
    ("status", "kind", "message", "error"),
    [
        (400, "invalid_request_error", "prompt is too long: 9 tokens > 5 maximum", WindowExceeded),
        (413, "request_too_large", "Request too large", JunctorError),
        (429, "rate_limit_error", "Slow down", UpstreamRateLimited),
        (500, "api_error", "Internal server error", UpstreamBroken),
        (529, "overloaded_error", "Overloaded", UpstreamBroken),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_is_quoted_to_callers_of_the_same_dialect(
    server: RecordedServer,
    transport: Transport,
    status: int,
    kind: str,
    message: str,
    error: type[JunctorError],
    stream: bool,
) -> None:
    """Claude Code looks for the words. Only our key is struck out."""
    said = {"type": "error", "error": {"type": kind, "message": f"{message} {KEY}"}, "request_id": "req_up"}
    server.script(said, status=status)
    upstream = anthropic(server, transport)
    found = await failure_of(upstream, messages(stream=stream))
    assert isinstance(found, error)
    assert found.status == status
    assert found.said == json.dumps(said).replace(KEY, "***").encode()
    assert (await failure_of(upstream, chat(stream=stream))).said is None


async def test_a_refusal_of_our_key_is_not_the_callers(server: RecordedServer, transport: Transport) -> None:
    said = {"type": "error", "error": {"type": "authentication_error", "message": f"invalid x-api-key {KEY}"}}
    server.script(said, status=401)
    found = await failure_of(anthropic(server, transport), messages())
    assert isinstance(found, UpstreamUnauthorised)
    assert (found.status, found.said) == (502, None)


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"type":"error","error":"x"}', b"[" * 9000])
async def test_what_is_no_envelope_is_told_in_our_words(
    server: RecordedServer, transport: Transport, body: bytes
) -> None:
    server.script(body, status=529)
    found = await failure_of(anthropic(server, transport), messages())
    assert (found.status, found.said) == (502, None)


async def test_an_error_in_mid_stream_is_quoted(server: RecordedServer, transport: Transport) -> None:
    said = {"type": "error", "error": {"type": "overloaded_error", "message": f"Overloaded {KEY}"}}
    server.script([*FRAMES[:4], said])
    found = await failure_of(anthropic(server, transport), messages(stream=True))
    assert found.said == event_of(said).split(b"data: ")[1].strip().replace(KEY.encode(), b"***")


async def test_openais_refusals_are_quoted_where_they_are_about_the_request(
    server: RecordedServer, transport: Transport
) -> None:
    inner = {
        "message": "Unknown parameter: 'x'.",
        "type": "invalid_request_error",
        "param": "x",
        "code": None,
    }
    for status, error, quoted in (
        (400, inner, True),
        (400, {"message": "short"}, False),
        (429, inner, False),
        (500, inner, False),
    ):
        server.script({"error": error}, status=status)
        found = await failure_of(openai(server, transport), chat())
        assert (found.said is not None) is quoted
        assert "`m`" in found.message


async def test_what_a_target_cannot_carry_is_named(server: RecordedServer, transport: Transport) -> None:
    marked = [
        {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}
    ]
    server.script(COMPLETION)
    events = await events_of(openai(server, transport), messages(messages=marked, container="c"))
    assert events[0] == Started("m", ("container", "cache_control"))
    server.script(MESSAGE)
    assert (await events_of(anthropic(server, transport), messages(container="c")))[0] == Started("m")
    assert (await events_of(anthropic(server, transport), chat(seed=1)))[0] == Started("m", ("seed",))


async def test_a_tool_that_only_anthropics_models_have_is_refused_elsewhere(
    server: RecordedServer, transport: Transport
) -> None:
    """Before anything is sent; another model may have it."""
    request = messages(tools=[{"type": "web_search_20250305", "name": "web_search"}])
    found = await failure_of(openai(server, transport), request)
    assert isinstance(found, UnsupportedByModel)
    assert "web_search_20250305" in found.message
    assert server.seen == []
    await events_of(anthropic(server, transport), request)
    assert server.seen[0].json["tools"] == [{"type": "web_search_20250305", "name": "web_search"}]


async def test_an_upstream_of_the_responses_api_gets_what_it_has_a_place_for(
    server: RecordedServer, transport: Transport
) -> None:
    card = ModelCard(name="m", upstream="gpt-x", dialect="openai_responses")
    upstream = OpenAIResponsesUpstream(
        card, base_url=server.base_url, key=None, transport=transport, timeouts=SHORT
    )
    said = [{"type": "output_text", "text": "Yes."}]
    server.script({"status": "completed", "output": [{"type": "message", "content": said}]})
    signed = {"type": "thinking", "thinking": "Hm.", "signature": "zz"}
    upload = {"type": "container_upload", "file_id": "f"}
    text = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    turns = [{"role": "user", "content": [upload, text]}, {"role": "assistant", "content": [signed]}, *USER]
    events = await events_of(upstream, messages(messages=turns))
    assert server.seen[-1].json["input"][0]["content"] == [{"type": "input_text", "text": "a"}]
    assert isinstance(events[0], Started)
    assert events[0].left_out == (
        "cache_control",
        "messages.content (container_upload)",
        "messages.thinking_blocks",
    )


UNSIGNED = {"type": "thinking", "thinking": "Hm.", "signature": ""}
THINKING = {
    "messages": [*USER, {"role": "assistant", "content": [UNSIGNED]}, *USER],
    "thinking": {"type": "enabled", "budget_tokens": 9},
}


def unknown(name: str, param: str | None = None) -> Scripted:
    inner = {"message": f"Unknown parameter: '{name}'.", "type": "x", "param": param or name, "code": None}
    return Scripted({"error": inner}, status=400)


async def test_a_field_that_the_server_does_not_know_is_not_sent_any_more(
    server: RecordedServer, transport: Transport
) -> None:
    """Servers of OpenAI's API differ in this, and the caller has not named the field."""
    server.script(
        unknown("max_tokens"),
        unknown("reasoning_effort"),
        unknown("messages[1].reasoning_content"),
        COMPLETION,
    )
    upstream = openai(server, transport)
    events = await events_of(upstream, messages(**THINKING))
    assert events[0] == Started("m", ("messages.reasoning_content", "reasoning_effort"))
    first, *_, last = (sent.json for sent in server.seen)
    assert (first["max_tokens"], first["reasoning_effort"]) == (9, "high")
    assert first["messages"][1]["reasoning_content"] == "Hm."
    assert (last["max_completion_tokens"], "reasoning_effort" in last) == (9, False)
    await events_of(upstream, messages(**THINKING))
    assert len(server.seen) == 5
    assert server.seen[-1].json == last


async def test_a_server_that_refuses_again_is_believed(server: RecordedServer, transport: Transport) -> None:
    server.script(unknown("user"))
    found = await failure_of(openai(server, transport), messages(metadata={"user_id": "u"}))
    assert isinstance(found, UpstreamRefused)
    assert len(server.seen) == 2


async def test_what_the_caller_of_the_same_dialect_says_is_never_changed(
    server: RecordedServer, transport: Transport
) -> None:
    server.script(unknown("user"))
    found = await failure_of(openai(server, transport), chat(user="u"))
    assert found.said is not None
    assert len(server.seen) == 1


async def test_tokens_are_counted_by_the_upstream(server: RecordedServer, transport: Transport) -> None:
    server.script({"input_tokens": 14})
    body = json.dumps({"model": "m", "messages": USER, "system": "S"}).encode()
    request = messages_request.parse_count_request(body, {"anthropic-beta": "b"})
    assert json.loads(await anthropic(server, transport).count_tokens(request)) == {"input_tokens": 14}
    (sent,) = server.seen
    assert sent.path == "/v1/messages/count_tokens"
    assert sent.json == {"model": "claude-x", "messages": USER, "system": "S"}
    assert (sent.headers["anthropic-beta"], sent.headers["x-api-key"]) == ("b", KEY)


async def test_a_count_that_is_refused_is_quoted(server: RecordedServer, transport: Transport) -> None:
    said = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}
    server.script(Scripted(said, status=400))
    with pytest.raises(JunctorError) as caught:
        await anthropic(server, transport).count_tokens(messages())
    assert caught.value.said == json.dumps(said).encode()
    server.script(b"<html>", status=200)
    with pytest.raises(UpstreamBroken, match=r"`m`.*base_url"):
        await anthropic(server, transport).count_tokens(messages())
