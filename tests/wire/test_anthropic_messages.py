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
    said = render_messages(msgspec.Raw(json.dumps(messages).encode()))
    SDK.dump_json(SDK.validate_python(said.turns))  # the SDK checks nested blocks only when it writes them
    return said.system, said.turns


def left_out(*messages: dict[str, Any]) -> set[str]:
    return set(render_messages(msgspec.Raw(json.dumps(messages).encode())).left_out)


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


SIGNED = {"type": "thinking", "thinking": "Hm.", "signature": "zzz"}
HIDDEN = {"type": "redacted_thinking", "data": "xx"}


def test_thinking_comes_back_with_its_proof_and_before_all_else() -> None:
    """LiteLLM's form, and OpenRouter's."""
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    details = [
        {"type": "reasoning.text", "text": "Hm.", "signature": "zzz", "format": "anthropic-claude-v1"},
        {"type": "reasoning.encrypted", "data": "xx"},
    ]
    for reasoning in ({"thinking_blocks": [SIGNED, HIDDEN]}, {"reasoning_details": details}):
        said = {"role": "assistant", "content": "So.", "reasoning_content": "Hm.", "tool_calls": calls}
        _, turns = render(user("a"), said | reasoning)
        assert turns[1]["content"][:3] == [SIGNED, HIDDEN, text("So.")]
        assert turns[1]["content"][3]["type"] == "tool_use"
        assert left_out(user("a"), said | reasoning) == set()


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"reasoning_content": "Hm."}, "reasoning_content"),
        ({"reasoning": "Hm."}, "reasoning"),
        ({"thinking_blocks": [SIGNED | {"signature": ""}]}, "thinking_blocks"),
        ({"thinking_blocks": [SIGNED, SIGNED | {"signature": "openai_responses:rs_1:x"}]}, "thinking_blocks"),
        ({"thinking_blocks": "text"}, "thinking_blocks"),
        ({"name": "Ann"}, "name"),
        ({"annotations": [{}]}, "annotations"),
    ],
)
def test_reasoning_without_proof_and_unknown_fields_are_named(fields: dict[str, Any], name: str) -> None:
    """Anthropic's API refuses a block that it did not sign, and fields that it does not know."""
    assert left_out(user("a"), {"role": "assistant", "content": "b", **fields}) == {f"messages.{name}"}
    assert (
        left_out(user("a"), {"role": "assistant", "content": "b", "annotations": [], "audio": None}) == set()
    )


def test_marks_on_whole_messages_go_to_their_last_block() -> None:
    mark = {"type": "ephemeral"}
    system, turns = render(
        {"role": "system", "content": [text("a"), text("b")], "cache_control": mark},
        user("c") | {"cache_control": mark},
        {"role": "tool", "tool_call_id": "t", "content": "r", "cache_control": mark, "is_error": True},
    )
    assert system == [text("a"), text("b") | {"cache_control": mark}]
    assert turns[0]["content"][0] == text("c") | {"cache_control": mark}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [text("r")]}
    assert turns[0]["content"][1] == result | {"is_error": True, "cache_control": mark}


def test_a_pdf_is_a_document() -> None:
    file = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}}
    _, turns = render(user([text("Read"), file]))
    source = {"type": "base64", "media_type": "application/pdf", "data": "aGk="}
    assert turns[0]["content"][1] == {"type": "document", "source": source, "title": "a.pdf"}


def test_ids_of_calls_get_the_characters_that_anthropic_takes() -> None:
    """Some servers name calls after their tools; the call and its result must agree."""
    calls = [{"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    _, turns = render(
        user("a"),
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "functions.f:0", "content": "r"},
    )
    assert turns[1]["content"][0]["id"] == turns[2]["content"][0]["tool_use_id"] == "functions_f_0"


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
        (user([{"type": "file", "file": {"file_id": "f"}}]), "messages[0].content[0].file.file_data"),
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
            st.sampled_from(
                [
                    "type",
                    "text",
                    "image_url",
                    "url",
                    "function",
                    "name",
                    "arguments",
                    "id",
                    "anthropic",
                    "file",
                ]
            ),
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
        said = render_messages(msgspec.Raw(json.dumps(messages).encode()))
        assert all(turn["content"] for turn in said.turns)
        assert {turn["role"] for turn in said.turns} <= {"user", "assistant", "system"}
        msgspec.json.encode([said.system, said.turns])
