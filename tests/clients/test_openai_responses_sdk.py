"""The official OpenAI SDK's Responses API, unmodified, against a running server."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import Response
from pydantic import BaseModel

from running import Running, running

CONFIG = """
[retries]
attempts = 1
[[models]]
name = "small"
provider = "scripted"
price = { input = 0.1, output = 0.4 }
ability = 0.4
skills = ["tools", "json", "vision"]
script = [
  { when = "weather", thought = "They want" },
  { usage = { input_tokens = 30, output_tokens = 12, cached_tokens = 8 } },
  { thought = " the weather." },
  { tool_call = { name = "get_weather", arguments = '{"city": "Rome"}' } },
  { when = "two cities", tool_call = { name = "get_weather", arguments = '{"city": "Rome"}' } },
  { tool_call = { name = "get_weather", arguments = '{"city": "Oslo"}' } },
  { when = "person", text = '{"name": "Ada",' }, { text = ' "age": 36}' },
  { when = "long", text = "Once upon", finish = "length" },
  { when = "evil", text = "I", finish = "content_filter" },
  { when = "nothing", finish = "stop" },
  { when = "slow", text = "One" }, { delay_s = 30 }, { text = " two" },
  { turn = true, when = "fail", fail = "upstream_refused" },
  { turn = true, when = "break", text = "Half an " },
  { fail = "upstream_broken" },
  { when = "sunny", text = "Take a hat." },
  { turn = true, text = "Hello" },
  { text = " there." },
]
"""
TOOLS: list[Any] = [
    {
        "type": "function",
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        "strict": False,
    }
]


class Person(BaseModel):
    name: str
    age: int


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(CONFIG, tmp_path_factory.mktemp("server")) as it:
        yield it


@pytest.fixture
def client(server: Running) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.api, api_key="none", max_retries=0, _strict_response_validation=True) as it:
        yield it


def test_plain(client: OpenAI) -> None:
    """Every field of the SDK's strict types is there, and the request is repeated."""
    raw = client.responses.with_raw_response.create(
        model="small",
        input="Hi",
        instructions="Be kind.",
        metadata={"a": "b"},
        temperature=0.5,
        max_output_tokens=100,
        truncation="disabled",
        user="u1",
    )
    reply = raw.parse()
    assert reply.output_text == "Hello there."
    assert (reply.status, reply.error, reply.incomplete_details) == ("completed", None, None)
    assert reply.id.startswith("resp_")
    assert (reply.instructions, reply.metadata, reply.temperature) == ("Be kind.", {"a": "b"}, 0.5)
    assert (reply.max_output_tokens, reply.model, reply.user) == (100, "small", "u1")
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens > 0
    assert raw.headers["x-junctor-model"] == "small"
    assert float(raw.headers["x-junctor-cost"]) > 0
    assert "x-junctor-warning" not in raw.headers


def test_stream_has_its_events_in_order(client: OpenAI) -> None:
    events = list(client.responses.create(model="small", input="Hi", stream=True))
    assert [event.type.removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event.sequence_number for event in events] == list(range(10))
    assert events[-1].response.output_text == "Hello there."
    assert events[0].response.id == events[-1].response.id


def test_the_stream_helper_adds_up_to_the_same_response(client: OpenAI) -> None:
    with client.responses.stream(model="small", input="What is the weather?", tools=TOOLS) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()
    assert "response.reasoning_summary_text.delta" in kinds
    assert "response.function_call_arguments.delta" in kinds
    reasoning, call = final.output
    assert reasoning.summary[0].text == "They want the weather."
    assert (call.type, call.name, call.arguments) == ("function_call", "get_weather", '{"city": "Rome"}')
    assert final.usage.input_tokens_details.cached_tokens == 8


def test_tools_and_their_results(client: OpenAI) -> None:
    """The loop of an agent that keeps the conversation itself: call, run, send everything back."""
    items: list[Any] = [{"role": "user", "content": "What is the weather?"}]
    first = client.responses.create(model="small", input=items, tools=TOOLS, store=False)
    call = next(item for item in first.output if item.type == "function_call")
    items += [item.model_dump(exclude_none=True) for item in first.output]
    items.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
    second = client.responses.create(model="small", input=items, tools=TOOLS, store=False)
    assert second.output_text == "Take a hat."


def test_parallel_tool_calls(client: OpenAI) -> None:
    reply = client.responses.create(model="small", input="two cities", tools=TOOLS)
    calls = [item for item in reply.output if item.type == "function_call"]
    assert [json.loads(call.arguments)["city"] for call in calls] == ["Rome", "Oslo"]
    assert len({call.call_id for call in calls}) == len({call.id for call in calls}) == 2
    assert reply.parallel_tool_calls is True


def test_structured_output(client: OpenAI) -> None:
    reply = client.responses.parse(model="small", input="a person", text_format=Person)
    assert reply.output_parsed == Person(name="Ada", age=36)


def test_structured_output_streamed(client: OpenAI) -> None:
    with client.responses.stream(model="small", input="a person", text_format=Person) as stream:
        final = stream.get_final_response()
    assert final.output_parsed == Person(name="Ada", age=36)


@pytest.mark.parametrize(("prompt", "reason"), [("long", "max_output_tokens"), ("evil", "content_filter")])
def test_an_answer_that_is_cut_is_incomplete(client: OpenAI, prompt: str, reason: str) -> None:
    reply = client.responses.create(model="small", input=prompt)
    assert reply.status == "incomplete"
    assert reply.incomplete_details is not None
    assert reply.incomplete_details.reason == reason
    events = list(client.responses.create(model="small", input=prompt, stream=True))
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.incomplete_details.reason == reason
    assert events[-1].response.output[-1].status == "incomplete"


def test_an_answer_that_says_nothing_is_an_empty_message(client: OpenAI) -> None:
    assert client.responses.create(model="small", input="nothing").output_text == ""
    with client.responses.stream(model="small", input="nothing") as stream:
        assert stream.get_final_response().output_text == ""


def test_a_chain_of_responses(client: OpenAI) -> None:
    """Each step sends only what is new; the model sees all of it."""
    first = client.responses.create(model="small", input="What is the weather?", tools=TOOLS)
    call = first.output[-1]
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    second = client.responses.create(
        model="small", input=[output], tools=TOOLS, previous_response_id=first.id
    )
    assert second.previous_response_id == first.id
    with client.responses.stream(model="small", input="And now?", previous_response_id=second.id) as stream:
        third = stream.get_final_response()
    page = client.responses.input_items.list(third.id, order="asc", limit=100)
    assert [item.type for item in page.data] == [
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
        "message",
        "message",
    ]
    assert page.data[4].content[0].text == "Take a hat."
    assert page.data[5].content[0].text == "And now?"
    assert len({item.id for item in page.data}) == 6


def test_items_by_reference(client: OpenAI) -> None:
    """Some clients send the ids of earlier items instead of the items."""
    first = client.responses.create(model="small", input="Hi")
    reference = {"type": "item_reference", "id": first.output[0].id}
    second = client.responses.create(
        model="small", input=[{"role": "user", "content": "Hi"}, reference, {"role": "user", "content": "Go"}]
    )
    items = list(client.responses.input_items.list(second.id, order="asc"))
    assert items[1].content[0].text == "Hello there."


def test_a_stored_response_can_be_read_and_deleted(client: OpenAI) -> None:
    made = client.responses.create(model="small", input="Hi")
    found = client.responses.retrieve(made.id)
    assert found.model_dump() == made.model_dump()
    pages = list(client.responses.input_items.list(made.id, limit=1))
    assert [item.content[0].text for item in pages] == ["Hi"]
    client.responses.delete(made.id)
    for read in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError) as caught:
            read(made.id)
        assert caught.value.code == "response_not_found"


def test_what_is_not_to_be_stored_leaves_nothing(client: OpenAI, server: Running) -> None:
    secret = "a secret that nobody keeps"
    made = client.responses.create(model="small", input=secret, store=False)
    assert made.output_text
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.create(model="small", input="And?", previous_response_id=made.id)
    assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")
    with sqlite3.connect(server.database) as database:
        assert secret not in "\n".join(database.iterdump())


def test_a_failure_in_mid_stream_is_failed_and_raised(client: OpenAI) -> None:
    events: list[Any] = []
    with pytest.raises(openai.APIError, match="script"):
        events.extend(client.responses.create(model="small", input="break", stream=True))
    assert events[-1].type == "response.failed"
    assert events[-1].response.status == "failed"
    assert events[-1].response.error.code == "server_error"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(events[-1].response.id)


def test_a_failure_before_the_first_text_is_a_status(client: OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.responses.create(model="small", input="fail", stream=True)
    assert caught.value.code == "upstream_refused"
    assert set(caught.value.body) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("field", "value"),
    [("background", True), ("conversation", "conv_1"), ("prompt", {"id": "pmpt_1"})],
)
def test_what_is_not_supported_is_refused_by_name(client: OpenAI, field: str, value: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="small", input="Hi", **{field: value})
    assert caught.value.param == field


def test_limits(client: OpenAI) -> None:
    reply = client.responses.with_raw_response.create(
        model="auto", input="Hi", extra_body={"junctor": {"only": ["small"]}}
    )
    assert reply.headers["x-junctor-decision"].startswith("dec_")
    with pytest.raises(openai.UnprocessableEntityError):
        client.responses.create(model="auto", input="Hi", extra_headers={"x-junctor-never": "small"})


def test_an_unknown_model_and_a_missing_input(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Did you mean `small`"):
        client.responses.create(model="smal", input="Hi")
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="small")
    assert caught.value.param == "input"


@pytest.mark.anyio
async def test_async(server: Running) -> None:
    async with AsyncOpenAI(base_url=server.api, api_key="none", max_retries=0) as client:
        reply = await client.responses.create(model="small", input="Hi")
        assert isinstance(reply, Response)
        assert reply.output_text == "Hello there."
        async with client.responses.stream(
            model="small", input="Hi", previous_response_id=reply.id
        ) as stream:
            assert (await stream.get_final_response()).output_text == "Hello there."


def test_azures_paths(server: Running, client: OpenAI) -> None:
    azure = client.with_options(base_url=f"{server.url}/openai/v1")
    made = azure.responses.create(model="small", input="Hi")
    assert azure.responses.retrieve(made.id).output_text == "Hello there."


def test_responses_belong_to_their_caller(tmp_path: Path) -> None:
    """Another key's response does not exist: neither to go on from, nor to read or delete."""
    keys = ""
    for name in ("ann", "bob"):
        digest = hashlib.sha256(name.encode()).hexdigest()
        keys += f'[[keys]]\nname = "{name}"\nsha256 = "{digest}"\n'
    with running(CONFIG + keys, tmp_path) as server:
        ann = OpenAI(base_url=server.api, api_key="ann", max_retries=0)
        bob = OpenAI(base_url=server.api, api_key="bob", max_retries=0)
        with ann, bob:
            made = ann.responses.create(model="small", input="Hi")
            assert ann.responses.retrieve(made.id).id == made.id
            with pytest.raises(openai.NotFoundError):
                bob.responses.retrieve(made.id)
            with pytest.raises(openai.NotFoundError):
                bob.responses.delete(made.id)
            with pytest.raises(openai.NotFoundError):
                bob.responses.create(model="small", input="Hi", previous_response_id=made.id)
            reference: Any = {"type": "item_reference", "id": made.output[0].id}
            other = bob.responses.create(model="small", input=[reference])
            assert [item.type for item in bob.responses.input_items.list(other.id)] == ["item_reference"]


def test_days_of_nothing_keep_nothing(tmp_path: Path) -> None:
    with (
        running(CONFIG + "[store]\nkeep_responses_days = 0\n", tmp_path) as server,
        OpenAI(base_url=server.api, api_key="none", max_retries=0) as client,
    ):
        made = client.responses.create(model="small", input="Hi")
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(made.id)
