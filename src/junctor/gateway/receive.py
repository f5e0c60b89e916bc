"""Reading from a client that may be slow, huge, or gone (raw ASGI)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from junctor.chat import BadRequest, BodyTimeout, BodyTooLarge

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class ClientGone(Exception):
    """The client closed the connection before it had its whole answer."""


def read_headers(scope: Scope) -> dict[str, str]:
    """The request's headers, lower-case; of a repeated header the first counts."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1"), value.decode("latin-1"))
    return headers


async def read_body(
    headers: Mapping[str, str], receive: Receive, *, max_bytes: int, timeout_s: float
) -> bytes:
    """The whole request body.

    A declared length over `max_bytes` is refused before a byte is read, an undeclared one as soon as it gets
    there. Raises `BodyTooLarge`, `BodyTimeout`, `BadRequest`, `ClientGone`.
    """
    if headers.get("content-encoding", "identity") != "identity":
        raise BadRequest("compressed request bodies are not accepted; send the JSON as it is")
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise BodyTooLarge(
            f"the request body has {declared} bytes, at most {max_bytes} are accepted; "
            "the limit is server.max_body_bytes in junctor.toml"
        )
    try:
        async with asyncio.timeout(timeout_s):
            return await _read_all(receive, max_bytes)
    except TimeoutError:
        raise BodyTimeout(f"the request body did not arrive within {timeout_s:g} s") from None


async def _read_all(receive: Receive, max_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > max_bytes:
            raise BodyTooLarge(
                f"the request body has more than {max_bytes} bytes; "
                "the limit is server.max_body_bytes in junctor.toml"
            )
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


@asynccontextmanager
async def cancel_when_gone(receive: Receive) -> AsyncGenerator[None, None]:
    """Cancel the block when the client leaves, and raise `ClientGone` from it. For after the body is read."""
    block = asyncio.current_task()
    assert block is not None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        block.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if gone and block.uncancel() == 0:
            raise ClientGone from None
        raise
    finally:
        watcher.cancel()
