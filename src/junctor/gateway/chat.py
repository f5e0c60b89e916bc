"""Chats, in every dialect of their callers: the straight line from a request to its reply (raw ASGI).

    admit -> read the body -> parse -> reserve -> pool[model].answer -> render -> ledger -> the last byte

The row in the ledger is durable before the reply's last byte leaves: whoever has read an answer to its end
finds it in the ledger, whatever happens to this process afterwards.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from junctor.chat import (
    ChatRequest,
    Decision,
    Event,
    InternalError,
    JunctorError,
    Model,
    Pool,
    Routed,
    ServerStopping,
    Started,
    UnknownModel,
    WrongMethod,
)
from junctor.gateway.admit import Doorkeeper
from junctor.gateway.dialect import Call, CallerDialect, Renderer
from junctor.gateway.idempotency import (
    KEY_HEADER,
    REPLAYED,
    Idempotency,
    Turn,
    fingerprint_of,
    is_final,
    slot_of,
)
from junctor.gateway.idempotency_store import KeptReply
from junctor.gateway.keys import NOBODY, Caller
from junctor.gateway.kinds import not_here
from junctor.gateway.limits import Account, Lease, Limits
from junctor.gateway.memory import Memory, NoMemory
from junctor.gateway.menu import Menu
from junctor.gateway.metrics import Metrics
from junctor.gateway.receipt import (
    render_estimate,
    render_exact,
    render_receipt_comment,
    render_warning,
    render_who,
)
from junctor.gateway.receive import (
    LINE,
    ClientGone,
    Line,
    Presence,
    Receive,
    Scope,
    Send,
    give_up_after,
    read_body,
    read_headers,
)
from junctor.gateway.reply import Headers, Reply
from junctor.gateway.vigil import Vigil
from junctor.pool.ledger import Entry, Ledger, Receipt
from junctor.pool.metered import CLIENT_GONE, OK, count_prompt_tokens
from junctor.pool.pool import resolve
from junctor.store.ids import new_id
from junctor.wire.fusion import as_fusion, note_fusion

log = logging.getLogger(__name__)

MODEL_IN_URL = "junctor.model"
"Key of the ASGI scope: the model that the URL names."
_CLIENT_CLOSED_REQUEST = 499
"nginx's status for a client that left: nobody receives it, it stands in the ledger."

OURS = "junctor"
"The provider of what answers by asking others, such as `auto`: no judge."
LAST_WORD_S = 1.0
"How long a client may take to read that the server stops."
_NO_MEMORY = NoMemory()


class Desk(msgspec.Struct, frozen=True, kw_only=True):
    """What the endpoints of all dialects share."""

    pool: Pool
    ledger: Ledger
    doorkeeper: Doorkeeper
    limits: Limits
    menu: Menu
    metrics: Metrics
    vigil: Vigil
    idempotency: Idempotency
    max_body_bytes: int
    body_timeout_s: float
    send_timeout_s: float
    others: Pool = {}
    "Models that answer at the paths of the other kind."
    memories: Mapping[str, Memory] = {}
    "What the endpoints of some paths remember of earlier requests."


class ChatEndpoint:
    """Answers chats in one dialect, streamed or whole."""

    def __init__(self, dialect: CallerDialect, desk: Desk) -> None:
        self._dialect = dialect
        self._desk = desk
        self._memory: Memory = desk.memories.get(dialect.path, _NO_MEMORY)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Whatever happens: one reply (if there is somebody to read it) and one row."""
        visit = Visit(new_id("req_"), send, self._dialect.keepalive)
        self._desk.metrics.in_flight += 1
        try:
            await self._serve(visit, scope, receive)
        except JunctorError as error:
            await self._refuse(visit, error)
        except ClientGone:
            await self._close(visit, CLIENT_GONE, _CLIENT_CLOSED_REQUEST)
        except asyncio.CancelledError:
            # The server stops and waits no longer; the row is queued all the same.
            status = 200 if visit.reply.started else ServerStopping.status
            await self._close(visit, ServerStopping.code, status)
            if visit.is_cut:
                await self._tell_cut(visit)
            raise
        except Exception:
            log.exception("our own fault in %s", visit.request_id)
            message = f"Junctor failed; the log has the reason under {visit.request_id}"
            await self._refuse(visit, InternalError(message))
        finally:
            if visit.turn is not None:
                visit.turn.end()
            visit.settle()
            visit.reply.close()
            self._desk.vigil.forget(visit)
            self._desk.metrics.in_flight -= 1

    async def _serve(self, visit: Visit, scope: Scope, receive: Receive) -> None:
        if scope["method"] != "POST":
            raise WrongMethod(f"{self._dialect.path} takes POST, not {scope['method']}", allow="POST")
        desk, headers = self._desk, read_headers(scope)
        visit.caller = desk.doorkeeper.admit(headers)
        visit.account = desk.limits.account_of(visit.caller)
        line: Line | None = scope.get(LINE)
        body = await read_body(
            headers, receive, max_bytes=desk.max_body_bytes, timeout_s=desk.body_timeout_s, line=line
        )
        call = self._dialect.parse(
            body,
            headers,
            request_id=visit.request_id,
            caller=visit.caller.key_id,
            model=scope.get(MODEL_IN_URL, ""),
        )
        if call.request.fusion is not None:
            call = _asking(call, self._fused(visit, call.request))
        visit.entry = self._open(visit, call.request)
        async with Presence(receive, line) as visit.presence:
            desk.vigil.watch(visit)
            if KEY_HEADER in headers:
                kept = await self._claim(visit, scope, headers, body)
                if kept is not None:
                    await self._answer_again(visit, kept)
                    return
            await self._answer(visit, call)

    def _fused(self, visit: Visit, request: ChatRequest) -> ChatRequest:
        """What says something of a fusion goes to one, whatever model of the pool it names."""
        name = resolve(self._desk.pool, request.model)
        if name is None or self._desk.menu.is_fusion(name):
            return request
        judge = name if self._desk.pool[name].card.provider != OURS else None
        fused = as_fusion(request, judge)
        visit.note = note_fusion(name, fused)
        return fused

    async def _claim(
        self, visit: Visit, scope: Scope, headers: Mapping[str, str], body: bytes
    ) -> KeptReply | None:
        """The reply that the request's `Idempotency-Key` got before; None when it is this one's to answer."""
        slot = slot_of(visit.caller.key_id, headers[KEY_HEADER])
        fingerprint = fingerprint_of(self._dialect.path, scope.get(MODEL_IN_URL, ""), headers, body)
        claimed = await self._desk.idempotency.claim(slot, fingerprint)
        if isinstance(claimed, KeptReply):
            return claimed
        visit.turn = claimed
        visit.reply.record(claimed.recording)
        return None

    async def _answer_again(self, visit: Visit, kept: KeptReply) -> None:
        """The same reply once more. Its row says that nobody was asked for it: `ok` with 0 attempts."""
        await self._close(visit, OK, kept.status)
        await visit.reply.again(kept.status, [*kept.headers, REPLAYED], kept.body)

    async def _answer(self, visit: Visit, call: Call) -> None:
        """Ask the pool, send what comes as it comes, and the end once the row is durable."""
        call = await self._memory.recall(call)
        model = self._find(visit.caller, call.request.model)
        if visit.account is not None:
            call = await self._reserve(visit, visit.account, model.card.name, call)
        request, reply = call.request, visit.reply
        visit.streams, visit.lost = request.stream, request.lost_elsewhere
        renderer = visit.renderer = self._dialect.renderer(call)
        async with aclosing(model.answer(request)) as events:
            async for event in events:
                visit.see(event)
                for piece in renderer.render(event):
                    await reply.piece(piece)
        last = renderer.end()
        await self._memory.keep(call, renderer)
        visit.receipt = await self._close(visit, OK, 200)
        if request.stream:
            await reply.end(render_receipt_comment(visit.receipt, visit.decision) + last)
        else:
            await reply.whole(200, "application/json", last, visit.headers())

    def _find(self, caller: Caller, name: str) -> Model:
        """Raises `UnknownModel`, which knows models of the other kind, and `ModelForbidden`."""
        pool, others, menu = self._desk.pool, self._desk.others, self._desk.menu
        try:
            return menu.find(caller, pool, name)
        except UnknownModel:
            other = resolve(others, name)
            is_elsewhere = other is not None and menu.permits(caller, other)
            own = [each for each in pool if menu.permits(caller, each)]
            if error := not_here(self._dialect.kind, name, own, is_elsewhere=is_elsewhere):
                raise error from None
            raise

    async def _reserve(self, visit: Visit, account: Account, name: str, call: Call) -> Call:
        """The call as its key allows it, once what it may use and cost is reserved; that may take a wait."""
        menu = self._desk.menu
        request = menu.permit(visit.caller, name, call.request)
        visit.lease = await account.reserve(menu.estimate(name, request, count_prompt_tokens(request)))
        return call if request is call.request else _asking(call, request)

    async def _refuse(self, visit: Visit, error: JunctorError) -> None:
        """Tell the caller what went wrong: as a reply, or as the last event of one that has begun."""
        begun, request_id = visit.reply.started, visit.request_id
        # The class's code: an upstream may choose any, and outcomes are labels of metrics.
        receipt = await self._close(visit, type(error).code, 200 if begun else error.status)
        async with give_up_after(self._desk.send_timeout_s):
            if begun:
                await visit.reply.end(self._render_cut(visit, error))
            else:
                body = self._dialect.render_error(error, request_id)
                who = render_who(receipt.model, receipt.decision_id)
                await visit.reply.error(error, "application/json", body, [*who, *visit.limit_headers()])

    async def _tell_cut(self, visit: Visit) -> None:
        """End a stream that the server cuts short by an event that says so, rather than by silence."""
        last = self._render_cut(visit, ServerStopping("this server stops; ask again"))
        telling = asyncio.create_task(visit.reply.end(last))
        # Not asyncio.timeout(): its TimeoutError does not come out of a task that is being cancelled.
        await asyncio.wait({telling}, timeout=LAST_WORD_S)
        telling.cancel()

    def _render_cut(self, visit: Visit, error: JunctorError) -> bytes:
        """The end of a stream that cannot go on."""
        if self._dialect.fail is not None and visit.renderer is not None:
            return self._dialect.fail(visit.renderer, error)
        return self._dialect.render_error_event(error, visit.request_id)

    def _open(self, visit: Visit, request: ChatRequest | None) -> Entry:
        return self._desk.ledger.open(
            visit.request_id,
            caller=visit.caller.name,
            key_id=visit.caller.key_id,
            route=self._dialect.path,
            asked_model=request.model if request else "",
            stream=request.stream if request else False,
            compares=self._dialect.kind == "chat",
        )

    async def _close(self, visit: Visit, outcome: str, status: int) -> Receipt:
        """Write the request's one row; a request that never got as far as to have one gets it now."""
        entry = visit.entry or self._open(visit, None)
        entry.decision_id = visit.decision.id if visit.decision else None
        entry.answered_by = visit.model
        receipt = await self._desk.ledger.close(entry, outcome, status)
        if visit.lease is not None:
            visit.lease.settle(receipt, whole=outcome == OK)
        if visit.turn is not None:
            visit.turn.keeps = is_final(outcome, status, receipt.attempts)
        self._desk.metrics.observe(receipt, route=self._dialect.path, outcome=outcome)
        return receipt


def _asking(call: Any, request: ChatRequest) -> Call:
    """The call with another request; calls are structs in every dialect."""
    return msgspec.structs.replace(call, request=request)


class Visit:
    """What one request has come to so far."""

    def __init__(self, request_id: str, send: Send, keepalive: bytes) -> None:
        self.request_id = request_id
        self.reply = Reply(send, request_id, self.headers)
        self.caller = NOBODY
        self.account: Account | None = None
        "The caller's, where anything of it is limited."
        self.lease: Lease | None = None
        "What is reserved there."
        self.streams = False
        "Once the pool is asked: a stream that waits in line may still be refused."
        self.presence: Presence | None = None
        self.renderer: Renderer | None = None
        "Once the pool is asked."
        self.entry: Entry | None = None
        self.turn: Turn | None = None
        "At its `Idempotency-Key`, where it has one and nobody has answered it before."
        self.receipt: Receipt | None = None
        "What it came to, once that is known."
        self.decision: Decision | None = None
        self.model: str | None = None
        "Who answers, once that is known."
        self.lost: tuple[str, ...] = ()
        "What no fusion carries of the request: its members are asked in the chat form."
        self.left_out: tuple[str, ...] = ()
        self.note = ""
        "What else a caller should know who may have expected something different."
        self._keepalive = keepalive
        self._began = asyncio.get_running_loop().time()

    def see(self, event: Event) -> None:
        """Note who decided and who answers."""
        match event:
            case Routed():
                self.decision = event.decision
                if self.decision.fusion is not None and self.entry:
                    self.entry.compare_with_nobody()
            case Started():
                self.model, self.left_out = event.model, event.left_out
                if self.decision is not None:
                    self._see_one_of_several(self.decision)
            case _:
                pass

    def _see_one_of_several(self, decision: Decision) -> None:
        """One answer of several begins."""
        if decision.fusion is not None:
            self.left_out = tuple(dict.fromkeys((*self.lost, *self.left_out)))
        if self.entry and (decision.escalation or decision.fusion):
            self.entry.first_text()

    def headers(self) -> Headers:
        """Reply headers: exact for an answer that is complete, else the router's estimate."""
        if self.receipt is not None:
            yield from render_exact(self.receipt, self.decision)
        else:
            yield from render_estimate(self.model, self.decision)
        yield from render_warning(self.left_out, self.note)
        yield from self.limit_headers()

    def limit_headers(self) -> Headers:
        """Reply headers: what is left of the caller's rates."""
        return () if self.account is None else self.account.render_headers()

    def settle(self) -> None:
        """The request is over: if nobody could settle it, this does, by what it came to so far."""
        if self.lease is not None and self.entry is not None:
            self.lease.settle(self.entry.closed or self.entry.receipt(), whole=False)

    @property
    def is_cut(self) -> bool:
        """Whether a stream that is out so far has no end yet."""
        return self.streams and self.reply.started and self.receipt is None

    # What `Vigil` asks.

    @property
    def stuck_since(self) -> float | None:
        """Since when the client takes nothing."""
        return self.reply.sending_since

    @property
    def silent_since(self) -> float | None:
        """Since when the stream says nothing."""
        return (self.reply.sent_at or self._began) if self.streams else None

    def give_up(self) -> None:
        """The client takes nothing any more."""
        if self.presence is not None:
            self.presence.leave()

    def give_sign(self) -> None:
        """Show the client that its stream lives."""
        self.reply.give_sign(self._keepalive)
