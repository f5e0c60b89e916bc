"""The reply to one request: status, headers, then pieces or one body (raw ASGI)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable

from junctor.chat import (
    BudgetExhausted,
    IdempotencyPending,
    JunctorError,
    Overloaded,
    RateLimited,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamUnavailable,
    WrongMethod,
)
from junctor.gateway.receive import Message, Send

Headers = Iterable[tuple[str, str]]
EVENT_STREAM = "text/event-stream; charset=utf-8"
_PATIENT = (IdempotencyPending, Overloaded, RateLimited, UpstreamError)
"Errors that can say when another try makes sense."
_NOT_TRIED = (UpstreamRateLimited, UpstreamUnavailable)
"Failures of upstreams after which nobody has been asked once more."


class Reply:
    """What goes back to one client: `whole()`, or `piece()`s and an `end()`."""

    __slots__ = (
        "_headers",
        "_raw_send",
        "_request_id",
        "_sign",
        "_time",
        "sending_since",
        "sent_at",
        "started",
    )

    def __init__(self, send: Send, request_id: str, headers: Callable[[], Headers] = tuple) -> None:
        """`headers`: those of a stream, asked for when its first piece goes out."""
        self._raw_send = send
        self._request_id = request_id
        self._headers = headers
        self._sign: asyncio.Task[None] | None = None
        self._time = asyncio.get_running_loop().time
        self.started = False
        "Whether status and headers are out: from then on the status is what it is."
        self.sending_since: float | None = None
        "Since when a message waits for the client to take it, loop time; None: none waits."
        self.sent_at = 0.0
        "When the last message was taken, loop time; 0 before the first."

    def record(self, recording: Callable[[Send], Send]) -> None:
        """Let all that is sent from now on pass through another `send` on its way."""
        self._raw_send = recording(self._raw_send)

    async def again(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a reply that was sent before, its request's name included."""
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def pass_on(self, message: Message) -> None:
        """An ASGI `send` for another application: its replies name the request, too."""
        if message["type"] == "http.response.start":
            self.started = True
            message["headers"] = [*message["headers"], *self._names()]
        await self._send(message)

    async def piece(self, data: bytes) -> None:
        """Send the next piece of a stream; the first brings status and headers with it."""
        if self._sign is not None:
            await self._end_sign()
        if not self.started:
            await self._start(200, EVENT_STREAM, self._headers())
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes) -> None:
        """Send the last piece of a stream."""
        if self._sign is not None:
            await self._end_sign()
        if not self.started:
            await self._start(200, EVENT_STREAM, self._headers())
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def whole(self, status: int, content_type: str, body: bytes, headers: Headers = ()) -> None:
        """Send a reply in one go."""
        await self._start(status, content_type, [("content-length", str(len(body))), *headers])
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def error(self, error: JunctorError, content_type: str, body: bytes, headers: Headers = ()) -> None:
        """Send an error, in whatever envelope its path promises."""
        await self.whole(error.status, content_type, body, [*headers, *render_error_headers(error)])

    def close(self) -> None:
        """Nothing more will be sent: let go of whoever was asked for headers, and refers to us."""
        self._headers = tuple

    def give_sign(self, data: bytes) -> None:
        """Send a sign of life in a stream, without making anybody wait for it."""
        if self._sign is None and self.sending_since is None:
            self._sign = asyncio.create_task(self._give_sign(data))

    async def _give_sign(self, data: bytes) -> None:
        if not self.started:
            await self._start(200, EVENT_STREAM, self._headers())
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _end_sign(self) -> None:
        sign, self._sign = self._sign, None
        if sign is not None:
            await sign

    def _names(self) -> list[tuple[bytes, bytes]]:
        """The request's id where OpenAI's clients look for it, and where Anthropic's do."""
        request_id = self._request_id.encode()
        return [(b"x-request-id", request_id), (b"request-id", request_id)]

    async def _start(self, status: int, content_type: str, headers: Headers) -> None:
        self.started = True
        lines = [
            (b"content-type", content_type.encode()),
            *self._names(),
            *[(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": lines})

    async def _send(self, message: Message) -> None:
        self.sending_since = self._time()
        await self._raw_send(message)
        self.sending_since, self.sent_at = None, self._time()


def render_error_headers(error: JunctorError) -> Headers:
    """What else to do: another method; another try, or none. Never both of the last two.

    Who is told when to come back may do so: nobody was asked, or the upstream itself has said when. Any other
    failure of an upstream was tried again already: client libraries shall not multiply our retries by theirs.
    (OpenAI's and Anthropic's obey both headers; with neither they try a 429 or a 5xx twice more.)
    """
    if isinstance(error, WrongMethod):
        yield "allow", error.allow
    if isinstance(error, _PATIENT) and error.retry_after_s is not None:
        yield "retry-after", str(max(0, math.ceil(error.retry_after_s)))
        return
    tried = isinstance(error, UpstreamError) and not isinstance(error, _NOT_TRIED)
    if tried or isinstance(error, BudgetExhausted):
        yield "x-should-retry", "false"
