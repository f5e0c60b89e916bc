"""Requests of Anthropic's Messages API: read, and relayed."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import BadRequest, ChatRequest
from junctor.wire.messages_request import parse_count_request, parse_request, render_relayed

LEAST = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}


def parse(headers: dict[str, str] | None = None, **fields: Any) -> ChatRequest:
    body = {name: value for name, value in (LEAST | fields).items() if value is not ...}
    return parse_request(json.dumps(body).encode(), headers or {}, request_id="req_1", caller="c").request


def passed(request: ChatRequest) -> dict[str, Any]:
    return {name: json.loads(bytes(raw)) for name, raw in request.passthrough.items()}


def relayed(request: ChatRequest) -> dict[str, Any]:
    return json.loads(render_relayed(request, "claude-x").body)


def test_the_least_request() -> None:
    request = parse()
    assert (request.model, request.max_tokens, request.stream) == ("m", 100, False)
    assert (request.id, request.caller, request.relay) == ("req_1", "c", "anthropic_messages")
    assert json.loads(bytes(request.messages)) == LEAST["messages"]
    assert (request.tools, request.passthrough, request.lost_elsewhere) == (None, {}, ())


def test_sampling_in_the_chat_forms_words() -> None:
    request = parse(
        temperature=0.5,
        top_p=0.9,
        top_k=5,
        stop_sequences=["END"],
        metadata={"user_id": "u1"},
        stream=True,
        system="S",
    )
    assert passed(request) == {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "stop": ["END"], "user": "u1"}
    assert request.stream
    assert json.loads(bytes(request.messages))[0] == {"role": "system", "content": "S"}


def test_a_long_user_id_is_told_by_its_digest() -> None:
    """OpenAI refuses more than 64 characters; Claude Code sends more than twice that."""
    user = passed(parse(metadata={"user_id": "user_" + "a" * 150}))["user"]
    assert len(user) == 64
    assert user != passed(parse(metadata={"user_id": "user_" + "b" * 150}))["user"]


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 20}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 50}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 99}}, "high"),
        ({"thinking": {"type": "enabled", "budget_tokens": 99}, "output_config": {"effort": "low"}}, "low"),
        ({"output_config": {"effort": "max"}}, "high"),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "disabled"}}, None),
        ({}, None),
    ],
)
def test_effort(fields: dict[str, Any], effort: str | None) -> None:
    assert passed(parse(**fields)).get("reasoning_effort") == effort


def test_what_the_chat_form_has_no_word_for_is_named() -> None:
    request = parse(
        thinking={"type": "disabled"},
        service_tier="auto",
        container="c",
        mcp_servers=[],
        context_management={},
        output_config={"effort": "tomorrow", "task_budget": 5},
        speed=None,
        junctor={"mode": "cost"},
    )
    assert request.lost_elsewhere == (
        "container",
        "context_management",
        "mcp_servers",
        "service_tier",
        "output_config.task_budget",
        "output_config.effort",
        "thinking",
    )


def test_constraints_work_as_in_chat() -> None:
    assert parse(junctor={"max_usd": 0.5}).constraints.max_usd == 0.5
    assert parse({"x-junctor-mode": "cost"}).constraints.mode == "cost"
    with pytest.raises(BadRequest, match="did you mean"):
        parse(junctor={"max_uds": 1})


def test_headers_that_belong_to_the_body_go_with_it() -> None:
    given = {"anthropic-beta": "a,b", "anthropic-version": "2023-06-01", "x-api-key": "secret"}
    request = parse(given)
    assert request.headers == {"anthropic-beta": "a,b", "anthropic-version": "2023-06-01"}
    assert render_relayed(request, "m").headers == request.headers
    with pytest.raises(BadRequest, match="anthropic-beta"):
        parse({"anthropic-beta": "a\r\nx-api-key: b"})


def test_the_body_is_relayed_but_for_the_model_and_what_is_ours() -> None:
    """Every value keeps its bytes: the upstream's prompt cache goes by them."""
    turns = b'[{"role":"user","content":"\\u00e9 \xc3\xa9"}, {"role": "assistant","content":[]}]'
    body = b'{"model":"m","max_tokens":100,"junctor":{},"messages":%b,"new":1.0}' % turns
    request = parse_request(body, {}, request_id="", caller="").request
    sent = render_relayed(request, "claude-x").body
    assert sent == b'{"model":"claude-x","max_tokens":100,"messages":%b,"new":1.0}' % turns


UNSIGNED = {"type": "thinking", "thinking": "Hm.", "signature": ""}
FOREIGN = {"type": "thinking", "thinking": "Hm.", "signature": "openai_responses:rs_1:zz"}
SIGNED = {"type": "thinking", "thinking": "Hm.", "signature": "zz"}


def test_thinking_of_another_model_is_taken_out_and_named() -> None:
    """Anthropic's API would refuse the request; in a mixed pool it is the rule."""
    text = {"type": "text", "text": 'I quote: "signature":""'}
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [UNSIGNED, SIGNED, text]},
        {"role": "assistant", "content": [FOREIGN]},
    ]
    request = parse(messages=turns)
    kept = relayed(request)["messages"]
    assert kept[1]["content"] == [SIGNED, text]
    assert kept[2]["content"] == [{"type": "text", "text": "..."}]
    assert render_relayed(request, "m").left_out == ("messages.content (thinking of another model)",)
    fine = parse(messages=[{"role": "user", "content": [text]}, {"role": "assistant", "content": [SIGNED]}])
    assert render_relayed(fine, "m").left_out == ()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": ...}, "max_tokens"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"model": ...}, "model"),
        ({"messages": ...}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": {}}, "messages"),
        ({"stream": "yes"}, "stream"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"metadata": 5}, "metadata"),
        ({"thinking": 5}, "thinking"),
        ({"output_config": 5}, "output_config"),
        ({"system": 5}, "system"),
        ({"system": [5]}, "system[0]"),
        ({"junctor": {"mode": 5}}, "junctor.mode"),
    ],
)
def test_what_is_malformed_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(**fields)
    assert caught.value.param == param


def test_a_count_needs_no_limit() -> None:
    body = {name: value for name, value in LEAST.items() if name != "max_tokens"}
    request = parse_count_request(json.dumps(body).encode(), {})
    assert (request.model, request.max_tokens) == ("m", None)


USER = b'"messages":[{"role":"user","content":"a"}]}'
NESTED = b'{"a":' * 900 + b"1" + b"}" * 900
HOSTILE = {
    "empty": b"",
    "list": b"[]",
    "half": b"{",
    "not UTF-8": b"\xff",
    "deep": b'{"model":"m","max_tokens":1,"messages":' + b"[" * 9000,
    "surrogate": b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"\\ud800"}]}',
    "large limit": b'{"model":"m","max_tokens":%b,%b' % (b"9" * 400, USER),
    "large budget": b'{"model":"m","max_tokens":1,"thinking":{"type":"enabled","budget_tokens":%b},%b'
    % (b"9" * 400, USER),
    "deep schema": b'{"model":"m","max_tokens":1,"tools":[{"name":"f","strict":true,"input_schema":%b}],%b'
    % (NESTED.replace(b'"a"', b'"items"'), USER),
    "deep input": b'{"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":'
    b'[{"type":"tool_use","id":"a","name":"f","input":%b}]}]}' % NESTED,
}


@pytest.mark.parametrize("body", list(HOSTILE.values()), ids=list(HOSTILE))
def test_hostile_bodies_are_requests_or_bad_requests(body: bytes) -> None:
    with suppress(BadRequest):
        render_relayed(parse_request(body, {}, request_id="", caller="").request, "m")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "role", "content", "text", "budget_tokens", "user_id", "effort", "signature"]
            ),
            inner | st.sampled_from(["assistant", "thinking", "enabled"]),
        )
    ),
    max_leaves=8,
)
NAMES = st.sampled_from(
    ["messages", "system", "thinking", "metadata", "output_config", "stop_sequences", "stream", "top_k", "x"]
)


@given(st.dictionaries(NAMES, ANYTHING))
def test_any_fields_are_a_request_or_a_bad_request(fields: dict[str, Any]) -> None:
    with suppress(BadRequest):
        render_relayed(parse(**fields), "m")


@given(st.binary(max_size=80))
def test_any_bytes_are_a_request_or_a_bad_request(body: bytes) -> None:
    with suppress(BadRequest):
        parse_request(body, {}, request_id="", caller="")
