"""An upstream that fails on purpose: OpenAI's two APIs and Anthropic's Messages API on a loopback socket.

The fault is part of the path, so that one server plays many upstreams:

    http://127.0.0.1:PORT/<fault>/v1/chat/completions
    http://127.0.0.1:PORT/<fault>/v1/responses
    http://127.0.0.1:PORT/<fault>/v1/messages
    http://127.0.0.1:PORT/<fault>/v1/embeddings

See `FAULTS` for their names; `ok` answers well. A fault written as `429*2` strikes the first two requests
only, one written as `429%30` thirty of a hundred, by a die of known seed. A name may also stand for an
upstream that changes its ways: `playing["a"] = "500"`. It is written on bare asyncio streams, because most of
what it does no HTTP server lets one do.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from connections import Connections

WORDS = ("Hello", " from", " the", " fault", " server.")
"The text of a good answer, piece by piece."
TEXT = "".join(WORDS)
INPUT_TOKENS, OUTPUT_TOKENS, CACHED_TOKENS = 12, 5, 4


@dataclass
class Seen:
    """One request as it came in."""

    path: str
    fault: str
    headers: dict[str, str]
    body: bytes
    played: str = ""
    "The fault that it met; `ok`: none."
    client_closed: asyncio.Event = field(default_factory=asyncio.Event)
    "Set when the client closed the connection before we were done."

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def is_messages(self) -> bool:
        return self.path.endswith("/messages")

    @property
    def is_responses(self) -> bool:
        return self.path.endswith("/responses")

    @property
    def is_embeddings(self) -> bool:
        return self.path.endswith("/embeddings")

    @property
    def streams(self) -> bool:
        try:
            return bool(self.json.get("stream"))
        except (ValueError, AttributeError):
            return False


class FaultServer:
    """Counts requests and connections, and remembers what it saw."""

    def __init__(self) -> None:
        self.url = ""
        "`http://127.0.0.1:PORT`."
        self.seen: list[Seen] = []
        self.connections = 0
        self.trickle_s = 0.02
        self.ok_s = 0.0
        "How long a good answer takes to begin."
        self.late_s = 1.0
        "How long a late one takes."
        self.playing: dict[str, str] = {}
        "What a name of the path stands for at the moment."
        self.asked: Counter[str] = Counter()
        "Requests by the name in their path."
        self._die = random.Random(1)
        self._struck: Counter[str] = Counter()
        self._arrived = asyncio.Condition()
        self.serve = Connections(self._serve)

    def base_url(self, fault: str = "ok") -> str:
        """What an upstream is configured with."""
        return f"{self.url}/{fault}/v1"

    async def wait_for_request(self, count: int = 1) -> Seen:
        """The newest request, once there were so many."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.seen) >= count)
        return self.seen[-1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while (seen := await _read_request(reader)) is not None:
            async with self._arrived:
                self.seen.append(seen)
                self._arrived.notify_all()
            if not await self._answer(seen, Line(self, seen, reader, writer)):
                return

    async def _answer(self, seen: Seen, line: Line) -> bool:
        """True: the connection can be used again."""
        self.asked[seen.fault] += 1
        seen.played = self._chosen(self.playing.get(seen.fault, seen.fault))
        answering = asyncio.ensure_future(FAULTS[seen.played](line))
        leaving = asyncio.ensure_future(line.client_leaves())
        done, pending = await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await task
        if answering not in done or isinstance(answering.exception(), ConnectionError):
            seen.client_closed.set()
            return False
        return answering.result()

    def _chosen(self, fault: str) -> str:
        self._struck[fault] += 1
        name, _, times = fault.partition("*")
        if times and self._struck[fault] > int(times):
            return "ok"
        name, _, share = name.partition("%")
        if share and self._die.uniform(0, 100) >= float(share):
            return "ok"
        return name

    async def stop(self) -> None:
        """Cut every connection."""
        await self.serve.cut()


async def _read_request(reader: asyncio.StreamReader) -> Seen | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    path = head[0].split()[1]
    fault, _, rest = path.lstrip("/").partition("/")
    return Seen("/" + rest, fault, headers, body)


class Line:
    """The connection to one client, while one request is answered."""

    def __init__(
        self, server: FaultServer, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.seen = seen
        self._reader = reader
        self._writer = writer

    async def client_leaves(self) -> None:
        """Returns when the client closes. Clients do not pipeline: nothing else can be read."""
        with suppress(ConnectionError):
            await self._reader.read(1)

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def whole(self, status: int, body: bytes, *headers: str, kind: str = "application/json") -> bool:
        lines = [
            f"HTTP/1.1 {status} Status",
            f"content-type: {kind}",
            f"content-length: {len(body)}",
            *headers,
        ]
        await self.send("\r\n".join([*lines, "", ""]).encode() + body)
        return True

    async def begin_stream(self) -> None:
        await self.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def end_stream(self) -> bool:
        await self.send(b"0\r\n\r\n")
        return True

    async def hang(self) -> bool:
        await asyncio.Event().wait()
        return False

    async def reset(self) -> bool:
        """RST instead of FIN."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        return False

    def frames(self, *, usage: bool = True) -> list[bytes]:
        """A good streamed answer as events."""
        if self.seen.is_messages:
            return messages_frames(usage=usage)
        if self.seen.is_responses:
            return responses_frames(usage=usage)
        asked = (self.seen.json.get("stream_options") or {}).get("include_usage")
        return chat_frames(usage=bool(usage and asked))

    def reply(self, *, usage: bool = True) -> bytes:
        """A good whole answer."""
        if self.seen.is_messages:
            return messages_reply()
        if self.seen.is_embeddings:
            return embeddings_reply(usage=usage)
        return responses_reply(usage=usage) if self.seen.is_responses else chat_reply(usage=usage)

    def error(self, message: str, **fields: Any) -> bytes:
        """An error body in the dialect that was asked in."""
        inner = {"message": message, "type": "some_error", "param": None, "code": None} | fields
        return json.dumps({"type": "error", "error": inner}).encode()


def _event(value: Any, name: str | None = None) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(value)}\n\n".encode()


def chat_usage() -> dict[str, Any]:
    return {
        "prompt_tokens": INPUT_TOKENS,
        "completion_tokens": OUTPUT_TOKENS,
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
        "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS},
    }


def chat_chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-fault",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "upstream-model",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


def chat_frames(*, usage: bool = True) -> list[bytes]:
    chunks = [chat_chunk({"role": "assistant", "content": ""})]
    chunks += [chat_chunk({"content": word}) for word in WORDS]
    chunks.append(chat_chunk({}, "stop"))
    if usage:
        chunks.append(chat_chunk({}) | {"choices": [], "usage": chat_usage()})
    return [*(_event(chunk) for chunk in chunks), b"data: [DONE]\n\n"]


def chat_reply(*, usage: bool = True) -> bytes:
    reply: dict[str, Any] = {
        "id": "chatcmpl-fault",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "upstream-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
        "a_field_of_tomorrow": [1, 2],
    }
    return json.dumps(reply | ({"usage": chat_usage()} if usage else {})).encode()


def messages_usage(**fields: int) -> dict[str, Any]:
    return {"input_tokens": INPUT_TOKENS - CACHED_TOKENS, "cache_read_input_tokens": CACHED_TOKENS} | fields


def messages_frames(*, usage: bool = True) -> list[bytes]:
    start: dict[str, Any] = {"id": "msg_fault", "type": "message", "role": "assistant", "content": []}
    start |= {"model": "upstream-model", "stop_reason": None}
    end: dict[str, Any] = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    if usage:
        start["usage"] = messages_usage(output_tokens=1)
        end["usage"] = {"output_tokens": OUTPUT_TOKENS}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    deltas = [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
        for word in WORDS
    ]
    events = [{"type": "message_start", "message": start}, block, {"type": "ping"}, *deltas]
    events += [{"type": "content_block_stop", "index": 0}, end, {"type": "message_stop"}]
    return [_event(event, event["type"]) for event in events]


def messages_reply() -> bytes:
    return json.dumps(
        {
            "id": "msg_fault",
            "type": "message",
            "role": "assistant",
            "model": "upstream-model",
            "content": [{"type": "text", "text": TEXT}],
            "stop_reason": "end_turn",
            "usage": messages_usage(output_tokens=OUTPUT_TOKENS),
        }
    ).encode()


def responses_object(*, usage: bool = True) -> dict[str, Any]:
    part = {"type": "output_text", "text": TEXT, "annotations": []}
    item = {
        "type": "message",
        "id": "msg_fault",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    details = {"cached_tokens": CACHED_TOKENS, "cache_write_tokens": 0}
    counted = {
        "input_tokens": INPUT_TOKENS,
        "input_tokens_details": details,
        "output_tokens": OUTPUT_TOKENS,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS,
    }
    return {
        "id": "resp_fault",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "completed",
        "model": "upstream-model",
        "output": [item],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "a_field_of_tomorrow": [1, 2],
        "usage": counted if usage else None,
    }


def responses_reply(*, usage: bool = True) -> bytes:
    return json.dumps(responses_object(usage=usage)).encode()


def responses_frames(*, usage: bool = True) -> list[bytes]:
    whole = responses_object(usage=usage)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    item, part = whole["output"][0], {"type": "output_text", "text": "", "annotations": []}
    at = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    opened = {**item, "status": "in_progress", "content": [part]}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": opened},
        *({"type": "response.output_text.delta", **at, "delta": word, "logprobs": []} for word in WORDS),
        {"type": "response.output_text.done", **at, "text": TEXT, "logprobs": []},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    return [_event({**one, "sequence_number": n}, one["type"]) for n, one in enumerate(events)]


def embeddings_reply(*, usage: bool = True) -> bytes:
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}]
    reply: dict[str, Any] = {"object": "list", "data": data, "model": "upstream-model"}
    counted = {"usage": {"prompt_tokens": INPUT_TOKENS, "total_tokens": INPUT_TOKENS}}
    return json.dumps(reply | (counted if usage else {})).encode()


Fault = Callable[[Line], Coroutine[Any, Any, bool]]
FAULTS: dict[str, Fault] = {}
"By name. Each answers one request; True means that the connection lives on."


def _fault(name: str) -> Callable[[Fault], Fault]:
    def add(fault: Fault) -> Fault:
        FAULTS[name] = fault
        return fault

    return add


@_fault("ok")
async def _ok(line: Line) -> bool:
    if line.server.ok_s:
        await asyncio.sleep(line.server.ok_s)
    if not line.seen.streams:
        return await line.whole(200, line.reply())
    await line.begin_stream()
    for frame in line.frames():
        await line.chunk(frame)
    return await line.end_stream()


@_fault("late")
async def _late(line: Line) -> bool:
    """A good answer that takes its time to begin."""
    await asyncio.sleep(line.server.late_s)
    return await _ok(line)


@_fault("no-usage")
async def _no_usage(line: Line) -> bool:
    if not line.seen.streams:
        return await line.whole(200, line.reply(usage=False))
    await line.begin_stream()
    for frame in line.frames(usage=False):
        await line.chunk(frame)
    return await line.end_stream()


def _status(status: int, *headers: str, **fields: Any) -> Fault:
    async def answer(line: Line) -> bool:
        key = line.seen.headers.get("authorization", "") + line.seen.headers.get("x-api-key", "")
        return await line.whole(status, line.error(f"refused {status} for {key}", **fields), *headers)

    return answer


for _code in (400, 401, 403, 404, 408, 500, 502, 503, 504, 529):
    FAULTS[str(_code)] = _status(_code, param="temperature", code="some_code")
FAULTS["429"] = _status(429, "retry-after: 2")
FAULTS["429-ms"] = _status(429, "retry-after-ms: 20", "retry-after: 9")
FAULTS["429-long"] = _status(429, "retry-after: 3600")
FAULTS["too-long"] = _status(400, code="context_length_exceeded")
FAULTS["too-long-llama"] = _status(400, type="exceed_context_size_error")
FAULTS["redirect"] = _status(307, "location: http://127.0.0.1:1/elsewhere")


@_fault("html")
async def _html(line: Line) -> bool:
    return await line.whole(200, b"<html>Welcome</html>", kind="text/html")


@_fault("html-502")
async def _html_502(line: Line) -> bool:
    return await line.whole(502, b"<html>Bad gateway</html>", kind="text/html")


@_fault("500-hang")
async def _500_hang(line: Line) -> bool:
    """The status of an error, and never its body."""
    await line.send(b"HTTP/1.1 500 Oops\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n")
    return await line.hang()


@_fault("hang")
async def _hang(line: Line) -> bool:
    return await line.hang()


@_fault("hang-after-headers")
async def _hang_after_headers(line: Line) -> bool:
    if line.seen.streams:
        await line.begin_stream()
    else:
        await line.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n")
    return await line.hang()


@_fault("hang-mid-stream")
async def _hang_mid_stream(line: Line) -> bool:
    await line.begin_stream()
    for frame in line.frames()[:4]:
        await line.chunk(frame)
    return await line.hang()


@_fault("hang-after-done")
async def _hang_after_done(line: Line) -> bool:
    await line.begin_stream()
    for frame in line.frames():
        await line.chunk(frame)
    return await line.hang()


@_fault("reset")
async def _reset(line: Line) -> bool:
    return await line.reset()


@_fault("reset-after-headers")
async def _reset_after_headers(line: Line) -> bool:
    await line.begin_stream()
    await asyncio.sleep(0.02)
    return await line.reset()


@_fault("reset-mid-stream")
async def _reset_mid_stream(line: Line) -> bool:
    await line.begin_stream()
    for frame in line.frames()[:4]:
        await line.chunk(frame)
    await asyncio.sleep(0.02)
    return await line.reset()


@_fault("close-mid-body")
async def _close_mid_body(line: Line) -> bool:
    await line.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n{")
    return False


@_fault("truncated")
async def _truncated(line: Line) -> bool:
    """The stream ends properly as HTTP, but in the middle of the answer."""
    await line.begin_stream()
    for frame in line.frames()[:4]:
        await line.chunk(frame)
    await line.chunk(b'data: {"choices": [{"de')
    return await line.end_stream()


@_fault("garbage")
async def _garbage(line: Line) -> bool:
    if not line.seen.streams:
        return await line.whole(200, b'{"choices": [{"message": ')
    await line.begin_stream()
    await line.chunk(line.frames()[0])
    await line.chunk(b"data: {this is not JSON\n\n")
    return await line.end_stream()


@_fault("not-http")
async def _not_http(line: Line) -> bool:
    await line.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    return False


@_fault("error-mid-stream")
async def _error_mid_stream(line: Line) -> bool:
    await line.begin_stream()
    for frame in line.frames()[:4]:
        await line.chunk(frame)
    error = json.loads(line.error("the engine overheated", type="overloaded_error"))
    await line.chunk(_event(error, "error"))
    return await line.end_stream()


@_fault("error-first")
async def _error_first(line: Line) -> bool:
    await line.begin_stream()
    error = json.loads(line.error("no room today", type="overloaded_error"))
    await line.chunk(_event(error, "error"))
    return await line.end_stream()


@_fault("double-done")
async def _double_done(line: Line) -> bool:
    await line.begin_stream()
    frames = line.frames()
    for frame in [*frames, frames[-1], frames[1]]:
        await line.chunk(frame)
    return await line.end_stream()


@_fault("trickle")
async def _trickle(line: Line) -> bool:
    """A byte at a time."""
    await line.begin_stream()
    for byte in b"".join(line.frames()):
        await line.chunk(bytes([byte]))
        if byte == 0x0A:
            await asyncio.sleep(line.server.trickle_s)
    return await line.end_stream()


@_fault("drip")
async def _drip(line: Line) -> bool:
    """A byte a second."""
    await line.begin_stream()
    for byte in b"".join(line.frames()):
        await line.chunk(bytes([byte]))
        await asyncio.sleep(1.0)
    return await line.end_stream()


@_fault("until-close")
async def _until_close(line: Line) -> bool:
    """A stream as HTTP/1.0 has it: it ends when the connection does."""
    await line.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
    for frame in line.frames():
        await line.send(frame)
    return False


@_fault("does-not-stream")
async def _does_not_stream(line: Line) -> bool:
    """Answers whole, whatever was asked."""
    return await line.whole(200, line.reply())


@_fault("close-after")
async def _close_after(line: Line) -> bool:
    """A good answer, after which the server silently drops the kept connection."""
    await _ok(line)
    return False


@_fault("late-end")
async def _late_end(line: Line) -> bool:
    """The answer is over some time before its HTTP reply is."""
    await line.begin_stream()
    for frame in line.frames():
        await line.chunk(frame)
    await asyncio.sleep(0.05)
    return await line.end_stream()


@_fault("endless")
async def _endless(line: Line) -> bool:
    """A whole reply that never ends."""
    await line.send(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    await line.chunk(b'{"x": "')
    while True:
        await line.chunk(b"x" * 65536)


@_fault("endless-event")
async def _endless_event(line: Line) -> bool:
    """One event that never ends."""
    await line.begin_stream()
    await line.chunk(b"data: ")
    while True:
        await line.chunk(b"x" * 65536)


@_fault("huge-headers")
async def _huge_headers(line: Line) -> bool:
    await line.send(b"HTTP/1.1 200 OK\r\n")
    for number in range(2000):
        await line.send(b"x-%d: %s\r\n" % (number, b"y" * 100))
    return await line.whole(200, b"{}")


@asynccontextmanager
async def running_fault_server() -> AsyncIterator[FaultServer]:
    """A server on a free loopback port."""
    faults = FaultServer()
    server = await asyncio.start_server(faults.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    faults.url = f"http://{host}:{port}"
    try:
        yield faults
    finally:
        server.close()
        await faults.stop()
        await server.wait_closed()
