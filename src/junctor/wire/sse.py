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
        self._rest = b""
        "The unfinished last line."
        self._searched = 0
        "Bytes of `_rest` that are known to hold no line end."
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
        text = self._rest + piece if self._rest else piece
        if self._at_start:
            if len(text) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(text):
                self._rest = text
                return
            text = text.removeprefix(_BYTE_ORDER_MARK)
            self._at_start = False
        start, searched = 0, self._searched
        self._rest, self._searched = b"", 0
        if self._after_return and text:
            # The line feed of a CR LF whose halves came in two pieces ends no second line.
            start = 1 if text[0] == _FEED else 0
            self._after_return = False
        while (end := _line_end(text, max(start, searched))) is not None:
            stop, after = end
            self._after_return = after == len(text) and text[-1] == _RETURN
            yield text[start:stop]
            start = after
        self._rest = text[start:]
        self._searched = len(self._rest)
        if self._size + len(self._rest) > self._limit:
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
