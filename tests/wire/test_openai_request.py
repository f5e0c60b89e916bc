"""OpenAI chat requests: what a caller sends is read, relayed byte for byte, or refused with the reason."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import BadRequest, ChatRequest, Constraints
from junctor.wire.openai_request import Call, name_provider_tools, parse_request, render_request

BASE: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


def parse(body: Any = None, headers: dict[str, str] | None = None, **fields: Any) -> Call:
    raw = body if isinstance(body, bytes) else json.dumps((body or BASE) | fields).encode()
    return parse_request(raw, headers or {}, request_id="req_1", caller="alice")


def sent(request: ChatRequest) -> dict[str, Any]:
    return json.loads(render_request(request, "upstream-name"))


def test_the_fields_are_read_and_the_rest_passes() -> None:
    call = parse(
        tools=[{"type": "function"}],
        tool_choice="auto",
        response_format={"type": "json_object"},
        temperature=0.3,
        stream=True,
        stream_options={"include_usage": True},
        junctor={"mode": "cost"},
        tomorrow={"x": [1]},
    )
    request = call.request
    assert (request.model, request.stream, request.id, request.caller) == ("auto", True, "req_1", "alice")
    assert request.relay == "openai_chat"
    assert request.constraints == Constraints(mode="cost")
    assert call.include_usage
    assert msgspec.json.decode(request.messages) == BASE["messages"]
    assert set(request.passthrough) == {"temperature", "stream_options", "tomorrow"}
    assert sent(request) == BASE | {
        "model": "upstream-name",
        "tools": [{"type": "function"}],
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "temperature": 0.3,
        "stream": True,
        "stream_options": {"include_usage": True},
        "tomorrow": {"x": [1]},
    }


def test_what_is_not_ours_stays_byte_for_byte() -> None:
    """Spaces, number forms, escapes and duplicate keys inside a field reach the upstream as they came."""
    odd = rb'[ {"role" :"user","content":"caf\u00e9 \ud83d\ude00","n":1.50,"n":1e2} ]'
    raw = b'{"model":"auto","messages":' + odd + b',"logit_bias": { "5":  -1.0 }, "metadata":{"a":1,"a":2}}'
    body = render_request(parse(raw).request, "up")
    assert odd in body
    assert b'{ "5":  -1.0 }' in body
    assert b'{"a":1,"a":2}' in body


def test_a_stream_is_asked_for_its_usage_and_keeps_its_other_options() -> None:
    call = parse(stream=True, stream_options={"include_obfuscation": False})
    assert not call.include_usage
    assert sent(call.request)["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    for options in ({}, {"stream_options": None}):
        assert sent(parse(stream=True, **options).request)["stream_options"] == {"include_usage": True}


def test_without_a_stream_no_stream_options_are_sent() -> None:
    call = parse(stream=True, stream_options={"include_usage": True})
    whole = msgspec.structs.replace(call.request, stream=False)
    assert "stream_options" not in sent(whole)
    assert "stream" not in sent(whole)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_limit_keeps_the_callers_name(name: str) -> None:
    request = parse(**{name: 7}).request
    assert request.max_tokens == 7
    assert sent(request) == BASE | {"model": "upstream-name", name: 7}


def test_a_limit_without_a_name_is_sent_as_max_tokens() -> None:
    request = ChatRequest(model="m", messages=msgspec.Raw(b'["x"]'), max_tokens=9)
    assert sent(request)["max_tokens"] == 9


def test_of_two_limits_the_newer_name_counts_and_both_pass() -> None:
    request = parse(max_tokens=5, max_completion_tokens=6).request
    assert request.max_tokens == 6
    assert (sent(request)["max_tokens"], sent(request)["max_completion_tokens"]) == (5, 6)


def test_what_a_provider_runs_is_told_from_what_the_caller_runs() -> None:
    function = {"type": "function", "function": {"name": "f"}}
    tools = [function, {"type": "web_search"}, {"type": "custom", "custom": {}}, {}]
    asked = parse(tools=tools, web_search_options={}).request
    assert name_provider_tools(asked) == ("tools[1] (web_search)", "web_search_options")
    for harmless in ({}, {"tools": [function]}, {"tools": None}, {"web_search_options": None}):
        assert name_provider_tools(parse(**harmless).request) == ()
    assert name_provider_tools(parse(tools=[1, {"type": 2}]).request) == (), "that is for others to refuse"


def test_null_and_an_empty_list_of_tools_mean_none() -> None:
    request = parse(tools=None, tool_choice=None, stream=None, max_tokens=None, response_format=None).request
    assert (request.tools, request.tool_choice, request.response_format) == (None, None, None)
    assert (request.stream, request.max_tokens) == (False, None)
    assert parse(tools=[]).request.tools is None
    assert parse(b'{"model":"a","messages":[1],"tools":[ \n ]}').request.tools is None


def test_constraints_are_not_forwarded() -> None:
    assert "junctor" not in sent(parse(junctor={"quality": 0.5}).request)


def test_headers_carry_constraints_too() -> None:
    request = parse(junctor={"mode": "cost"}, headers={"x-junctor-quality": "0.5"}).request
    assert request.constraints == Constraints(mode="cost", quality=0.5)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": 1}, "model"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": None}, "messages"),
        ({"tools": {}}, "tools"),
        ({"tool_choice": 1}, "tool_choice"),
        ({"response_format": "json"}, "response_format"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"stream_options": {"include_usage": 1}}, "stream_options"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"junctor": {"quality": 2}}, "junctor.quality"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(**fields)
    assert caught.value.param == param
    assert param in caught.value.message


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_a_missing_field_is_named(missing: str) -> None:
    body = {name: value for name, value in BASE.items() if name != missing}
    with pytest.raises(BadRequest, match=f"`{missing}` is missing"):
        parse(body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"model": "a", "messages": [1], "x": NaN}', "byte"),
        (b'{"model": "a" "messages": [1]}', "byte 14"),
        (b"[]", "JSON object"),
        (b"null", "JSON object"),
        (b'"hi"', "JSON object"),
        (b'{"model": "\xff"}', "byte 11"),
        (b'{"model": "\\ud800", "messages": [1]}', "byte"),
        (b'{"model": "a\x00b", "messages": [1]}', "byte"),
        (b'{"model":' + b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"model":"a","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    ],
)
def test_a_broken_body_says_where(body: bytes, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(body)
    assert words in caught.value.message


def test_a_duplicate_key_takes_the_last_as_json_readers_do() -> None:
    assert parse(b'{"model":"a","model":"b","messages":[1]}').request.model == "b"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_bad_request(body: bytes) -> None:
    with suppress(BadRequest):
        render_request(parse(body).request, "up")


FIELDS = ["model", "messages", "tools", "stream", "stream_options", "max_tokens", "junctor", "tool_choice"]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_any_json_is_a_request_or_a_bad_request(fields: dict[str, Any]) -> None:
    with suppress(BadRequest):
        json.loads(render_request(parse(BASE | fields).request, "up"))


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=5))
def test_unknown_fields_survive(fields: dict[str, Any]) -> None:
    fields = {f"x_{name}": value for name, value in fields.items()}
    assert sent(parse(**fields).request) == BASE | {"model": "upstream-name"} | fields
