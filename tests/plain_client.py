"""A plain HTTP/1.1 client: what a caller sees, byte by byte, with nothing tried again behind its back."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass
class PlainReply:
    """A reply: `body` without the framing of chunks."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return self.json["error"]["code"]


async def post(url: str, body: bytes, headers: dict[str, str] | None = None) -> PlainReply:
    """One request on a connection of its own."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        own = {"host": parts.netloc, "connection": "close", "content-length": str(len(body))}
        lines = [f"POST {parts.path} HTTP/1.1", *(f"{k}: {v}" for k, v in (own | (headers or {})).items())]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        return await read_reply(reader)
    finally:
        writer.close()


async def read_reply(reader: asyncio.StreamReader) -> PlainReply:
    """The reply on a connection; raises `asyncio.IncompleteReadError` when it is cut."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
    if headers.get("transfer-encoding") == "chunked":
        body = await _read_chunks(reader)
    else:
        body = await reader.readexactly(int(headers["content-length"]))
    return PlainReply(int(head[0].split()[1]), headers, body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return body


def chat_body(model: str, text: str = "Hi", **fields: Any) -> bytes:
    """The body of a chat."""
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}], **fields}).encode()
