"""What all connections of one server share: limits, the application, one timer, the wording of refusals."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from typing import Protocol

import msgspec

from junctor.chat import JunctorError, Overloaded
from junctor.gateway.exchange import Exchange, render_fields, render_reply
from junctor.gateway.head import HeadReader
from junctor.gateway.receive import ASGIApp
from junctor.gateway.shed import Shedder
from junctor.gateway.turnstile import Turnstile

RenderRefusal = Callable[[JunctorError, str], tuple[str, bytes]]
"Content type and body of an error, in the envelope that its path promises."


_KEPT_WORDS = 256


class HttpLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long callers may take, and how much. Seconds and bytes."""

    head_timeout_s: float = 10.0
    "For the request line and the headers."
    body_timeout_s: float = 30.0
    "For the body; the application may be stricter, and words it better, so we leave it a second more."
    send_timeout_s: float = 60.0
    "How long a client may take nothing of a reply."
    idle_timeout_s: float = 75.0
    "Between two requests on one connection."
    max_body_bytes: int = 32 * 1024 * 1024
    max_connections: int = 10_000


class Watched(Protocol):
    """A connection."""

    deadline: float
    "When to call `expire`, loop time."

    def expire(self) -> None:
        """The deadline has passed."""
        ...


class Front:
    """Shared by all connections of one server."""

    def __init__(
        self, app: ASGIApp, limits: HttpLimits, shedder: Shedder, render_refusal: RenderRefusal
    ) -> None:
        self.app = app
        self.limits = limits
        self.max_connections = limits.max_connections
        self.shedder = shedder
        self._turnstile = Turnstile(shedder, self._begin, self.forget)
        self.heads = HeadReader()
        self.connections = set[Watched]()
        self.tasks = set[asyncio.Task[None]]()
        self.draining = False
        "Whether the server ends: replies close their connections."
        self.refused = Counter[str]()
        "Requests and connections that the application never saw or could not end, by the error's code."
        self.date_field = _render_date()
        "`date: ...`, with its CR LF."
        self._render_refusal = render_refusal
        self._worded: dict[tuple[str, str], tuple[bytes, bytes]] = {}
        "Headers and bodies of refusals by message and path: under load the same ones come again and again."
        self._timer: asyncio.TimerHandle | None = None
        self._most_connections = sys.maxsize
        self.change(limits, shedder.max_in_flight)

    def change(self, limits: HttpLimits, max_in_flight: int) -> None:
        """Go by these limits from now on."""
        self.limits = limits
        self.max_connections = min(limits.max_connections, self._most_connections)
        self.shedder.max_in_flight = max_in_flight
        shortest = min(limits.head_timeout_s, limits.body_timeout_s, limits.send_timeout_s)
        self._period_s = min(1.0, shortest / 4)

    def cap_connections(self, most: int) -> None:
        """More than so many the system does not allow, whatever the limits say."""
        self._most_connections = most
        self.max_connections = min(self.max_connections, most)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look after the deadlines from now on, until `unwatch`."""
        self.date_field = _render_date()
        now = loop.time()
        for connection in [it for it in self.connections if it.deadline <= now]:
            connection.expire()
        self._timer = loop.call_later(self._period_s, self.watch, loop)

    def unwatch(self) -> None:
        """Look after them no more."""
        if self._timer is not None:
            self._timer.cancel()

    def run(self, exchange: Exchange, loop: asyncio.AbstractEventLoop) -> None:
        """Have a request answered, when it is its turn."""
        self._turnstile.enter(exchange, loop)

    def _begin(self, exchange: Exchange) -> None:
        exchange.task = asyncio.create_task(exchange.run(self.app))
        self.tasks.add(exchange.task)

    def forget(self, exchange: Exchange) -> None:
        """It has been answered, or never will be."""
        self.shedder.release()
        if exchange.task is not None:
            self.tasks.discard(exchange.task)
            exchange.task = None

    def render_refusal(self, error: JunctorError, path: str, *, closes: bool) -> bytes:
        """A whole reply."""
        self.refused[error.code] += 1
        key = error.message, path
        if (known := self._worded.get(key)) is None:
            content_type, body = self._render_refusal(error, path)
            headers = [(b"content-type", content_type.encode("ascii"))]
            if isinstance(error, Overloaded):
                headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after_s))))
            known = render_fields(headers), body
            if len(self._worded) >= _KEPT_WORDS:
                self._worded.clear()
            self._worded[key] = known
        fields, body = known
        return render_reply(error.status, self.date_field, fields, body, closes=closes)


def _render_date() -> bytes:
    return f"date: {formatdate(usegmt=True)}\r\n".encode("ascii")
