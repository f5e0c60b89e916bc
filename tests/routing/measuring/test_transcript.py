"""A reply collected beside its stream is what the caller read, in every dialect."""

from __future__ import annotations

import msgspec
import pytest

from junctor.chat import Answer, ChatRequest, Dialect, Event, Finished, Raw, Started, Text, Thought, ToolCall
from junctor.routing.measuring.transcript import Transcript


def read(
    *events: Event, relay: Dialect | None = None, stream: bool = False, most: int = 1000
) -> Answer | None:
    request = ChatRequest(model="auto", messages=msgspec.Raw(b"[]"), relay=relay, stream=stream)
    transcript = Transcript(request, most)
    for event in events:
        transcript.see(event)
    return transcript.read()


def test_decoded_events_are_joined_and_thoughts_left_out() -> None:
    answer = read(Started("m"), Thought("hm"), Text("4"), Text("2"), Finished("length"))
    assert answer == Answer(model="m", text="42", reason="length")


def test_pieces_of_tool_calls_are_joined() -> None:
    answer = read(
        Started("m"),
        ToolCall(0, id="a", name="look", arguments='{"x":'),
        ToolCall(1, id="b", name="see", arguments="{}"),
        ToolCall(0, arguments=" 1}"),
        Finished("tool_calls"),
    )
    assert answer is not None
    assert [(call.name, call.arguments) for call in answer.tool_calls] == [
        ("look", '{"x": 1}'),
        ("see", "{}"),
    ]


CHUNK = b'{"choices":[{"index":0,"delta":{"content":"%s"}}]}'
DELTA = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}}'
START = b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}'


@pytest.mark.parametrize(
    ("relay", "frames"),
    [
        ("openai_chat", [CHUNK % b"Four", CHUNK % b"ty-two"]),
        ("anthropic_messages", [START, DELTA % b"Four", DELTA % b"ty-two"]),
        (
            "openai_responses",
            [
                b'{"type":"response.output_text.delta","output_index":0,"delta":"Four"}',
                b'{"type":"response.output_text.delta","output_index":0,"delta":"ty-two"}',
            ],
        ),
    ],
)
def test_relayed_frames_of_a_stream_are_decoded_afterwards(relay: Dialect, frames: list[bytes]) -> None:
    answer = read(Started("m"), *map(Raw, frames), Finished("stop"), relay=relay, stream=True)
    assert answer is not None
    assert answer.text == "Fourty-two"


@pytest.mark.parametrize(
    ("relay", "body"),
    [
        ("openai_chat", b'{"choices":[{"message":{"content":"42"},"finish_reason":"stop"}]}'),
        ("anthropic_messages", b'{"content":[{"type":"text","text":"42"}],"stop_reason":"end_turn"}'),
        (
            "openai_responses",
            b'{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"42"}]}]}',
        ),
    ],
)
def test_a_relayed_whole_reply_is_decoded_afterwards(relay: Dialect, body: bytes) -> None:
    answer = read(Started("m"), Raw(body), Finished("stop"), relay=relay)
    assert answer is not None
    assert answer.text == "42"


def test_a_reply_that_was_cut_is_none() -> None:
    assert read(Started("m"), Text("4")) is None


def test_a_reply_that_is_too_long_is_forgotten_at_once() -> None:
    assert read(Started("m"), Text("4" * 600), Text("4" * 600), Text("4"), Finished("stop")) is None


def test_frames_that_nobody_can_read_are_none() -> None:
    assert read(Started("m"), Raw(b"{nonsense"), Finished("stop"), relay="openai_chat", stream=True) is None


def test_what_is_forgotten_takes_no_memory() -> None:
    transcript = Transcript(ChatRequest(model="auto", messages=msgspec.Raw(b"[]")), 1000)
    for _ in range(100):
        transcript.see(Text("4" * 600))
    assert transcript._said == []
