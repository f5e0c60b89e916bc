"""Tools, choices and formats: flat in the Responses API, wrapped in the chat form."""

from __future__ import annotations

from typing import Any

import pytest

from junctor.chat import BadRequest, UnsupportedByModel
from junctor.wire.responses_tools import (
    parse_format,
    parse_tools,
    render_format,
    render_tool_choice,
    render_tools,
)

FLAT = {
    "type": "function",
    "name": "f",
    "description": "d",
    "parameters": {"type": "object"},
    "strict": True,
}


def test_a_function_there_and_back() -> None:
    parsed = parse_tools([FLAT], None)
    assert parsed.tools == [
        {"type": "function", "function": {name: FLAT[name] for name in FLAT if name != "type"}}
    ]
    assert render_tools(parsed.tools) == [FLAT]


def test_a_function_of_the_chat_form_is_not_strict_unless_it_says_so() -> None:
    """The Responses API takes silence for strict."""
    (tool,) = render_tools([{"type": "function", "function": {"name": "f"}}])
    assert tool["strict"] is False


@pytest.mark.parametrize("kind", ["web_search", "file_search", "computer_use_preview", "mcp", "custom"])
def test_tools_that_only_openai_has_are_named(kind: str) -> None:
    parsed = parse_tools([FLAT, {"type": kind}], {"type": kind})
    assert len(parsed.tools) == 1
    assert parsed.refused == (f"tools[1] ({kind})", f"tool_choice ({kind})")


@pytest.mark.parametrize(
    ("choice", "chat"),
    [
        ("auto", "auto"),
        ("required", "required"),
        ("none", "none"),
        ({"type": "function", "name": "f"}, {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_choices_there_and_back(choice: Any, chat: Any) -> None:
    assert parse_tools([FLAT], choice).choice == chat
    assert render_tool_choice(chat) == choice


def test_a_choice_of_allowed_tools_leaves_the_others_away() -> None:
    tools = [FLAT, {**FLAT, "name": "g"}]
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
    parsed = parse_tools(tools, choice)
    assert [tool["function"]["name"] for tool in parsed.tools] == ["g"]
    assert parsed.choice == "required"
    assert parse_tools(tools, {**choice, "tools": []}).choice == "none"


@pytest.mark.parametrize("choice", [1, {}, {"type": 1}, {"type": "function"}, "perhaps", []])
def test_a_choice_that_is_none_is_refused(choice: Any) -> None:
    with pytest.raises(BadRequest):
        parse_tools([FLAT], choice)
    with pytest.raises(BadRequest) as caught:
        render_tool_choice(choice)
    assert '{"type": "function", "function": {"name": ...}}' in caught.value.message, "JSON, to be copied"


@pytest.mark.parametrize("kind", [None, 5, {"a": [True]}, 10**40])
def test_a_tool_whose_type_is_none_is_named_without_it(kind: object) -> None:
    assert parse_tools([{"type": kind}], None).refused == ("tools[0] (no type)",)
    with pytest.raises(UnsupportedByModel, match=r"`tools\[0\]` must be a function with a name; no type is"):
        render_tools([{"type": kind}])


def test_formats_there_and_back() -> None:
    wanted = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    chat = parse_format({"format": wanted})
    assert chat == {"type": "json_schema", "json_schema": {k: v for k, v in wanted.items() if k != "type"}}
    assert render_format(chat) == wanted
    assert parse_format({"format": {"type": "json_object"}}) == {"type": "json_object"}
    assert render_format({"type": "json_object"}) == {"type": "json_object"}
    assert parse_format({"format": {"type": "text"}}) is None
    assert parse_format({}) is None


@pytest.mark.parametrize("wanted", [1, {}, {"type": "xml"}, {"type": "json_schema"}, {"type": ["text"]}])
def test_a_format_that_is_none_is_refused(wanted: Any) -> None:
    with pytest.raises(BadRequest):
        parse_format({"format": wanted})
    with pytest.raises(BadRequest):
        render_format(wanted)


def test_a_tool_of_the_chat_form_that_is_no_function_is_refused() -> None:
    with pytest.raises(UnsupportedByModel, match="custom"):
        render_tools([{"type": "custom", "custom": {"name": "x"}}])
    with pytest.raises(BadRequest):
        parse_tools([{"type": "function", "name": 1}], None)
