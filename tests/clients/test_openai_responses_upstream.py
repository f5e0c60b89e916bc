"""Responses on both sides: callers and upstreams of the API, alone and mixed with others, end to end."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

import anthropic
import anyio.from_thread
import openai
import pytest
from openai import OpenAI

from faults.fault_server import INPUT_TOKENS, TEXT, WORDS, FaultServer, responses_reply, running_fault_server
from running import Running, running

MID = ("reset-mid-stream", "hang-mid-stream", "truncated", "error-mid-stream")
FAULTS = ("ok", "500", "400", "hang", "garbage", *MID)
BEHIND = """
[[models]]
name = "thinker"
provider = "scripted"
skills = ["tools", "json", "vision"]
script = [
  { when = "weather", thought = "They want" },
  { thought = " the weather." },
  { tool_call = { name = "get_weather", arguments = '{"city": "Rome"}' } },
  { tool_call = { name = "get_weather", arguments = '{"city": "Oslo"}' } },
  { when = "sunny", text = "Take a hat." },
  { turn = true, text = "Hello" }, { text = " there." },
]
"""
TOOL = {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture(scope="module")
def upstream() -> Iterator[FaultServer]:
    with (
        anyio.from_thread.start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(running_fault_server()) as faults,
    ):
        yield faults


@pytest.fixture(scope="module")
def server(upstream: FaultServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A Junctor in front of the fault server, and of another Junctor in each of its dialects."""
    with running(BEHIND, tmp_path_factory.mktemp("behind")) as behind:
        models = "".join(
            f"""
            [[models]]
            name = "{fault}"
            provider = "test"
            base_url = "{upstream.base_url(fault)}"
            dialect = "openai_responses"
            model = "upstream-name"
            price = {{ input = 1, output = 2 }}
            """
            for fault in FAULTS
        )
        models += "".join(
            f"""
            [[models]]
            name = "by-{dialect}"
            provider = "test"
            base_url = "{behind.api}"
            dialect = "{dialect}"
            model = "thinker"
            """
            for dialect in ("openai_responses", "openai_chat")
        )
        timeouts = "[timeouts]\nfirst_token_s = 0.5\nidle_s = 0.5\ntotal_s = 3.0\n"
        with running(
            f"[retries]\nattempts = 1\n{timeouts}{models}", tmp_path_factory.mktemp("front")
        ) as front:
            yield front


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.api, api_key="x", max_retries=0) as it:
        yield it


def row(server: Running, request_id: str) -> dict[str, Any]:
    with sqlite3.connect(server.database) as connection:
        connection.row_factory = sqlite3.Row
        found = connection.execute("SELECT * FROM ledger WHERE request_id = ?", (request_id,)).fetchone()
        return dict(found)


def test_a_reply_passes_byte_for_byte(client: OpenAI, server: Running, upstream: FaultServer) -> None:
    raw = client.responses.with_raw_response.create(model="ok", input="Hi", truncation="auto")
    assert raw.http_response.content == responses_reply()
    assert "x-junctor-warning" not in raw.headers
    assert upstream.seen[-1].json == {"model": "upstream-name", "input": "Hi", "truncation": "auto"}
    # A read of the API waits for what is on its way to the database.
    client.responses.retrieve("resp_fault")
    assert row(server, raw.headers["x-request-id"])["input_tokens"] == INPUT_TOKENS


def test_a_stream_passes_event_by_event(client: OpenAI) -> None:
    events = list(client.responses.create(model="ok", input="Hi", stream=True))
    assert [event.delta for event in events if event.type == "response.output_text.delta"] == list(WORDS)
    assert events[-1].type == "response.completed"
    assert events[-1].response.id == "resp_fault"


def test_what_was_relayed_can_be_gone_on_from(client: OpenAI, upstream: FaultServer) -> None:
    """The upstream does not know the id: it gets the conversation."""
    for stream in (False, True):
        if stream:
            list(client.responses.create(model="ok", input="First", stream=True))
        else:
            client.responses.create(model="ok", input="First")
        client.responses.create(model="ok", input="Second", previous_response_id="resp_fault")
        body = upstream.seen[-1].json
        assert "previous_response_id" not in body
        assert [item["content"][0]["text"] for item in body["input"][:2]] == ["First", TEXT]
        assert body["input"][2]["content"] == "Second"
        assert "junctor" not in json.dumps(body)


@pytest.mark.parametrize("fault", MID)
def test_a_relayed_stream_that_breaks_is_failed(client: OpenAI, server: Running, fault: str) -> None:
    raw = client.responses.with_raw_response.create(model=fault, input="Hi", stream=True)
    events: list[Any] = []
    with pytest.raises(openai.APIError):
        events.extend(raw.parse())
    assert events[-1].type == "response.failed"
    assert events[-1].response.id == "resp_fault"
    assert [event.sequence_number for event in events] == list(range(len(events)))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", ["500", "400", "hang", "garbage"])
def test_a_failure_before_the_text_is_a_status(client: OpenAI, fault: str, stream: bool) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.responses.create(model=fault, input="Hi", stream=stream)
    assert set(caught.value.body) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", ["by-openai_responses", "by-openai_chat"])
def test_any_way_to_the_same_model_gives_the_same_answer(client: OpenAI, model: str, stream: bool) -> None:
    """Callers of Responses and of chat, through upstreams of Responses and of chat."""
    tools: Any = [{"type": "function", **TOOL, "strict": False}]
    if stream:
        with client.responses.stream(model=model, input="weather?", tools=tools) as events:
            reply: Any = events.get_final_response()
    else:
        reply = client.responses.create(model=model, input="weather?", tools=tools)
    reasoning, *calls = reply.output
    assert reasoning.summary[0].text == "They want the weather."
    assert [json.loads(call.arguments)["city"] for call in calls] == ["Rome", "Oslo"]
    results: Any = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls
    ]
    second = client.responses.create(model=model, input=results, tools=tools, previous_response_id=reply.id)
    assert second.output_text == "Take a hat."


@pytest.mark.parametrize("model", ["by-openai_responses", "by-openai_chat"])
def test_chat_callers_reach_a_responses_upstream(client: OpenAI, model: str) -> None:
    tools: Any = [{"type": "function", "function": TOOL}]
    messages: list[Any] = [{"role": "user", "content": "weather?"}]
    with client.chat.completions.stream(model=model, messages=messages, tools=tools) as stream:
        choice = stream.get_final_completion().choices[0]
    calls = choice.message.tool_calls or []
    assert [json.loads(call.function.arguments)["city"] for call in calls] == ["Rome", "Oslo"]
    assert choice.finish_reason == "tool_calls"
    messages.append(choice.message.model_dump(exclude_none=True, exclude={"parsed"}))
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in calls]
    answer = client.chat.completions.create(model=model, messages=messages, tools=tools)
    assert answer.choices[0].message.content == "Take a hat."


def test_messages_callers_reach_a_responses_upstream(server: Running) -> None:
    with anthropic.Anthropic(base_url=server.url, api_key="x", max_retries=0) as client:
        try:
            answer = client.messages.create(
                model="by-openai_responses", max_tokens=50, messages=[{"role": "user", "content": "Hi"}]
            )
        except anthropic.NotFoundError:
            pytest.skip("this server has no /v1/messages")
        assert answer.content[-1].text == "Hello there."


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_the_upstreams_call(
    server: Running, upstream: FaultServer, stream: bool
) -> None:
    before = len(upstream.seen)
    model = "hang-mid-stream" if stream else "hang"
    impatient = OpenAI(base_url=server.api, api_key="x", max_retries=0, timeout=0.2)
    with impatient, pytest.raises(openai.APIError):
        list(impatient.responses.create(model=model, input="Hi", stream=stream) or [])
    left = threading.Event()
    for _ in range(100):
        if upstream.seen[before].client_closed.is_set():
            break
        left.wait(0.02)
    assert upstream.seen[before].client_closed.is_set()
