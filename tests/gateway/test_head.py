"""One spelling of everything: what is read, and that all else is refused."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from junctor.chat import HeadTooLarge, JunctorError, MalformedRequest, TargetTooLong
from junctor.gateway.head import Head, HeadReader, check_unfinished, guess_path

GET = b"GET /a HTTP/1.1\r\nHost: a"
POST = b"POST /a HTTP/1.1\r\nHost: a"


def read(head: bytes) -> Head:
    return HeadReader().read(head)


def test_a_head_is_read() -> None:
    head = read(
        b"POST /v1/models/a%2Fb%20c?q=1&r=%20 HTTP/1.1\r\nHOST: [::1]:8400\r\nX-Odd:\t \xe9 b \t\r\n"
        b"empty:\r\n"
        b"Content-Length: 12\r\nexpect: 100-Continue"
    )
    assert head.line.method == "POST"
    assert head.line.path == "/v1/models/a/b c"
    assert (head.line.raw_path, head.line.query) == (b"/v1/models/a%2Fb%20c", b"q=1&r=%20")
    assert head.headers == [
        (b"host", b"[::1]:8400"),
        (b"x-odd", b"\xe9 b"),
        (b"empty", b""),
        (b"content-length", b"12"),
        (b"expect", b"100-Continue"),
    ]
    assert (head.length, head.chunked, head.keep_alive, head.expects_continue) == (12, False, True, True)


def test_a_chunked_body_is_announced() -> None:
    head = read(POST + b"\r\nTransfer-Encoding: CHUNKED")
    assert (head.length, head.chunked) == (0, True)


@pytest.mark.parametrize(
    ("head", "keeps"),
    [
        (GET, True),
        (GET + b"\r\nConnection: keep-alive, x", True),
        (GET + b"\r\nConnection: close", False),
        (GET + b"\r\nConnection: x\r\nConnection: TE, Close", False),
        (b"GET / HTTP/1.0", False),
        (b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive", False),
    ],
)
def test_whether_the_client_would_use_the_connection_again(head: bytes, keeps: bool) -> None:
    assert read(head).keep_alive is keeps


MALFORMED = {
    "two lengths": POST + b"\r\nContent-Length: 1\r\nContent-Length: 2",
    "the same length twice": POST + b"\r\nContent-Length: 1\r\ncontent-length: 1",
    "a list of lengths": POST + b"\r\nContent-Length: 1, 1",
    "CL.TE": POST + b"\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
    "TE.CL": POST + b"\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
    "CL.TE on two spellings": POST + b"\r\nContent-Length: 0\r\nTRANSFER-ENCODING: chunked",
    "no length": POST + b"\r\nContent-Length:",
    "a plus": POST + b"\r\nContent-Length: +1",
    "a minus": POST + b"\r\nContent-Length: -1",
    "hexadecimal": POST + b"\r\nContent-Length: 0x1",
    "a float": POST + b"\r\nContent-Length: 1.0",
    "an underscore": POST + b"\r\nContent-Length: 1_0",
    "a digit of another script": POST + b"\r\nContent-Length: \xb2",
    "a space inside": POST + b"\r\nContent-Length: 1 1",
    "a huge length": POST + b"\r\nContent-Length: 99999999999999999999",
    "identity": POST + b"\r\nTransfer-Encoding: identity",
    "gzip": POST + b"\r\nTransfer-Encoding: gzip, chunked",
    "chunked twice": POST + b"\r\nTransfer-Encoding: chunked, chunked",
    "chunked in two fields": POST + b"\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "identity, then chunked": POST + b"\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "xchunked": POST + b"\r\nTransfer-Encoding: xchunked",
    "quoted": POST + b'\r\nTransfer-Encoding: "chunked"',
    "a parameter": POST + b"\r\nTransfer-Encoding: chunked;q=1",
    "no coding": POST + b"\r\nTransfer-Encoding:",
    "vertical tab": POST + b"\r\nTransfer-Encoding: \x0bchunked",
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked",
    "space before the colon": POST + b"\r\nTransfer-Encoding : chunked",
    "tab before the colon": POST + b"\r\nTransfer-Encoding\t: chunked",
    "obs-fold": GET + b"\r\nX: a\r\n b",
    "obs-fold with a tab": POST + b"\r\nTransfer-Encoding:\r\n\tchunked",
    "obs-fold of the first header": b"GET / HTTP/1.1\r\n Host: a",
    "bare LF": GET + b"\nTransfer-Encoding: chunked",
    "bare LF in a value": GET + b"\r\nX: a\nContent-Length: 5",
    "bare CR": GET + b"\r\nX: a\rContent-Length: 5",
    "CR at the end": GET + b"\r\nX: a\r",
    "NUL in a value": GET + b"\r\nX: a\0b",
    "NUL in a name": GET + b"\r\nX\0: a",
    "a control character": GET + b"\r\nX: a\x01",
    "DEL": GET + b"\r\nX: \x7f",
    "no colon": GET + b"\r\nabc",
    "no name": GET + b"\r\n: a",
    "an odd name": GET + b"\r\nX(y): a",
    "a name beyond ASCII": GET + b"\r\n\xe9: a",
    "two hosts": GET + b"\r\nHost: b",
    "no host": b"GET / HTTP/1.1\r\nX: a",
    "an empty host": b"GET / HTTP/1.1\r\nHost:",
    "two authorizations": GET + b"\r\nAuthorization: Bearer a\r\nAuthorization: Bearer b",
    "expectation": GET + b"\r\nExpect: 200-ok",
    "absolute form": b"GET http://a/ HTTP/1.1\r\nHost: a",
    "authority form": b"CONNECT a:80 HTTP/1.1\r\nHost: a",
    "asterisk form": b"OPTIONS * HTTP/1.1\r\nHost: a",
    "no target": b"GET HTTP/1.1\r\nHost: a",
    "a relative target": b"GET a HTTP/1.1\r\nHost: a",
    "a fragment": b"GET /a#b HTTP/1.1\r\nHost: a",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: a",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: a",
    "a tab": b"GET\t/ HTTP/1.1\r\nHost: a",
    "a space at the end": b"GET / HTTP/1.1 \r\nHost: a",
    "a target beyond ASCII": b"GET /\xe9 HTTP/1.1\r\nHost: a",
    "a control character in the target": b"GET /\x01 HTTP/1.1\r\nHost: a",
    "a lower-case method": b"get / HTTP/1.1\r\nHost: a",
    "HTTP/0.9": b"GET /",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: a",
    "HTTP/2": b"PRI * HTTP/2.0",
    "HTTP/1.10": b"GET / HTTP/1.10\r\nHost: a",
    "HTTP/01.1": b"GET / HTTP/01.1\r\nHost: a",
    "lower-case http": b"GET / http/1.1\r\nHost: a",
    "another protocol": b"OPTIONS / RTSP/1.0\r\nHost: a",
    "nothing": b"",
}


@pytest.mark.parametrize("head", MALFORMED.values(), ids=MALFORMED.keys())
def test_any_other_spelling_is_refused(head: bytes) -> None:
    reader = HeadReader()
    reader.read(GET)
    with pytest.raises(MalformedRequest):
        reader.read(head)
    with pytest.raises(MalformedRequest):
        reader.read(head)  # what was refused is not remembered as a good line


@pytest.mark.parametrize(
    "host",
    ["a?b", "a#b", "a/b", "u@a", "a\\b", "a b", "a,b", "a:b", "a:", "a:1:2", "a:123456", "[::1", "::1",
     "[a]:1", "http://a", "a\t", "a\xe9", "<a>", "a%00", "[::1%25eth0]", "a;b", "*", '"a"'],
)  # fmt: skip
def test_a_host_that_others_read_differently_is_refused(host: str) -> None:
    """CVE-2026-48710 and its like: the path or the authority in a Host header."""
    if host.strip() == host:
        with pytest.raises(MalformedRequest, match="Host"):
            read(b"GET / HTTP/1.1\r\nHost: " + host.encode("latin-1"))


@pytest.mark.parametrize("host", ["a", "a.b-c_d.example:8400", "127.0.0.1", "[::1]:80", "LOCALHOST:1"])
def test_a_plain_host_is_taken(host: str) -> None:
    assert read(b"GET / HTTP/1.1\r\nHost: " + host.encode()).headers == [(b"host", host.encode())]


def test_a_request_of_http_1_0_needs_no_host() -> None:
    """Load balancers ask for health so."""
    assert read(b"GET /healthz HTTP/1.0").line.http_version == "1.0"


def test_sizes_have_limits() -> None:
    assert read(GET + b"\r\nX: a" * 99).length == 0
    with pytest.raises(HeadTooLarge):
        read(GET + b"\r\nX: a" * 100)
    with pytest.raises(HeadTooLarge):
        read(GET + b"\r\nX: " + b"a" * 33_000)
    with pytest.raises(TargetTooLong):
        read(b"GET /" + b"a" * 8200 + b" HTTP/1.1\r\nHost: a")


def test_a_head_that_has_not_ended_is_refused_when_it_cannot_become_one() -> None:
    for beginning in (b"G", b"GET", b"GET /", b"POST " + b"/" * 8000, GET, GET + b"\r\nX: " + b"a" * 30_000):
        check_unfinished(beginning)
    with pytest.raises(TargetTooLong):
        check_unfinished(b"GET /" + b"a" * 8200)
    with pytest.raises(HeadTooLarge):
        check_unfinished(GET + b"\r\nX: " + b"a" * 33_000)
    for beginning in (b"\x16\x03\x01\x02\x00", b"get /", b"A" * 30, b" GET /", b"\0", b"{"):
        with pytest.raises(MalformedRequest):
            check_unfinished(beginning)


def test_the_path_of_a_refused_request_is_guessed_within_bounds() -> None:
    assert guess_path(b"POST /v1/chat/completions?x HTTP/1.1\r\nbad") == "/v1/chat/completions"
    assert guess_path(b"\x16\x03") == ""
    assert len(guess_path(b"GET /" + b"a" * 9000)) < 300


def test_lines_are_remembered_within_bounds_and_secrets_never() -> None:
    reader = HeadReader()
    for number in range(5000):
        reader.read(
            b"GET /%d HTTP/1.1\r\nHost: a\r\nX: %d\r\nAuthorization: Bearer %d" % (number, number, number)
        )
    kept = [*reader._lines, *reader._fields]
    assert 0 < len(kept) <= 2048
    assert not [line for line in kept if b"Bearer" in line]
    reader.read(GET + b"\r\nX: " + b"a" * 1000)
    assert not [line for line in reader._fields if len(line) > 256]


class Oracle:
    """llhttp, the parser of Node and of uvicorn, as a second opinion."""

    def __init__(self, data: bytes) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.ended = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_message_complete(self) -> None:
        self.ended = True


NAMES = [
    "Host",
    "Content-Length",
    "Transfer-Encoding",
    "Connection",
    "X",
    "x-y",
    "Expect",
    "Accept",
    " X",
    "X ",
]
VALUES = [
    "a",
    "0",
    "1",
    "chunked",
    "close",
    "keep-alive",
    "a b",
    "",
    "a:80",
    "gzip",
    "\t1 ",
    "100-continue",
    "é",
]
LINES = st.builds(
    lambda name, colon, value, end: f"{name}{colon}{value}{end}".encode("latin-1"),
    st.sampled_from(NAMES),
    st.sampled_from([":", ": ", " :", ""]),
    st.sampled_from(VALUES) | st.text(st.characters(max_codepoint=255), max_size=4),
    st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", "\r\n "]),
)
FIRST = st.sampled_from(
    [b"GET / HTTP/1.1", b"POST /a?b HTTP/1.1", b"GET /%zz HTTP/1.0", b"GET /a#b HTTP/1.1", b"PUT  / HTTP/1.1"]
)


@given(FIRST, st.lists(LINES, max_size=6))
@example(b"POST / HTTP/1.1", [b"Host: a\r\n", b"Content-Length: 0\r\n"])
def test_what_we_accept_llhttp_reads_in_the_same_way(first: bytes, lines: list[bytes]) -> None:
    """No request means one thing to us and another to the parser that most servers use."""
    data = first + b"\r\n" + b"".join(lines)
    head = data.removesuffix(b"\r\n")
    end = (data + b"\r\n").find(b"\r\n\r\n")
    try:
        ours = read(head[:end])
    except JunctorError:
        return
    tail = b"0\r\n\r\n" if ours.chunked else b"x" * ours.length
    if ours.length > 10:
        return
    theirs = Oracle(head[:end] + b"\r\n\r\n" + tail)
    assert theirs.ended
    assert theirs.headers == ours.headers
    assert theirs.parser.get_method().decode() == ours.line.method
    assert httptools.parse_url(theirs.url).path == ours.line.raw_path
    if ours.line.http_version == "1.1":
        assert theirs.parser.should_keep_alive() is ours.keep_alive
