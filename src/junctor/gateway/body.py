"""Where the body of an HTTP/1.1 request ends: after so many bytes, or with its last chunk (RFC 9112)."""

from __future__ import annotations

import re
from typing import Protocol

from junctor.chat import MalformedRequest

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_SIZE_BEGINS = re.compile(rb"[0-9A-Fa-f]{0,8}\r?")
_FREE_CHUNKS = 256
_MEAN_CHUNK = 16
"Bytes that chunks hold on average, at the least: each costs us as much as a larger one."


class Framing(Protocol):
    """Finds the end of one body in bytes as they come."""

    complete: bool
    "Whether the body has ended."

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """The content in `data`, and what follows the body. Raises `MalformedRequest`."""
        ...


class Counted:
    """A body of a declared length."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.complete = length == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """The content in `data`, and what follows the body."""
        if len(data) < self._left:
            self._left -= len(data)
            return data, b""
        content, rest = data[: self._left], data[self._left :]
        self._left = 0
        self.complete = True
        return content, rest


class Chunked:
    """A body in chunks. Extensions and trailers mean nothing to us and are refused: others misread them."""

    def __init__(self) -> None:
        self._unread = b""
        self._left = 0
        "Bytes of the current chunk that are still to come, CR LF after it not counted."
        self._in_chunk = False
        self._chunks = 0
        self._size = 0
        self.complete = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """The content in `data`, and what follows the body. Raises `MalformedRequest`."""
        data, self._unread = self._unread + data, b""
        pieces: list[bytes] = []
        at = 0
        while not self.complete:
            if self._left:
                pieces.append(data[at : at + self._left])
                at += len(pieces[-1])
                self._left -= len(pieces[-1])
            step = 0 if self._left else self._read_line(data, at)
            if not step:
                self._unread = data[at:]
                break
            at += step
        return b"".join(pieces), data[at:] if self.complete else b""

    def _read_line(self, data: bytes, at: int) -> int:
        """Read the end of a chunk, or the size of the next. Gives its length; 0: it has not all come."""
        if self._in_chunk:
            return self._read_end(data, at)
        found = _SIZE_LINE.match(data, at)
        if found is None:
            if _SIZE_BEGINS.fullmatch(data, at) is None:
                raise MalformedRequest("a chunk must begin with its size: up to 8 hexadecimal digits, CR LF")
            return 0
        self._in_chunk = True
        self._left = int(found[1], 16)
        if self._left:
            self._count()
            return found.end() - at
        return self._read_last(data, at, found.end())

    def _read_end(self, data: bytes, at: int) -> int:
        end = data[at : at + 2]
        if not b"\r\n".startswith(end):
            raise MalformedRequest("a chunk must end with CR LF after as many bytes as it says")
        if len(end) < 2:
            return 0
        self._in_chunk = False
        return 2

    def _read_last(self, data: bytes, at: int, after: int) -> int:
        """The last chunk, `0 CR LF CR LF`: as a whole or not at all."""
        end = data[after : after + 2]
        if not b"\r\n".startswith(end):
            raise MalformedRequest("trailers after the last chunk are not accepted")
        self._in_chunk = False
        if len(end) < 2:
            return 0
        self.complete = True
        return after + 2 - at

    def _count(self) -> None:
        self._chunks += 1
        self._size += self._left
        if self._chunks > _FREE_CHUNKS and self._size < self._chunks * _MEAN_CHUNK:
            raise MalformedRequest(f"chunks of less than {_MEAN_CHUNK} bytes on average; send larger ones")
