"""The traffic of soak_load.py: an upstream whose answers can be told apart, and a load that checks each.

An answer is pieces `<number.at>...`, the first of which says how long the upstream waited; so a caller knows
of every answer whether it is its own, whole and in order, and what the server between them added.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import re
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import uvloop

from gateway_bench.servers import PROMPT

WAIT_S = 0.05
HALF_S = 0.002
"Between the halves of a chunk; less than any pause."
PATIENCE_S = 30.0
IDLE_S = 10.0
"Connections of the load that idle so long are closed; the server would after 75 s."
NOTE = re.compile(rb"waited=([\d.]+);")
COMMENT = re.compile(rb"(?m)^:.*\n\n")
RECEIPT = re.compile(rb"(?m)^: junctor \{")
FILLER = "les mêmes mots, encore et encore: 同じ言葉 🙂 until the size of a chunk is right"


def piece(number: int, at: int, note: str = "") -> str:
    """The text of one chunk of one answer."""
    return f"<{number}.{at}>{note}{FILLER[at % 40 :]}"


def event(text: str, finish: str | None = None) -> str:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return json.dumps(
        {"id": "x", "object": "chat.completion.chunk", "created": 1, "choices": [choice]}, ensure_ascii=False
    )


USAGE = '"usage":{"prompt_tokens":210,"completion_tokens":180,"total_tokens":390}'
LAST = [event("", "stop"), f'{{"id":"x","object":"chat.completion.chunk","choices":[],{USAGE}}}', "[DONE]"]


class Upstream(asyncio.Protocol):
    """Waits, then answers what the prompt's `number=`, `chunks=` and `pause_ms=` say."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if not found or not length or len(body) < int(length[1]):
            return
        self.received = b""
        wanted = re.search(rb"number=(\d+); chunks=(\d+); pause_ms=(\d+);", body)
        assert wanted, body
        self.number, self.chunks, pause_ms = map(int, wanted.groups())
        self.pause_s = pause_ms / 1e3
        began = time.perf_counter()
        asyncio.get_running_loop().call_later(WAIT_S, self.answer, began)

    def answer(self, began: float) -> None:
        note = f"waited={time.perf_counter() - began:.6f};"
        if self.chunks:
            head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            self.transport.write(head.encode())
            self.stream(0, note)
            return
        message = json.dumps({"role": "assistant", "content": piece(self.number, 0, note)})
        text = (
            f'{{"id":"x","object":"chat.completion","created":1,"model":"m",{USAGE},"choices":[{{"index":0,'
        )
        text += f'"finish_reason":"stop","message":{message}}}]}}'
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n"
        self.transport.write((head + text).encode())

    def stream(self, at: int, note: str = "") -> None:
        self.say(event(piece(self.number, at, note)), halves=at % 7 == 3 and at + 1 < self.chunks)
        if at + 1 < self.chunks:
            asyncio.get_running_loop().call_later(self.pause_s, self.stream, at + 1)
            return
        for line in LAST:
            self.say(line)
        self.transport.write(b"0\r\n\r\n")

    def say(self, line: str, *, halves: bool = False) -> None:
        data = f"data: {line}\n\n".encode()
        if halves:
            middle = len(data) // 2
            self.write(data[:middle])
            asyncio.get_running_loop().call_later(HALF_S, self.write, data[middle:])
        else:
            self.write(data)

    def write(self, data: bytes) -> None:
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data))


async def _serve_upstream(listener: socket.socket) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, sock=listener)
    await server.serve_forever()


@contextmanager
def upstream() -> Iterator[tuple[int, int]]:
    """The upstream as a process of its own: its port, its process id."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    child = multiprocessing.get_context("fork").Process(
        target=lambda: uvloop.run(_serve_upstream(listener)), daemon=True
    )
    child.start()
    port = listener.getsockname()[1]
    listener.close()
    try:
        assert child.pid
        yield port, child.pid
    finally:
        child.kill()
        child.join()


class Ask(NamedTuple):
    """One request: `chunks` 0 asks for a whole answer."""

    number: int
    chunks: int = 0
    pause_ms: int = 0

    def render(self, port: int, key: str) -> bytes:
        said = f"{PROMPT} number={self.number}; chunks={self.chunks}; pause_ms={self.pause_ms};"
        fields: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": said}]}
        if self.chunks:
            fields |= {"stream": True, "stream_options": {"include_usage": True}}
        body = json.dumps(fields)
        return (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: "
            f"application/json\r\nauthorization: {key}\r\ncontent-length: {len(body)}\r\n\r\n{body}"
        ).encode()


class Reply(NamedTuple):
    """What came: times in seconds since the request was written."""

    status: int
    body: bytes
    first_s: float
    total_s: float

    def waited_s(self, ask: Ask) -> float:
        """How long the upstream waited. Raises `ValueError` where a byte is missing, foreign or misplaced."""
        waited = NOTE.search(self.body)
        if self.status != 200 or not waited:
            raise ValueError(f"status {self.status} {self.body[:60]!r}")
        note = waited[0].decode()
        if not ask.chunks:
            whole = json.loads(self.body)["choices"][0]["message"]["content"] == piece(ask.number, 0, note)
        else:
            lines = [event(piece(ask.number, at, "" if at else note)) for at in range(ask.chunks)] + LAST
            events = "".join(f"data: {line}\n\n" for line in lines).encode()
            whole = COMMENT.sub(b"", self.body) == events and len(RECEIPT.findall(self.body)) == 1
        if not whole:
            raise ValueError("not whole, or out of order")
        return float(waited[1])


class Line(asyncio.Protocol):
    """One kept connection; one request at a time."""

    def __init__(self, lost: Callable[[Line], None]) -> None:
        self._lost = lost
        self._waiting: asyncio.Future[Reply] | None = None
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def ask(self, request: bytes) -> asyncio.Future[Reply]:
        self._waiting = asyncio.get_running_loop().create_future()
        self._received, self._body = bytearray(), bytearray()
        self._status, self._left, self._first_s = 0, -1, 0.0
        self._began = time.perf_counter()
        self.transport.write(request)
        return self._waiting

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._status and not self._read_head():
            return
        if self._received and not self._first_s:
            self._first_s = time.perf_counter() - self._began
        ended = self._read_chunks() if self._left < 0 else len(self._received) >= self._left
        if ended and self._waiting is not None and not self._waiting.done():
            body = bytes(self._body if self._left < 0 else self._received)
            total_s = time.perf_counter() - self._began
            self._waiting.set_result(Reply(self._status, body, self._first_s, total_s))

    def _read_head(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._received[:end])
        length = re.search(rb"content-length: (\d+)", head)
        self._status, self._left = int(head[9:12]), int(length[1]) if length else -1
        del self._received[: end + 4]
        return True

    def _read_chunks(self) -> bool:
        """Whether that was the last."""
        at = 0
        while (end := self._received.find(b"\r\n", at)) >= 0:
            size = int(self._received[at:end], 16)
            if len(self._received) < end + size + 4:
                break
            self._body += self._received[end + 2 : end + 2 + size]
            at = end + size + 4
            if not size:
                return True
        del self._received[:at]
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._lost(self)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError("the connection broke"))


@dataclass
class Load:
    """Sends, checks every answer, and keeps the times."""

    port: int
    key: str
    errors: Counter[str] = field(default_factory=Counter)
    first_s: list[float] = field(default_factory=list)
    "To the first chunk, beyond the upstream's wait."
    added_s: list[float] = field(default_factory=list)
    "To the end of whole answers, beyond the upstream's wait."
    late_s: list[float] = field(default_factory=list)
    "How late requests went out: the load's own fault."
    answered: int = 0
    lines: int = 0
    "Open connections."
    most_at_once: int = 0
    _free: deque[Line] = field(default_factory=deque)
    _asking: set[asyncio.Task[None]] = field(default_factory=set)

    async def offer(self, asks: Iterator[Ask], rate: float) -> None:
        """Each at its time, whatever became of those before it."""
        began = time.perf_counter()
        for turn, ask in enumerate(asks):
            due = began + turn / rate
            await asyncio.sleep(due - time.perf_counter())
            self.late_s.append(time.perf_counter() - due)
            task = asyncio.create_task(self._ask(ask))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
            self.most_at_once = max(self.most_at_once, len(self._asking))
        await asyncio.gather(*self._asking)

    async def _ask(self, ask: Ask) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S + ask.chunks * ask.pause_ms / 1e3):
                line = self._free.pop() if self._free else await self._connect()
                reply = await line.ask(ask.render(self.port, self.key))
            waited = reply.waited_s(ask)
        except (OSError, ValueError, LookupError, TimeoutError) as error:
            self.errors[f"{type(error).__name__}: {error}"] += 1
            return
        self._keep(line)
        self.answered += 1
        if ask.chunks:
            self.first_s.append(reply.first_s - waited)
        else:
            self.added_s.append(reply.total_s - waited)

    async def _connect(self) -> Line:
        self.lines += 1
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(lambda: Line(self._drop), "127.0.0.1", self.port))[1]

    def _keep(self, line: Line) -> None:
        """The newest is taken first; what a burst needed is closed when it has idled."""
        now = time.perf_counter()
        line.idle_since = now
        self._free.append(line)
        while now - self._free[0].idle_since > IDLE_S:
            self._free.popleft().transport.close()

    def _drop(self, line: Line) -> None:
        self.lines -= 1
        if line in self._free:
            self._free.remove(line)

    def close(self) -> None:
        for line in list(self._free):
            line.transport.close()

    def report(self) -> dict[str, Any]:
        return {
            "answered": self.answered,
            "errors": dict(self.errors),
            "most_at_once": self.most_at_once,
            **quantiles("added_ms", self.added_s),
            **quantiles("first_chunk_added_ms", self.first_s),
            **quantiles("load_late_ms", self.late_s),
        }


def quantiles(name: str, seconds: list[float]) -> dict[str, float]:
    """In milliseconds."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    shown = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    last = len(ordered) - 1
    return {f"{name}_{word}": round(ordered[round(share * last)] * 1e3, 2) for word, share in shown.items()}
