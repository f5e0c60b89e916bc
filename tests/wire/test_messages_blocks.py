"""Blocks come one after the other, whatever order their pieces come in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import Text, Thought, ToolCall, UpstreamBroken
from junctor.wire.messages_blocks import RAW_ARGUMENTS, Blocks, parse_arguments
from junctor.wire.sse import EventParser

Piece = Text | Thought | ToolCall


def stream(*pieces: Piece) -> list[list[dict[str, Any]]]:
    """The events that go out after each piece, and at the end."""
    blocks = Blocks()
    sent = []
    for piece in pieces:
        blocks.add(piece)
        sent.append(b"".join(blocks.send()))
    sent.append(b"".join(blocks.send(last=True)))
    found = []
    for part in sent:
        events = list(EventParser().feed(part))
        assert all(json.loads(event.data)["type"] == event.name for event in events)
        found.append([json.loads(event.data) for event in events])
    return found


def joined(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a client puts together; fails when blocks are not one after the other."""
    blocks: list[dict[str, Any]] = []
    is_open = False
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert not is_open
                assert event["index"] == len(blocks)
                blocks.append({**event["content_block"], "json": ""})
                is_open = True
            case "content_block_delta":
                assert is_open
                assert event["index"] == len(blocks) - 1
                delta = event["delta"]
                match delta["type"]:
                    case "text_delta":
                        blocks[-1]["text"] += delta["text"]
                    case "thinking_delta":
                        blocks[-1]["thinking"] += delta["thinking"]
                    case "signature_delta":
                        blocks[-1]["signature"] += delta["signature"]
                    case "input_json_delta":
                        blocks[-1]["json"] += delta["partial_json"]
            case "content_block_stop":
                assert is_open
                assert event["index"] == len(blocks) - 1
                is_open = False
    assert not is_open
    for block in blocks:
        arguments = block.pop("json")
        if block["type"] == "tool_use":
            block["input"] = parse_arguments(arguments)
    return blocks


def test_what_can_be_sent_is_sent_at_once() -> None:
    after = stream(Text("a"), Text("b"), ToolCall(0, "t", "f"), ToolCall(0, arguments='{"a":1}'), Text("c"))
    kinds = [[event["type"].removeprefix("content_block_") for event in events] for events in after]
    assert kinds == [
        ["start", "delta"],
        ["delta"],
        ["stop", "start"],
        ["delta"],
        ["stop", "start", "delta"],
        ["stop"],
    ]


def test_parallel_calls_are_blocks_of_their_own() -> None:
    """As most servers send them: a call begins when the one before is complete, and is sent as it comes."""
    after = stream(
        ToolCall(0, "t0", "f", '{"a"'),
        ToolCall(0, arguments=": 1}"),
        ToolCall(1, "t1", "g"),
        ToolCall(1, arguments="{}"),
    )
    assert [event["type"] for event in after[2]] == ["content_block_stop", "content_block_start"]
    assert joined([event for events in after for event in events]) == [
        {"type": "tool_use", "id": "t0", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "t1", "name": "g", "input": {}},
    ]


def test_pieces_of_a_later_call_wait_until_the_earlier_is_complete() -> None:
    after = stream(
        ToolCall(0, "t0", "f", '{"a": "}'),
        ToolCall(1, "t1", "g", '{"b'),
        Text("and"),
        ToolCall(1, arguments='":2}'),
        ToolCall(0, arguments='"}'),
    )
    assert [len(events) for events in after] == [2, 0, 0, 0, 8, 1]
    assert joined([event for events in after for event in events]) == [
        {"type": "tool_use", "id": "t0", "name": "f", "input": {"a": "}"}},
        {"type": "tool_use", "id": "t1", "name": "g", "input": {"b": 2}},
        {"type": "text", "text": "and"},
    ]


def test_a_proof_ends_its_block() -> None:
    pieces = [
        Thought("Hm, "),
        Thought("so."),
        Thought(signature="zz"),
        Thought(redacted="xx"),
        Thought("Two.", signature="yy"),
        Thought(signature="only"),
        Text("Yes."),
    ]
    wanted = [
        {"type": "thinking", "thinking": "Hm, so.", "signature": "zz"},
        {"type": "redacted_thinking", "data": "xx"},
        {"type": "thinking", "thinking": "Two.", "signature": "yy"},
        {"type": "thinking", "thinking": "", "signature": "only"},
        {"type": "text", "text": "Yes."},
    ]
    assert joined([event for events in stream(*pieces) for event in events]) == wanted
    blocks = Blocks()
    for piece in pieces:
        blocks.add(piece)
    assert blocks.whole() == wanted


def test_a_call_that_goes_on_after_its_end_is_broken() -> None:
    """White space does no harm; anything else would be lost."""
    done = [ToolCall(0, "t0", "f", "{}"), ToolCall(1, "t1", "g", "{}")]
    stream(*done, ToolCall(0, arguments="\n"))
    with pytest.raises(UpstreamBroken, match="complete"):
        stream(*done, ToolCall(0, arguments="x"))


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ('{"a": 1}', {"a": 1}),
        ("", {}),
        (" ", {}),
        ('{"a": ', {RAW_ARGUMENTS: '{"a": '}),
        ("[1]", {RAW_ARGUMENTS: "[1]"}),
        ("{" * 9000, {RAW_ARGUMENTS: "{" * 9000}),
    ],
)
def test_arguments_that_are_no_object_are_kept(text: str, given: dict[str, Any]) -> None:
    assert parse_arguments(text) == given


WORDS = st.text(min_size=1, max_size=5)
PIECES = st.lists(
    WORDS.map(Text)
    | st.builds(Thought, WORDS)
    | st.builds(lambda signature: Thought(signature=signature), WORDS)
    | st.builds(lambda data: Thought(redacted=data), WORDS)
    | st.builds(
        lambda index, arguments: ToolCall(index, f"t{index}", "f", arguments),
        st.integers(0, 3),
        st.sampled_from(["", "{", '"a"', ":", "1", "\u00e9"]),
    ),
    max_size=15,
)


@given(PIECES)
def test_a_stream_and_a_whole_reply_say_the_same(pieces: list[Piece]) -> None:
    blocks = Blocks()
    for piece in pieces:
        blocks.add(piece)
    assert joined([event for events in stream(*pieces) for event in events]) == blocks.whole()
