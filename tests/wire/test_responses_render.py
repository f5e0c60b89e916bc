"""Requests for Responses upstreams: a caller's own body as it came, all others translated."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import BadRequest, ChatRequest, UnsupportedByModel
from junctor.wire.openai_request import parse_request
from junctor.wire.responses_ids import output_id
from junctor.wire.responses_reasoning import NATIVE, seal
from junctor.wire.responses_render import render_items, render_request
from junctor.wire.responses_request import parse_request as parse_responses_request

BASE: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}
SUFFIX = "0" * 32
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def chat(**fields: Any) -> ChatRequest:
    body = json.dumps(BASE | fields).encode()
    return parse_request(body, {}, request_id="req_1", caller="").request


def sent(request: ChatRequest) -> dict[str, Any]:
    return json.loads(render_request(request, "upstream-name").body)


def relayed(**fields: Any) -> dict[str, Any]:
    body = json.dumps({"model": "auto", "input": "Hi", **fields}).encode()
    return sent(parse_responses_request(body, {}, request_id="req_1", caller="").request)


def raw(messages: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(messages).encode())


def test_a_callers_own_body_goes_as_it_came() -> None:
    fields = {"tools": [{"type": "web_search"}], "store": True, "metadata": {"a": "b"}, "tomorrow": 1.50}
    assert relayed(**fields, junctor={"mode": "cost"}) == {
        "model": "upstream-name",
        "input": "Hi",
        **fields,
    }
    body = b'{"model":"auto","input":"H\\u0069","tomorrow":1.50}'
    request = parse_responses_request(body, {}, request_id="req_1", caller="").request
    assert b'"input":"H\\u0069","tomorrow":1.50' in render_request(request, "m").body


def test_what_only_we_can_read_does_not_leave() -> None:
    """Ids that we gave name nothing elsewhere, and another API's proof would be refused."""
    own = {"type": "thinking", "thinking": "Hm.", "signature": f"{NATIVE}rs_1:proof"}
    other = {"type": "thinking", "thinking": "Hm.", "signature": "anthropics"}

    def reasoning(block: Any) -> dict[str, Any]:
        return {"type": "reasoning", "id": "rs_x", "summary": [], "encrypted_content": seal(block)}

    theirs = {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gAAA"}
    unproven = {"type": "reasoning", "id": output_id("reasoning", SUFFIX, 0), "summary": []}
    message = {"role": "user", "content": "Hi"}
    items = [
        reasoning(own),
        reasoning(other),
        theirs,
        unproven,
        {**message, "id": output_id("message", SUFFIX, 1)},
    ]
    assert relayed(input=items)["input"] == [
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "Hm."}],
            "encrypted_content": "proof",
        },
        theirs,
        message,
    ]


def test_a_chat_request_is_translated() -> None:
    request = chat(
        messages=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
        tools=[{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        tool_choice={"type": "function", "function": {"name": "f"}},
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}},
        max_tokens=50,
        stream=True,
        stream_options={"include_usage": True},
        temperature=0.5,
        reasoning_effort="low",
        verbosity="high",
        parallel_tool_calls=False,
        store=True,
        n=1,
        tomorrow=[1],
    )
    assert sent(request) == {
        "model": "upstream-name",
        "input": [
            {
                "type": "message",
                "role": "system",
                "content": [{"type": "input_text", "text": "Be kind."}],
            },
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {
            "format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True},
            "verbosity": "high",
        },
        "max_output_tokens": 50,
        "stream": True,
        "temperature": 0.5,
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "parallel_tool_calls": False,
        "store": False,
        "tomorrow": [1],
    }


def test_what_has_no_counterpart_is_named() -> None:
    rendered = render_request(chat(stop=["x"], seed=1, logit_bias=None, presence_penalty=1.0), "m")
    assert rendered.left_out == ("presence_penalty", "seed", "stop")
    assert not {"stop", "seed"} & json.loads(rendered.body).keys()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0]"),
    ],
)
def test_what_the_answer_would_lack_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedByModel) as caught:
        render_request(chat(**fields), "m")
    assert caught.value.param == param


def test_a_whole_turn_with_reasoning_calls_and_results() -> None:
    own = {"type": "thinking", "thinking": "Hm.", "signature": f"{NATIVE}rs_1:proof"}
    other = {"type": "thinking", "thinking": "Other.", "signature": "anthropics"}
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]
    assistant = {
        "role": "assistant",
        "content": "Let me see.",
        "thinking_blocks": [own, other],
        "tool_calls": calls,
    }
    result = {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "sunny"}]}
    reasoning, message, call, output = render_items(raw([assistant, result]))
    assert (reasoning["id"], reasoning["encrypted_content"]) == ("rs_1", "proof")
    assert message["content"] == [{"type": "output_text", "text": "Let me see.", "annotations": []}]
    assert call == {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    assert output == {"type": "function_call_output", "call_id": "c1", "output": "sunny"}


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "wizard"}, "messages[0].role"),
        ({"role": "user", "content": 7}, "messages[0].content"),
        ({"role": "user", "content": [{"type": "video"}]}, "messages[0].content[0]"),
        ({"role": "assistant", "tool_calls": [{}]}, "messages[0].tool_calls[0].function"),
        ({"role": "tool", "content": "x"}, "messages[0].tool_call_id"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_path(message: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        render_items(raw([message]))
    assert caught.value.param == param


NAMES = st.sampled_from(
    [
        "messages",
        "tools",
        "tool_choice",
        "response_format",
        "reasoning_effort",
        "verbosity",
        "n",
        "modalities",
    ]
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "tool", "system", "x"])},
        optional={"content": JSON, "tool_calls": JSON, "thinking_blocks": JSON, "tool_call_id": JSON},
    ),
    min_size=1,
    max_size=3,
)


@given(st.dictionaries(NAMES, JSON, max_size=5), MESSAGES)
def test_any_request_is_rendered_or_refused(fields: dict[str, Any], messages: list[Any]) -> None:
    with suppress(BadRequest):
        render_request(chat(**{"messages": messages} | fields), "m")
