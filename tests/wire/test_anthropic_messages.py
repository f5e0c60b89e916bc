"""OpenAI messages as Anthropic's: checked against the official SDK's types."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from anthropic.types import MessageParam
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from junctor.chat import BadRequest
from junctor.wire.anthropic_messages import render_messages

SDK = TypeAdapter(list[MessageParam])


def render(*messages: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    system, turns = render_messages(msgspec.Raw(json.dumps(messages).encode()))
    SDK.dump_json(SDK.validate_python(turns))  # the SDK checks nested blocks only when it writes them
    return system, turns


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def image(url: str) -> dict[str, Any]:
    return user([{"type": "image_url", "image_url": {"url": url}}])


def test_system_and_developer_messages_become_system_wherever_they_stand() -> None:
    system, turns = render(
        {"role": "system", "content": "Be brief."},
        user("Hi"),
        {"role": "developer", "content": [text("And kind.")]},
    )
    assert system == [text("Be brief."), text("And kind.")]
    assert turns == [user([text("Hi")])]


def test_turns_of_one_role_are_merged() -> None:
    _, turns = render(user("a"), user("b"), {"role": "assistant", "content": "c"}, user("d"))
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[0]["content"] == [text("a"), text("b")]


def test_tool_calls_and_their_results() -> None:
    calls = [
        {"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": f'{{"n": {n}}}'}}
        for n in (1, 2)
    ]
    _, turns = render(
        user("go"),
        {"role": "assistant", "content": "Calling.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": [text("two")]},
        user("and?"),
    )
    assert turns[1]["content"] == [
        text("Calling."),
        {"type": "tool_use", "id": "c1", "name": "f", "input": {"n": 1}},
        {"type": "tool_use", "id": "c2", "name": "f", "input": {"n": 2}},
    ]
    assert turns[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "c1", "content": [text("one")]},
        {"type": "tool_result", "tool_use_id": "c2", "content": [text("two")]},
        text("and?"),
    ]
    assert len(turns) == 3


def test_images_inline_and_by_url() -> None:
    _, turns = render(
        user(
            [
                text("Look"),
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
            ]
        )
    )
    inline, by_url = turns[0]["content"][1:]
    assert inline["source"] == {"type": "base64", "media_type": "image/png", "data": "aGk="}
    assert by_url["source"] == {"type": "url", "url": "https://example.org/a.png"}


def test_a_mark_for_the_prompt_cache_is_kept() -> None:
    mark = {"type": "ephemeral"}
    system, turns = render(
        {"role": "system", "content": [text("s") | {"cache_control": mark}]},
        user([text("u") | {"cache_control": mark}]),
    )
    assert system[0]["cache_control"] == turns[0]["content"][0]["cache_control"] == mark


def test_empty_contents_do_not_make_empty_blocks() -> None:
    """Messages refuses both empty text and a turn without content."""
    _, turns = render(user(""), {"role": "assistant", "content": None, "refusal": "No."}, user([text("")]))
    assert [turn["content"] for turn in turns] == [[text("...")], [text("No.")], [text("...")]]


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "wizard", "content": "x"}, "messages[0].role"),
        ({"content": "x"}, "messages[0].role"),
        ({"role": "function", "name": "f", "content": "x"}, "messages[0].role"),
        (user(5), "messages[0].content"),
        (user(["x"]), "messages[0].content"),
        (user([{"type": "input_audio", "input_audio": {}}]), "messages[0].content[0].type"),
        (user([{"type": "text"}]), "messages[0].content[0].text"),
        (image("http://a/b"), "messages[0].content[0].image_url.url"),
        (image("file:///etc/passwd"), "messages[0].content[0].image_url.url"),
        (user([{"type": "image_url"}]), "messages[0].content[0].image_url.url"),
        ({"role": "tool", "content": "x"}, "messages[0].tool_call_id"),
        ({"role": "assistant", "tool_calls": [{}]}, "messages[0].tool_calls[0].function"),
        (
            {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{"}}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"role": "system", "content": "alone"}, "messages"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_named(message: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        render(message)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "raw", [b"[1]", b"{}", b'["\\ud800"]', b"[" * 50_000, b'[{"role":"user","content":"\\ud800"}]']
)
def test_hostile_json_is_a_bad_request(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        render_messages(msgspec.Raw(raw))


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "image_url", "url", "function", "name", "arguments", "id"]),
            inner,
        )
    ),
    max_leaves=8,
)
ROLES = st.sampled_from(["system", "user", "assistant", "tool", "x"])


@given(
    st.lists(
        st.fixed_dictionaries({"role": ROLES, "content": VALUE, "tool_calls": VALUE, "tool_call_id": VALUE})
    )
)
def test_any_messages_are_turns_or_a_bad_request(messages: list[dict[str, Any]]) -> None:
    with suppress(BadRequest):
        system, turns = render_messages(msgspec.Raw(json.dumps(messages).encode()))
        assert all(turn["content"] for turn in turns)
        assert [t["role"] for t in turns] == [
            turn["role"] for turn in turns if turn["role"] in ("user", "assistant")
        ]
        msgspec.json.encode([system, turns])
