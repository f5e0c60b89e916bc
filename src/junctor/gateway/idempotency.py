"""One answer for one `Idempotency-Key`, however often it is asked for.

    claimed = await idempotency.claim(slot, fingerprint)
    KeptReply     the request was answered before: this reply is given again
    Turn          it was not: answer it through `turn.recording(send)`, and `turn.end()` whatever happens

The reply is durable before its last byte leaves, so a caller who has read it to its end, or most of it, gets
the same bytes again for 24 hours, a crash and a restart included. That a request is in progress is known in
memory alone: a crash leaves no key behind that nobody can use.

As Stripe has it (docs.stripe.com/api/idempotent_requests): a request that was refused before anything was
done for it leaves its key free, one that was carried out and came to a definite end does not. Not as Stripe
has it: a duplicate that comes while the first is in progress waits for its reply instead of being refused
(409), and failures that another try may mend (5xx among them) free the key.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from functools import partial

from junctor.chat import BadRequest, IdempotencyMismatch, IdempotencyPending
from junctor.gateway.idempotency_store import Header, KeptReply, ReplyStore, Slot
from junctor.gateway.receive import Message, Send
from junctor.pool.metered import OK
from junctor.store.failure import StoreFailed
from junctor.wire.constraints import HEADER_PREFIX

log = logging.getLogger(__name__)

KEY_HEADER = "idempotency-key"
REPLAYED: Header = (b"idempotent-replayed", b"true")
"Stands on a reply that is given again."
LONGEST_KEY = 255
WAIT_S = 60.0
"How long a duplicate waits for the reply to the first."
RETRY_AFTER_S = 5.0
MAX_REPLY_BYTES = 4 * 1024 * 1024
"A larger reply is not kept."
MAX_UNWRITTEN_BYTES = 64 * 1024 * 1024
"While the database takes nothing, replies wait in memory; beyond this none is kept."
DURABLE_WAIT_S = 2.0
"How long the last byte of a reply waits for the disk at most, as for the ledger."
SWEEP_S = 60.0

_MAY_BE_MENDED = frozenset({408, 409, 429})


class Idempotency:
    """Keeps replies and gives them again. One for the process."""

    def __init__(
        self,
        store: ReplyStore,
        *,
        wait_s: float = WAIT_S,
        max_reply_bytes: int = MAX_REPLY_BYTES,
        max_unwritten_bytes: int = MAX_UNWRITTEN_BYTES,
    ) -> None:
        self._store = store
        self._wait_s = wait_s
        self.max_reply_bytes = max_reply_bytes
        self._max_unwritten_bytes = max_unwritten_bytes
        self._turns: dict[Slot, Turn] = {}
        "In progress, or answered by a reply that the database has not yet."
        self._unwritten: dict[Slot, KeptReply] = {}
        "Replies that the database has not yet, or could not take."
        self._unwritten_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to delete what is older than a day, and to offer again what was not taken: once a minute."""
        self._store.sweep()
        self._offer_again()
        self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self.start)

    def stop(self) -> None:
        """Delete no more, and offer a last time what was not taken."""
        if self._timer is not None:
            self._timer.cancel()
        self._offer_again()

    async def claim(self, slot: Slot, fingerprint: str) -> KeptReply | Turn:
        """The reply that was given before, or the turn to answer.

        Waits while another request with the key is in progress; should that end without a reply to keep, one
        of those who wait takes its turn. Raises `IdempotencyMismatch`, and `IdempotencyPending` after
        `wait_s`. A database that cannot be read costs the promise, not the answer.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wait_s
        while (other := self._turns.get(slot)) is not None:
            _refuse_another(slot, other.fingerprint, fingerprint)
            await asyncio.wait((other.ended,), timeout=deadline - loop.time())
            if not other.ended.done():
                raise IdempotencyPending(
                    f"another request with the Idempotency-Key {slot.key!r} has been in progress for "
                    f"{self._wait_s:g} s; send this one again in a few seconds",
                    retry_after_s=RETRY_AFTER_S,
                )
            if (reply := other.ended.result()) is not None:
                return reply
        turn = self._turns[slot] = Turn(self, slot, fingerprint)
        try:
            kept = await self._find(slot)
        except BaseException:
            turn.end()
            raise
        if kept is None:
            return turn
        turn.end()
        _refuse_another(slot, kept.fingerprint, fingerprint)
        return kept

    async def _find(self, slot: Slot) -> KeptReply | None:
        try:
            return await self._store.find(slot)
        except StoreFailed as error:
            log.warning("whether a request was answered before cannot be looked up: %s", error)
            return None

    def has_room_for(self, reply_bytes: int) -> bool:
        """Whether one more reply may wait in memory for the database."""
        return self._unwritten_bytes + reply_bytes <= self._max_unwritten_bytes

    def keep(self, slot: Slot, reply: KeptReply) -> asyncio.Future[None]:
        """Queue a reply; the future is done when it is durable, or cannot be for now.

        Until it is, `claim` finds it at the turn that it was given in.
        """
        self._unwritten[slot] = reply
        self._unwritten_bytes += len(reply.body)
        return self._offer(slot, reply)

    def _offer(self, slot: Slot, reply: KeptReply) -> asyncio.Future[None]:
        written = self._store.add(slot, reply)
        written.add_done_callback(partial(self._written, slot))
        return written

    def _written(self, slot: Slot, written: asyncio.Future[None]) -> None:
        if written.exception() is None and (reply := self._unwritten.pop(slot, None)) is not None:
            self._unwritten_bytes -= len(reply.body)
            self.free(slot)

    def _offer_again(self) -> None:
        for slot, reply in self._unwritten.items():
            self._offer(slot, reply)

    def free(self, slot: Slot) -> None:
        """Nobody is at this key any more."""
        self._turns.pop(slot, None)


class Turn:
    """One request that is answered under a key: records its reply as it is sent."""

    __slots__ = (
        "_body",
        "_headers",
        "_idempotency",
        "_send",
        "_slot",
        "_status",
        "ended",
        "fingerprint",
        "keeps",
    )

    def __init__(self, idempotency: Idempotency, slot: Slot, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.ended: asyncio.Future[KeptReply | None] = asyncio.get_running_loop().create_future()
        "Done with the reply once that is complete, or with None when there is none to keep."
        self.keeps = False
        "Set before the last byte is sent: whether the reply is one to keep."
        self._idempotency = idempotency
        self._slot = slot
        self._send: Send | None = None
        self._status = 0
        self._headers: tuple[Header, ...] = ()
        self._body = bytearray()

    def recording(self, send: Send) -> Send:
        """An ASGI `send` that records what it passes on, and passes the last byte on once it is kept."""
        self._send = send
        return self._record

    async def _record(self, message: Message) -> None:
        assert self._send is not None
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], tuple(message["headers"])
        else:
            if len(self._body) <= self._idempotency.max_reply_bytes:
                self._body += message["body"]
            if self.keeps and not message["more_body"]:
                await self._keep()
        await self._send(message)

    async def _keep(self) -> None:
        """Hand the reply to the database, then to those who wait. What is left of rates is not part of it."""
        size = len(self._body)
        if size > self._idempotency.max_reply_bytes or not self._idempotency.has_room_for(size):
            return
        reply = KeptReply(
            request_id=dict(self._headers)[b"x-request-id"].decode(),
            fingerprint=self.fingerprint,
            status=self._status,
            headers=tuple(header for header in self._headers if b"ratelimit" not in header[0]),
            body=bytes(self._body),
        )
        written = self._idempotency.keep(self._slot, reply)
        try:
            await asyncio.wait((written,), timeout=DURABLE_WAIT_S)
        finally:
            self.ended.set_result(reply)

    def end(self) -> None:
        """The request is over. Without a reply that was kept, the key is free again."""
        if not self.ended.done():
            self._idempotency.free(self._slot)
            self.ended.set_result(None)


def slot_of(caller: str, header: str) -> Slot:
    """Where the reply to a request belongs. Raises `BadRequest` for a header that is no key."""
    if not 0 < len(header) <= LONGEST_KEY or not (header.isascii() and header.isprintable()):
        raise BadRequest(
            f"the header {KEY_HEADER} must hold 1 to {LONGEST_KEY} printable characters of ASCII: a UUID",
            param=KEY_HEADER,
        )
    return Slot(caller, header)


def fingerprint_of(path: str, model: str, headers: Mapping[str, str], body: bytes) -> str:
    """Hexadecimal SHA-256 of what a request asks for: path, model of the URL, `x-junctor-*` headers, body."""
    ours = sorted(f"{name}: {value}" for name, value in headers.items() if name.startswith(HEADER_PREFIX))
    return hashlib.sha256("\n".join([path, model, *ours, ""]).encode() + body).hexdigest()


def is_final(outcome: str, status: int, calls: int) -> bool:
    """Whether another try would come to the same: an answer, or a model's own refusal of the request.

    `calls`: how many models were asked. A request that was refused before any was may be mended and sent
    again under its key.
    """
    if outcome == OK:
        return True
    return 400 <= status < 500 and status not in _MAY_BE_MENDED and calls > 0


def _refuse_another(slot: Slot, known: str, fingerprint: str) -> None:
    if known != fingerprint:
        raise IdempotencyMismatch(
            f"the Idempotency-Key {slot.key!r} was used with another request; send the same path and "
            "the same body, byte for byte, or a new key",
            param=KEY_HEADER,
        )
