"""The reply to one request: status, headers, then pieces or one body (raw ASGI).

Errors under `/v1` have OpenAI's envelope, all others are RFC 9457 problems: one tree, two renderers.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable

from junctor.chat import JunctorError, UpstreamError, UpstreamRateLimited
from junctor.gateway.receive import ClientGone, Message, Send
from junctor.wire.openai_reply import render_error
from junctor.wire.problem import render_problem

Headers = Iterable[tuple[str, str]]


class Reply:
    """What goes back to one client."""

    def __init__(self, send: Send, request_id: str, send_timeout_s: float = 60.0) -> None:
        """`send_timeout_s`: a client that takes nothing for so long counts as gone."""
        self._raw_send = send
        self._request_id = request_id
        self._send_timeout_s = send_timeout_s
        self.started = False
        "Whether status and headers are out: from then on the status is what it is."

    async def _send(self, message: Message) -> None:
        """Raises `ClientGone` when the client has stopped reading."""
        try:
            async with asyncio.timeout(self._send_timeout_s):
                await self._raw_send(message)
        except TimeoutError:
            raise ClientGone from None

    async def pass_on(self, message: Message) -> None:
        """An ASGI `send` for another application: its replies name the request, too."""
        if message["type"] == "http.response.start":
            self.started = True
            message["headers"] = [*message["headers"], (b"x-request-id", self._request_id.encode())]
        await self._send(message)

    async def start(self, status: int, content_type: str, headers: Headers = ()) -> None:
        """Send status and headers; the pieces follow."""
        self.started = True
        await self._send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", content_type.encode()),
                    (b"x-request-id", self._request_id.encode()),
                    *((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers),
                ],
            }
        )

    async def piece(self, data: bytes) -> None:
        """Send the next piece of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Send the last piece of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def whole(self, status: int, content_type: str, body: bytes, headers: Headers = ()) -> None:
        """Send a reply in one go."""
        await self.start(status, content_type, [("content-length", str(len(body))), *headers])
        await self.end(body)

    async def error(self, error: JunctorError, path: str, headers: Headers = ()) -> None:
        """Send an error in the envelope that its path promises."""
        content_type, body = render_refusal(error, path)
        await self.whole(error.status, content_type, body, [*headers, *render_retry_headers(error)])


def render_refusal(error: JunctorError, path: str) -> tuple[str, bytes]:
    """Content type and body of an error, in the envelope that its path promises."""
    if path.startswith("/v1/"):
        return "application/json", render_error(error)
    return "application/problem+json", render_problem(error)[1]


def render_retry_headers(error: JunctorError) -> Headers:
    """What keeps client libraries from multiplying our retries by theirs (openai-python obeys both)."""
    if not isinstance(error, UpstreamError):
        return
    if error.retry_after_s is not None:
        yield "retry-after", str(max(0, math.ceil(error.retry_after_s)))
    if not isinstance(error, UpstreamRateLimited):
        yield "x-should-retry", "false"
