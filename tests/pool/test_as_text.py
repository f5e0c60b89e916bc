"""A chat as text: who said what, what is no text by its name, and never more than there is room for."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import Answer, ChatRequest, ToolCall
from junctor.pool.as_text import render_answer, render_conversation, render_form, render_tools

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "description": "Tells it.", "parameters": {"type": "object"}},
}


def asked(*messages: object, **fields: object) -> ChatRequest:
    raws = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in fields.items()}
    return ChatRequest(model="m", messages=msgspec.Raw(json.dumps(messages).encode()), **raws)


def said(role: str, content: object, **more: object) -> dict[str, object]:
    return {"role": role, "content": content, **more}


def test_a_single_question_stands_alone() -> None:
    assert render_conversation(asked(said("user", "2 + 2?"))) == "2 + 2?"


def test_a_conversation_says_who_said_what() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    shown = render_conversation(
        asked(
            said("system", "Be brief."),
            said(
                "user",
                [{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": {"url": "data:x"}}],
            ),
            said("assistant", None, tool_calls=[call]),
            said("tool", "sunny", tool_call_id="c"),
        )
    )
    assert shown == (
        "[system] Be brief.\n\n[user] Look:\n[an image]\n\n"
        '[assistant] [calls the tool weather with {"city": "Rome"}]\n\n[tool] sunny'
    )


def test_of_a_long_conversation_the_systems_words_and_the_newest_are_kept() -> None:
    turns = [said("user" if at % 2 == 0 else "assistant", f"{at} " + "x" * 500) for at in range(40)]
    shown = render_conversation(
        asked(said("system", "In JSON. " + "y" * 900), *turns, said("user", "and now?")), 2000
    )
    assert shown.startswith("[system] In JSON.")
    assert shown.endswith("[user] and now?")
    assert "[assistant] 39" in shown
    assert "[user] 0 " not in shown
    assert "earlier messages left out" in shown
    assert len(shown) < 2300


def test_the_last_message_is_shown_however_little_room_there_is() -> None:
    shown = render_conversation(asked(said("system", "s" * 900), said("user", "q" * 900)), 100)
    assert "qqq" in shown
    assert len(shown) < 300


def test_tools_and_the_form_are_told() -> None:
    request = asked(said("user", "?"), tools=[WEATHER], response_format={"type": "json_object"})
    assert render_tools(request) == 'weather: Tells it.\n  parameters: {"type":"object"}'
    assert render_form(request) == '{"type": "json_object"}'
    assert render_tools(asked(said("user", "?"))) == render_form(asked(said("user", "?"))) == ""
    many = asked(said("user", "?"), tools=[WEATHER] * 1000)
    assert len(render_tools(many, 500)) < 600


def test_an_answer_shows_its_text_and_its_calls() -> None:
    calls = (ToolCall(0, id="a", name="look", arguments='{"x": 1}'), ToolCall(1, name="see", arguments="{}"))
    answer = Answer(model="m", text="Wait.", tool_calls=calls, reason="tool_calls")
    assert render_answer(answer) == 'Wait.\n[calls the tool look with {"x": 1}]\n[calls the tool see with {}]'


@pytest.mark.parametrize(
    "raw", [b"[]", b"[1, null, {}]", b'{"a": 1}', b'[{"role": 3, "content": {"x": [1]}}]', b"[" * 9]
)
def test_what_has_no_form_does_not_raise(raw: bytes) -> None:
    request = ChatRequest(model="m", messages=msgspec.Raw(raw), tools=msgspec.Raw(raw))
    assert isinstance(render_conversation(request), str)
    assert isinstance(render_tools(request), str)


@given(
    st.lists(
        st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), st.text(max_size=300)), max_size=9
    ),
    st.integers(0, 600),
)
def test_it_keeps_to_its_room_but_for_notes(turns: list[tuple[str, str]], room: int) -> None:
    shown = render_conversation(asked(*(said(role, text) for role, text in turns)), room)
    assert len(shown) <= room + 50 * (len(turns) + 2)
