"""The ledger: one row for every HTTP request, whatever became of it.

    entry = ledger.open(request_id, caller=..., route=..., asked_model=..., stream=...)
    ...                          # Metered reports each call made for it to `ledger.report`
    receipt = entry.receipt()    # so far: for reply headers
    receipt = await ledger.close(entry, outcome, http_status)

`docs/ledger.md` describes each column. No prompt and no reply text is ever stored.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from junctor.chat import ModelCard
from junctor.pool.ledger_store import LedgerRow, LedgerStore, Totals, parse_usd, render_usd_nano
from junctor.pool.metered import OK, UNKNOWN_PRICE, Spent
from junctor.store.database import Database

log = logging.getLogger(__name__)

Strongest = Callable[[], ModelCard | None]
"The card of the strongest model of the pool, as of now; None when there is none to compare with."


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What a request came to."""

    request_id: str
    model: str | None
    "Who answered: its name in the pool; None when nobody did."
    decision_id: str | None
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cache_written_tokens: int = 0
    usd: float
    price_source: str
    strongest_model: str | None
    "The strongest model of the pool, when its price is known."
    strongest_usd: float
    "What the answer's tokens cost at the strongest model's price, USD."
    saved_usd: float
    "`strongest_usd` less `usd`; below 0 when several calls cost more. 0 where a price is unknown."
    first_token_ms: float | None
    total_ms: float
    attempts: int
    "Calls of models made for it."
    durable: bool = False
    "Whether its row is on the disk."


def render_receipt(row: LedgerRow, *, durable: bool = False) -> Receipt:
    """What a row says of cost and time."""
    return Receipt(
        request_id=row.request_id,
        model=row.model,
        decision_id=row.decision_id,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cached_tokens=row.cached_tokens,
        cache_written_tokens=row.cache_written_tokens,
        usd=row.usd,
        price_source=row.price_source,
        strongest_model=row.strongest_model,
        strongest_usd=row.strongest_usd,
        saved_usd=row.saved_usd,
        first_token_ms=row.first_token_ms,
        total_ms=row.total_ms,
        attempts=row.attempts,
        durable=durable,
    )


class Entry:
    """One request in progress. Made by `Ledger.open`."""

    def __init__(
        self, row: LedgerRow, strongest: ModelCard | None, clock: Callable[[], float], opened: float
    ) -> None:
        self.decision_id: str | None = None
        "Set it when a router has decided."
        self.answered_by: str | None = None
        "Set it once it is known whose answer the caller gets: of several whole calls, that one counts."
        self.closed: Receipt | None = None
        "The final receipt, once closed."
        self._row = row
        self._strongest = strongest
        self._clock = clock
        self._opened = opened
        self._calls = list[Spent]()
        self._first_token_ms: float | None = None

    @property
    def request_id(self) -> str:
        """Its id."""
        return self._row.request_id

    def spent(self, spent: Spent) -> None:
        """Add one call made for it; several add up (retries, fallbacks, the members of a fusion)."""
        self._calls.append(spent)
        if spent.first_token_ms is not None and self._first_token_ms is None:
            call_began_ms = self._elapsed_ms() - spent.total_ms
            self._first_token_ms = max(0.0, call_began_ms) + spent.first_token_ms

    def compare_with_nobody(self) -> None:
        """Nothing was to be saved: the strongest model is no measure of this request."""
        self._strongest = None

    def first_text(self) -> None:
        """The caller's answer begins now, whatever the calls made for it have said before."""
        self._first_token_ms = self._elapsed_ms()

    def receipt(self) -> Receipt:
        """What it came to so far."""
        return render_receipt(self.row(outcome="", http_status=0))

    def row(self, outcome: str, http_status: int) -> LedgerRow:
        """Its row as of now."""
        calls, answered = self._calls, self._answering()
        usd_nano = read = said = cached = cached_anew = 0
        for call in calls:
            usd_nano += parse_usd(call.usd)
            read += call.input_tokens
            said += call.output_tokens
            cached += call.cached_tokens
            cached_anew += call.cache_written_tokens
        strongest_nano = self._strongest_usd_nano(answered)
        return msgspec.structs.replace(
            self._row,
            model=answered.model if answered else None,
            decision_id=self.decision_id,
            input_tokens=read,
            output_tokens=said,
            cached_tokens=cached,
            cache_written_tokens=cached_anew,
            tokens_estimated=any(call.estimated for call in calls),
            usd=render_usd_nano(usd_nano),
            price_source=answered.price_source if answered else "",
            strongest_model=None
            if strongest_nano is None or self._strongest is None
            else self._strongest.name,
            strongest_usd=render_usd_nano(strongest_nano or 0),
            saved_usd=render_usd_nano(0 if strongest_nano is None else strongest_nano - usd_nano),
            first_token_ms=self._first_token_ms,
            total_ms=self._elapsed_ms(),
            attempts=len(calls),
            outcome=outcome,
            http_status=http_status,
        )

    def _answering(self) -> Spent | None:
        """The call whose answer the caller got: the last whole one, else the last that said anything."""
        own = [call for call in self._calls if call.model == self.answered_by] or self._calls
        whole = [call for call in own if call.outcome == OK]
        begun = [call for call in own if call.text_seen]
        return (whole or begun or own or [None])[-1]

    def _strongest_usd_nano(self, answered: Spent | None) -> int | None:
        """None when there is nothing to compare: a price is unknown."""
        price = self._strongest.price if self._strongest else None
        if price is None or any(call.price_source == UNKNOWN_PRICE for call in self._calls):
            return None
        if answered is None:
            return 0
        return parse_usd(price.usd(answered.input_tokens, answered.output_tokens, answered.cached_tokens))

    def _elapsed_ms(self) -> float:
        return (self._clock() - self._opened) * 1e3


class Ledger:
    """Keeps the rows. One instance a process."""

    def __init__(
        self,
        database: Database,
        strongest: Strongest,
        clock: Callable[[], float] = time.perf_counter,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        durable_wait_s: float = 2.0,
    ) -> None:
        """`clock`: seconds from any origin, as `Metered` has it; `now`: wall-clock time, UTC.

        `durable_wait_s`: how long `close` waits for the disk at most.
        """
        self._store = LedgerStore(database)
        self._strongest = strongest
        self._clock = clock
        self._now = now
        self._durable_wait_s = durable_wait_s
        self._open = dict[str, Entry]()

    def open(
        self,
        request_id: str,
        *,
        caller: str,
        key_id: str = "",
        route: str,
        asked_model: str,
        stream: bool,
        compares: bool = True,
    ) -> Entry:
        """Begin the row of a request. Close it, whatever happens.

        `compares`: whether the strongest model of the pool could have answered it, too.
        """
        row = LedgerRow(
            request_id=request_id,
            created_at=self._now(),
            caller=caller,
            key_id=key_id,
            route=route,
            asked_model=asked_model,
            stream=stream,
        )
        entry = self._open[request_id] = Entry(
            row, self._strongest() if compares else None, self._clock, self._clock()
        )
        return entry

    def report(self, request_id: str, spent: Spent) -> None:
        """Add a call to the entry of its request: what `Metered` calls. Never raises."""
        entry = self._open.get(request_id)
        if entry is None:
            log.warning("a call of %s for %r came to no open request: %s", spent.model, request_id, spent)
            return
        entry.spent(spent)

    async def close(self, entry: Entry, outcome: str, http_status: int) -> Receipt:
        """Write the row and wait until it is durable. A second call writes nothing.

        `outcome`: `ok`, `client_gone`, or an error's code. Never raises for the disk's sake: a caller gets
        the reply even when its row cannot be written (logged; `durable` is False then), or not soon. The row
        is queued before this first waits: a cancelled close writes it all the same.
        """
        if entry.closed is not None:
            return entry.closed
        row = entry.row(outcome, http_status)
        self._open.pop(entry.request_id, None)
        written = self._store.add(row)
        entry.closed = render_receipt(row, durable=written is None)
        if written is not None and await self._is_durable(written, entry.request_id):
            entry.closed = msgspec.structs.replace(entry.closed, durable=True)
        return entry.closed

    async def _is_durable(self, written: asyncio.Future[None], request_id: str) -> bool:
        await asyncio.wait((written,), timeout=self._durable_wait_s)
        if not written.done():
            log.warning("the row of %s is not on the disk after %.1f s", request_id, self._durable_wait_s)
            return False
        if (error := written.exception()) is not None:
            log.warning("the row of %s is not on the disk: %s", request_id, error)
            return False
        return True

    async def find(self, request_id: str) -> LedgerRow | None:
        """The row of one request; None when there is none."""
        return await self._store.find(request_id)

    async def recent(self, limit: int = 50) -> list[LedgerRow]:
        """The newest rows, newest first."""
        return await self._store.recent(limit)

    async def totals(self) -> Totals:
        """Sums over all rows."""
        return await self._store.totals()
