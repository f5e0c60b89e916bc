"""`POST /v1/chat/completions`: the straight line from a request to its reply (raw ASGI).

    admit -> read the body -> parse -> pool[model].answer -> render -> ledger -> the last byte

The row in the ledger is durable before the reply's last byte leaves: whoever has read an answer to its end
finds it in the ledger, whatever happens to this process afterwards.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

from junctor.chat import (
    ChatRequest,
    Decision,
    Event,
    InternalError,
    JunctorError,
    Pool,
    Routed,
    Started,
    WrongMethod,
)
from junctor.gateway.admit import Doorkeeper
from junctor.gateway.metrics import Metrics
from junctor.gateway.receipt import render_estimate, render_exact, render_receipt_comment, render_who
from junctor.gateway.receive import (
    ClientGone,
    Receive,
    Scope,
    Send,
    cancel_when_gone,
    read_body,
    read_headers,
)
from junctor.gateway.reply import Reply
from junctor.pool.ledger import Entry, Ledger, Receipt
from junctor.pool.metered import CLIENT_GONE, OK
from junctor.pool.pool import find
from junctor.store.ids import new_id
from junctor.wire.openai_reply import ChatRenderer, render_error_event
from junctor.wire.openai_request import Call, parse_request

log = logging.getLogger(__name__)

CHAT_PATH = "/v1/chat/completions"
EVENT_STREAM = "text/event-stream; charset=utf-8"
_CLIENT_CLOSED_REQUEST = 499
"nginx's status for a client that left: nobody receives it, it stands in the ledger."


class ChatEndpoint:
    """Answers chats as OpenAI's API does, streamed or whole."""

    def __init__(
        self,
        pool: Pool,
        ledger: Ledger,
        doorkeeper: Doorkeeper,
        metrics: Metrics,
        *,
        max_body_bytes: int,
        body_timeout_s: float,
        send_timeout_s: float,
    ) -> None:
        self._pool = pool
        self._ledger = ledger
        self._doorkeeper = doorkeeper
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._body_timeout_s = body_timeout_s
        self._send_timeout_s = send_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Whatever happens: one reply (if there is somebody to read it) and one row."""
        request_id = new_id("req_")
        visit = Visit(Reply(send, request_id, self._send_timeout_s), request_id)
        self._metrics.in_flight.inc()
        try:
            await self._serve(visit, scope, receive)
        except JunctorError as error:
            await self._refuse(visit, error)
        except ClientGone:
            await self._close(visit, CLIENT_GONE, _CLIENT_CLOSED_REQUEST)
        except asyncio.CancelledError:
            # The server stops and waits no longer; the row is queued all the same.
            await self._close(visit, "server_stopped", InternalError.status)
            raise
        except Exception:
            log.exception("our own fault in %s", request_id)
            message = f"Junctor failed; the log has the reason under {request_id}"
            await self._refuse(visit, InternalError(message))
        finally:
            self._metrics.in_flight.dec()

    async def _serve(self, visit: Visit, scope: Scope, receive: Receive) -> None:
        if scope["method"] != "POST":
            raise WrongMethod(f"{CHAT_PATH} takes POST, not {scope['method']}")
        headers = read_headers(scope)
        visit.caller = self._doorkeeper.admit(headers)
        body = await read_body(
            headers, receive, max_bytes=self._max_body_bytes, timeout_s=self._body_timeout_s
        )
        call = parse_request(body, headers, request_id=visit.request_id, caller=visit.caller)
        visit.entry = self._open(visit, call.request)
        async with cancel_when_gone(receive):
            await self._answer(visit, call)

    async def _answer(self, visit: Visit, call: Call) -> None:
        """Ask the pool, send what comes as it comes, and the end once the row is durable."""
        request = call.request
        renderer = ChatRenderer(call)
        async with aclosing(find(self._pool, request.model).answer(request)) as events:
            async for event in events:
                visit.see(event)
                for piece in renderer.render(event):
                    await self._send_piece(visit, piece)
        last = renderer.end()
        receipt = await self._close(visit, OK, 200)
        if not request.stream:
            await visit.reply.whole(200, "application/json", last, render_exact(receipt))
            return
        if not visit.reply.started:
            await visit.reply.start(200, EVENT_STREAM, render_exact(receipt))
        await visit.reply.end(render_receipt_comment(receipt) + last)

    async def _send_piece(self, visit: Visit, piece: bytes) -> None:
        """The next piece of a stream; the first one brings status and headers with it."""
        if not visit.reply.started:
            await visit.reply.start(200, EVENT_STREAM, render_estimate(visit.model, visit.decision))
        await visit.reply.piece(piece)

    async def _refuse(self, visit: Visit, error: JunctorError) -> None:
        """Tell the caller what went wrong: as a reply, or as the last event of one that has begun."""
        status = 200 if visit.reply.started else error.status
        # The class's code: an upstream may choose any, and outcomes are labels of metrics.
        receipt = await self._close(visit, type(error).code, status)
        if visit.reply.started:
            await visit.reply.end(render_error_event(error))
        else:
            await visit.reply.error(error, CHAT_PATH, render_who(receipt.model, receipt.decision_id))

    def _open(self, visit: Visit, request: ChatRequest | None) -> Entry:
        return self._ledger.open(
            visit.request_id,
            caller=visit.caller,
            route=CHAT_PATH,
            asked_model=request.model if request else "",
            stream=request.stream if request else False,
        )

    async def _close(self, visit: Visit, outcome: str, status: int) -> Receipt:
        """Write the request's one row; a request that never got as far as to have one gets it now."""
        entry = visit.entry or self._open(visit, None)
        entry.decision_id = visit.decision.id if visit.decision else None
        receipt = await self._ledger.close(entry, outcome, status)
        self._metrics.observe(receipt, route=CHAT_PATH, outcome=outcome)
        return receipt


class Visit:
    """What one request has come to so far."""

    def __init__(self, reply: Reply, request_id: str) -> None:
        self.reply = reply
        self.request_id = request_id
        self.caller = ""
        self.entry: Entry | None = None
        self.decision: Decision | None = None
        self.model: str | None = None
        "Who answers, once that is known."

    def see(self, event: Event) -> None:
        """Note who decided and who answers."""
        match event:
            case Routed():
                self.decision = event.decision
            case Started():
                self.model = event.model
            case _:
                pass
