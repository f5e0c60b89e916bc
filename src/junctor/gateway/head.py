"""The head of an HTTP/1.1 request, by a grammar that knows one spelling of everything (RFC 9112).

Request smuggling lives on what two servers read differently. So nothing is repaired here: a line ends with
CR LF, a field is `name: value` on one line, a length is digits, a coding is `chunked`, a target is a path.
Whatever is spelled otherwise, and whatever the RFC lets a server choose how to read, is refused.

Most lines of a head are those of the request before it (`user-agent`, `accept`, the request line itself), so
what they mean is kept; lines that carry a secret are not.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import msgspec

from junctor.chat import HeadTooLarge, JunctorError, MalformedRequest, TargetTooLong

MAX_LINE = 8 * 1024
"Bytes of the request line; beyond it 414."
MAX_FIELDS_SIZE = 32 * 1024
"Bytes of all fields; beyond it 431."
MAX_FIELDS = 100
"Fields; beyond it 431."

_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) (/[!-\"$-~]*+) HTTP/1\.([01])")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):([\t -~\x80-\xff]*+)")
_METHOD_BEGINS = re.compile(rb"[A-Z]{1,20}(?: |$)")
_PATH = re.compile(rb"[A-Z]{1,20} (/[!-\"$->@-~]{0,256})")

_GRAMMARS = {
    b"host": re.compile(rb"(?:[0-9A-Za-z._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"),
    b"content-length": re.compile(rb"[0-9]{1,15}"),
    b"transfer-encoding": re.compile(rb"(?i:chunked)"),
    b"expect": re.compile(rb"(?i:100-continue)"),
}
"Of the fields that say where a request goes and ends: their whole value."
_GRAMMAR_WORDS = {
    b"host": "the Host header must be a name or an address, and a port if need be",
    b"content-length": "Content-Length must be digits alone, 15 at most",
    b"transfer-encoding": "Transfer-Encoding must be `chunked` alone",
    b"expect": "Expect can be `100-continue` only",
}
_ONCE = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"expect", b"authorization", b"content-encoding"}
)
"Fields that mean something to us, and nothing when they stand twice."
_SECRET = frozenset({b"authorization", b"proxy-authorization", b"x-api-key", b"api-key", b"cookie"})
_KEPT_LINES = 1024
_KEPT_LENGTH = 256


class RequestLine(msgspec.Struct, frozen=True, gc=False):
    """The first line."""

    method: str
    path: str
    "Decoded."
    raw_path: bytes
    query: bytes
    http_version: str
    "`1.0` or `1.1`."


class Head(msgspec.Struct, frozen=True):
    """A request up to its body."""

    line: RequestLine
    headers: list[tuple[bytes, bytes]]
    "Names in lower case, values without the white space around them."
    length: int
    "Bytes of the body; 0 when it is chunked."
    chunked: bool
    keep_alive: bool
    "Whether the client would use this connection again."
    expects_continue: bool
    "Whether it waits for `100 Continue` before it sends the body."


class HeadReader:
    """Reads heads, and remembers the lines that come again and again."""

    def __init__(self) -> None:
        self._lines: dict[bytes, RequestLine] = {}
        self._fields: dict[bytes, tuple[bytes, bytes]] = {}

    def read(self, head: bytes) -> Head:
        """`head` is all before the empty line. Raises `MalformedRequest`, `HeadTooLarge`, `TargetTooLong`."""
        first, *rest = head.split(b"\r\n")
        line = self._lines.get(first) or self._read_line(first)
        if len(rest) > MAX_FIELDS or len(head) - len(first) > MAX_FIELDS_SIZE:
            raise _too_large()
        known = self._fields.get
        headers = [known(field) or self._read_field(field) for field in rest]
        fields = dict(headers)
        if len(fields) < len(headers):
            _refuse_repeated(headers)
        if b"host" not in fields and line.http_version == "1.1":
            raise MalformedRequest("HTTP/1.1 needs a Host header")
        length, chunked = _read_framing(fields, line)
        keeps = line.http_version == "1.1" and (b"connection" not in fields or not _closes(headers))
        return Head(line, headers, length, chunked, keeps, b"expect" in fields)

    def _read_line(self, first: bytes) -> RequestLine:
        if len(first) > MAX_LINE:
            raise _too_long()
        found = _REQUEST_LINE.fullmatch(first)
        if found is None:
            raise MalformedRequest(
                "the request line must be `METHOD /path HTTP/1.1`, with a path of visible ASCII characters"
            )
        method, target, minor = found.groups()
        raw_path, _, query = target.partition(b"?")
        path = raw_path.decode("ascii")
        line = RequestLine(
            method.decode("ascii"),
            unquote(path) if "%" in path else path,
            raw_path,
            query,
            "1.1" if minor == b"1" else "1.0",
        )
        _keep(self._lines, first, line)
        return line

    def _read_field(self, field: bytes) -> tuple[bytes, bytes]:
        found = _FIELD.fullmatch(field)
        if found is None:
            raise MalformedRequest(
                "a header is not `name: value` on one line; names take letters, digits and !#$%&'*+-.^_`|~, "
                "values no control characters, and lines end with CR LF"
            )
        name, value = found[1].lower(), found[2].strip(b" \t")
        if (grammar := _GRAMMARS.get(name)) is not None and grammar.fullmatch(value) is None:
            raise MalformedRequest(_GRAMMAR_WORDS[name])
        if name not in _SECRET and name != b"content-length":
            _keep(self._fields, field, (name, value))
        return name, value


def check_unfinished(data: bytes) -> None:
    """Whether a head that has not ended yet can still become one. Raises as `HeadReader.read` does."""
    end = data.find(b"\r\n")
    if _METHOD_BEGINS.match(data, 0, 21) is None:
        raise MalformedRequest(
            "this is not HTTP; Junctor speaks plain HTTP/1.1 here (for TLS put a proxy in front of it)"
        )
    if end > MAX_LINE or (end < 0 and len(data) > MAX_LINE + 1):
        raise _too_long()
    if end >= 0 and len(data) - end > MAX_FIELDS_SIZE:
        raise _too_large()


def guess_path(data: bytes) -> str:
    """The path of a request that was refused, as far as it can be seen: it says how to word the refusal."""
    found = _PATH.match(data)
    return unquote(found[1].decode("ascii")) if found else ""


def _keep(store: dict[bytes, Any], line: bytes, meaning: object) -> None:
    """Bounded: whoever sends new lines for ever only makes us forget."""
    if len(line) <= _KEPT_LENGTH:
        if len(store) >= _KEPT_LINES:
            store.clear()
        store[line] = meaning


def _read_framing(fields: dict[bytes, bytes], line: RequestLine) -> tuple[int, bool]:
    """Length of the body, and whether it is chunked instead."""
    length = fields.get(b"content-length")
    if b"transfer-encoding" not in fields:
        return 0 if length is None else int(length), False
    if length is not None:
        raise MalformedRequest("Content-Length and Transfer-Encoding exclude each other; send one")
    if line.http_version == "1.0":
        raise MalformedRequest("HTTP/1.0 has no Transfer-Encoding")
    return 0, True


def _refuse_repeated(headers: list[tuple[bytes, bytes]]) -> None:
    seen = set[bytes]()
    for name, _ in headers:
        if name in seen and name in _ONCE:
            raise MalformedRequest(f"the header {name.decode()} stands twice; send it once")
        seen.add(name)


def _closes(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(
        token.strip() == b"close"
        for name, value in headers
        if name == b"connection"
        for token in value.lower().split(b",")
    )


def _too_long() -> JunctorError:
    return TargetTooLong(f"the request line is longer than {MAX_LINE} bytes; send parameters in the body")


def _too_large() -> JunctorError:
    return HeadTooLarge(f"more than {MAX_FIELDS} headers, or {MAX_FIELDS_SIZE} bytes of them; send fewer")
