"""Output items as they grow, piece by piece."""

from __future__ import annotations

from typing import Any

from junctor.chat import Text, Thought, ToolCall
from junctor.wire.responses_output import Output
from junctor.wire.responses_reasoning import unseal

SUFFIX = "0" * 32


def names(said: Any) -> list[str]:
    return [name for name, _ in said]


def test_a_text_opens_a_message_and_the_end_closes_it() -> None:
    output = Output(SUFFIX, shows_proof=False)
    first = [*output.take(Text("Hel")), *output.take(Text("lo"))]
    assert names(first) == ["output_item.added", "content_part.added", *["output_text.delta"] * 2]
    last = [*output.end("completed")]
    assert names(last) == ["output_text.done", "content_part.done", "output_item.done"]
    assert last[-1][1]["item"] == output.shown()[0]
    assert output.shown()[0]["content"][0]["text"] == "Hello"


def test_calls_whose_pieces_come_in_turns_stay_whole() -> None:
    output = Output(SUFFIX, shows_proof=False)
    for piece in (
        ToolCall(0, "a", "f", '{"x"'),
        ToolCall(1, "b", "g", '{"y"'),
        ToolCall(0, arguments=": 1}"),
        ToolCall(1, arguments=": 2}"),
    ):
        list(output.take(piece))
    list(output.end("completed"))
    assert [(item["call_id"], item["arguments"]) for item in output.shown()] == [
        ("a", '{"x": 1}'),
        ("b", '{"y": 2}'),
    ]


def test_each_proof_ends_its_block() -> None:
    output = Output(SUFFIX, shows_proof=True)
    for thought in (
        Thought("One."),
        Thought(signature="s1"),
        Thought("Two.", signature="s2"),
        Thought(redacted="secret"),
        Thought("Three."),
    ):
        list(output.take(thought))
    list(output.end("completed"))
    assert [unseal(item.get("encrypted_content", "")) for item in output.shown()] == [
        {"type": "thinking", "thinking": "One.", "signature": "s1"},
        {"type": "thinking", "thinking": "Two.", "signature": "s2"},
        {"type": "redacted_thinking", "data": "secret"},
        None,
    ]


def test_a_proof_is_kept_even_when_the_caller_does_not_want_it() -> None:
    output = Output(SUFFIX, shows_proof=False)
    list(output.take(Thought("One.", signature="s")))
    list(output.end("completed"))
    assert "encrypted_content" not in output.shown()[0]
    assert unseal(output.kept()[0]["encrypted_content"]) is not None


def test_only_the_last_item_is_cut() -> None:
    output = Output(SUFFIX, shows_proof=False)
    list(output.take(Text("One")))
    list(output.take(ToolCall(0, "a", "f", '{"x')))
    list(output.end("incomplete"))
    assert [item["status"] for item in output.shown()] == ["completed", "incomplete"]


def test_a_call_without_an_id_gets_one() -> None:
    output = Output(SUFFIX, shows_proof=False)
    list(output.take(ToolCall(0, "", "f")))
    assert output.shown()[0]["call_id"].startswith("call_")
