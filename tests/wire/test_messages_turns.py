"""Anthropic's turns in the chat form, and back: nothing is lost on the way."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import BadRequest
from junctor.wire.anthropic_messages import render_messages
from junctor.wire.messages_turns import parse_turns

Block = dict[str, Any]
MARK = {"type": "ephemeral", "ttl": "1h"}
PNG = {"type": "base64", "media_type": "image/png", "data": "aGk="}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "aGk="}

WORDS = st.text(min_size=1, max_size=6)
TEXTS = st.fixed_dictionaries(
    {"type": st.just("text"), "text": WORDS},
    optional={"cache_control": st.just(MARK), "citations": st.just([{"type": "char_location"}])},
)
IMAGES = st.fixed_dictionaries(
    {
        "type": st.just("image"),
        "source": st.sampled_from(
            [
                PNG,
                {"type": "url", "url": "https://example.org/a.png"},
                {"type": "url", "url": "http://example.org/a.png"},
                {"type": "file", "file_id": "file_1"},
                PNG | {"media_type": "image/odd type"},
            ]
        ),
    },
    optional={"cache_control": st.just(MARK), "transformations": st.just({})},
)
DOCUMENTS = st.fixed_dictionaries(
    {
        "type": st.just("document"),
        "source": st.sampled_from(
            [
                PDF,
                {"type": "url", "url": "https://example.org/a.pdf"},
                {"type": "text", "media_type": "text/plain", "data": "words"},
                {"type": "content", "content": [{"type": "text", "text": "words"}]},
                {"type": "content", "content": [{"type": "image", "source": PNG}]},
                {"type": "file", "file_id": "file_1"},
            ]
        ),
    },
    optional={"title": WORDS, "citations": st.just({"enabled": True}), "cache_control": st.just(MARK)},
)
OTHERS = st.sampled_from(
    [
        {"type": "search_result", "source": "a", "title": "b", "content": [{"type": "text", "text": "c"}]},
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"url": "u"}]},
        {"type": "container_upload", "file_id": "f"},
        {"type": "a_block_of_tomorrow", "text": "x", "inner": [1, {"y": None}]},
    ]
)
CONTENTS = TEXTS | IMAGES | DOCUMENTS | OTHERS
IDS = st.from_regex(r"[a-zA-Z0-9_-]{1,8}", fullmatch=True)
RESULTS = st.fixed_dictionaries(
    {"type": st.just("tool_result"), "tool_use_id": IDS},
    optional={
        "content": WORDS | st.lists(CONTENTS, max_size=2),
        "is_error": st.booleans(),
        "cache_control": st.just(MARK),
        "toolset_name": WORDS,
    },
)
THOUGHTS = st.sampled_from(
    [
        {"type": "thinking", "thinking": "Hm.", "signature": "zz"},
        {"type": "thinking", "thinking": "", "signature": "yy"},
        {"type": "redacted_thinking", "data": "xx"},
    ]
)
CALLS = st.fixed_dictionaries(
    {
        "type": st.just("tool_use"),
        "id": IDS,
        "name": WORDS,
        "input": st.dictionaries(WORDS, st.none() | st.integers(-9, 9) | WORDS, max_size=2),
    },
    optional={"cache_control": st.just(MARK), "caller": st.just({"type": "direct"})},
)
TURNS = st.lists(
    st.fixed_dictionaries(
        {"role": st.just("user"), "content": WORDS | st.lists(CONTENTS | RESULTS, max_size=4)}
    )
    | st.fixed_dictionaries(
        {
            "role": st.just("assistant"),
            "content": WORDS | st.lists(TEXTS | OTHERS | THOUGHTS | CALLS, max_size=5),
        }
    )
    | st.fixed_dictionaries({"role": st.just("system"), "content": WORDS | st.lists(TEXTS, max_size=2)}),
    min_size=1,
    max_size=5,
)


def as_blocks(content: Any) -> list[Block]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def normal(turns: list[Block]) -> list[Block]:
    """One of the many ways to say the same: lists of blocks, results first, roles that take turns."""
    said: list[Block] = []
    for turn in turns:
        blocks = []
        for block in as_blocks(turn["content"]):
            if block["type"] == "tool_result":
                block = block | {"content": as_blocks(block.get("content", []))}
                if block.get("is_error") is False:
                    del block["is_error"]
            blocks.append(block)
        blocks.sort(key=lambda block: block["type"] != "tool_result")
        blocks = blocks or [{"type": "text", "text": "..."}]
        if said and said[-1]["role"] == turn["role"]:
            said[-1]["content"] += blocks
        else:
            said.append({"role": turn["role"], "content": blocks})
    return said


def there_and_back(turns: list[Block], system: Any = None) -> tuple[list[Block], list[Block]]:
    messages = parse_turns(system, turns)
    said = render_messages(msgspec.Raw(msgspec.json.encode(messages)))
    assert said.left_out == frozenset()
    return said.system, said.turns


@given(TURNS)
def test_turns_come_back_as_they_were(turns: list[Block]) -> None:
    _, back = there_and_back(turns)
    assert back == normal(turns)


@given(WORDS | st.lists(TEXTS, min_size=1, max_size=3))
def test_the_system_prompt_comes_back_as_it_was(system: Any) -> None:
    back, _ = there_and_back([{"role": "user", "content": "a"}], system)
    assert back == as_blocks(system)


def test_what_openai_has_a_word_for_is_said_in_it() -> None:
    messages = parse_turns(
        [{"type": "text", "text": "S", "cache_control": MARK}],
        [
            {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image", "source": PNG}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "zz"},
                    {"type": "text", "text": "I call."},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "no", "is_error": True},
                    {"type": "text", "text": "So?"},
                ],
            },
        ],
    )
    assert messages == [
        {"role": "system", "content": [{"type": "text", "text": "S", "cache_control": MARK}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "I call."}],
            "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "zz"}],
            "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "no", "is_error": True},
        {"role": "user", "content": [{"type": "text", "text": "So?"}]},
    ]


def test_a_document_of_text_is_text_and_a_pdf_is_a_file() -> None:
    """The router counts the one, and other models read both."""
    text = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}}
    pdf = {"type": "document", "source": PDF, "title": "a.pdf"}
    (message,) = parse_turns(None, [{"role": "user", "content": [text, pdf]}])
    assert message["content"][0]["text"] == "words"
    assert message["content"][1]["file"]["filename"] == "a.pdf"


def test_thinking_without_a_signature_is_no_anthropic_models() -> None:
    unsigned = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [unsigned, {"type": "text", "text": "b"}]},
    ]
    messages = parse_turns(None, turns)
    assert messages[1]["reasoning_content"] == "Hm."
    said = render_messages(msgspec.Raw(msgspec.json.encode(messages)))
    assert said.turns[1]["content"] == [{"type": "text", "text": "b"}]
    assert said.left_out == {"messages.reasoning_content"}


@pytest.mark.parametrize(
    ("turn", "param"),
    [
        (5, "messages[0]"),
        ({"role": "tool", "content": "x"}, "messages[0].role"),
        ({"role": "user"}, "messages[0].content"),
        ({"role": "user", "content": 5}, "messages[0].content"),
        ({"role": "user", "content": ["x"]}, "messages[0].content[0]"),
        ({"role": "user", "content": [{"text": "x"}]}, "messages[0].content[0].type"),
        ({"role": "user", "content": [{"type": "text", "text": 5}]}, "messages[0].content[0].text"),
        ({"role": "user", "content": [{"type": "tool_result"}]}, "messages[0].content[0].tool_use_id"),
        (
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": 5}]},
            "messages[0].content[0].content",
        ),
        ({"role": "assistant", "content": [{"type": "thinking"}]}, "messages[0].content[0].thinking"),
        ({"role": "assistant", "content": [{"type": "redacted_thinking"}]}, "messages[0].content[0].data"),
        (
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": "x"}]},
            "messages[0].content[0].input",
        ),
    ],
)
def test_what_is_malformed_is_named(turn: Any, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_turns(None, [turn])
    assert caught.value.param == param


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "text",
                    "source",
                    "data",
                    "input",
                    "id",
                    "name",
                    "content",
                    "url",
                    "media_type",
                    "title",
                ]
            ),
            inner
            | st.sampled_from(["text", "image", "document", "tool_use", "tool_result", "base64", "url"]),
        )
    ),
    max_leaves=10,
)


@given(
    ANYTHING,
    st.lists(
        st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": ANYTHING})
    ),
)
def test_any_turns_are_messages_or_a_bad_request(system: Any, turns: list[Any]) -> None:
    with suppress(BadRequest):
        messages = parse_turns(system, turns)
        render_messages(msgspec.Raw(json.dumps(messages).encode()))
