"""One request and its reply, as an ASGI application sees them: a scope, `receive` and `send`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Protocol

from junctor.gateway.head import Head
from junctor.gateway.pipe import Pipe
from junctor.gateway.receive import LINE, ASGIApp, Message

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_ASGI = {"version": "3.0", "spec_version": "2.3"}
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus
}
_WITHOUT_BODY = frozenset({204, 304})
_FRAMING = frozenset({b"content-length", b"connection", b"transfer-encoding"})
Address = tuple[str, int] | None

_UNTIL_CLOSE = -2
_IN_CHUNKS = -1


def _render_status_line(status: int) -> bytes:
    """The first line of a reply."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def render_fields(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as they go over the line."""
    return b"".join(b"%b: %b\r\n" % field for field in headers)


def render_reply(status: int, date_field: bytes, fields: bytes, body: bytes, *, closes: bool) -> bytes:
    """A whole reply, for what is refused before there is an exchange. `fields`: see `render_fields`."""
    ending = b"connection: close\r\n" if closes else b""
    length = b"content-length: %d\r\n" % len(body)
    return b"".join([_render_status_line(status), date_field, fields, length, ending, b"\r\n", body])


def render_scope(head: Head, server: Address, client: Address) -> dict[str, Any]:
    """ASGI's scope."""
    line = head.line
    return {
        "type": "http",
        "asgi": _ASGI,
        "http_version": line.http_version,
        "server": server,
        "client": client,
        "scheme": "http",
        "method": line.method,
        "root_path": "",
        "path": line.path,
        "raw_path": line.raw_path,
        "query_string": line.query,
        "headers": head.headers,
    }


class Line(Protocol):
    """The connection, as an exchange needs it."""

    pipe: Pipe

    @property
    def date_field(self) -> bytes:
        """`date: ...`, with its CR LF."""
        ...

    def lasts(self, exchange: Exchange) -> bool:
        """Whether the connection can be used again after this reply."""
        ...

    def answered(self, *, lasts: bool) -> None:
        """The last byte of the reply has been written."""
        ...

    def left(self, exchange: Exchange) -> None:
        """The application has returned."""
        ...


class Exchange:
    """One request and its reply."""

    __slots__ = (
        "_end_told",
        "_expects_continue",
        "_left",
        "_line",
        "_method",
        "_news",
        "_on_lost",
        "_pieces",
        "_reply_head",
        "_reply_lasts",
        "arrived",
        "complete",
        "gone",
        "scope",
        "started",
        "task",
        "waiting_bytes",
    )

    def __init__(self, line: Line, head: Head, scope: dict[str, Any]) -> None:
        self._line = line
        self._method = head.line.method
        self._expects_continue = head.expects_continue
        self.scope = scope
        scope[LINE] = self
        self.task: asyncio.Task[None] | None = None
        "What answers it."
        self._pieces: list[bytes] = []
        self.waiting_bytes = 0
        "Bytes of the body that the application has not read."
        self.arrived = False
        "Whether the whole request is here."
        self._end_told = False
        self._news: asyncio.Event | None = None
        self._on_lost: Callable[[], None] | None = None
        self._reply_head: bytes | None = None
        "Held back until the first byte of the body: until then another reply is possible."
        self._reply_lasts = True
        self._left = 0
        "Bytes of the reply's body still to come, or how its end will be known."
        self.started = False
        "Whether the first byte of the reply has been written."
        self.complete = False
        "Whether the last one has."
        self.gone = False
        "Whether nobody reads the reply any more."

    async def run(self, app: ASGIApp) -> None:
        """Have it answered."""
        try:
            await app(self.scope, self.receive, self.send)
        finally:
            self._line.left(self)
            # It refers to us, and we to it: without this a collector would have to find out.
            self.scope.pop(LINE, None)

    def arrive(self, data: bytes, *, last: bool) -> None:
        """Some of the body has come."""
        self._pieces.append(data)
        self.waiting_bytes += len(data)
        self.arrived = last
        if self._news is not None:
            self._news.set()

    def lose(self) -> None:
        """The client has left."""
        self.gone = True
        if self._news is not None:
            self._news.set()
        if self._on_lost is not None:
            self._on_lost()

    def when_lost(self, tell: Callable[[], None] | None) -> None:
        """Whom to tell when the client leaves, or that it has; None: nobody any more."""
        self._on_lost = tell
        if tell is not None and self.gone:
            tell()

    async def receive(self) -> Message:
        """ASGI's `receive`."""
        if self._expects_continue and not self.started and not self.arrived and not self.gone:
            self._expects_continue = False
            self._line.pipe.write(CONTINUE)
        while not self.gone and not self.complete:
            if self._pieces or (self.arrived and not self._end_told):
                return self._take()
            if self._news is None:
                self._news = asyncio.Event()
            self._news.clear()
            await self._news.wait()
        return {"type": "http.disconnect"}

    def _take(self) -> Message:
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.waiting_bytes = 0
        self._end_told = self.arrived
        if not self.arrived:
            self._line.pipe.resume_reading()
        return {"type": "http.request", "body": body, "more_body": not self.arrived}

    async def send(self, message: Message) -> None:
        """ASGI's `send`. Nothing leaves before the first byte of the body."""
        if self.gone:
            return
        if message["type"] == "http.response.start":
            self._start(message)
            return
        line = self._line
        data = self._frame(message.get("body", b""), last=not message.get("more_body", False))
        if self._reply_head is not None:
            data, self._reply_head = self._reply_head + data, None
            self.started = True
        if data:
            line.pipe.write(data)
        if self.complete:
            if self._news is not None:
                self._news.set()
            line.answered(lasts=self._reply_lasts)
        elif line.pipe.stuck:
            await line.pipe.drained()

    def _start(self, message: Message) -> None:
        if self._reply_head is not None or self.started:
            raise RuntimeError("a reply has one start")
        status: int = message["status"]
        lines = [_render_status_line(status), self._line.date_field]
        ends = 3
        length: int | None = None
        lasts = self._line.lasts(self)
        for name, value in message.get("headers", ()):
            if (known := name.lower()) in _FRAMING:
                if known == b"content-length":
                    length = int(value)
                elif known == b"connection":
                    lasts = lasts and value.lower() != b"close"
                    continue
                else:
                    continue  # how the end is marked is ours to choose
            lines += (name, b": ", value, b"\r\n")
            ends += 1
        bodiless = self._method == "HEAD" or status in _WITHOUT_BODY
        if bodiless or length is not None:
            self._left = 0 if bodiless else length or 0
        elif self.scope["http_version"] == "1.1":
            self._left = _IN_CHUNKS
            lines.append(b"transfer-encoding: chunked\r\n")
            ends += 1
        else:
            self._left = _UNTIL_CLOSE
            lasts = False
        if not lasts:
            lines.append(b"connection: close\r\n")
            ends += 1
        lines.append(b"\r\n")
        self._reply_lasts = lasts
        self._reply_head = _join(lines, ends)

    def _frame(self, body: bytes, *, last: bool) -> bytes:
        """A piece of the reply's body as it goes over the line."""
        if self.complete or (self._reply_head is None and not self.started):
            raise RuntimeError("a reply is one start, then pieces, of which one is the last")
        if self._method == "HEAD":
            body = b""
        if self._left >= 0:
            self._left -= len(body)
            if self._left < 0 or (last and self._left):
                raise RuntimeError("the reply's body is not as long as its content-length")
        elif self._left == _IN_CHUNKS:
            if body:
                body = b"%x\r\n%b\r\n" % (len(body), body)
            if last:
                body += b"0\r\n\r\n"
        self.complete = last
        return body


def _join(lines: list[bytes], ends: int) -> bytes:
    """A reply's head of so many line ends: one more would be a header or a reply that was smuggled in."""
    head = b"".join(lines)
    if head.count(b"\n") != ends or head.count(b"\r") != ends or b"\0" in head:
        raise RuntimeError("a header of the reply holds a control character")
    return head
