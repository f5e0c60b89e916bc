"""Reading from a client that may be slow, huge, or gone (raw ASGI)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Protocol

from junctor.chat import BadRequest, BodyTimeout, BodyTooLarge

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


LINE = "junctor.line"
"Key of the ASGI scope: what our own protocol knows of the connection, a `Line`."


class Line(Protocol):
    """A client's connection, while its request is being answered."""

    arrived: bool
    "Whether the whole request is here."

    def when_lost(self, tell: Callable[[], None] | None) -> None:
        """Whom to tell when the client leaves, or that it has; None: nobody any more."""
        ...


class ClientGone(Exception):
    """The client closed the connection before it had its whole answer."""


def read_headers(scope: Scope) -> dict[str, str]:
    """The request's headers, lower-case; of a repeated header the first counts."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1"), value.decode("latin-1"))
    return headers


async def read_body(
    headers: Mapping[str, str],
    receive: Receive,
    *,
    max_bytes: int,
    timeout_s: float,
    line: Line | None = None,
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
    if line is not None and line.arrived:
        return await _read_all(receive, max_bytes)
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
async def give_up_after(seconds: float) -> AsyncGenerator[None, None]:
    """End the block after so long, without an error: whoever does not read an error does not want it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            yield


class Presence:
    """The client of one request and the block that works for it: when the client leaves, the block ends.

        async with Presence(receive) as presence: ...

    For after the body is read. Raises `ClientGone` from the block. A `line` tells by itself when the client
    leaves; without one a task has to wait for that.
    """

    __slots__ = ("_block", "_line", "_receive", "_watcher", "gone")

    def __init__(self, receive: Receive, line: Line | None = None) -> None:
        self._receive = receive
        self._line = line
        self._block: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.gone = False

    async def __aenter__(self) -> Presence:
        self._block = asyncio.current_task()
        if self._line is not None:
            self._line.when_lost(self.leave)
        else:
            self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._block is not None
        block, self._block = self._block, None
        if self._line is not None:
            self._line.when_lost(None)
        elif self._watcher is not None:
            self._watcher.cancel()
        if not self.gone:
            return
        if error is None:
            # Its cancellation is on the way: it must not hit what comes after the block.
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        if (error is None or isinstance(error, asyncio.CancelledError)) and block.uncancel() == 0:
            raise ClientGone from None

    def leave(self) -> None:
        """The client has left, or takes nothing any more."""
        if self._block is not None and not self.gone:
            self.gone = True
            self._block.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.leave()
