"""A conversation in the shape of Codex's: the Responses API, streamed, with reasoning and function calls.

Codex keeps its history itself (`store: false`, reasoning sealed in `encrypted_content`); other clients of
the API let the server keep it (`previous_response_id`). In front of an upstream of the same API every byte
passes; in front of the two others the same conversation is held in their words.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from openai.types.chat import completion_create_params as params
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from junctor.wire.sse import EventParser
from recorded_server import RecordedServer, event_of, recorded_server
from running import Running, running

CONFIG = """
[[models]]
name = "codex"
provider = "up"
dialect = "openai_responses"
base_url = "{url}"
model = "gpt-x-codex"
price = {{ input = 1.25, output = 10.0 }}
[[models]]
name = "open"
provider = "up"
base_url = "{url}"
model = "open-coder"
price = {{ input = 0.3, output = 1.2 }}
[[models]]
name = "claude"
provider = "up"
dialect = "anthropic_messages"
base_url = "{url}"
model = "claude-x"
price = {{ input = 3.0, output = 15.0 }}
"""
SESSION = "0199d1f2-6b1c-7e3a-9f0e-3c1d5e7f9a0b"
HEADERS = {
    "content-type": "application/json",
    "accept": "text/event-stream",
    "authorization": "Bearer sk-of-the-caller",
    "originator": "codex_cli_rs",
    "user-agent": "codex_cli_rs/0.50.0 (Debian 13; x86_64) xterm",
    "session_id": SESSION,
    "conversation_id": SESSION,
}
SHELL = {
    "type": "function",
    "name": "shell",
    "description": "Runs a command and returns its output.",
    "strict": False,
    "parameters": {
        "type": "object",
        "properties": {
            "command": {"type": "array", "items": {"type": "string"}},
            "workdir": {"type": "string"},
            "timeout_ms": {"type": "number"},
        },
        "required": ["command"],
        "additionalProperties": False,
    },
}
PLAN = {
    "type": "function",
    "name": "update_plan",
    "description": "Says what is done and what comes next.",
    "strict": False,
    "parameters": {"type": "object", "properties": {"plan": {"type": "string"}}, "required": ["plan"]},
}
PATCH = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"},
}


def said_by_user(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


OPENING = [
    {
        "type": "message",
        "role": "developer",
        "content": [{"type": "input_text", "text": "Sandbox: workspace-write."}],
    },
    said_by_user("<environment_context>\n  <cwd>/src</cwd>\n</environment_context>"),
    said_by_user("Which files are here? Caf\u00e9 \u2713"),
]
COMMAND = '{"command":["ls","-a"]}'
RESULT = {
    "type": "function_call_output",
    "call_id": "call_01",
    "output": '{"output":"a.py\\n","exit_code":0}',
}
ANSWER = "There is a.py."
EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
CHAT = TypeAdapter(params.CompletionCreateParamsStreaming)


def body_of(model: str, items: list[dict[str, Any]], *tools: dict[str, Any], **more: Any) -> bytes:
    """As the client serialises it: compact, and not in ASCII alone."""
    fields = {
        "model": model,
        "instructions": "You are a coding agent that runs in a terminal.",
        "input": items,
        "tools": tools or (SHELL, PLAN),
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": SESSION,
    }
    return json.dumps({**fields, **more}, ensure_ascii=False, separators=(",", ":")).encode()


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
    request = urllib.request.Request(f"{server.url}/v1/responses", body, HEADERS)
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        return reply.read(), reply.headers


def assembled(stream: bytes) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The items as Codex collects them (whole ones, as each is done), and the response at the end."""
    items: list[dict[str, Any]] = []
    text = ""
    said: dict[str, Any] = {}
    for event in EventParser().feed(stream):
        said = json.loads(event.data)
        EVENT.validate_python(said)
        if said["type"] == "response.output_item.done":
            items.append(said["item"])
        elif said["type"] == "response.output_text.delta":
            text += said["delta"]
    assert said["type"] == "response.completed"
    messages = [item for item in items if item["type"] == "message"]
    assert text == "".join(part["text"] for item in messages for part in item["content"])
    assert [item["id"] for item in said["response"]["output"]] == [item["id"] for item in items]
    return items, said["response"]


def response_frames(identifier: str, *items: dict[str, Any]) -> list[dict[str, Any]]:
    """A stream of OpenAI's: whole items, without their pieces."""
    usage = {
        "input_tokens": 900,
        "input_tokens_details": {"cached_tokens": 640, "cache_write_tokens": 0},
        "output_tokens": 80,
        "output_tokens_details": {"reasoning_tokens": 64},
        "total_tokens": 980,
    }
    response = {
        "id": identifier,
        "object": "response",
        "created_at": 1760000000,
        "model": "gpt-x-codex",
        "output": [],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
    }
    frames: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**response, "status": "in_progress"}}
    ]
    for index, item in enumerate(items):
        frames.append({"type": "response.output_item.added", "output_index": index, "item": item})
        for part in item.get("content") or ():
            place = {"item_id": item["id"], "output_index": index, "content_index": 0}
            frames.append(
                {"type": "response.output_text.delta", **place, "delta": part["text"], "logprobs": []}
            )
        frames.append({"type": "response.output_item.done", "output_index": index, "item": item})
    whole = {**response, "status": "completed", "output": items, "usage": usage}
    frames.append({"type": "response.completed", "response": whole})
    return [{**frame, "sequence_number": number} for number, frame in enumerate(frames)]


THOUGHT = {
    "type": "reasoning",
    "id": "rs_01",
    "summary": [{"type": "summary_text", "text": "**Listing files**"}],
    "encrypted_content": "gAAAAABo+/==",
}
CALL = {
    "type": "function_call",
    "id": "fc_01",
    "call_id": "call_01",
    "name": "shell",
    "arguments": COMMAND,
    "status": "completed",
}
SAID = {
    "type": "message",
    "id": "msg_01",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": ANSWER, "annotations": []}],
}


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "choices": [choice]}


def call_piece(arguments: str, **more: Any) -> dict[str, Any]:
    name = {"name": "shell"} if more else {}
    return chunk({"tool_calls": [{"index": 0, **more, "function": {**name, "arguments": arguments}}]})


COUNTS = {"choices": [], "usage": {"prompt_tokens": 900, "completion_tokens": 80}}
CHAT_CALLS = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "I should "}),
    chunk({"reasoning_content": "look."}),
    call_piece("", id="call_01", type="function"),
    call_piece(COMMAND[:9]),
    call_piece(COMMAND[9:]),
    chunk({}, "tool_calls"),
    COUNTS,
    "[DONE]",
]
CHAT_SAYS = [
    chunk({"content": "There "}),
    chunk({"content": "is a.py."}),
    chunk({}, "stop"),
    COUNTS,
    "[DONE]",
]

SIGNATURE = "EqoBCkgIARABGAIiQL2U+/=="


def message_frames(stop: str, *blocks: tuple[dict[str, Any], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    usage = {"input_tokens": 900, "output_tokens": 1}
    message = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [],
        "usage": usage,
    }
    frames: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
    for index, (start, deltas) in enumerate(blocks):
        frames.append({"type": "content_block_start", "index": index, "content_block": start})
        frames += ({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas)
        frames.append({"type": "content_block_stop", "index": index})
    end = {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 80}}
    return [*frames, end, {"type": "message_stop"}]


CLAUDE_CALLS = message_frames(
    "tool_use",
    (
        {"type": "thinking", "thinking": "", "signature": ""},
        [
            {"type": "thinking_delta", "thinking": "I should look."},
            {"type": "signature_delta", "signature": SIGNATURE},
        ],
    ),
    (
        {"type": "tool_use", "id": "call_01", "name": "shell", "input": {}},
        [{"type": "input_json_delta", "partial_json": piece} for piece in (COMMAND[:9], COMMAND[9:])],
    ),
)
CLAUDE_SAYS = message_frames(
    "end_turn", ({"type": "text", "text": ""}, [{"type": "text_delta", "text": ANSWER}])
)


def test_in_front_of_openais_api_every_byte_passes(server: Running, upstream: RecordedServer) -> None:
    """Both ways: what the upstream gets, and what the client gets, but for our own comment at the end."""
    upstream.seen.clear()
    frames = response_frames("resp_01", THOUGHT, CALL)
    upstream.script(frames, response_frames("resp_02", SAID))
    first = body_of("codex", OPENING, SHELL, PATCH)
    stream, headers = ask(server, first)
    events = [event_of(frame) for frame in frames]
    received, _, end = stream.rpartition(b": junctor {")
    assert received == b"".join(events[:-1])
    assert end.endswith(b"\n\n" + events[-1])
    assert headers["x-junctor-model"] == "codex"
    assert headers["x-junctor-warning"] is None
    items, _ = assembled(stream)
    assert items == [THOUGHT, CALL]

    second = body_of("codex", [*OPENING, *items, RESULT], SHELL, PATCH)
    stream, _ = ask(server, second)
    assert assembled(stream)[0] == [SAID]
    for sent, body in zip(upstream.seen, (first, second), strict=True):
        assert sent.body == body.replace(b'"model":"codex"', b'"model":"gpt-x-codex"')
        assert "authorization" not in sent.headers


def test_in_front_of_a_chat_api(server: Running, upstream: RecordedServer) -> None:
    """Reasoning, call and result reach the model in its own words, turn by turn."""
    upstream.seen.clear()
    upstream.script(CHAT_CALLS, CHAT_SAYS)
    stream, _ = ask(server, body_of("open", OPENING))
    items, response = assembled(stream)
    assert [item["type"] for item in items] == ["reasoning", "function_call"]
    assert (items[1]["call_id"], items[1]["name"], items[1]["arguments"]) == ("call_01", "shell", COMMAND)
    assert response["usage"]["total_tokens"] == 980
    stream, headers = ask(server, body_of("open", [*OPENING, *items, RESULT]))
    items, _ = assembled(stream)
    assert items[0]["content"][0]["text"] == ANSWER
    assert headers["x-junctor-warning"] is None

    sent = upstream.seen[-1].json
    CHAT.dump_json(CHAT.validate_python(sent))
    roles = [message["role"] for message in sent["messages"]]
    assert roles == ["system", "system", "user", "user", "assistant", "tool"]
    assert sent["messages"][3]["content"] == "Which files are here? Caf\u00e9 \u2713"
    said = sent["messages"][4]
    assert said["reasoning_content"] == "I should look."
    assert said["tool_calls"][0]["function"] == {"name": "shell", "arguments": COMMAND}
    assert sent["messages"][5] == {"role": "tool", "tool_call_id": "call_01", "content": RESULT["output"]}
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["shell", "update_plan"]
    assert (sent["reasoning_effort"], sent["parallel_tool_calls"]) == ("medium", False)
    assert (sent["prompt_cache_key"], sent["stream_options"]) == (SESSION, {"include_usage": True})
    assert not {"store", "include", "instructions", "input"} & set(sent)


def test_in_front_of_anthropics_api_reasoning_keeps_its_proof(
    server: Running, upstream: RecordedServer
) -> None:
    """The thinking block goes out sealed in `encrypted_content`, and comes back to the model as it was."""
    upstream.seen.clear()
    upstream.script(CLAUDE_CALLS, CLAUDE_SAYS)
    stream, _ = ask(server, body_of("claude", OPENING))
    items, _ = assembled(stream)
    assert [item["type"] for item in items] == ["reasoning", "function_call"]
    assert items[0]["summary"][0]["text"] == "I should look."
    assert SIGNATURE not in items[0]["encrypted_content"]
    stream, _ = ask(server, body_of("claude", [*OPENING, *items, RESULT]))
    assert assembled(stream)[0][0]["content"][0]["text"] == ANSWER

    *_, call, result = upstream.seen[-1].json["messages"]
    assert call["content"] == [
        {"type": "thinking", "thinking": "I should look.", "signature": SIGNATURE},
        {"type": "tool_use", "id": "call_01", "name": "shell", "input": json.loads(COMMAND)},
    ]
    assert result["role"] == "user"
    assert result["content"][0]["tool_use_id"] == "call_01"
    assert RESULT["output"] in json.dumps(result["content"][0]["content"]).replace('\\"', '"').replace(
        "\\\\", "\\"
    )


@pytest.mark.parametrize(
    ("model", "frames"),
    [
        ("codex", (response_frames("resp_11", THOUGHT, CALL), response_frames("resp_12", SAID))),
        ("open", (CHAT_CALLS, CHAT_SAYS)),
        ("claude", (CLAUDE_CALLS, CLAUDE_SAYS)),
    ],
)
def test_a_history_that_we_keep(
    server: Running, upstream: RecordedServer, model: str, frames: tuple[Any, Any]
) -> None:
    """The second request brings the result alone; the model gets the whole conversation all the same."""
    upstream.seen.clear()
    upstream.script(*frames)
    stream, _ = ask(server, body_of(model, OPENING, store=True, include=[]))
    _, response = assembled(stream)
    stream, _ = ask(
        server, body_of(model, [RESULT], store=True, include=[], previous_response_id=response["id"])
    )
    items, second = assembled(stream)
    assert items[0]["content"][0]["text"] == ANSWER
    assert model == "codex" or second["previous_response_id"] == response["id"]
    said = upstream.seen[-1].body.decode()
    places = [said.index(words) for words in ("cwd", "Which files are here?", "ls", "exit_code")]
    assert places == sorted(places)
    assert "previous_response_id" not in upstream.seen[-1].json


def test_a_stateless_conversation_leaves_nothing(server: Running, upstream: RecordedServer) -> None:
    upstream.script(CHAT_SAYS)
    _, response = assembled(ask(server, body_of("open", OPENING))[0])
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{server.url}/v1/responses/{response['id']}")
    with caught.value as reply:
        assert (reply.code, json.load(reply)["error"]["code"]) == (404, "response_not_found")


def test_a_tool_that_only_openai_has_is_refused_by_name(server: Running, upstream: RecordedServer) -> None:
    """Rather than answered by a model that cannot edit files."""
    upstream.seen.clear()
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(server, body_of("open", OPENING, SHELL, PATCH))
    with caught.value as reply:
        error = json.load(reply)["error"]
    assert (reply.code, error["code"]) == (400, "unsupported_by_model")
    assert "tools[1] (custom)" in error["message"]
    assert not upstream.seen
