"""Input items of the Responses API in the chat form, and back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import BadRequest
from junctor.wire.responses_input import render_messages
from junctor.wire.responses_reasoning import NATIVE, seal
from junctor.wire.responses_render import render_items

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
TEXT = st.text(min_size=1, max_size=20)


def said(*texts: str) -> list[dict[str, Any]]:
    return [{"type": "input_text", "text": text} for text in texts]


def message(role: str, *texts: str) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    content = [{"type": kind, "text": text} for text in texts]
    if role == "assistant":
        content = [{**part, "annotations": []} for part in content]
    return {"type": "message", "role": role, "content": content}


def call(number: int, arguments: str = "{}") -> dict[str, Any]:
    return {"type": "function_call", "call_id": f"c{number}", "name": "f", "arguments": arguments}


def output(number: int, text: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": f"c{number}", "output": text}


def native(proof: str, text: str = "") -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": text}] if text else []
    return {"type": "reasoning", "summary": summary, "encrypted_content": proof, "id": "rs_1"}


def back(items: list[dict[str, Any]], instructions: str | None = None) -> list[dict[str, Any]]:
    messages = render_messages(items, instructions).messages
    return render_items(msgspec.Raw(msgspec.json.encode(messages)))


def test_a_string_is_a_message() -> None:
    converted = render_messages([{"role": "user", "content": "Hi"}], "Be kind.")
    assert converted.messages == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
    ]


def test_what_an_assistant_did_in_one_turn_is_one_message() -> None:
    """Chat servers want a turn's calls in one message, and their results right after it."""
    turn = [native("p", "Hm."), message("assistant", "Let me see."), call(1), call(2)]
    user, assistant, *results = render_messages(
        [message("user", "Go"), *turn, output(1, "a"), output(2, "b")]
    ).messages
    assert user == {"role": "user", "content": "Go"}
    assert assistant["content"] == "Let me see."
    assert assistant["reasoning_content"] == "Hm."
    assert assistant["thinking_blocks"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": f"{NATIVE}rs_1:p"}
    ]
    assert [one["id"] for one in assistant["tool_calls"]] == ["c1", "c2"]
    assert [result["tool_call_id"] for result in results] == ["c1", "c2"]


def test_reasoning_after_text_keeps_its_place() -> None:
    """Interleaved reasoning: its proof holds only where it stood."""
    first, second = render_messages(
        [message("assistant", "One."), native("p"), call(1), output(1, "x")]
    ).messages[:2]
    assert "thinking_blocks" not in first
    assert len(second["thinking_blocks"]) == len(second["tool_calls"]) == 1


def test_sealed_blocks_come_back_as_they_were() -> None:
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": "s=="},
        {"type": "redacted_thinking", "data": "xyz"},
    ]
    items = [{"type": "reasoning", "summary": [], "encrypted_content": seal(block)} for block in blocks]
    (turn,) = render_messages(items).messages
    assert turn["thinking_blocks"] == blocks


def test_images_files_and_sounds() -> None:
    content = [
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    items = [{"type": "message", "role": "user", "content": content}]
    assert back(items) == items
    (user,) = render_messages(items).messages
    assert user["content"][0] == {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"},
    }


def test_a_tools_result_may_be_an_image() -> None:
    result = {
        "type": "function_call_output",
        "call_id": "c1",
        "output": [{"type": "input_image", "image_url": "https://x/y.png", "detail": "auto"}],
    }
    assert back([call(1), result])[1] == result


def test_what_no_other_api_can_carry_is_named() -> None:
    converted = render_messages(
        [
            message("user", "Go"),
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
            {"type": "computer_call_output", "call_id": "c", "output": {}},
            {"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]},
        ]
    )
    assert converted.left_out == ("input[1] (web_search_call)",)
    assert converted.refused == ("input[2] (computer_call_output)", "input[3].content[0] (input_image)")


@pytest.mark.parametrize(
    ("item", "param"),
    [
        ({"role": "wizard", "content": "x"}, "input[0].role"),
        ({"role": ["user"], "content": "x"}, "input[0].role"),
        ({"role": "user"}, "input[0].content"),
        ({"role": "user", "content": [1]}, "input[0].content[0]"),
        ({"role": "user", "content": [{"type": "input_text"}]}, "input[0].content[0].text"),
        ({"type": ["message"]}, "input[0].type"),
        ({"type": "function_call", "call_id": "", "name": "f", "arguments": ""}, "input[0].call_id"),
        ({"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}, "input[0].arguments"),
        ({"type": "function_call_output", "call_id": "c"}, "input[0].output"),
    ],
)
def test_what_is_malformed_is_refused_with_its_path(item: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        render_messages([item])
    assert caught.value.param == param


KINDS = st.sampled_from(
    ["message", "reasoning", "function_call", "function_call_output", "item_reference", "x", None, 1, []]
)
ITEMS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "type": KINDS,
            "role": st.sampled_from(["user", "assistant", "system", "tool", 1]),
            "content": JSON | st.lists(st.fixed_dictionaries({"type": KINDS, "text": JSON})),
            "summary": JSON,
            "encrypted_content": JSON | TEXT.map(lambda text: "junctor-1." + text),
            "call_id": JSON,
            "name": JSON,
            "arguments": JSON,
            "output": JSON,
            "id": JSON,
        },
    ),
    max_size=5,
)


@given(ITEMS)
def test_hostile_items_are_converted_or_refused(items: list[dict[str, Any]]) -> None:
    try:
        converted = render_messages(items)
    except BadRequest:
        return
    msgspec.json.encode(converted.messages)


@st.composite
def turns(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Conversations as clients have them: what a model said in its turn, in the order that models say it."""
    items: list[dict[str, Any]] = []
    number = 0
    for _ in range(draw(st.integers(1, 4))):
        items.append(message("user", *draw(st.lists(TEXT, min_size=1, max_size=2))))
        items += [native(draw(TEXT), draw(st.text(max_size=5))) for _ in range(draw(st.integers(0, 2)))]
        if draw(st.booleans()):
            items.append(message("assistant", draw(TEXT)))
        calls = draw(st.integers(0, 2))
        items += [call(number + one, draw(TEXT)) for one in range(calls)]
        items += [output(number + one, draw(TEXT)) for one in range(calls)]
        number += calls
    return items


@given(turns())
def test_items_survive_the_chat_form(items: list[dict[str, Any]]) -> None:
    """What a caller says in this API reaches an upstream of it whole, also when it went through the hall."""
    returned = [item for item in back(items) if item != _EMPTY]
    assert returned == items


_EMPTY = {"type": "message", "role": "assistant", "content": []}
