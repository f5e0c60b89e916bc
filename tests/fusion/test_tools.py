"""Tools told as text, and calls read from text."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from panels import request_of

from junctor.chat import Answer
from junctor.fusion.tools import parse_tool_call, with_tools_as_text

TOOLS = msgspec.Raw(
    msgspec.json.encode(
        [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    )
)
REQUEST = request_of("Weather in Rome?", tools=TOOLS, tool_choice=msgspec.Raw(b'"auto"'))


def said(text: str) -> Answer:
    return Answer(model="m", text=text, reason="stop")


def test_a_member_without_tools_is_told_of_them_in_words() -> None:
    told = with_tools_as_text(REQUEST)
    first, *rest = msgspec.json.decode(told.messages)
    assert first["role"] == "system"
    assert "get_weather" in first["content"]
    assert rest == msgspec.json.decode(REQUEST.messages)
    assert (told.tools, told.tool_choice) == (None, None)
    assert with_tools_as_text(request_of()) == request_of()


@pytest.mark.parametrize("fence", ["{}", "```json\n{}\n```", " {}\n"])
def test_a_call_in_text_is_a_call(fence: str) -> None:
    text = fence.format('{"tool": "get_weather", "arguments": {"city": "Rome"}}', "")
    answer = parse_tool_call(said(text), REQUEST)
    (call,) = answer.tool_calls
    assert (call.name, msgspec.json.decode(call.arguments)) == ("get_weather", {"city": "Rome"})
    assert (answer.text, answer.reason) == ("", "tool_calls")


@pytest.mark.parametrize(
    "text",
    [
        '{"tool": "rm", "arguments": {}}',
        '{"tool": "get_weather", "arguments": [1]}',
        '{"tool": "get_weather", "arguments": {}, "then": 1}',
        "It is sunny.",
        "[" * 100_000,
    ],
)
def test_what_is_no_call_of_these_tools_stays_text(text: str) -> None:
    assert parse_tool_call(said(text), REQUEST) == said(text)


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    assert parse_tool_call(said(text), REQUEST).text == text
