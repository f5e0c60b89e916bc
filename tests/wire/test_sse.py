"""Server-sent events: any chunking gives the same events, and what is rendered is read back."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.wire.sse import EventParser, EventTooLarge, ServerEvent, render_event

LINE = st.binary(max_size=20).map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b""))
NAMES = st.none() | st.text("abc_.", min_size=1, max_size=8)
STREAM_PIECES = st.sampled_from(
    [
        *(b"data: a\n", b"data:b\r\n", b"data\r", b"\n", b"\r\n", b"\r", b": comment\n", b"event: x\n"),
        *(b"\xef\xbb\xbf", b"data: \xc3\xa9\n\n", b"retry: 5\r\n", b"id: 1\n", b"data: {}\n\n"),
    ]
)


def parse(*pieces: bytes) -> list[ServerEvent]:
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)]


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    places = sorted({0, len(stream), *(place % (len(stream) + 1) for place in at)})
    return [stream[start:stop] for start, stop in pairwise(places)]


@given(st.lists(STREAM_PIECES, max_size=12), st.lists(st.integers(0, 400), max_size=8))
def test_any_split_gives_the_same_events(pieces: list[bytes], at: list[int]) -> None:
    stream = b"".join(pieces)
    assert parse(*cut(stream, at)) == parse(stream) == parse(*(bytes([byte]) for byte in stream))


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=6))
def test_arbitrary_bytes_never_crash_and_split_alike(stream: bytes, at: list[int]) -> None:
    assert parse(*cut(stream, at)) == parse(stream)


@given(st.lists(st.tuples(st.lists(LINE, min_size=1, max_size=4).map(b"\n".join), NAMES), max_size=5))
def test_what_is_rendered_is_read_back(events: list[tuple[bytes, str | None]]) -> None:
    stream = b"".join(render_event(data, name) for data, name in events)
    assert parse(stream) == [ServerEvent(data, name or "") for data, name in events]


def test_one_data_line_is_rendered_as_it_is() -> None:
    assert render_event(b'{"a": 1}') == b'data: {"a": 1}\n\n'
    assert render_event(b"{}", "ping") == b"event: ping\ndata: {}\n\n"


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_every_line_end_of_the_standard_counts(end: bytes) -> None:
    lines = [b"event: greet", b"data: a", b"data: b", b"", b": keepalive", b"", b"data: c", b"", b""]
    stream = end.join(lines)
    assert parse(stream) == [ServerEvent(b"a\nb", "greet"), ServerEvent(b"c")]


def test_an_event_is_given_as_soon_as_its_empty_line_is_there() -> None:
    """Not one byte later: a token must not wait for the next."""
    for end in (b"\n\n", b"\r\r", b"\r\n\r\n"):
        assert parse(b"data: now" + end) == [ServerEvent(b"now")]


def test_only_one_space_after_the_colon_is_dropped() -> None:
    assert parse(b"data:  x\n\ndata:y\n\n") == [ServerEvent(b" x"), ServerEvent(b"y")]


def test_a_byte_order_mark_is_skipped_even_in_pieces() -> None:
    assert parse(b"\xef", b"\xbb", b"\xbfdata: x\n\n") == [ServerEvent(b"x")]


def test_events_without_data_are_dropped_and_so_is_an_unfinished_one() -> None:
    assert parse(b"event: x\n\ndata: half") == []


def test_an_event_over_the_limit_is_refused_line_by_line_and_in_sum() -> None:
    with pytest.raises(EventTooLarge):
        list(EventParser(10).feed(b"data: " + b"x" * 20))
    with pytest.raises(EventTooLarge):
        list(EventParser(20).feed(b"data: 123456\n" * 3))
    parser = EventParser(20)
    assert len([event for _ in range(50) for event in parser.feed(b"data: 123456\n\n")]) == 50


def test_an_endless_comment_is_refused_too() -> None:
    parser = EventParser(100)
    with pytest.raises(EventTooLarge):
        for _ in range(100):
            list(parser.feed(b": xxxx"))
