"""Anthropic's tools, choices and formats in the chat form, and back."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import BadRequest, ChatRequest
from junctor.wire.anthropic_request import render_messages_request
from junctor.wire.messages_request import parse_request
from junctor.wire.messages_tools import MOST_DEPTH, is_strict, parse_format, parse_tool_choice, parse_tools

STRICT = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
LOOSE = {"type": "object", "properties": {"a": {"type": "integer"}}}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}


def request(**fields: Any) -> ChatRequest:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "a"}]} | fields
    return parse_request(json.dumps(body).encode(), {}, request_id="", caller="").request


TOOLS = st.fixed_dictionaries(
    {
        "name": st.text(min_size=1, max_size=6),
        "input_schema": st.sampled_from([STRICT, LOOSE, {"type": "object"}]),
    },
    optional={
        "type": st.just("custom"),
        "description": st.text(min_size=1, max_size=6),
        "strict": st.booleans(),
        "cache_control": st.just({"type": "ephemeral"}),
        "input_examples": st.just([{"a": 1}]),
        "defer_loading": st.booleans(),
    },
) | st.just(SEARCH)
CHOICES = st.none() | st.builds(
    lambda choice, alone: choice | ({"disable_parallel_tool_use": True} if alone else {}),
    st.sampled_from([{"type": "auto"}, {"type": "any"}, {"type": "tool", "name": "f"}]),
    st.booleans(),
)


@given(st.lists(TOOLS, min_size=1, max_size=3), CHOICES)
def test_tools_and_choices_come_back_as_they_were(tools: list[dict[str, Any]], choice: Any) -> None:
    chosen = {} if choice is None else {"tool_choice": choice}
    back = json.loads(render_messages_request(request(tools=tools, **chosen), "m", 9).body)
    said = [{k: v for k, v in tool.items() if (k, v) != ("type", "custom")} for tool in tools]
    assert back["tools"] == said
    assert back.get("tool_choice") == choice


def test_a_tool_is_a_function() -> None:
    tools = parse_tools([{"name": "f", "description": "d", "input_schema": STRICT, "strict": True}])
    function = {"name": "f", "description": "d", "parameters": STRICT, "strict": True}
    assert tools.tools == [{"type": "function", "function": function}]
    assert (tools.refused, tools.lost) == ((), ())


def test_a_strict_tool_that_openai_would_refuse_is_not_strict_there() -> None:
    tools = parse_tools([{"name": "f", "input_schema": LOOSE, "strict": True}])
    assert "strict" not in tools.tools[0]["function"]
    assert tools.lost == ("tools.strict",)


def test_tools_that_only_anthropics_models_have_are_named() -> None:
    tools = parse_tools([{"name": "f", "input_schema": {}, "input_examples": []}, SEARCH])
    assert tools.refused == ("tools[1] (web_search_20250305)",)
    assert tools.lost == ("tools.input_examples",)


@pytest.mark.parametrize(
    ("choice", "said", "passed"),
    [
        ({"type": "auto"}, "auto", {}),
        ({"type": "any", "disable_parallel_tool_use": True}, "required", {"parallel_tool_calls": False}),
        ({"type": "none"}, "none", {}),
        ({"type": "tool", "name": "f"}, {"type": "function", "function": {"name": "f"}}, {}),
        (None, None, {}),
    ],
)
def test_choices(choice: Any, said: Any, passed: Any) -> None:
    assert parse_tool_choice(choice) == (said, passed)


def test_a_format_is_strict_where_openai_takes_it_so() -> None:
    strict = parse_format({"type": "json_schema", "schema": STRICT})
    loose = parse_format({"type": "json_schema", "schema": LOOSE})
    assert strict == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": STRICT, "strict": True},
    }
    assert loose == {"type": "json_schema", "json_schema": {"name": "answer", "schema": LOOSE}}
    assert parse_format(None) is None
    for schema in (STRICT, LOOSE):
        wanted = {"format": {"type": "json_schema", "schema": schema}}
        rendered = render_messages_request(request(output_config=wanted), "m", 9)
        assert json.loads(rendered.body)["output_config"] == wanted


def test_what_is_strict() -> None:
    def nested(inner: Any) -> dict[str, Any]:
        return STRICT | {"properties": {"a": inner}}

    deep: dict[str, Any] = STRICT
    for _ in range(MOST_DEPTH + 1):
        deep = nested(deep)
    assert is_strict(STRICT)
    assert is_strict(nested({"type": "array", "items": STRICT}))
    assert is_strict(nested({"anyOf": [STRICT, {"type": "null"}]}))
    assert not is_strict(nested({"type": "array", "items": LOOSE}))
    assert not is_strict(nested({"anyOf": [STRICT, LOOSE]}))
    assert not is_strict(STRICT | {"$defs": {"x": LOOSE}})
    assert not is_strict(STRICT | {"required": []})
    assert not is_strict(deep)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [{"name": "f", "input_schema": {}, "description": 5}]}, "tools[0].description"),
        ({"tools": [{"name": "f", "input_schema": {}, "cache_control": 5}]}, "tools[0].cache_control"),
        ({"tools": 5}, "tools"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format"),
        ({"output_config": {"format": 5}}, "output_config.format"),
    ],
)
def test_what_is_malformed_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        request(**fields)
    assert caught.value.param == param
    assert "{'" not in caught.value.message, "JSON, to be copied"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "name", "input_schema", "properties", "required", "items", "anyOf", "strict"]
            ),
            inner,
        )
    ),
    max_leaves=8,
)


@given(ANYTHING, ANYTHING, ANYTHING)
def test_anything_is_a_request_or_a_bad_request(tools: Any, choice: Any, wanted: Any) -> None:
    with suppress(BadRequest):
        asked = request(tools=tools, tool_choice=choice, output_config={"format": wanted})
        render_messages_request(asked, "m", 9)
