"""A server's front on a real socket, around any ASGI application, for tests that write raw bytes."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from junctor.chat import JunctorError
from junctor.gateway.acceptor import Acceptor
from junctor.gateway.front import Front, HttpLimits
from junctor.gateway.http import Connection
from junctor.gateway.receive import ASGIApp, Receive, Scope, Send
from junctor.gateway.shed import Shedder

PATIENCE_S = 10


def render_refusal(error: JunctorError, path: str) -> tuple[str, bytes]:
    return "application/json", json.dumps({"path": path, "code": error.code, "says": str(error)}).encode()


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers what it was sent."""
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    said = {"method": scope["method"], "path": scope["path"], "body": body.decode("latin-1")}
    await answer(send, json.dumps(said).encode())


async def answer(send: Send, body: bytes, status: int = 200) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Reply:
    """One reply of a server."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)


class Caller:
    """A client that sends any bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read(self) -> Reply:
        """The next reply."""
        async with asyncio.timeout(PATIENCE_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode().strip().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines)
            status = int(first.split()[1])
            if status == 100:
                return Reply(status, headers, b"")
            if headers.get("transfer-encoding") == "chunked":
                return Reply(status, headers, await self._read_chunks())
            if "content-length" not in headers:
                return Reply(status, headers, await self.reader.read())
            return Reply(status, headers, await self.reader.readexactly(int(headers["content-length"])))

    async def _read_chunks(self) -> bytes:
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)
        return body

    async def ask(self, data: bytes) -> Reply:
        await self.send(data)
        return await self.read()

    async def read_end(self) -> bytes:
        """What comes until the server closes."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b"reset"

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


class Door:
    """A front that listens."""

    def __init__(self, front: Front, port: int) -> None:
        self.front = front
        self.port = port
        self._callers: list[Caller] = []

    async def call(self) -> Caller:
        """A new connection."""
        caller = Caller(*await asyncio.open_connection("127.0.0.1", self.port))
        self._callers.append(caller)
        return caller

    async def ask(self, data: bytes) -> Reply:
        """One request on a connection of its own."""
        return await (await self.call()).ask(data)

    async def settle(self) -> None:
        """Wait until no request is in progress."""
        async with asyncio.timeout(PATIENCE_S):
            while self.front.tasks:
                await asyncio.sleep(0.005)

    async def hang_up(self) -> None:
        for caller in self._callers:
            await caller.close()


@asynccontextmanager
async def listening(
    app: ASGIApp = echo, shedder: Shedder | None = None, **limits: Any
) -> AsyncIterator[Door]:
    loop = asyncio.get_running_loop()
    front = Front(app, HttpLimits(**limits), shedder or Shedder(), render_refusal)
    listener = socket.create_server(("127.0.0.1", 0))
    acceptor = Acceptor(listener, lambda: Connection(front, loop), loop)
    front.watch(loop)
    door = Door(front, listener.getsockname()[1])
    try:
        yield door
        await door.hang_up()
        async with asyncio.timeout(PATIENCE_S):
            while front.connections or front.tasks:
                await asyncio.sleep(0.005)
        assert front.shedder.in_flight == 0
    finally:
        front.unwatch()
        acceptor.close()
        await acceptor.wait_closed()
        listener.close()
