"""A conversation in the shape of Claude Code's: Messages, streamed, cached system blocks, tools, thinking.

Once in front of Anthropic's API, where every byte passes, and once in front of a server of OpenAI's chat API.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from anthropic.types import RawMessageStreamEvent
from openai.types.chat import completion_create_params as params
from pydantic import TypeAdapter

from junctor.wire.sse import EventParser
from recorded_server import RecordedServer, event_of, recorded_server
from running import Running, running

CONFIG = """
[[models]]
name = "claude"
provider = "up"
dialect = "anthropic_messages"
base_url = "{url}"
model = "claude-opus-x"
price = {{ input = 3.0, output = 15.0 }}
[[models]]
name = "open"
provider = "up"
base_url = "{url}"
model = "open-coder"
price = {{ input = 0.3, output = 1.2 }}
"""
CACHED = {"type": "ephemeral"}
HEADERS = {
    "content-type": "application/json",
    "authorization": "Bearer sk-of-the-caller",
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27",
    "user-agent": "claude-cli/2.1.0 (external, cli)",
    "x-app": "cli",
    "x-claude-code-session-id": "7f9f0a35-0b53-4c0e-8f7d-5d2f0e6f3a11",
    "x-stainless-retry-count": "0",
}
SYSTEM = [
    {"type": "text", "text": "You are Claude Code, Anthropic's official CLI.", "cache_control": CACHED},
    {"type": "text", "text": "You help with software.\n\nWorking directory: /src", "cache_control": CACHED},
]
TOOLS = [
    {
        "name": name,
        "description": f"{name} something",
        "input_schema": {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": {field: {"type": "string"}, "timeout": {"type": "number"}},
            "required": [field],
            "additionalProperties": False,
        },
    }
    for name, field in (("Bash", "command"), ("Read", "file_path"))
]
TOOLS[-1]["cache_control"] = CACHED
ASKED = {
    "role": "user",
    "content": [
        {"type": "text", "text": "<system-reminder>\nBe brief.\n</system-reminder>"},
        {"type": "text", "text": "What is in a.py? Caf\u00e9 \u2713", "cache_control": CACHED},
    ],
}
RESULTS = {
    "role": "user",
    "content": [
        {"type": "tool_result", "tool_use_id": "toolu_01", "content": "print('hi')"},
        {
            "type": "tool_result",
            "tool_use_id": "toolu_02",
            "content": [{"type": "text", "text": "cat: b.py: No such file"}],
            "is_error": True,
            "cache_control": CACHED,
        },
    ],
}
SDK: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
CHAT = TypeAdapter(params.CompletionCreateParamsStreaming)


def body_of(model: str, *turns: dict[str, Any]) -> bytes:
    """As the client serialises it: compact, and not in ASCII alone."""
    fields = {
        "model": model,
        "messages": turns,
        "system": SYSTEM,
        "tools": TOOLS,
        "metadata": {
            "user_id": "user_" + "0" * 64 + "_account__session_7f9f0a35-0b53-4c0e-8f7d-5d2f0e6f3a11"
        },
        "max_tokens": 32000,
        "thinking": {"budget_tokens": 31999, "type": "enabled"},
        "stream": True,
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordedServer]:
    with recorded_server() as it:
        yield it


@pytest.fixture(scope="module")
def server(upstream: RecordedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(CONFIG.format(url=upstream.base_url), tmp_path_factory.mktemp("server")) as it:
        yield it


def ask(server: Running, body: bytes) -> tuple[bytes, Any]:
    """What a turn is answered: the bytes of the stream, and the reply's headers."""
    request = urllib.request.Request(f"{server.url}/v1/messages?beta=true", body, HEADERS)
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        return reply.read(), reply.headers


def assembled(stream: bytes) -> dict[str, Any]:
    """The assistant's turn as Claude Code puts it together and sends it back."""
    content: list[dict[str, Any]] = []
    parts: dict[int, str] = {}
    for event in EventParser().feed(stream):
        said = json.loads(event.data)
        if said["type"] == "ping":
            continue
        SDK.validate_python(said)
        if said["type"] == "content_block_start":
            content.append(dict(said["content_block"]))
        elif said["type"] == "content_block_delta":
            delta = dict(said["delta"])
            match delta.pop("type"):
                case "input_json_delta":
                    parts[said["index"]] = parts.get(said["index"], "") + delta["partial_json"]
                case _:
                    ((name, piece),) = delta.items()
                    content[said["index"]][name] += piece
    for index, text in parts.items():
        content[index]["input"] = json.loads(text)
    return {"role": "assistant", "content": content}


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def message_frames(*blocks: list[dict[str, Any]], stop: str) -> list[dict[str, Any]]:
    usage = {
        "input_tokens": 4,
        "cache_creation_input_tokens": 900,
        "cache_read_input_tokens": 100,
        "output_tokens": 1,
    }
    message = {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-x",
        "content": [],
    }
    message |= {"stop_reason": None, "stop_sequence": None, "usage": usage}
    end = {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}}
    return [
        {"type": "message_start", "message": message},
        {"type": "ping"},
        *(event for events in blocks for event in events),
        end | {"usage": {"output_tokens": 80}},
        {"type": "message_stop"},
    ]


CALLS = message_frames(
    block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "I should "},
        {"type": "thinking_delta", "thinking": "read both."},
        {"type": "signature_delta", "signature": "EqoBCkgIARABGAIiQL2U+/=="},
    ),
    block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "I read both."}),
    block(
        2,
        {"type": "tool_use", "id": "toolu_01", "name": "Bash", "input": {}},
        {"type": "input_json_delta", "partial_json": ""},
        {"type": "input_json_delta", "partial_json": '{"command": "cat'},
        {"type": "input_json_delta", "partial_json": ' a.py"}'},
    ),
    block(
        3,
        {"type": "tool_use", "id": "toolu_02", "name": "Bash", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"command": "cat b.py"}'},
    ),
    stop="tool_use",
)
SAYS = message_frames(
    block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "It prints hi."}), stop="end_turn"
)


def test_in_front_of_anthropics_api_every_byte_passes(server: Running, upstream: RecordedServer) -> None:
    """Both ways: what the upstream gets, and what the client gets, but for our own comment at the end."""
    upstream.seen.clear()
    upstream.script(CALLS, SAYS)
    first = body_of("claude-junctor-claude", ASKED)
    stream, headers = ask(server, first)
    events = [event_of(event) for event in CALLS]
    received, _, end = stream.rpartition(b": junctor {")
    assert received == b"".join(events[:-1])
    assert end.endswith(b"\n\n" + events[-1])
    assert headers["x-junctor-model"] == "claude"
    assert headers["x-junctor-warning"] is None

    turn = assembled(stream)
    assert turn["content"][0]["signature"] == "EqoBCkgIARABGAIiQL2U+/=="
    second = body_of("claude-junctor-claude", ASKED, turn, RESULTS)
    stream, _ = ask(server, second)
    assert assembled(stream)["content"] == [{"type": "text", "text": "It prints hi."}]

    for sent, body in zip(upstream.seen, (first, second), strict=True):
        assert sent.body == body.replace(b'"model":"claude-junctor-claude"', b'"model":"claude-opus-x"')
        assert sent.headers["anthropic-beta"] == HEADERS["anthropic-beta"]
        assert sent.headers["anthropic-version"] == HEADERS["anthropic-version"]
        assert "authorization" not in sent.headers


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


def call_piece(index: int, arguments: str, call_id: str = "") -> dict[str, Any]:
    piece: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if call_id:
        piece |= {"id": call_id, "type": "function"}
        piece["function"]["name"] = "Bash"
    return chunk({"tool_calls": [piece]})


COUNTS = {
    "prompt_tokens": 1000,
    "completion_tokens": 80,
    "prompt_tokens_details": {"cached_tokens": 900},
    "completion_tokens_details": {"reasoning_tokens": 30},
}
CHAT_CALLS = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "I should "}),
    chunk({"reasoning_content": "read both."}),
    chunk({"content": "I read both."}),
    call_piece(0, "", "toolu_01"),
    call_piece(0, '{"command": "cat'),
    call_piece(0, ' a.py"}'),
    call_piece(1, '{"command": "cat b.py"}', "toolu_02"),
    chunk({}, "tool_calls"),
    {"choices": [], "usage": COUNTS},
    "[DONE]",
]
CHAT_SAYS = [
    chunk({"content": "It prints hi."}),
    chunk({}, "stop"),
    {"choices": [], "usage": COUNTS},
    "[DONE]",
]


def test_in_front_of_openais_api_nothing_is_lost_in_silence(
    server: Running, upstream: RecordedServer
) -> None:
    upstream.seen.clear()
    upstream.script(CHAT_CALLS, CHAT_SAYS)
    stream, headers = ask(server, body_of("claude-junctor-open", ASKED))
    assert headers["x-junctor-warning"].endswith(": cache_control")
    turn = assembled(stream)
    assert turn["content"] == [
        {"type": "thinking", "thinking": "I should read both.", "signature": ""},
        {"type": "text", "text": "I read both."},
        {"type": "tool_use", "id": "toolu_01", "name": "Bash", "input": {"command": "cat a.py"}},
        {"type": "tool_use", "id": "toolu_02", "name": "Bash", "input": {"command": "cat b.py"}},
    ]
    end = [json.loads(event.data) for event in EventParser().feed(stream)][-2]
    assert end["delta"]["stop_reason"] == "tool_use"
    assert end["usage"] == {
        "input_tokens": 100,
        "cache_read_input_tokens": 900,
        "cache_creation_input_tokens": 0,
        "output_tokens": 80,
        "output_tokens_details": {"thinking_tokens": 30},
    }
    stream, headers = ask(server, body_of("claude-junctor-open", ASKED, turn, RESULTS))
    assert assembled(stream)["content"] == [{"type": "text", "text": "It prints hi."}]
    assert headers["x-junctor-warning"].endswith(": cache_control, messages.is_error")

    sent = upstream.seen[-1].json
    CHAT.dump_json(CHAT.validate_python(sent))
    assert [message["role"] for message in sent["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
    ]
    said = sent["messages"][2]
    assert (said["content"], said["reasoning_content"]) == ("I read both.", "I should read both.")
    assert [json.loads(call["function"]["arguments"]) for call in said["tool_calls"]] == [
        {"command": "cat a.py"},
        {"command": "cat b.py"},
    ]
    assert sent["messages"][3]["content"] == "print('hi')"
    assert (sent["model"], sent["max_tokens"], sent["reasoning_effort"]) == ("open-coder", 32000, "high")
    assert (len(sent["user"]), sent["stream_options"]) == (64, {"include_usage": True})
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["Bash", "Read"]


def test_a_conversation_may_change_its_model(server: Running, upstream: RecordedServer) -> None:
    """Each API refuses the other's reasoning: it is taken out, and named."""
    upstream.seen.clear()
    upstream.script(CHAT_CALLS, SAYS)
    stream, _ = ask(server, body_of("open", ASKED))
    _, headers = ask(server, body_of("claude", ASKED, assembled(stream), RESULTS))
    assert "thinking of another model" in headers["x-junctor-warning"]
    kinds = [block["type"] for block in upstream.seen[-1].json["messages"][1]["content"]]
    assert kinds == ["text", "tool_use", "tool_use"]
    upstream.script(CALLS, CHAT_SAYS)
    stream, _ = ask(server, body_of("claude", ASKED))
    _, headers = ask(server, body_of("open", ASKED, assembled(stream), RESULTS))
    assert "messages.thinking_blocks" in headers["x-junctor-warning"]
    assert "reasoning_content" not in upstream.seen[-1].json["messages"][2]
