"""Requests of the Responses API: kept as they came, and said once more in the chat form."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import BadRequest, Constraints
from junctor.wire.responses_request import ResponsesCall, continue_from, parse_request

BASE: dict[str, Any] = {"model": "auto", "input": "Hi"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


def parse(body: Any = None, headers: dict[str, str] | None = None, **fields: Any) -> ResponsesCall:
    raw = body if isinstance(body, bytes) else json.dumps((body or BASE) | fields).encode()
    return parse_request(raw, headers or {}, request_id="req_1", caller="alice")


def test_a_request_in_both_forms() -> None:
    body = BASE | {
        "instructions": "Be kind.",
        "tools": [{"type": "function", "name": "f", "parameters": {}}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"},
        "max_output_tokens": 50,
        "stream": True,
        "temperature": 0.5,
        "parallel_tool_calls": False,
        "include": ["reasoning.encrypted_content"],
        "metadata": {"a": "b"},
        "junctor": {"mode": "cost"},
        "tomorrow": [1],
    }
    raw = json.dumps(body).encode()
    call = parse(raw)
    request = call.request
    assert request.relay == "openai_responses"
    assert bytes(request.body or b"") == raw
    assert (request.model, request.stream, request.max_tokens) == ("auto", True, 50)
    assert (request.id, request.caller) == ("req_1", "alice")
    assert msgspec.json.decode(request.messages) == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
    ]
    assert msgspec.json.decode(request.tools or b"") == [
        {"type": "function", "function": {"name": "f", "parameters": {}}}
    ]
    assert msgspec.json.decode(request.tool_choice or b"") == {"type": "function", "function": {"name": "f"}}
    assert msgspec.json.decode(request.response_format or b"") == {"type": "json_object"}
    assert request.constraints == Constraints(mode="cost")
    assert {name: msgspec.json.decode(value) for name, value in request.passthrough.items()} == {
        "temperature": 0.5,
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "verbosity": "low",
        "tomorrow": [1],
    }
    assert (request.refused_elsewhere, request.lost_elsewhere) == ((), ())
    assert call.shows_proof
    assert call.stores


def test_what_the_chat_form_cannot_say_is_named() -> None:
    request = parse(
        tools=[{"type": "web_search"}],
        truncation="auto",
        top_logprobs=2,
        moderation={"model": "m"},
        context_management=[{"type": "compaction"}],
        input=[{"role": "user", "content": "Hi"}, {"type": "compaction", "encrypted_content": "x"}],
    ).request
    assert request.tools is None
    assert request.refused_elsewhere == (
        "input[1] (compaction)",
        "tools[0] (web_search)",
        "moderation",
        "top_logprobs",
    )
    assert request.lost_elsewhere == ("context_management", "truncation")
    assert parse(truncation="disabled").request.lost_elsewhere == ()
    logprobs = parse(include=["message.output_text.logprobs"]).request
    assert logprobs.refused_elsewhere == ("include (message.output_text.logprobs)",)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": 7}, "input"),
        ({"input": []}, "input"),
        ({"input": ["Hi"]}, "input[0]"),
        ({"model": ""}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"store": 1}, "store"),
        ({"include": "all"}, "include"),
        ({"instructions": ["x"]}, "instructions"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"previous_response_id": 7}, "previous_response_id"),
        ({"tools": {}}, "tools"),
        ({"tool_choice": []}, "tool_choice"),
        ({"text": "json"}, "text"),
        ({"reasoning": "hard"}, "reasoning"),
        ({"background": True}, "background"),
        ({"conversation": {"id": "c"}}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"input": [{"type": "item_reference"}]}, "input[0].id"),
        ({"junctor": {"modde": 1}}, "junctor.modde"),
    ],
)
def test_the_field_at_fault_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(**fields)
    assert caught.value.param == param


def test_a_call_goes_on_from_earlier_items() -> None:
    call = parse(
        previous_response_id="resp_0",
        input=[
            {"type": "item_reference", "id": "msg_a"},
            {"type": "item_reference", "id": "msg_b"},
            {"role": "user", "content": "And?"},
        ],
    )
    assert (call.previous_id, call.references) == ("resp_0", ("msg_a", "msg_b"))
    earlier = [{"role": "user", "content": "Hi"}, {"id": "msg_a", "role": "assistant", "content": "Hello."}]
    other = {"id": "msg_b", "role": "user", "content": "Also"}
    continued = continue_from(call, earlier, {"msg_b": other})
    assert msgspec.json.decode(continued.request.messages) == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Also"},
        {"role": "user", "content": "And?"},
    ]
    body = json.loads(bytes(continued.request.body or b""))
    assert "previous_response_id" not in body
    assert body["input"] == [*earlier, other, {"role": "user", "content": "And?"}]
    assert body["model"] == "auto"
    assert continued.request.refused_elsewhere == ()


def test_a_reference_that_nobody_knows_stays_for_the_upstream_that_may() -> None:
    call = parse(input=[{"type": "item_reference", "id": "msg_x"}])
    continued = continue_from(call, [], {})
    assert continued.request.refused_elsewhere == ("input[0] (item_reference)",)
    assert json.loads(bytes(continued.request.body or b""))["input"] == [
        {"type": "item_reference", "id": "msg_x"}
    ]


def test_a_previous_response_alone_is_input_enough() -> None:
    assert parse(previous_response_id="resp_0", input=[]).items == ()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(body: bytes) -> None:
    with suppress(BadRequest):
        parse(body)


KNOWN = """model input instructions tools tool_choice text reasoning include store stream max_output_tokens
previous_response_id truncation top_logprobs background prompt conversation metadata junctor x"""
NAMES = st.sampled_from(KNOWN.split())


@given(st.dictionaries(NAMES, JSON, max_size=8))
def test_any_fields_are_a_request_or_refused(fields: dict[str, Any]) -> None:
    with suppress(BadRequest):
        continue_from(parse(BASE | fields), [], {})


@pytest.mark.parametrize("depth", [200, 900, 990, 1000, 100_000])
def test_deep_nesting_is_refused_or_read(depth: int) -> None:
    deep = b'{"model":"m","input":[{"role":"user","content":"x","a":' + b"[" * depth + b"]" * depth + b"}]}"
    with suppress(BadRequest):
        continue_from(parse(deep), [], {})
