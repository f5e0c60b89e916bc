"""One HTTP/1.1 reply out of bytes, however they come."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.pool.reply_parser import MAX_HEADER_BYTES, LineGarbled, ReplyParser

CHUNKED = b"HTTP/1.1 200 OK\r\nX-A: 1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"


def parse(*pieces: bytes) -> ReplyParser:
    parser = ReplyParser()
    for piece in pieces:
        parser.feed(piece)
    return parser


@given(st.lists(st.integers(0, len(CHUNKED)), max_size=6))
def test_any_split_gives_the_same_reply(at: list[int]) -> None:
    places = [0, *sorted(at), len(CHUNKED)]
    parser = parse(*(CHUNKED[start:stop] for start, stop in pairwise(places)))
    assert (parser.status, parser.headers["x-a"], parser.take()) == (200, "1", b"abcde")
    assert parser.complete
    assert parser.keep_alive
    assert not parser.until_close
    assert parser.error is None


def test_a_reply_without_a_length_goes_on_until_the_connection_closes() -> None:
    parser = parse(b"HTTP/1.1 200 OK\r\n\r\nab")
    assert parser.until_close
    assert not parser.complete
    assert not parse(b"HTTP/1.1 204 OK\r\n\r\n").until_close


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n", True),
    ],
)
def test_whether_the_connection_lives_on(head: bytes, kept: bool) -> None:
    parser = parse(head)
    assert parser.complete
    assert parser.keep_alive is kept


def test_taking_empties_the_buffer() -> None:
    parser = parse(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab", b"c")
    assert parser.unread == 3
    assert parser.take() == b"abc"
    assert (parser.unread, parser.take()) == (0, b"")


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\ny",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * MAX_HEADER_BYTES + b"\r\n\r\n",
    ],
)
def test_what_is_not_one_proper_reply_is_garbled(reply: bytes) -> None:
    parser = parse(reply)
    assert isinstance(parser.error, LineGarbled)
    assert b"y" not in parser.take()


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_any_bytes_are_a_reply_or_garbled(pieces: list[bytes]) -> None:
    parse(b"HTTP/1.1 200 OK\r\n", *pieces).take()
