"""Conversations in the shape of two more coding clients' over chat completions: Aider's and Cursor's.

Aider sends a long plain history and reads edits out of the text. Cursor streams with tools, several calls in
one turn, and keeps going for hundreds of messages. Both ask for the usage at the end of the stream.
"""

from __future__ import annotations

import json
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from openai.types.chat import ChatCompletionChunk

from junctor.wire.sse import EventParser
from recorded_server import RecordedServer, event_of, recorded_server
from running import Running, running

CONFIG = """
[[models]]
name = "open"
provider = "up"
base_url = "{url}"
model = "org/open-coder"
price = {{ input = 0.3, output = 1.2, cached_input = 0.03 }}
window = 262144
[[models]]
name = "claude"
provider = "up"
dialect = "anthropic_messages"
base_url = "{url}"
model = "claude-x"
price = {{ input = 3.0, output = 15.0 }}
window = 262144
[[models]]
name = "responses"
provider = "up"
dialect = "openai_responses"
base_url = "{url}"
model = "gpt-x"
price = {{ input = 1.0, output = 2.0 }}
window = 262144
"""
TURNS = 120
"Of a long session: each a question, two calls, two results, and a remark."
EDIT = (
    "a.py\n```python\n<<<<<<< SEARCH\nprint('hi')\n=======\nprint('caf\u00e9 \u2713')\n>>>>>>> REPLACE\n```\n"
)
COUNTS = {
    "prompt_tokens": 50_000,
    "completion_tokens": 400,
    "total_tokens": 50_400,
    "prompt_tokens_details": {"cached_tokens": 48_000},
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"{name}: see its arguments.",
            "parameters": {
                "type": "object",
                "properties": {field: {"type": "string"}, "explanation": {"type": "string"}},
                "required": [field],
            },
        },
    }
    for name, field in (
        ("read_file", "target_file"),
        ("run_terminal_cmd", "command"),
        ("edit_file", "code_edit"),
    )
]


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordedServer]:
    with recorded_server() as it:
        yield it


@pytest.fixture(scope="module")
def server(upstream: RecordedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(CONFIG.format(url=upstream.base_url), tmp_path_factory.mktemp("server")) as it:
        yield it


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    whole = {"id": "c1", "object": "chat.completion.chunk", "created": 1760000000, "model": "org/open-coder"}
    return {**whole, "system_fingerprint": "fp_1", "choices": [choice], **more}


def usage_chunk() -> dict[str, Any]:
    return {**chunk({}), "choices": [], "usage": COUNTS}


def edit_frames() -> list[Any]:
    pieces = [chunk({"content": EDIT[start : start + 7]}) for start in range(0, len(EDIT), 7)]
    return [chunk({"role": "assistant", "content": ""}), *pieces, chunk({}, "stop"), usage_chunk(), "[DONE]"]


def call_frames() -> list[Any]:
    """Two calls, whose pieces come interleaved."""
    first, second = '{"target_file":"a.py"}', '{"command":"pytest -q"}'

    def piece(index: int, arguments: str, **more: Any) -> dict[str, Any]:
        name = {"name": TOOLS[index]["function"]["name"]} if more else {}
        return chunk({"tool_calls": [{"index": index, **more, "function": {**name, "arguments": arguments}}]})

    return [
        chunk({"role": "assistant", "content": "I look."}),
        piece(0, "", id="call_a", type="function"),
        piece(1, "", id="call_b", type="function"),
        piece(0, first[:8]),
        piece(1, second[:8]),
        piece(0, first[8:]),
        piece(1, second[8:]),
        chunk({}, "tool_calls"),
        usage_chunk(),
        "[DONE]",
    ]


def aider(model: str, **more: Any) -> dict[str, Any]:
    """System, examples, the files, the conversation so far, the question; temperature 0, no tools."""
    history: list[dict[str, Any]] = [{"role": "system", "content": "Act as an expert software developer."}]
    for number in range(TURNS):
        history.append({"role": "user", "content": f"Change {number}: rename the variable. \u00fc" * 8})
        history.append({"role": "assistant", "content": f"{EDIT}# {number}"})
    history.append({"role": "user", "content": "*read-only* a.py\n```\nprint('hi')\n```"})
    return {"model": model, "messages": history, "temperature": 0, "stream": True, **more}


def cursor(model: str, **more: Any) -> dict[str, Any]:
    """A long session with tools: parts, calls in pairs, results, and fields that are this client's own."""
    history: list[dict[str, Any]] = [
        {"role": "system", "content": "You are a coding assistant in an editor."}
    ]
    for number in range(TURNS):
        history.append(
            {"role": "user", "content": [{"type": "text", "text": f"Step {number}: go on. \u2713"}]}
        )
        calls = [
            {
                "id": f"call_{number}_{index}",
                "type": "function",
                "function": {"name": "read_file", "arguments": json.dumps({"target_file": f"{index}.py"})},
            }
            for index in range(2)
        ]
        history.append({"role": "assistant", "content": None, "tool_calls": calls})
        history += (
            {"role": "tool", "tool_call_id": call["id"], "name": "read_file", "content": "print('hi')\n" * 20}
            for call in calls
        )
        history.append({"role": "assistant", "content": f"Done {number}."})
    history.append({"role": "user", "content": "Now run the tests."})
    return {
        "model": model,
        "messages": history,
        "tools": TOOLS,
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "max_completion_tokens": 8192,
        "stream": True,
        "user": "auth0|user_01",
        **more,
    }


def render(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def ask(server: Running, body: bytes) -> tuple[bytes, Any]:
    """What a turn is answered: the bytes of the stream, and the reply's headers."""
    headers = {"content-type": "application/json", "authorization": "Bearer sk-of-the-caller"}
    request = urllib.request.Request(f"{server.api}/chat/completions", body, headers)
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        return reply.read(), reply.headers


def chunks_of(stream: bytes) -> list[ChatCompletionChunk]:
    *events, last = EventParser().feed(stream)
    assert last.data == b"[DONE]"
    return [ChatCompletionChunk.model_validate_json(event.data) for event in events]


def calls_of(chunks: list[ChatCompletionChunk]) -> list[tuple[str, dict[str, Any]]]:
    """Names and arguments of the calls, as a client joins them: by index."""
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    for call in (call for it in chunks for choice in it.choices for call in choice.delta.tool_calls or ()):
        assert call.function is not None
        names.setdefault(call.index, call.function.name or "")
        arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
    return [(names[index], json.loads(arguments[index])) for index in sorted(names)]


CALLED = [("read_file", {"target_file": "a.py"}), ("run_terminal_cmd", {"command": "pytest -q"})]


def without_comment(stream: bytes) -> bytes:
    """Our own comment, just before the end, is the one thing that the upstream did not send."""
    before, _, after = stream.rpartition(b": junctor {")
    return before + after.partition(b"\n\n")[2]


@pytest.mark.parametrize("frames", [edit_frames, call_frames])
@pytest.mark.parametrize("client", [aider, cursor])
def test_every_byte_passes_both_ways(
    server: Running, upstream: RecordedServer, client: Any, frames: Any
) -> None:
    """Hundreds of messages, a field that nobody knows, calls whose pieces are interleaved."""
    upstream.seen.clear()
    upstream.script(frames())
    body = client("open", stream_options={"include_usage": True}, newer_than_us={"deep": [1, {"a": None}]})
    stream, headers = ask(server, render(body))
    assert without_comment(stream) == b"".join(event_of(frame) for frame in frames())
    assert (headers["x-junctor-model"], headers["x-junctor-warning"]) == ("open", None)
    sent = upstream.seen[-1]
    assert sent.json == {**body, "model": "org/open-coder"}
    assert render(body["messages"][1]) in sent.body, "what is not ours to read is not written anew"
    assert "authorization" not in sent.headers


def test_usage_that_was_not_asked_for_is_not_shown(server: Running, upstream: RecordedServer) -> None:
    """The upstream is asked for it all the same: it stands in the ledger, cached tokens at their price."""
    upstream.seen.clear()
    upstream.script(edit_frames())
    stream, headers = ask(server, render(aider("open")))
    assert all(it.choices and it.usage is None for it in chunks_of(stream))
    assert upstream.seen[-1].json["stream_options"] == {"include_usage": True}
    query = "SELECT input_tokens, cached_tokens, output_tokens, usd_nano FROM ledger WHERE request_id = ?"
    with closing(sqlite3.connect(server.database)) as database:
        row = database.execute(query, (headers["x-request-id"],)).fetchone()
    usd = (2_000 * 0.3 + 48_000 * 0.03 + 400 * 1.2) / 1e6
    assert row == (50_000, 48_000, 400, round(usd * 1e9))


def test_the_text_that_comes_is_the_text_that_was_said(server: Running, upstream: RecordedServer) -> None:
    """An edit is worth nothing with one character lost."""
    upstream.script(edit_frames())
    chunks = chunks_of(ask(server, render(aider("open")))[0])
    assert "".join(choice.delta.content or "" for it in chunks for choice in it.choices) == EDIT


def claude_frames() -> list[dict[str, Any]]:
    usage = {"input_tokens": 2_000, "cache_read_input_tokens": 48_000, "output_tokens": 1}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "claude-x", "content": []}
    frames: list[dict[str, Any]] = [{"type": "message_start", "message": {**message, "usage": usage}}]
    for index, (name, arguments) in enumerate(CALLED):
        start = {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}}
        text = json.dumps(arguments)
        frames.append({"type": "content_block_start", "index": index, "content_block": start})
        for piece in (text[:8], text[8:]):
            delta = {"type": "input_json_delta", "partial_json": piece}
            frames.append({"type": "content_block_delta", "index": index, "delta": delta})
        frames.append({"type": "content_block_stop", "index": index})
    end = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 400}}
    return [*frames, end, {"type": "message_stop"}]


def responses_frames() -> list[dict[str, Any]]:
    items = [
        {
            "type": "function_call",
            "id": f"fc_{index}",
            "call_id": f"call_{index}",
            "name": name,
            "arguments": json.dumps(arguments),
            "status": "completed",
        }
        for index, (name, arguments) in enumerate(CALLED)
    ]
    frames: list[dict[str, Any]] = []
    for index, item in enumerate(items):
        frames.append(
            {"type": "response.output_item.added", "output_index": index, "item": {**item, "arguments": ""}}
        )
        frames.append(
            {
                "type": "response.function_call_arguments.delta",
                "item_id": item["id"],
                "output_index": index,
                "delta": item["arguments"],
            }
        )
        frames.append({"type": "response.output_item.done", "output_index": index, "item": item})
    usage = {
        "input_tokens": 50_000,
        "input_tokens_details": {"cached_tokens": 48_000},
        "output_tokens": 400,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 50_400,
    }
    response = {"id": "resp_1", "object": "response", "status": "completed", "output": items, "usage": usage}
    return [*frames, {"type": "response.completed", "response": response}]


@pytest.mark.parametrize(("model", "frames"), [("claude", claude_frames), ("responses", responses_frames)])
def test_a_long_session_with_tools_before_the_other_apis(
    server: Running, upstream: RecordedServer, model: str, frames: Any
) -> None:
    """The same calls, the same counts, and every one of the earlier calls with its result."""
    upstream.seen.clear()
    upstream.script(frames())
    stream, _ = ask(server, render(cursor(model, stream_options={"include_usage": True})))
    chunks = chunks_of(stream)
    assert calls_of(chunks) == CALLED
    assert [choice.finish_reason for it in chunks for choice in it.choices][-1] == "tool_calls"
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    counted = (usage.prompt_tokens, usage.completion_tokens, usage.prompt_tokens_details.cached_tokens)
    assert counted == (50_000, 400, 48_000)
    sent = upstream.seen[-1].body.decode()
    for number in range(TURNS):
        for index in range(2):
            assert sent.count(f'"call_{number}_{index}"') == 2, "a call, and its result"
        assert sent.count(f"Step {number}: go on. \u2713") == 1
