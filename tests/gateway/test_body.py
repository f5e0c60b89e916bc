"""Where a body ends, however its bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import MalformedRequest
from junctor.gateway.body import Chunked, Counted, Framing

END = b"0\r\n\r\n"


def feed(framing: Framing, pieces: list[bytes]) -> tuple[bytes, bytes]:
    """The whole content, and what followed the body."""
    content, rest = b"", b""
    for piece in pieces:
        if framing.complete:
            rest += piece
        else:
            more, after = framing.feed(piece)
            content, rest = content + more, rest + after
    return content, rest


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(edges)]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@given(st.binary(max_size=60), st.binary(max_size=20), st.lists(st.integers(0, 100)))
def test_a_counted_body_ends_after_so_many_bytes(content: bytes, after: bytes, places: list[int]) -> None:
    framing = Counted(len(content))
    assert feed(framing, cut(content + after, places)) == (content, after)
    assert framing.complete


@given(st.lists(st.binary(min_size=1, max_size=40)), st.binary(max_size=20), st.lists(st.integers(0, 500)))
def test_a_chunked_body_ends_with_its_last_chunk(
    chunks: list[bytes], after: bytes, places: list[int]
) -> None:
    framing = Chunked()
    data = b"".join(map(chunk, chunks)) + END + after
    assert feed(framing, cut(data, places)) == (b"".join(chunks), after)
    assert framing.complete


def test_a_body_that_has_not_ended_is_not_complete() -> None:
    for data in (b"", b"5", b"5\r", b"5\r\n", b"5\r\nab", b"5\r\nabcde", b"5\r\nabcde\r\n0\r\n", b"0\r\n\r"):
        framing = Chunked()
        feed(framing, [data])
        assert not framing.complete, data
    counted = Counted(3)
    counted.feed(b"ab")
    assert not counted.complete


MALFORMED = [
    b"\r\n", b"\n", b"g\r\n", b"-1\r\n", b"+1\r\n", b"0x1\r\n", b" 1\r\n", b"1 \r\n", b"1\t\r\n", b"1_0\r\n",
    b"1;a\r\n", b"1;a=b\r\n", b'1;a="\r\n"\r\n', b"1;\nb\r\n", b"1\n", b"1\r1", b"123456789\r\n", b"\0\r\n",
    b"f" * 17 + b"\r\n", b"1\r\nab", b"1\r\na\n", b"1\r\na\rb", b"2\r\na\r\n0", b"0\r\nX: a\r\n\r\n",
    b"0\r\nContent-Length: 1\r\n\r\n", b"0\r\n\n", b"0\r\n0\r\n\r\n", b"0;a\r\n\r\n", b"\xb2\r\n",
]  # fmt: skip


@pytest.mark.parametrize("data", MALFORMED)
def test_junk_is_refused_as_soon_as_it_shows(data: bytes) -> None:
    """Whole, and byte by byte."""
    with pytest.raises(MalformedRequest):
        feed(Chunked(), [data])
    with pytest.raises(MalformedRequest):
        feed(Chunked(), cut(data, list(range(len(data)))))


def test_a_flood_of_tiny_chunks_is_refused() -> None:
    """Each would cost as much as a large one."""
    assert feed(Chunked(), [chunk(b"x") * 200 + END])[0] == b"x" * 200
    assert len(feed(Chunked(), [chunk(b"x" * 16) * 5000 + END])[0]) == 80_000
    with pytest.raises(MalformedRequest, match="larger"):
        feed(Chunked(), [chunk(b"x") * 1000])


class Oracle:
    """llhttp, the parser of Node and of uvicorn, as a second opinion."""

    def __init__(self, data: bytes) -> None:
        self.content = b""
        self.ended = False
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        httptools.HttpRequestParser(self).feed_data(head + data)

    def on_body(self, data: bytes) -> None:
        self.content += data

    def on_message_complete(self) -> None:
        self.ended = True


@given(
    st.lists(
        st.sampled_from([b"1", b"2", b"a", b"0", b"00", b"\r\n", b"\r", b"\n", b"x", b"xy", b";", b" ", END])
    )
)
def test_what_we_accept_llhttp_reads_in_the_same_way(tokens: list[bytes]) -> None:
    framing = Chunked()
    data = b"".join(tokens)
    try:
        content, rest = framing.feed(data)
    except MalformedRequest:
        return
    if framing.complete:
        theirs = Oracle(data.removesuffix(rest))
        assert theirs.ended
        assert theirs.content == content
