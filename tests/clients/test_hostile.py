"""A whole Junctor against hostile, slow and too many clients; others notice nothing of it."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256

import openai
import pytest

from running import Running, running

KEY = "jct-test-key"
CONFIG = f"""
[server]
head_timeout_s = 1
body_timeout_s = 1
max_body_bytes = 100000
max_in_flight = 4
[[keys]]
name = "tester"
sha256 = "{sha256(KEY.encode()).hexdigest()}"
[[models]]
name = "small"
provider = "scripted"
script = [
  {{ when = "slow", delay_s = 1.0 }}, {{ text = "At last." }},
  {{ turn = true, text = "Hello." }},
]
"""
BODY = b'{"model": "small", "messages": [{"role": "user", "content": "Hi"}]}'
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(CONFIG, tmp_path_factory.mktemp("server")) as it:
        yield it


class Answer:
    """All that came until the server closed."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        head, _, self.body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1]) if first else 0
        self.headers = dict(line.split(": ", 1) for line in lines)


def connect(server: Running) -> socket.socket:
    host, _, port = server.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def send(server: Running, data: bytes) -> Answer:
    with connect(server) as line:
        line.sendall(data)
        received = b""
        try:
            while piece := line.recv(65536):
                received += piece
        except ConnectionResetError:
            pass
    return Answer(received)


def request(
    path: str, *lines: str, method: str = "POST", body: bytes = b"", host: str = "localhost"
) -> bytes:
    head = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {KEY}", "Connection: close"]
    return "\r\n".join([*head, *lines, "", ""]).encode("latin-1") + body


def chat(*lines: str, body: bytes = BODY, **more: str) -> bytes:
    return request(CHAT, f"Content-Length: {len(body)}", *lines, body=body, **more)


def rows(server: Running) -> int:
    with closing(sqlite3.connect(server.database)) as database:
        return database.execute("SELECT count(*) FROM ledger").fetchone()[0]


def test_a_plain_request_is_answered(server: Running) -> None:
    answer = send(server, chat())
    assert answer.status == 200
    assert b"Hello." in answer.body


SMUGGLED = chat()
SETS = {
    "CL.TE": request(CHAT, "Content-Length: 6", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "TE.CL": request(CHAT, "Transfer-Encoding: chunked", "Content-Length: 4", body=b"5c\r\n"),
    "TE.TE": request(
        CHAT, "Transfer-Encoding: chunked", "Transfer-encoding: cow", body=b"0\r\n\r\n"
    ),
    "a hidden TE": request(CHAT, "Content-Length: 0", "Transfer-Encoding : chunked"),
    "two lengths": request(CHAT, "Content-Length: 0", f"Content-Length: {len(SMUGGLED)}"),
    "two hosts": chat("Host: elsewhere"),
    "obs-fold": request(CHAT, "Content-Length: 0", "X-A: b", " Transfer-Encoding: chunked"),
    "bare LF": request(CHAT, "Content-Length: 0", "X-A: b\nTransfer-Encoding: chunked"),
    "bare CR": request(CHAT, "Content-Length: 0", "X-A: b\rTransfer-Encoding: chunked"),
    "NUL": request(CHAT, "Content-Length: 0", "X-A: \0"),
    "absolute form": request(f"http://localhost{CHAT}", "Content-Length: 0"),
    "chunk extension": request(CHAT, "Transfer-Encoding: chunked", body=b"0;a\n\r\n\r\n"),
    "plus sign": request(CHAT, "Content-Length: +0"),
}  # fmt: skip


@pytest.mark.parametrize("data", SETS.values(), ids=SETS.keys())
def test_smuggled_requests_are_never_answered(server: Running, data: bytes) -> None:
    before = rows(server)
    answer = send(server, data + SMUGGLED)
    assert answer.status == 400
    assert answer.headers["connection"] == "close"
    assert answer.data.count(b"HTTP/1.1 ") == 1
    if b" http://" not in data:
        assert set(json.loads(answer.body)["error"]) == {"message", "type", "param", "code"}
    assert rows(server) == before


HOSTS = ["localhost?x", "localhost#x", "localhost/x", "a@localhost", "localhost\\x", "localhost:80:80", ""]
ROUTES = [CHAT, "/v1/models", "/v1/models/small", "/metrics", "/api/decisions/dec_1"]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("path", ROUTES)
def test_no_host_header_opens_a_door(server: Running, path: str, host: str) -> None:
    """Whatever stands there, with a path that needs no key in it or not."""
    for spelled in (host, f"{host}/healthz"):
        lines = f"GET {path} HTTP/1.1\r\nHost: {spelled}\r\nConnection: close\r\n\r\n"
        answer = send(server, lines.encode())
        assert answer.status == 400


def test_refusals_wear_the_envelope_of_their_path(server: Running) -> None:
    for path in (CHAT, "/v1/models"):
        answer = send(server, f"GET {path} HTTP/1.1\r\nbroken\r\n\r\n".encode())
        assert answer.headers["content-type"] == "application/json"
        assert json.loads(answer.body)["error"]["code"] == "malformed_request"
    for data in (b"GET /api/x HTTP/1.1\r\nbroken\r\n\r\n", b"\x16\x03\x01" * 10):
        answer = send(server, data)
        assert answer.headers["content-type"] == "application/problem+json"
        assert json.loads(answer.body)["code"] == "malformed_request"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (chat(*(f"x-{number}: a" for number in range(1000))), 431),
        (chat("x: " + "a" * 70_000), 431),
        (request("/v1/" + "a" * 10_000, method="GET"), 414),
        (chat("Content-Length: 10000000000").replace(b"Content-Length: 67\r\n", b""), 413),
        (request(CHAT, "Transfer-Encoding: chunked", body=b"4000\r\n" + b"x" * 0x4000 + b"\r\n") * 1, 408),
    ],
    ids=["1000 headers", "70 KB header", "10 KB path", "10 GB", "half a body"],
)
def test_what_is_too_large_or_too_slow(server: Running, data: bytes, status: int) -> None:
    answer = send(server, data)
    assert answer.status == status
    assert set(json.loads(answer.body)["error"]) == {"message", "type", "param", "code"}


def test_others_are_answered_while_many_are_slow(server: Running) -> None:
    """A hundred half heads, half bodies and silent connections: all closed in time, nobody else delayed."""
    slow = [connect(server) for _ in range(100)]
    for number, line in enumerate(slow):
        if number % 3 == 0:
            line.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: a")
        elif number % 3 == 1:
            line.sendall(b"GET /v1/models HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx")
    while send(server, chat()).status != 200:
        time.sleep(0.05)  # those who must not ask so are being refused; that counts as being answered
    for _ in range(20):
        assert send(server, chat()).status == 200
    for line in slow:
        while line.recv(65536):
            pass
        line.close()


def test_overload_is_told_at_once_and_the_official_client_comes_back(server: Running) -> None:
    slow = chat(body=BODY.replace(b"Hi", b"slow"))
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(send(server, slow))) for _ in range(12)]
    for thread in threads:
        thread.start()
    refused: Answer | None = None
    while refused is None and any(thread.is_alive() for thread in threads):
        answer = send(server, chat())
        refused = answer if answer.status == 503 else None
        probe = send(server, b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert probe.status == 200
    with openai.OpenAI(base_url=server.api, api_key=KEY, max_retries=5) as client:
        messages = [{"role": "user", "content": "Hi"}]
        reply = client.chat.completions.create(model="small", messages=messages)
    for thread in threads:
        thread.join()
    assert reply.choices[0].message.content == "Hello."
    shed = [answer for answer in answers if answer.status == 503]
    assert [answer.status for answer in answers].count(200) >= 4
    for answer in [*shed, *([refused] if refused else [])]:
        assert json.loads(answer.body)["error"]["code"] == "overloaded"
        assert 1 <= int(answer.headers["retry-after"]) <= 3
    assert shed


def read_figures(server: Running) -> dict[str, float]:
    text = send(server, request("/metrics", method="GET")).body.decode()
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(figure) for name, figure in lines}


def test_what_was_refused_is_counted(server: Running) -> None:
    before = read_figures(server)
    for _ in range(3):
        assert send(server, b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").status == 400
    figures = read_figures(server)
    assert figures["junctor_requests_refused"] >= before["junctor_requests_refused"] + 3
    assert "junctor_requests_shed" in figures
    assert figures["junctor_connections"] >= 1
    assert "junctor_loop_lag_seconds" in figures
