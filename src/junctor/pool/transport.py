"""The way to the upstreams: one pool of HTTP/1.1 connections for the process.

What it never does: follow a redirect (a key belongs to one origin), keep a cookie, read proxy variables or
any other part of the environment, decompress (it asks for `identity`), or send anything anywhere but to the
origin of its `Target`. TLS is verified against the system's certificates.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from types import TracebackType
from urllib.parse import urlsplit

import msgspec

from junctor import __version__
from junctor.chat import (
    UpstreamBroken,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from junctor.pool.connection import Connection, Deadlines, LineLost, LineTimeout
from junctor.pool.reply_parser import LineError

MAX_REPLY_BYTES = 64 * 1024 * 1024
"Room for a whole reply: a long answer with log probabilities, or inline media."
LEFT = "what was left of timeouts.total_s, or a shorter limit"
"What a request's own `within_s` comes from, for messages: a deadline, or what earlier tries left."
KEEP_S = 30.0
"How long an idle connection is kept. Longer invites requests on a connection that the server just closed."

NO_HEADERS: Mapping[str, str] = {}

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_PATH = re.compile(r"[\x21-\x7e]+")


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long an upstream may take, seconds."""

    connect_s: float = 5.0
    "To connect, TLS included, and to get a free connection."
    first_token_s: float = 60.0
    "From sending the request to the first text."
    idle_s: float = 30.0
    "Between two pieces of the answer, once it has begun."
    total_s: float = 600.0
    "From sending the request to the end of the answer."
    total_of: str = "timeouts.total_s"
    "What `total_s` comes from, for messages."


class Target:
    """Where requests go, with their headers: everything that does not change from one to the next.

    Its repr shows the origin only: the headers hold a key.
    """

    __slots__ = ("head", "host", "is_tls", "port")

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        """Raises `ValueError` for anything but a plain http or https URL, and for bad header values."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not a URL; it must begin with http:// or https:// and name a host")
        if parts.username is not None or parts.password is not None:
            raise ValueError("a base URL must not hold a user name or a password")
        self.is_tls = parts.scheme == "https"
        self.host = parts.hostname
        self.port = parts.port or (443 if self.is_tls else 80)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if not _PATH.fullmatch(path):
            raise ValueError(f"the path of {url!r} holds a space or a character outside ASCII; encode it")
        self.head = _render_head(path, parts.netloc, headers)

    @property
    def origin(self) -> tuple[str, int, bool]:
        """What a connection belongs to."""
        return self.host, self.port, self.is_tls

    def __repr__(self) -> str:
        return f"Target({self.host}:{self.port})"


def _render_head(path: str, host: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"host: {host.encode('idna').decode('ascii')}"]
    own = {"user-agent": f"junctor/{__version__}", "accept-encoding": "identity"}
    lines += _render_headers({**own, **headers})
    return "\r\n".join([*lines, "content-length: "]).encode("latin-1")


def _render_headers(headers: Mapping[str, str]) -> list[str]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"the header {name!r} holds a character that no header can (is it the key?)")
    return [f"{name}: {value}" for name, value in headers.items()]


class Reply:
    """An upstream's reply. The errors it raises name the model."""

    __slots__ = ("_connection", "_model", "_target", "satisfied")

    def __init__(self, connection: Connection, target: Target, model: str) -> None:
        self._connection = connection
        self._target = target
        self._model = model
        self.satisfied = False
        "Set by a reader who has what it wanted: a rest that comes soon is awaited, not cut."

    @property
    def status(self) -> int:
        """HTTP status."""
        return self._connection.reply.status

    @property
    def headers(self) -> Mapping[str, str]:
        """By lower-case name; of a repeated one the last."""
        return self._connection.reply.headers

    def first_text_came(self) -> None:
        """From here on `idle_s` holds instead of `first_token_s`."""
        self._connection.first_text_came()

    async def read(self) -> bytes:
        """The next bytes of the body as they come, empty at its end. Raises `UpstreamError`."""
        try:
            return await self._connection.read()
        except LineError as error:
            raise to_upstream_error(error, self._target, self._model) from error

    async def body(self, limit: int = MAX_REPLY_BYTES) -> bytes:
        """All of the body. Raises `UpstreamError`, also when it has more than `limit` bytes."""
        pieces, size = list[bytes](), 0
        while piece := await self.read():
            size += len(piece)
            if size > limit:
                raise UpstreamBroken(
                    f"the model `{self._model}` sent a reply of more than {limit} bytes", model=self._model
                )
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Transport:
    """Posts requests and keeps the connections. One for the process; belongs to one event loop."""

    def __init__(
        self,
        *,
        max_connections: int = 1000,
        max_idle_per_origin: int = 100,
        keep_s: float = KEEP_S,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`tls`: None verifies against the system's certificates."""
        self._slots = asyncio.Semaphore(max_connections)
        self._max_connections = max_connections
        self._max_idle = max_idle_per_origin
        self._keep_s = keep_s
        self._tls = tls
        self._idle: dict[tuple[str, int, bool], list[Connection]] = {}
        self._open: dict[Connection, tuple[str, int, bool]] = {}
        self._closed = False

    def post(
        self,
        target: Target,
        body: bytes,
        timeouts: Timeouts,
        model: str,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Exchange:
        """One request; to be entered with `async with`, which gives its `Reply` once the headers are there.

        `model` is the name of the model in the pool, for error messages. `headers`: those of this request
        alone; raises `ValueError` for bad values. Leaving early closes the connection.
        """
        head = target.head + b"%d\r\n" % len(body)
        if headers:
            head += "".join(f"{line}\r\n" for line in _render_headers(headers)).encode("latin-1")
        return Exchange(self, target, head + b"\r\n", body, timeouts, model)

    async def close(self) -> None:
        """Drop every connection."""
        self._closed = True
        for connection in list(self._open):
            connection.close()
        self._idle.clear()
        await asyncio.sleep(0)

    async def take(self, target: Target, timeouts: Timeouts, model: str, *, fresh: bool) -> Connection:
        """A connection, and a slot to use it. Raises `UpstreamError`."""
        if self._closed:
            raise UpstreamUnreachable("Junctor is shutting down", model=model)
        if self._slots.locked():
            await self._wait_for_slot(timeouts, model)
        else:
            await self._slots.acquire()
        try:
            connection = None if fresh else self._take_idle(target.origin)
            return connection or await self._connect(target, timeouts, model)
        except BaseException:
            self._slots.release()
            raise

    async def _wait_for_slot(self, timeouts: Timeouts, model: str) -> None:
        try:
            async with asyncio.timeout(timeouts.connect_s):
                await self._slots.acquire()
        except TimeoutError:
            message = f"all {self._max_connections} connections to upstreams are busy; try again"
            raise UpstreamUnavailable(message, model=model) from None

    def give_back(self, connection: Connection, *, satisfied: bool) -> None:
        """The exchange is over: keep the connection, or close it."""
        self._slots.release()
        if connection.leave(satisfied=satisfied):
            self._keep(connection)

    def _take_idle(self, origin: tuple[str, int, bool]) -> Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if not connection.closed:
                return connection
        return None

    def _keep(self, connection: Connection) -> None:
        idle = self._idle.setdefault(self._open[connection], [])
        if self._closed or len(idle) >= self._max_idle:
            connection.close()
            return
        idle.append(connection)
        connection.rest(asyncio.get_running_loop().time() + self._keep_s)

    def _freed(self, connection: Connection) -> None:
        """A connection that nobody reads any more has become usable, or has closed."""
        if not connection.closed:
            self._keep(connection)
            return
        origin = self._open.pop(connection, None)
        if origin is not None and connection in (idle := self._idle.get(origin, [])):
            idle.remove(connection)

    async def _connect(self, target: Target, timeouts: Timeouts, model: str) -> Connection:
        loop = asyncio.get_running_loop()
        if target.is_tls and self._tls is None:
            self._tls = ssl.create_default_context()
        try:
            async with asyncio.timeout(timeouts.connect_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, self._freed),
                    target.host,
                    target.port,
                    ssl=self._tls if target.is_tls else None,
                )
        except TimeoutError:
            message = f"{_who(target, model)} could not be reached within {timeouts.connect_s:g} s"
            raise UpstreamTimeout(f"{message} (timeouts.connect_s)", model=model, sent=False) from None
        except (OSError, UnicodeError) as error:
            message = f"{_who(target, model)} could not be reached: {error}; is its base_url right?"
            raise UpstreamUnreachable(message, model=model) from error
        self._open[connection] = target.origin
        return connection


class Exchange:
    """One request and its reply, while it lasts."""

    __slots__ = ("_body", "_connection", "_head", "_model", "_reply", "_target", "_timeouts", "_transport")

    def __init__(
        self, transport: Transport, target: Target, head: bytes, body: bytes, timeouts: Timeouts, model: str
    ) -> None:
        self._transport = transport
        self._target = target
        self._head = head
        self._body = body
        self._timeouts = timeouts
        self._model = model
        self._connection: Connection | None = None
        self._reply: Reply | None = None

    async def __aenter__(self) -> Reply:
        limits = self._timeouts
        now = asyncio.get_running_loop().time()
        deadlines = Deadlines(now, limits.first_token_s, limits.idle_s, limits.total_s, limits.total_of)
        try:
            connection = await self._send(deadlines, fresh=False)
        except LineLost as error:
            if self._connection is None or self._connection.used == 1 or self._connection.reply.heard:
                raise to_upstream_error(error, self._target, self._model) from error
            connection = await self._send_again(deadlines)
        except LineError as error:
            raise to_upstream_error(error, self._target, self._model) from error
        self._reply = Reply(connection, self._target, self._model)
        return self._reply

    async def _send(self, deadlines: Deadlines, *, fresh: bool) -> Connection:
        connection = await self._transport.take(self._target, self._timeouts, self._model, fresh=fresh)
        self._connection = connection
        try:
            connection.begin(self._head, self._body, deadlines)
            await connection.read_headers()
        except BaseException:
            self._transport.give_back(connection, satisfied=False)
            raise
        return connection

    async def _send_again(self, deadlines: Deadlines) -> Connection:
        """A kept connection was closed under us before a byte came back: the server had given it up."""
        try:
            return await self._send(deadlines, fresh=True)
        except LineError as error:
            raise to_upstream_error(error, self._target, self._model) from error

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None and self._reply is not None:
            self._transport.give_back(self._connection, satisfied=self._reply.satisfied)


def _who(target: Target, model: str) -> str:
    return f"the model `{model}` at {target.host}:{target.port}"


def to_upstream_error(error: LineError, target: Target, model: str) -> UpstreamError:
    """The failure of a connection as an error of the hall."""
    message = f"{_who(target, model)} {error}"
    if isinstance(error, LineTimeout):
        return UpstreamTimeout(message, model=model)
    return UpstreamBroken(message, model=model)
