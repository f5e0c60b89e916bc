"""One HTTP/1.1 reply as its bytes come: httptools parses, this keeps what it found."""

from __future__ import annotations

import httptools

MAX_HEADER_BYTES = 64 * 1024


class LineError(Exception):
    """The connection failed; the message says how, in words that fit after `the model ...`."""


class LineGarbled(LineError):
    """What came is not HTTP/1.1."""


class ReplyParser:
    """Status, headers and the unread bytes of the body of one reply."""

    def __init__(self) -> None:
        self.status = 0
        "0 until the headers are whole."
        self.headers: dict[str, str] = {}
        "Lower-case names; of a repeated one the last value."
        self.chunks: list[bytes] = []
        "What came of the body and was not taken yet."
        self.unread = 0
        "Bytes in `chunks`."
        self.heard = False
        "Whether any byte of the reply has come."
        self.complete = False
        self.until_close = False
        "Whether the body ends with the connection."
        self.keep_alive = False
        "Whether the server takes another request on this connection."
        self.error: LineError | None = None
        self._header_bytes = 0
        self._has_length = False
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def release(self) -> None:
        """Nothing more will be fed. Without the parser, which refers to us, no collector has to find us."""
        self._parser = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes; afterwards, see `error`."""
        self.heard = True
        assert self._parser is not None, "nothing is fed after release()"
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self.error is None:
                self.error = LineGarbled(f"sent something that is not HTTP/1.1 ({error})")

    def take(self) -> bytes:
        """All that is unread."""
        data = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        self.chunks.clear()
        self.unread = 0
        return data

    # What httptools calls.

    def on_message_begin(self) -> None:
        """A reply begins."""
        if self.complete:
            self.error = LineGarbled("sent more than one reply to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADER_BYTES:
            self.error = LineGarbled(f"sent more than {MAX_HEADER_BYTES} bytes of headers")
            return
        key = name.decode("latin-1").lower()
        self.headers[key] = value.decode("latin-1")
        if key in ("content-length", "transfer-encoding"):
            self._has_length = True

    def on_headers_complete(self) -> None:
        """Status and headers are whole."""
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status < 200:
            return
        self.status = status
        self.until_close = not self._has_length and status not in (204, 304)
        # The parser forgets this when the reply is whole.
        self.keep_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """Bytes of the body."""
        if self.error is None:
            self.chunks.append(body)
            self.unread += len(body)

    def on_message_complete(self) -> None:
        """The reply is whole; one of status 1xx only announces it."""
        if self.status:
            self.complete = True
        else:
            self.headers = {}
            self._has_length = False
