"""OpenAI requests as Anthropic's: what is translated, what is refused, what is left out."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from anthropic.types import message_create_params as params
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from junctor.chat import BadRequest, ChatRequest
from junctor.wire.anthropic_request import render_messages_request
from junctor.wire.openai_request import parse_request

SDK = TypeAdapter(params.MessageCreateParamsNonStreaming | params.MessageCreateParamsStreaming)

TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "does", "parameters": {"type": "object", "properties": {}}},
}


def request(**fields: Any) -> ChatRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]} | fields
    return parse_request(json.dumps(body).encode(), {}, request_id="", caller="").request


def sent(**fields: Any) -> dict[str, Any]:
    rendered = json.loads(render_messages_request(request(**fields), "claude", 4096).body)
    SDK.dump_json(SDK.validate_python(rendered))  # the SDK checks nested parts only when it writes them
    return rendered


def left_out(**fields: Any) -> tuple[str, ...]:
    return render_messages_request(request(**fields), "claude", 4096).left_out


def test_the_least_request() -> None:
    assert sent() == {
        "model": "claude",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    }


def test_sampling_and_limits() -> None:
    body = sent(max_completion_tokens=50, temperature=1.7, top_p=0.9, stop="END", user="u1", stream=True)
    assert (body["max_tokens"], body["temperature"], body["top_p"]) == (50, 1.0, 0.9)
    assert (body["stop_sequences"], body["metadata"], body["stream"]) == (["END"], {"user_id": "u1"}, True)
    assert sent(stop=["a", "\n", "b"])["stop_sequences"] == ["a", "b"]
    assert "stop_sequences" not in sent(stop=None)
    assert "temperature" not in sent(temperature=None)


def test_system_stands_apart() -> None:
    body = sent(messages=[{"role": "system", "content": "S"}, {"role": "user", "content": "U"}])
    assert body["system"] == [{"type": "text", "text": "S"}]


def test_tools() -> None:
    bare = {"type": "function", "function": {"name": "g", "strict": True}}
    assert sent(tools=[TOOL, bare])["tools"] == [
        {"name": "f", "description": "does", "input_schema": {"type": "object", "properties": {}}},
        {"name": "g", "strict": True, "input_schema": {"type": "object", "properties": {}}},
    ]


@pytest.mark.parametrize(
    ("choice", "rendered"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}),
    ],
)
def test_tool_choice(choice: Any, rendered: dict[str, Any]) -> None:
    assert sent(tools=[TOOL], tool_choice=choice)["tool_choice"] == rendered


def test_one_tool_at_a_time() -> None:
    body = sent(tools=[TOOL], parallel_tool_calls=False)
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert sent(tools=[TOOL], tool_choice="none", parallel_tool_calls=False)["tool_choice"] == {
        "type": "none"
    }
    assert "tool_choice" not in sent(tools=[TOOL], parallel_tool_calls=True)
    assert "tool_choice" not in sent(parallel_tool_calls=False)


def test_a_schema_and_an_effort_share_the_output_config() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": schema}}
    assert sent(response_format=wanted, reasoning_effort="minimal")["output_config"] == {
        "effort": "low",
        "format": {"type": "json_schema", "schema": schema},
    }
    assert "output_config" not in sent(response_format={"type": "text"}, reasoning_effort="none")


def test_fields_of_messages_itself_go_as_they_came() -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    body = sent(thinking=thinking, top_k=5)
    assert (body["thinking"], body["top_k"]) == (thinking, 5)


def test_what_only_advises_is_left_out_and_named() -> None:
    asked = {"seed": 1, "logit_bias": {"5": 1}, "presence_penalty": 0.5, "tomorrow": 1, "store": None}
    assert set(sent(**asked)) == {"model", "max_tokens", "messages"}
    assert left_out(**asked) == ("logit_bias", "presence_penalty", "seed", "tomorrow")
    assert left_out(temperature=1, stream=True, stream_options={}, max_tokens=5) == ()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"n": "two"}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"functions": [{}]}, "functions"),
        ({"temperature": "hot"}, "temperature"),
        ({"stop": 5}, "stop"),
        ({"tools": [{"type": "custom"}]}, "tools[0]"),
        ({"tools": [{"function": {"name": 5}}]}, "tools"),
        ({"tools": [TOOL], "tool_choice": "perhaps"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ],
)
def test_what_would_be_lost_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        sent(**fields)
    assert caught.value.param == param
    assert not any(it in caught.value.message for it in ("{'", "['")), "JSON, to be copied"


def test_fields_that_ask_for_nothing_are_not_refused() -> None:
    assert set(sent(n=1, logprobs=False, top_logprobs=0, functions=[], modalities=["text"], audio=None)) == {
        "model",
        "max_tokens",
        "messages",
    }


NAMES = [
    "n",
    "stop",
    "temperature",
    "tool_choice",
    "tools",
    "response_format",
    "reasoning_effort",
    "user",
    "logprobs",
]
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "function", "name", "schema", "json_schema"]), inner)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(NAMES), VALUE))
def test_any_fields_are_a_request_or_a_bad_request(fields: dict[str, Any]) -> None:
    with suppress(BadRequest):
        render_messages_request(request(**fields), "claude", 10)
