"""`POST /v1/messages/count_tokens`: how many tokens a request would have (raw ASGI).

Where an upstream of Anthropic's API would answer, it is asked. For all other models, and for `auto`, it is an
estimate of our own, from the request's size. Nothing of it stands in the ledger: it costs nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from junctor.chat import ChatRequest, Pool
from junctor.gateway.keys import Caller
from junctor.gateway.menu import Menu
from junctor.gateway.receive import ClientGone, Receive, Scope, Send, read_body, read_headers
from junctor.gateway.rest import CALLER
from junctor.pool.metered import count_prompt_tokens
from junctor.wire.messages_request import parse_count_request

PATH = "/v1/messages/count_tokens"

Counter = Callable[[ChatRequest], Awaitable[bytes]]
"Asks one upstream; gives its reply's body. Raises `JunctorError`."
_ESTIMATED = (b"x-junctor-warning", b"estimated from the size: the model's API counts no tokens")


class CountTokens:
    """Counts the tokens of a request, for a key that may use its model. Raises `JunctorError`."""

    def __init__(
        self,
        pool: Pool,
        menu: Menu,
        counters: Mapping[str, Counter],
        *,
        max_body_bytes: int,
        body_timeout_s: float,
    ) -> None:
        """`counters`: by the name of the model, for those whose upstream can count."""
        self._pool = pool
        self._menu = menu
        self._counters = counters
        self._max_body_bytes = max_body_bytes
        self._body_timeout_s = body_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        headers = read_headers(scope)
        try:
            body = await read_body(
                headers, receive, max_bytes=self._max_body_bytes, timeout_s=self._body_timeout_s
            )
        except ClientGone:
            return
        request = parse_count_request(body, headers)
        caller: Caller = scope[CALLER]
        name = self._menu.find(caller, self._pool, request.model).card.name
        self._menu.permit(caller, name, request)
        counter = self._counters.get(name)
        fields = [(b"content-type", b"application/json")]
        if counter is not None:
            reply = await counter(request)
        else:
            reply = msgspec.json.encode({"input_tokens": count_prompt_tokens(request)})
            fields.append(_ESTIMATED)
        fields.append((b"content-length", b"%d" % len(reply)))
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": reply})
