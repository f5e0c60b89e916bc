"""One request, one reply, one row: whatever a client does, and however a model fails."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import pytest

from running import Running, running

CONFIG = """
[server]
max_body_bytes = 10000
keepalive_s = 1
body_timeout_s = 0.5
[retries]
attempts = 1
[[models]]
name = "small"
provider = "scripted"
price = { input = 1.0, output = 2.0 }
ability = 0.4
script = [
  { when = "slow", text = "One" }, { delay_s = 30 }, { text = " two" },
  { when = "think", delay_s = 2.5 }, { text = "Aha." },
  { when = "ponder", delay_s = 2.5 }, { fail = "upstream_broken" },
  { when = "hang", delay_s = 30 }, { text = "late" },
  { when = "cut", text = "Half" }, { fail = "upstream_broken" },
  { when = "busy", fail = "upstream_rate_limited", retry_after_s = 7 },
  { turn = true, text = "Hello." },
]
[[models]]
name = "large"
provider = "scripted"
price = { input = 10.0, output = 20.0 }
ability = 0.8
script = [{ text = "Good day." }]
[[models]]
name = "frail"
provider = "scripted"
fallbacks = ["large"]
script = [{ fail = "upstream_unreachable" }]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(CONFIG, tmp_path_factory.mktemp("server")) as it:
        yield it


class Answer:
    """A raw HTTP/1.1 reply."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        if self.headers.get("transfer-encoding") == "chunked":
            self.body = _unchunk(self.body)

    @property
    def error(self) -> dict[str, Any]:
        error = json.loads(self.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error


def _unchunk(data: bytes) -> bytes:
    out = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        if not int(size, 16):
            break
        out, data = out + data[: int(size, 16)], data[int(size, 16) + 2 :]
    return out


def connect(server: Running) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def request_bytes(
    body: bytes, *headers: str, method: str = "POST", path: str = "/v1/chat/completions"
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", "connection: close", *headers]
    if not any(header.startswith("content-length") for header in headers):
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def send(server: Running, data: bytes) -> Answer:
    with connect(server) as line:
        line.sendall(data)
        received = b""
        while piece := line.recv(65536):
            received += piece
    return Answer(received)


def chat(server: Running, text: str = "Hi", *headers: str, **fields: Any) -> Answer:
    body = {"model": "small", "messages": [{"role": "user", "content": text}], **fields}
    return send(server, request_bytes(json.dumps(body).encode(), *headers))


def rows(server: Running) -> list[dict[str, Any]]:
    with sqlite3.connect(server.database) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM ledger ORDER BY request_id")]


def row_of(server: Running, answer: Answer) -> dict[str, Any]:
    found = [row for row in rows(server) if row["request_id"] == answer.headers["x-request-id"]]
    assert len(found) == 1, "every request leaves exactly one row"
    return found[0]


def test_an_answer_leaves_one_row_with_what_it_cost(server: Running) -> None:
    answer = chat(server)
    row = row_of(server, answer)
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == "Hello."
    assert (row["asked_model"], row["model"], row["outcome"], row["http_status"]) == (
        "small",
        "small",
        "ok",
        200,
    )
    assert row["usd_nano"] == row["input_tokens"] * 1000 + row["output_tokens"] * 2000
    assert row["strongest_model"] == "large"
    assert row["saved_usd_nano"] == 9 * row["usd_nano"]
    assert row["price_source"] == "junctor.toml"
    assert float(answer.headers["x-junctor-cost"]) == pytest.approx(row["usd_nano"] / 1e9)


def test_a_streams_last_comment_is_its_receipt(server: Running) -> None:
    answer = chat(server, stream=True)
    comment = next(line for line in answer.body.splitlines() if line.startswith(b": junctor "))
    receipt = json.loads(comment.removeprefix(b": junctor "))
    row = row_of(server, answer)
    assert receipt["usd"] == pytest.approx(row["usd_nano"] / 1e9)
    assert answer.body.rstrip().endswith(b"data: [DONE]")


def test_a_stream_that_thinks_for_long_gives_signs_of_life(server: Running) -> None:
    """Comments, which every client skips; the status is out by then, so a failure is an error event."""
    answer = chat(server, "think", stream=True)
    assert answer.body.startswith(b": keepalive\n\n")
    assert answer.body.count(b": keepalive") in {1, 2}
    assert b"Aha." in answer.body
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert b"keepalive" not in chat(server, "think").body
    failed = chat(server, "ponder", stream=True)
    assert failed.status == 200
    assert failed.body.count(b'data: {"error"') == 1
    assert row_of(server, failed)["outcome"] == "upstream_broken"


def test_azures_urls_and_claude_codes_aliases_lead_here(server: Running) -> None:
    """The model of the URL counts; `asked_model` is what the caller said."""
    body = json.dumps({"messages": [{"role": "user", "content": "Hi"}]}).encode()
    path = "/openai/deployments/large/chat/completions?api-version=2024-10-21"
    answer = send(server, request_bytes(body, path=path))
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == "Good day."
    assert row_of(server, answer)["route"] == "/v1/chat/completions"
    lost = send(server, request_bytes(body, path=path.replace("large", "lost")))
    assert lost.status == 404
    assert "lost" in lost.error["message"]
    alias = chat(server, model="claude-junctor-large")
    assert row_of(server, alias)["model"] == "large"
    v1 = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    assert send(server, request_bytes(v1, path="/openai/v1/chat/completions")).status == 200


def test_auto_leaves_its_decision(server: Running) -> None:
    answer = chat(server, model="auto")
    row = row_of(server, answer)
    assert row["decision_id"] == answer.headers["x-junctor-decision"]
    assert row["asked_model"] == "auto"
    with sqlite3.connect(server.database) as connection:
        found = connection.execute("SELECT request_id FROM decisions WHERE id = ?", (row["decision_id"],))
        assert found.fetchall() == [(row["request_id"],)]


def test_a_fallback_answers_and_is_named(server: Running) -> None:
    answer = chat(server, model="frail")
    row = row_of(server, answer)
    assert answer.headers["x-junctor-model"] == row["model"] == "large"
    assert row["attempts"] == 2


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "JSON"),
        (b"{", 400, "JSON"),
        (b"[]", 400, "object"),
        (b"\xff\xfe", 400, "UTF-8"),
        (b'{"messages": []}', 400, "model"),
        (b'{"model": "small"}', 400, "messages"),
        (b'{"model": "small", "messages": []}', 400, "at least one"),
        (b'{"model": "nobody", "messages": [{}]}', 404, "There are: auto, frail, fusion, large, small"),
        (b'{"model": "auto", "messages": ["x"]}', 400, "messages[0]"),
        (b'{"model": "auto", "messages": [{"role": "user", "content": 3}]}', 400, "messages[0]"),
        (b'{"model": "small", "messages": [{}], "junctor": {"quality": 3}}', 400, "0 to 1"),
        (b'{"model": "auto", "messages": [{"role": "user"}], "junctor": {"only": ["smal"]}}', 400, "small"),
        (b"[" * 5000, 400, ""),
    ],
)  # fmt: skip
def test_bad_bodies_are_explained_and_leave_a_row(
    server: Running, body: bytes, status: int, words: str
) -> None:
    answer = send(server, request_bytes(body))
    assert answer.status == status
    assert words in answer.error["message"]
    row = row_of(server, answer)
    assert (row["outcome"], row["http_status"]) == (answer.error["code"], status)
    assert row["usd_nano"] == 0


def test_a_body_over_the_limit_is_refused_before_it_is_sent(server: Running) -> None:
    """The client announces 10 GB and sends nothing: the answer comes all the same."""
    answer = send(server, request_bytes(b"", "content-length: 10000000000"))
    assert answer.status == 413
    assert answer.error["code"] == "request_too_large"
    assert "10000" in answer.error["message"]
    row_of(server, answer)


def test_a_chunked_body_over_the_limit_is_refused(server: Running) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = send(server, head + (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 4)
    assert answer.status == 413


def test_a_body_that_does_not_come_is_given_up(server: Running) -> None:
    answer = send(server, request_bytes(b"{", "content-length: 100"))
    assert answer.status == 408
    row_of(server, answer)


def test_other_methods_and_paths(server: Running) -> None:
    answer = send(server, request_bytes(b"", method="GET"))
    assert (answer.status, answer.error["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"
    answer = send(server, request_bytes(b"", path="/v1/nothing"))
    assert (answer.status, answer.error["code"]) == (404, "route_not_found")
    answer = send(server, request_bytes(b"", path="/api/nothing"))
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(answer.body)["code"] == "route_not_found"
    answer = send(server, request_bytes(b"", method="POST", path="/v1/models"))
    assert answer.status == 405


def test_an_upstream_that_asks_for_patience_is_quoted(server: Running) -> None:
    answer = chat(server, "busy")
    assert answer.status == 429
    assert answer.headers["retry-after"] == "7"
    assert answer.error["type"] == "rate_limit_error"
    assert row_of(server, answer)["outcome"] == "upstream_rate_limited"


def test_a_cut_before_the_end_of_a_whole_answer_is_an_error_status(server: Running) -> None:
    answer = chat(server, "cut")
    assert answer.status == 502
    assert answer.headers["x-should-retry"] == "false"


def test_a_cut_in_mid_stream_is_one_error_event_and_no_done(server: Running) -> None:
    answer = chat(server, "cut", stream=True)
    events = [line for line in answer.body.splitlines() if line.startswith(b"data: ")]
    assert answer.status == 200
    assert json.loads(events[-1].removeprefix(b"data: "))["error"]["code"] == "upstream_broken"
    assert b"[DONE]" not in answer.body
    row = row_of(server, answer)
    assert (row["outcome"], row["http_status"]) == ("upstream_broken", 200)
    assert row["tokens_estimated"] == 1
    assert row["output_tokens"] > 0


@pytest.mark.parametrize("prompt", ["slow", "hang"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_the_call_and_leaves_a_row(
    server: Running, prompt: str, stream: bool
) -> None:
    before = {row["request_id"] for row in rows(server)}
    body = {"model": "small", "stream": stream, "messages": [{"role": "user", "content": prompt}]}
    with connect(server) as line:
        line.sendall(request_bytes(json.dumps(body).encode()))
        if stream and prompt == "slow":
            assert b"One" in line.recv(65536)
        else:
            time.sleep(0.1)
    deadline = time.monotonic() + 5
    new: list[dict[str, Any]] = []
    while not new and time.monotonic() < deadline:
        time.sleep(0.02)
        new = [row for row in rows(server) if row["request_id"] not in before]
    assert [row["outcome"] for row in new] == ["client_gone"]
    assert new[0]["total_ms"] < 5000


def test_a_web_page_of_another_origin_is_refused(server: Running) -> None:
    answer = chat(server, "Hi", "origin: https://evil.example")
    assert answer.status == 400
    assert "web pages" in answer.error["message"]


def test_the_server_lives_and_counts(server: Running) -> None:
    """After all of the above."""
    chat(server)
    answer = send(server, request_bytes(b"", method="GET", path="/metrics"))
    text = answer.body.decode()
    assert 'junctor_requests_total{model="small",outcome="ok",route="/v1/chat/completions"}' in text
    assert "junctor_requests_in_flight 0.0" in text
    ready = send(server, request_bytes(b"", method="GET", path="/readyz"))
    assert (ready.status, json.loads(ready.body)["status"]) == (200, "ready")
