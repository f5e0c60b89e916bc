"""An upstream that says what it is told to, and remembers what it was sent, byte for byte."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Sent:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    "By lower-case name."
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Scripted:
    """One reply. What is no bytes is JSON; a list is a stream of events."""

    body: Any
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()

    def render(self) -> tuple[str, bytes]:
        if isinstance(self.body, bytes):
            kind = "text/event-stream" if self.body.startswith((b"event:", b"data:")) else "application/json"
            return kind, self.body
        if isinstance(self.body, list):
            return "text/event-stream", b"".join(event_of(one) for one in self.body)
        return "application/json", json.dumps(self.body).encode()


def event_of(value: Any) -> bytes:
    """One server-sent event, as Anthropic sends it where it has a type, else as OpenAI does."""
    if value == "[DONE]":
        return b"data: [DONE]\n\n"
    data = json.dumps(value, separators=(",", ":")).encode()
    return (
        b"event: %b\ndata: %b\n\n" % (value["type"].encode(), data)
        if "type" in value
        else b"data: %b\n\n" % data
    )


class RecordedServer:
    """Answers each request with the next reply; the last one again and again."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[Sent] = []
        self.replies: deque[Scripted] = deque()

    @property
    def base_url(self) -> str:
        """What an upstream is configured with."""
        return f"{self.url}/v1"

    def script(self, *replies: Any, **fields: Any) -> None:
        """What comes next."""
        self.replies.clear()
        self.replies.extend(one if isinstance(one, Scripted) else Scripted(one, **fields) for one in replies)

    def take(self) -> Scripted:
        return self.replies.popleft() if len(self.replies) > 1 else self.replies[0]


@contextmanager
def recorded_server() -> Iterator[RecordedServer]:
    """A server on loopback until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.seen.append(Sent(self.path, headers, body))
            reply = server.take()
            kind, data = reply.render()
            self.send_response(reply.status)
            for name, value in (("content-type", kind), ("content-length", str(len(data))), *reply.headers):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Tests are silent."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    server = RecordedServer(f"http://127.0.0.1:{listener.server_address[1]}")
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join(10)
