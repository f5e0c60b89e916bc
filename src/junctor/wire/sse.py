"""Server-sent events, both ways.

The format is that of the HTML standard, section 9.2.6 (`text/event-stream`), without `id` and `retry`: no
model API uses them.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

MAX_EVENT_BYTES = 16 * 1024 * 1024
"Room for one event: a whole answer in one piece, or an inline image."

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_FEED, _RETURN = 0x0A, 0x0D


KEEPALIVE = b": keepalive\n\n"
"A comment: it tells proxies and clients that the stream lives. Readers skip it."


class ServerEvent(msgspec.Struct, frozen=True):
    """One event."""

    data: bytes
    "The values of its `data` lines, joined by line feeds."
    name: str = ""
    "Its type; empty means `message`."


class EventTooLarge(ValueError):
    """One event exceeds the parser's limit."""


class EventParser:
    """Reads events out of bytes that come in pieces of any size.

    An event that the stream does not end with an empty line is dropped, as the standard has it.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._limit = max_event_bytes
        self._held: list[bytes] = []
        "The unfinished last line, as it came: joined once, when its end is there."
        self._held_size = 0
        self._after_return = False
        "Whether the last byte seen was a carriage return that ended a line."
        self._data: list[bytes] = []
        self._size = 0
        self._name = ""
        self._at_start = True

    def feed(self, piece: bytes) -> Iterator[ServerEvent]:
        """Take the next piece; give the events that it completes. Raises `EventTooLarge`."""
        for line in self._lines(piece):
            if line:
                self._take(line)
                continue
            if self._data:
                yield ServerEvent(b"\n".join(self._data), self._name)
            self._data, self._size, self._name = [], 0, ""

    def _lines(self, piece: bytes) -> Iterator[bytes]:
        if self._at_start:
            piece = b"".join([*self._held, piece])
            self._held.clear()
            if len(piece) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(piece):
                self._held.append(piece)
                return
            piece = piece.removeprefix(_BYTE_ORDER_MARK)
            self._at_start = False
        start = 0
        if self._after_return and piece:
            # The line feed of a CR LF whose halves came in two pieces ends no second line.
            start = 1 if piece[0] == _FEED else 0
            self._after_return = False
        while (end := _line_end(piece, start)) is not None:
            stop, after = end
            line = piece[start:stop]
            if self._held:
                line = b"".join([*self._held, line])
                self._held.clear()
                self._held_size = 0
            self._after_return = after == len(piece) and piece[-1] == _RETURN
            yield line
            start = after
        if start < len(piece):
            self._held.append(piece[start:])
            self._held_size += len(piece) - start
            if self._size + self._held_size > self._limit:
                raise EventTooLarge(f"one event has more than {self._limit} bytes")

    def _take(self, line: bytes) -> None:
        self._size += len(line)
        if self._size > self._limit:
            raise EventTooLarge(f"one event has more than {self._limit} bytes")
        field, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")


def _line_end(text: bytes, start: int) -> tuple[int, int] | None:
    """Where the line that goes on at `start` ends, and where the next one begins; None: it is unfinished."""
    feed = text.find(b"\n", start)
    back = text.find(b"\r", start, feed if feed >= 0 else len(text))
    if back < 0:
        return None if feed < 0 else (feed, feed + 1)
    return back, back + (2 if text[back + 1 : back + 2] == b"\n" else 1)


def render_event(data: bytes, event: str | None = None) -> bytes:
    """One event as bytes. Line ends within `data` become several `data` lines."""
    name = b"" if event is None else b"event: " + event.encode() + b"\n"
    if b"\n" in data or b"\r" in data:
        lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        return name + b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"
    return name + b"data: " + data + b"\n\n"
