"""HTTP/1.1 towards callers who may be slow, hostile or too many: our own protocol under uvicorn's server.

uvicorn's has no deadline for a head or a body, lets spellings pass that others read differently, and costs
more processor time. Here a connection is in one of five states:

    idle        no request                 closed after `idle_timeout_s`
    head        some of a head is here     408 after `head_timeout_s`
    body        some of a body is here     408 after `body_timeout_s`
    answering   the application works      cut off when the client takes nothing for `send_timeout_s`
    closing     nothing is read any more   cut off after `LINGER_S`; after `send_timeout_s` with bytes to send

One timer looks after the deadlines of all connections (`front.py`). After a refusal nothing that comes on the
connection is read as a request.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any, cast

from junctor.chat import (
    BodyTimeout,
    BodyTooLarge,
    HeadTimeout,
    InternalError,
    JunctorError,
    Overloaded,
    ServerStopping,
)
from junctor.gateway.body import Chunked, Counted, Framing
from junctor.gateway.exchange import Address, Exchange, render_scope
from junctor.gateway.front import Front
from junctor.gateway.head import Head, check_unfinished, guess_path
from junctor.gateway.pipe import Pipe

LINGER_S = 5.0
"How long a refused client may go on sending."
READ_AHEAD = 64 * 1024
"Bytes that may wait for the application, or for their turn."
SLACK_BYTES = 1024 * 1024
"How much later than the application, which words it better, a body is refused as too large."
SLACK_S = 1.0
"The same for one that comes too slowly."


class Connection(asyncio.Protocol):
    """One connection of a caller."""

    def __init__(self, front: Front, loop: asyncio.AbstractEventLoop) -> None:
        self._front = front
        self._loop = loop
        self._server: Address = None
        self._client: Address = None
        self.deadline = inf
        "When to see what has become of it, loop time."
        self._unread = b""
        "The beginning of a head, or requests that came before their turn."
        self._exchange: Exchange | None = None
        self._framing: Framing | None = None
        "Of a body that has not all come."
        self._body_size = 0
        self._idle = False
        "Whether it waits for another request, not for its first."
        self._keeps = False
        "Whether the client would use the connection again."

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller has connected."""
        self.pipe = Pipe(cast("asyncio.Transport", transport))
        if len(self._front.connections) >= self._front.max_connections:
            refusal = Overloaded("this server has as many connections as it takes", retry_after_s=1)
            self.pipe.write(self._front.render_refusal(refusal, "", closes=True))
            self.pipe.close()
            return
        self._client = _address(transport, "peername")
        self._server = _address(transport, "sockname")
        self._front.connections.add(self)
        self.deadline = self._loop.time() + self._front.limits.head_timeout_s

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended, whoever ended it."""
        self._front.connections.discard(self)
        self.pipe.closing = True
        self.pipe.unstick()
        if self._exchange is not None:
            self._exchange.lose()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self.pipe.closing:
            self.pipe.discard(data)
        elif self._framing is not None:
            self._unread = self._take_body(self._framing, data)
        elif self._exchange is not None:
            self._unread += data
            if len(self._unread) > READ_AHEAD:
                self.pipe.pause_reading()
        else:
            self._read(self._unread + data if self._unread else data)

    def pause_writing(self) -> None:
        """More is waiting to be sent than a client should leave."""
        self.pipe.stick()
        self.deadline = self._loop.time() + self._front.limits.send_timeout_s

    def resume_writing(self) -> None:
        """The client has taken most of it."""
        self.pipe.unstick()
        if self._exchange is None:
            self._rest()
        else:
            self.deadline = inf if self._framing is None else self._body_deadline()

    # The server's side

    def shutdown(self) -> None:
        """The server ends: an answer in progress may go on, nothing else is begun."""
        if self._exchange is None and not self.pipe.closing:
            self._close()

    def expire(self) -> None:
        """The deadline has passed."""
        exchange = self._exchange
        if self.pipe.closing or self.pipe.stuck:
            self.pipe.abort()
        elif exchange is None:
            if self._unread:
                limit = self._front.limits.head_timeout_s
                self._refuse(HeadTimeout(f"the request's headers did not arrive within {limit:g} s"))
            else:
                self._close()
        elif self._framing is None:
            self.deadline = inf
        elif self.pipe.paused:
            self.deadline = self._body_deadline()  # it is us who does not read
        else:
            limit = self._front.limits.body_timeout_s
            self._give_up(exchange, BodyTimeout(f"the request body did not arrive within {limit:g} s"))

    # Reading

    def _read(self, data: bytes) -> None:
        """Read requests until one is being answered, or what is left is not a whole head."""
        while self._exchange is None and not self.pipe.closing:
            if data.startswith(b"\r\n"):
                data = data[2:]  # RFC 9112, 2.2: old clients end a body with one
            end = data.find(b"\r\n\r\n")
            try:
                if end < 0:
                    self._wait_for_head(data)
                    break
                head = self._front.heads.read(data[:end])
            except JunctorError as refusal:
                self._refuse(refusal, guess_path(data))
                return
            data = self._begin(head, data[end + 4 :])
        self._unread = b"" if self.pipe.closing else data

    def _wait_for_head(self, data: bytes) -> None:
        if data not in (b"", b"\r"):
            check_unfinished(data)
        if data and self._idle:
            self._idle = False
            self.deadline = self._loop.time() + self._front.limits.head_timeout_s

    def _begin(self, head: Head, data: bytes) -> bytes:
        """Have a request answered. Gives what follows it."""
        front = self._front
        if (refusal := front.shedder.admit(head.line.path)) is not None:
            return self._turn_away(refusal, head, data)
        exchange = self._exchange = Exchange(self, head, render_scope(head, self._server, self._client))
        self._keeps = head.keep_alive
        self._idle = False
        if head.chunked or head.length > len(data):
            self._framing = Chunked() if head.chunked else Counted(head.length)
            self._body_size = 0
            self.deadline = self._body_deadline()
            data = self._take_body(self._framing, data)
            if self.pipe.closing:
                front.forget(exchange)
                return b""
        else:
            self.deadline = inf
            exchange.arrive(data[: head.length], last=True)
            data = data[head.length :]
        front.run(exchange, self._loop)
        return data

    def _turn_away(self, refusal: Overloaded, head: Head, data: bytes) -> bytes:
        """Refuse a request and keep its connection, if that is simple: a new one would cost us more."""
        whole = not head.chunked and head.length <= len(data)
        if not (whole and head.keep_alive) or head.line.method == "HEAD" or self._front.draining:
            self._refuse(refusal, head.line.path)
            return b""
        self.pipe.write(self._front.render_refusal(refusal, head.line.path, closes=False))
        self._rest()
        return data[head.length :]

    def _take_body(self, framing: Framing, data: bytes) -> bytes:
        """Take what has come of a body. Gives what follows it."""
        exchange = self._exchange
        assert exchange is not None
        try:
            piece, rest = framing.feed(data)
            self._body_size += len(piece)
            if self._body_size > (most := self._front.limits.max_body_bytes) + SLACK_BYTES:
                raise BodyTooLarge(f"the request body has more than {most} bytes")
        except JunctorError as refusal:
            self._give_up(exchange, refusal)
            return b""
        if framing.complete:
            self._framing = None
            if not self.pipe.stuck:
                self.deadline = inf
        if piece or framing.complete:
            exchange.arrive(piece, last=framing.complete)
            if exchange.waiting_bytes > READ_AHEAD:
                self.pipe.pause_reading()
        return rest

    def _body_deadline(self) -> float:
        return self._loop.time() + self._front.limits.body_timeout_s + SLACK_S

    # The exchange's side

    @property
    def date_field(self) -> bytes:
        """`date: ...`, with its CR LF."""
        return self._front.date_field

    def lasts(self, exchange: Exchange) -> bool:
        """Whether the connection can be used again after this reply."""
        return self._keeps and exchange.arrived and not self._front.draining

    def answered(self, *, lasts: bool) -> None:
        """The last byte of the reply has been written."""
        self._exchange = None
        if self._framing is not None:
            self._linger()
        elif not lasts or self._front.draining:
            self._close()
        else:
            self._rest()
            self.pipe.resume_reading()
            if self._unread:
                self._read(self._unread)

    def left(self, exchange: Exchange) -> None:
        """The application has returned, or failed."""
        self._front.forget(exchange)
        if exchange.complete or exchange.gone:
            return
        if self._front.draining:
            self._give_up(exchange, ServerStopping("this server stops; ask again"))
        else:
            self._give_up(exchange, InternalError("Junctor failed; its log has the reason"))

    # Ends

    def _rest(self) -> None:
        """Wait for the next request."""
        self._idle = True
        if not self.pipe.stuck and not self.pipe.closing:
            self.deadline = self._loop.time() + self._front.limits.idle_timeout_s

    def _give_up(self, exchange: Exchange, refusal: JunctorError) -> None:
        """End an exchange that cannot be completed: with a reply, if there is none yet."""
        exchange.lose()
        self._exchange = None
        if exchange.started:
            self.pipe.abort()
        else:
            self._refuse(refusal, exchange.scope["path"])

    def _refuse(self, refusal: JunctorError, path: str = "") -> None:
        """Say why, and read nothing more as a request."""
        self.pipe.write(self._front.render_refusal(refusal, path, closes=True))
        self._linger()

    def _linger(self) -> None:
        self._end(LINGER_S)
        self.pipe.linger()

    def _close(self) -> None:
        self._end(self._front.limits.send_timeout_s)
        self.pipe.close()

    def _end(self, patience_s: float) -> None:
        self._framing = None
        self._unread = b""
        self.deadline = self._loop.time() + patience_s


def _address(transport: asyncio.BaseTransport, end: str) -> Address:
    address: Any = transport.get_extra_info(end)
    return (address[0], address[1]) if address else None
