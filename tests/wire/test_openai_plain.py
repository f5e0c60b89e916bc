"""Translated requests as plain OpenAI: strict servers take them, and what is lost is named."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import completion_create_params as params
from pydantic import TypeAdapter

from junctor.chat import BadRequest, ChatRequest
from junctor.wire.messages_request import parse_request
from junctor.wire.openai_plain import OPTIONAL, refused_field, render_plain, without_extras

SDK = TypeAdapter(params.CompletionCreateParamsNonStreaming)
MARK = {"cache_control": {"type": "ephemeral"}}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
URL = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def use(n: int) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"t{n}", "name": "f", "input": {}}


def result(n: int, *blocks: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": f"t{n}", "content": list(blocks), **fields}


def call(n: int) -> dict[str, Any]:
    return {"id": f"t{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def sent(*turns: Any, without: tuple[str, ...] = (), **fields: Any) -> tuple[dict[str, Any], set[str]]:
    """A Messages request as an OpenAI server gets it, and what is named."""
    body = {"model": "m", "max_tokens": 9, "messages": turns} | fields
    request = parse_request(json.dumps(body).encode(), {}, request_id="", caller="").request
    rendered = render_plain(request, "gpt", without=frozenset(without))
    found = json.loads(rendered.body)
    SDK.dump_json(SDK.validate_python(found))
    assert not [
        name
        for name in ("cache_control", "anthropic", "thinking_blocks", "is_error")
        if f'"{name}"' in rendered.body.decode()
    ]
    return found, {*rendered.left_out, *request.lost_elsewhere}


def test_a_conversation_with_tools() -> None:
    body, left_out = sent(
        user(text("Go")),
        assistant(text("I call."), use(0), use(1)),
        user(result(0, text("one")), result(1, text("two"), is_error=True), text("And?")),
        system=[text("S") | MARK],
        tools=[{"name": "f", "input_schema": {"type": "object"}, **MARK}],
    )
    assert body["messages"] == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": "I call.", "tool_calls": [call(0), call(1)]},
        {"role": "tool", "tool_call_id": "t0", "content": "one"},
        {"role": "tool", "tool_call_id": "t1", "content": "two"},
        {"role": "user", "content": "And?"},
    ]
    assert body["tools"] == [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    ]
    assert (body["model"], body["max_tokens"]) == ("gpt", 9)
    assert left_out == {"cache_control", "messages.is_error"}


def test_an_image_that_a_tool_returned_is_shown_by_the_user() -> None:
    """OpenAI wants text alone in results, and all results before anything else."""
    body, left_out = sent(
        user(text("Go")), assistant(use(0), use(1)), user(result(0, PNG), result(1, text("x"), PNG))
    )
    assert body["messages"][2:] == [
        {"role": "tool", "tool_call_id": "t0", "content": "(see below)"},
        {"role": "tool", "tool_call_id": "t1", "content": [text("x")]},
        user(text("Returned by the call t0:"), URL, text("Returned by the call t1:"), URL),
    ]
    assert left_out == set()


def test_calls_in_the_middle_of_a_turn_stay_one_message() -> None:
    """Results must follow at once."""
    body, _ = sent(user(text("a")), assistant(use(0), text("b"), use(1)), user(result(0), result(1)))
    assert body["messages"][1] == {
        "role": "assistant",
        "content": [text("b")],
        "tool_calls": [call(0), call(1)],
    }
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "tool", "tool"]


def test_reasoning_goes_back_only_to_who_gave_it() -> None:
    unsigned = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    signed = unsigned | {"signature": "zz"}
    body, left_out = sent(user(text("a")), assistant(unsigned, text("b")))
    assert body["messages"][1] == {"role": "assistant", "content": "b", "reasoning_content": "Hm."}
    assert left_out == set()
    body, left_out = sent(user(text("a")), assistant(unsigned, text("b")), without=("reasoning_content",))
    assert body["messages"][1] == {"role": "assistant", "content": "b"}
    assert left_out == {"messages.reasoning_content"}
    body, left_out = sent(user(text("a")), assistant(signed, text("b")))
    assert body["messages"][1] == {"role": "assistant", "content": "b"}
    assert left_out == {"messages.thinking_blocks"}


def test_fields_that_the_server_does_not_know_are_left_out_and_named() -> None:
    fields = {"temperature": 0.5, "top_k": 5, "thinking": {"type": "enabled", "budget_tokens": 9}}
    body, left_out = sent(user(text("a")), **fields)
    assert (body["temperature"], body["top_k"], body["reasoning_effort"]) == (0.5, 5, "high")
    body, left_out = sent(user(text("a")), without=("reasoning_effort", "top_k", "user"), **fields)
    assert set(body) == {"model", "messages", "max_tokens", "temperature"}
    assert left_out == {"reasoning_effort", "top_k"}


def test_the_limit_has_a_newer_name() -> None:
    body, left_out = sent(user(text("a")), without=("max_tokens",))
    assert (body["max_completion_tokens"], "max_tokens" in body, left_out) == (9, False, set())


@pytest.mark.parametrize(
    ("message", "param", "field"),
    [
        ("Unsupported parameter: 'max_tokens' is not supported with it.", "max_tokens", "max_tokens"),
        ("Unrecognized request argument supplied: reasoning_effort", None, "reasoning_effort"),
        ("Unknown parameter: 'messages[1].reasoning_content'.", None, "reasoning_content"),
        ("Unsupported value: 'temperature' does not support 0.2.", "temperature", "temperature"),
        ("body.top_k: Extra inputs are not permitted", None, "top_k"),
        ("Unknown field", "messages[1].reasoning_content", "reasoning_content"),
        ("max_tokens is too large: 32000. This model supports at most 16384.", "max_tokens", None),
        ("Unknown parameter: 'store'.", "store", None),
        ("You exceeded your quota", None, None),
    ],
)
def test_what_a_server_does_not_know_is_read_from_its_words(
    message: str, param: str | None, field: str | None
) -> None:
    assert refused_field(message, param) == field
    assert field is None or field in OPTIONAL


def test_documents_go_as_text_or_as_a_file() -> None:
    words = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}}
    body, left_out = sent(user(words, pdf, text("Read")))
    file = {"file_data": "data:application/pdf;base64,aGk=", "filename": "document.pdf"}
    assert body["messages"][0]["content"] == [text("words"), {"type": "file", "file": file}, text("Read")]
    assert left_out == set()


def test_blocks_that_openai_has_no_word_for_are_named() -> None:
    block = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    cited = text("b") | {"citations": [{"type": "char_location"}]}
    body, left_out = sent(
        user(text("a")), assistant(block, cited), user({"type": "container_upload", "file_id": "f"})
    )
    assert body["messages"][1:] == [{"role": "assistant", "content": "b"}, {"role": "user", "content": ""}]
    assert left_out == {
        "messages.content (server_tool_use)",
        "messages.content (container_upload)",
        "messages.content.citations",
    }


def test_what_only_anthropics_api_has_is_taken_out_for_the_responses_api() -> None:
    """Images stay where they are, and so does reasoning of its own: it has places for both."""
    signed = {"type": "thinking", "thinking": "Hm.", "signature": "zz"}
    own = {"type": "thinking", "thinking": "Hm.", "signature": "openai_responses:rs_1:zz"}
    turns = [user(text("a") | MARK), assistant(signed, own, use(0)), user(result(0, PNG, is_error=True))]
    body = {"model": "m", "max_tokens": 9, "messages": turns}
    request = parse_request(json.dumps(body).encode(), {}, request_id="", caller="").request
    plain, left_out = without_extras(request)
    messages = json.loads(bytes(plain.messages))
    assert messages[0] == {"role": "user", "content": "a"}
    assert messages[1]["thinking_blocks"] == [own]
    assert messages[2] == {"role": "tool", "tool_call_id": "t0", "content": [URL]}
    assert left_out == {"cache_control", "messages.is_error", "messages.thinking_blocks"}


def test_without_a_tool_that_is_left_there_are_none() -> None:
    body, _ = sent(user(text("a")), tools=[{"type": "web_search_20250305", "name": "w"}])
    assert "tools" not in body


@pytest.mark.parametrize("raw", [b"5", b"[5]", b"[" * 9000, b'["\\ud800"]'])
def test_hostile_json_is_a_bad_request(raw: bytes) -> None:
    for fields in ({"messages": raw}, {"messages": b"[]", "tools": raw}):
        asked = ChatRequest(model="m", **{name: msgspec.Raw(value) for name, value in fields.items()})
        for convert in (without_extras, lambda one: render_plain(one, "m")):
            with pytest.raises(BadRequest):
                convert(asked)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "file", "anthropic", "cache_control", "filename"]),
            inner | st.sampled_from(["text", "file", "anthropic"]),
        )
    ),
    max_leaves=8,
)
MESSAGES = st.lists(
    st.dictionaries(
        st.sampled_from(["content", "tool_calls", "reasoning_content", "thinking_blocks", "is_error"]),
        ANYTHING,
    ).flatmap(
        lambda fields: st.sampled_from(["user", "assistant", "tool", "x", 5]).map(
            lambda role: {"role": role} | fields
        )
    ),
    max_size=4,
)


@given(MESSAGES, MESSAGES)
def test_any_messages_are_plain_or_a_bad_request(messages: list[Any], tools: list[Any]) -> None:
    said = {"messages": messages, "tools": tools}
    raw = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in said.items()}
    with suppress(BadRequest):
        render_plain(ChatRequest(model="m", **raw), "m")
