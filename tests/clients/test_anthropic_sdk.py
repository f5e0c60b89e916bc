"""The official Anthropic SDK, unmodified, against a running server and against upstreams of both dialects."""

from __future__ import annotations

import asyncio
import http.client
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from anthropic import Anthropic, AsyncAnthropic

from faults.fault_server import FaultServer, running_fault_server
from recorded_server import RecordedServer, Scripted, recorded_server
from running import Running, running

CONFIG = """
[retries]
attempts = 1
[[models]]
name = "small"
provider = "scripted"
price = {{ input = 1.0, output = 2.0 }}
ability = 0.4
skills = ["tools", "json"]
script = [
  {{ when = "weather", text = "Let me see." }},
  {{ tool_call = {{ name = "get_weather", arguments = '{{"city": "Rome"}}' }} }},
  {{ tool_call = {{ name = "get_time", arguments = '{{}}' }} }},
  {{ when = "think", thought = "Hm." }}, {{ text = "So." }},
  {{ when = "break", text = "Half an " }}, {{ fail = "upstream_broken" }},
  {{ when = "busy", fail = "upstream_rate_limited", retry_after_s = 0.1 }},
  {{ when = "long", fail = "context_length_exceeded" }},
  {{ turn = true, text = "Hello" }}, {{ text = " there." }},
]
[[models]]
name = "claude"
provider = "up"
dialect = "anthropic_messages"
base_url = "{claude}"
api_key_env = "PROVIDER_KEY"
model = "claude-x"
price = {{ input = 3.0, output = 15.0, cached_input = 0.3, cache_write = 3.75 }}
ability = 0.8
skills = ["tools", "json", "vision"]
[[models]]
name = "gpt"
provider = "up"
base_url = "{gpt}"
api_key_env = "PROVIDER_KEY"
model = "gpt-x"
price = {{ input = 1.0, output = 2.0 }}
[[models]]
name = "hang"
provider = "up"
base_url = "{hang}"
[[models]]
name = "hang-claude"
provider = "up"
dialect = "anthropic_messages"
base_url = "{hang}"
"""
KEY = "sk-canary-of-the-provider"
SIGNED = {"type": "thinking", "thinking": "Hm.", "signature": "sig/=="}
HIDDEN = {"type": "redacted_thinking", "data": "enc/=="}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Rome"}}
USAGE = {
    "input_tokens": 5,
    "cache_read_input_tokens": 10,
    "cache_creation_input_tokens": 20,
    "output_tokens": 7,
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [SIGNED, HIDDEN, {"type": "text", "text": "I look."}, CALL],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": USAGE,
}
TOOLS = [{"name": "get_weather", "description": "d", "input_schema": {"type": "object", "properties": {}}}]


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


FRAMES = [
    {"type": "message_start", "message": MESSAGE | {"content": [], "stop_reason": None}},
    *block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "Hm."},
        {"type": "signature_delta", "signature": "sig/=="},
    ),
    *block(1, HIDDEN),
    {"type": "ping"},
    *block(2, {"type": "text", "text": ""}, {"type": "text_delta", "text": "I look."}),
    *block(3, CALL | {"input": {}}, {"type": "input_json_delta", "partial_json": '{"city": "Rome"}'}),
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}},
    {"type": "message_stop"},
]


@pytest.fixture(scope="module")
def claude() -> Iterator[RecordedServer]:
    with recorded_server() as it:
        yield it


@pytest.fixture(scope="module")
def gpt() -> Iterator[RecordedServer]:
    with recorded_server() as it:
        yield it


@pytest.fixture(scope="module")
def faults() -> Iterator[FaultServer]:
    box: list[FaultServer] = []
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with running_fault_server() as faults:
            box.append(faults)
            ready.set()
            while not done.is_set():
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait(10)
    yield box[0]
    done.set()
    thread.join(10)


@pytest.fixture(scope="module")
def server(
    claude: RecordedServer,
    gpt: RecordedServer,
    faults: FaultServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Running]:
    config = CONFIG.format(claude=claude.base_url, gpt=gpt.base_url, hang=faults.base_url("hang-mid-stream"))
    with running(config, tmp_path_factory.mktemp("server"), PROVIDER_KEY=KEY) as it:
        yield it


@pytest.fixture
def client(server: Running) -> Iterator[Anthropic]:
    with Anthropic(base_url=server.url, api_key="none", max_retries=0) as it:
        yield it


def user(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


def row_of(server: Running, request_id: str | None) -> dict[str, Any]:
    with sqlite3.connect(server.database) as connection:
        connection.row_factory = sqlite3.Row
        found = connection.execute("SELECT * FROM ledger WHERE request_id = ?", [request_id]).fetchone()
    return dict(found)


def test_plain(client: Anthropic, server: Running) -> None:
    reply = client.messages.with_raw_response.create(model="small", max_tokens=50, messages=user("Hi"))
    message = reply.parse()
    assert [block.to_dict() for block in message.content] == [{"type": "text", "text": "Hello there."}]
    assert (message.stop_reason, message.role, message.model) == ("end_turn", "assistant", "small")
    assert message.usage.input_tokens > 0
    assert reply.headers["x-junctor-model"] == "small"
    assert message._request_id == reply.headers["x-request-id"]
    row = row_of(server, message._request_id)
    assert (row["route"], row["outcome"], row["output_tokens"]) == (
        "/v1/messages",
        "ok",
        message.usage.output_tokens,
    )


def test_stream(client: Anthropic) -> None:
    with client.messages.stream(model="small", max_tokens=50, messages=user("Hi")) as stream:
        assert list(stream.text_stream) == ["Hello", " there."]
        final = stream.get_final_message()
    assert final.usage.input_tokens > 0
    assert final.stop_reason == "end_turn"


def test_auto_by_the_name_that_claude_code_knows(client: Anthropic) -> None:
    reply = client.messages.with_raw_response.create(
        model="claude-junctor-auto",
        max_tokens=50,
        messages=user("Say hello."),
        extra_body={"junctor": {"only": ["small"]}},
    )
    assert reply.headers["x-junctor-model"] == "small"
    assert reply.headers["x-junctor-decision"].startswith("dec_")


@pytest.mark.parametrize("stream", [True, False])
def test_parallel_tools(client: Anthropic, stream: bool) -> None:
    fields: dict[str, Any] = {
        "model": "small",
        "max_tokens": 50,
        "messages": user("The weather?"),
        "tools": TOOLS,
    }
    if stream:
        with client.messages.stream(**fields) as events:
            message = events.get_final_message()
    else:
        message = client.messages.create(**fields)
    assert [block.type for block in message.content] == ["text", "tool_use", "tool_use"]
    assert [block.input for block in message.content[1:]] == [{"city": "Rome"}, {}]
    assert message.stop_reason == "tool_use"


def test_reasoning_of_a_model_that_proves_none(client: Anthropic) -> None:
    with client.messages.stream(model="small", max_tokens=50, messages=user("think")) as stream:
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].thinking == "Hm."


@pytest.mark.parametrize("stream", [True, False])
def test_thinking_goes_back_with_its_signature(
    client: Anthropic, claude: RecordedServer, server: Running, stream: bool
) -> None:
    fields: dict[str, Any] = {"model": "claude", "max_tokens": 5000, "tools": TOOLS}
    fields["thinking"] = {"type": "enabled", "budget_tokens": 1024}
    claude.script(FRAMES if stream else MESSAGE)
    if stream:
        with client.messages.stream(messages=user("Hi"), **fields) as events:
            message = events.get_final_message()
            request_id = events.request_id
    else:
        message = client.messages.create(messages=user("Hi"), **fields)
        request_id = message._request_id
    assert [block.type for block in message.content] == ["thinking", "redacted_thinking", "text", "tool_use"]
    row = row_of(server, request_id)
    assert (row["input_tokens"], row["cached_tokens"], row["cache_written_tokens"]) == (35, 10, 20)
    assert row["usd_nano"] == 5 * 3000 + 10 * 300 + 20 * 3750 + 7 * 15000

    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "Sunny"}
    turns = [*user("Hi"), {"role": "assistant", "content": message.content}, *user([result])]
    claude.script(MESSAGE)
    client.messages.create(messages=turns, **fields)
    sent = claude.seen[-1].json
    thinking, hidden = sent["messages"][1]["content"][:2]
    assert (thinking["signature"], hidden["data"]) == ("sig/==", "enc/==")
    assert sent["thinking"] == fields["thinking"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_caller_of_openais_api_keeps_the_thinking_too(
    server: Running, claude: RecordedServer, stream: bool
) -> None:
    """LiteLLM's `thinking_blocks`, out and back in, and the cache's tokens."""
    claude.script(FRAMES if stream else MESSAGE)
    with openai.OpenAI(base_url=server.api, api_key="none", max_retries=0) as client:
        if stream:
            chunks = list(
                client.chat.completions.create(
                    model="claude", messages=user("Hi"), stream=True, stream_options={"include_usage": True}
                )
            )
            deltas = [chunk.choices[0].delta.to_dict() for chunk in chunks if chunk.choices]
            blocks = [block for delta in deltas for block in delta.get("thinking_blocks", [])]
            usage = chunks[-1].usage
        else:
            reply = client.chat.completions.create(model="claude", messages=user("Hi"))
            blocks, usage = reply.choices[0].message.to_dict()["thinking_blocks"], reply.usage
        assert blocks == [SIGNED, HIDDEN]
        assert usage.prompt_tokens == 35
        details = usage.prompt_tokens_details.to_dict()
        assert (details["cached_tokens"], details["cache_write_tokens"]) == (10, 20)
        claude.script(MESSAGE)
        said = {"role": "assistant", "content": "I look.", "thinking_blocks": blocks}
        client.chat.completions.create(model="claude", messages=[*user("Hi"), said, *user("And?")])
    assert claude.seen[-1].json["messages"][1]["content"] == [
        SIGNED,
        HIDDEN,
        {"type": "text", "text": "I look."},
    ]


def test_an_image_for_a_model_of_openais_api(client: Anthropic, gpt: RecordedServer) -> None:
    gpt.script({"choices": [{"message": {"content": "A cat."}, "finish_reason": "stop"}]})
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    asked = {"type": "text", "text": "What is it?", "cache_control": {"type": "ephemeral"}}
    reply = client.messages.with_raw_response.create(
        model="gpt",
        max_tokens=50,
        messages=user([picture, asked]),
        extra_body={"top_k": 5},
        service_tier="auto",
    )
    assert reply.parse().content[0].text == "A cat."
    sent = gpt.seen[-1].json
    assert sent["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "text", "text": "What is it?"},
    ]
    assert (sent["model"], sent["max_tokens"], sent["top_k"]) == ("gpt-x", 50, 5)
    warning = reply.headers["x-junctor-warning"]
    assert "service_tier" in warning
    assert "cache_control" in warning


def test_what_is_ours_does_not_reach_the_upstream(client: Anthropic, claude: RecordedServer) -> None:
    claude.script(MESSAGE)
    client.messages.create(
        model="claude",
        max_tokens=50,
        messages=user("Hi"),
        extra_body={"junctor": {"mode": "cost"}, "a_new_field": [1, 2]},
        extra_headers={"x-junctor-quality": "0", "anthropic-beta": "new-1"},
    )
    sent = claude.seen[-1]
    assert "junctor" not in sent.json
    assert sent.json["a_new_field"] == [1, 2]
    assert (sent.headers["anthropic-beta"], sent.headers["x-api-key"]) == ("new-1", KEY)
    assert not [name for name in sent.headers if name.startswith("x-junctor")]


def test_errors(client: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="small") as unknown:
        client.messages.create(model="smal", max_tokens=5, messages=user("Hi"))
    assert (unknown.value.type, unknown.value.error_code) == ("not_found_error", "model_not_found")
    assert unknown.value.request_id.startswith("req_")
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        client.messages.create(
            model="small", max_tokens=5, messages=user("Hi"), extra_body={"max_tokens": None}
        )
    with pytest.raises(anthropic.RateLimitError) as busy:
        client.messages.create(model="small", max_tokens=5, messages=user("busy"))
    assert busy.value.response.headers["retry-after"] == "1"
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
        client.messages.create(model="small", max_tokens=5, messages=user("long"))
    with pytest.raises(anthropic.UnprocessableEntityError) as none:
        client.messages.create(
            model="auto", max_tokens=5, messages=user("Hi"), extra_headers={"x-junctor-max-usd": "0"}
        )
    assert none.value.type == "invalid_request_error"


def test_a_break_in_mid_stream_is_one_error_event(client: Anthropic) -> None:
    text: list[str] = []
    with (
        pytest.raises(anthropic.APIStatusError, match="script") as caught,
        client.messages.stream(model="small", max_tokens=5, messages=user("break")) as stream,
    ):
        text.extend(stream.text_stream)
    assert "".join(text) == "Half an "
    assert caught.value.type == "api_error"


def test_an_upstream_of_the_same_dialect_is_quoted(client: Anthropic, claude: RecordedServer) -> None:
    said = {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded"},
        "request_id": "r",
    }
    claude.script(Scripted(said, status=529))
    for stream in (True, False):
        with pytest.raises(anthropic.APIStatusError) as caught:
            client.messages.create(model="claude", max_tokens=5, messages=user("Hi"), stream=stream)
        assert (caught.value.status_code, caught.value.body) == (529, said)


def test_count_tokens(client: Anthropic, claude: RecordedServer) -> None:
    claude.script({"input_tokens": 14})
    assert client.messages.count_tokens(model="claude", messages=user("Hi")).input_tokens == 14
    assert claude.seen[-1].path == "/v1/messages/count_tokens"
    assert claude.seen[-1].json == {"messages": user("Hi"), "model": "claude-x"}
    assert client.messages.count_tokens(model="auto", messages=user("Hi " * 50)).input_tokens > 20


def test_models(client: Anthropic) -> None:
    names = [model.id for model in client.models.list()]
    assert names == [
        "claude-junctor-small",
        "claude",
        "claude-junctor-gpt",
        "claude-junctor-hang",
        "claude-junctor-hang-claude",
        "claude-junctor-auto",
        "claude-junctor-fusion",
    ]
    assert client.models.retrieve("claude-junctor-small").display_name == "small"
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("none")


@pytest.mark.anyio
async def test_async(server: Running) -> None:
    async with AsyncAnthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        message = await client.messages.create(model="small", max_tokens=5, messages=user("Hi"))
        assert message.content[0].text == "Hello there."
        async with client.messages.stream(model="small", max_tokens=5, messages=user("Hi")) as stream:
            assert [text async for text in stream.text_stream] == ["Hello", " there."]


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("model", ["hang", "hang-claude"])
def test_when_the_client_leaves_the_upstreams_connection_is_closed(
    server: Running, faults: FaultServer, model: str, stream: bool
) -> None:
    before = len(faults.seen)
    body = {"model": model, "max_tokens": 5, "messages": user("Hi"), "stream": stream}
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    connection.request("POST", "/v1/messages", json.dumps(body).encode())
    if stream:
        reply = connection.getresponse()
        assert reply.readline().startswith(b"event: message_start")
        request_id = reply.headers["request-id"]
    else:
        until(lambda: len(faults.seen) > before)
        request_id = None
    assert connection.sock is not None
    connection.sock.close()
    if stream:
        reply.close()
    connection.close()
    until(faults.seen[-1].client_closed.is_set)
    if request_id is not None:
        until(lambda: row_of(server, request_id)["outcome"] == "client_gone")


def until(true: Callable[[], Any]) -> None:
    """Wait for something that is about to be true."""
    for _ in range(1000):
        try:
            if true():
                return
        except TypeError:
            pass
        threading.Event().wait(0.01)
    raise AssertionError("it did not come true")
