"""The ledger's SQL, and the conversions between its rows and their nouns."""

from __future__ import annotations

import asyncio
import math
from datetime import datetime
from typing import Any

import msgspec

from junctor.store.database import Database

_NANO = 1_000_000_000
_MOST = 2**53
"Counts and sums of money are held to this: a wild figure from an upstream must not cost the row."
_MOST_TEXT = 200

_INSERT = """
    INSERT INTO ledger (
        request_id, created_at, caller, key_id, route, asked_model, model, decision_id, stream,
        input_tokens, output_tokens, cached_tokens, cache_written_tokens, tokens_estimated,
        usd_nano, price_source, strongest_model, strongest_usd_nano, saved_usd_nano,
        first_token_ms, total_ms, attempts, outcome, http_status
    ) VALUES (
        :request_id, :created_at, :caller, :key_id, :route, :asked_model, :model, :decision_id, :stream,
        :input_tokens, :output_tokens, :cached_tokens, :cache_written_tokens, :tokens_estimated,
        :usd_nano, :price_source, :strongest_model, :strongest_usd_nano, :saved_usd_nano,
        :first_token_ms, :total_ms, :attempts, :outcome, :http_status
    )
"""
_FIND = "SELECT * FROM ledger WHERE request_id = :request_id"
_RECENT = "SELECT * FROM ledger ORDER BY created_at DESC, request_id DESC LIMIT :limit"
_TOTALS = """
    SELECT count(*) AS requests, coalesce(sum(usd_nano), 0) AS usd_nano,
           coalesce(sum(saved_usd_nano), 0) AS saved_usd_nano
    FROM ledger
"""


class LedgerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One request, as the ledger keeps it. `docs/ledger.md` describes each field."""

    request_id: str
    created_at: datetime
    caller: str
    key_id: str = ""
    route: str
    asked_model: str
    model: str | None = None
    decision_id: str | None = None
    stream: bool
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_written_tokens: int = 0
    tokens_estimated: bool = False
    usd: float = 0.0
    price_source: str = ""
    strongest_model: str | None = None
    strongest_usd: float = 0.0
    saved_usd: float = 0.0
    first_token_ms: float | None = None
    total_ms: float = 0.0
    attempts: int = 0
    outcome: str = ""
    http_status: int = 0


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over all rows."""

    requests: int
    usd: float
    saved_usd: float


class LedgerStore:
    """Adds and finds rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, row: LedgerRow) -> asyncio.Future[None] | None:
        """Add one row. None: it is durable; else the future is done once it is (`Database.append`)."""
        return self._database.append(_INSERT, render_row(row))

    async def find(self, request_id: str) -> LedgerRow | None:
        """One row by its id."""
        rows = await self._database.read(_FIND, {"request_id": request_id})
        return parse_row(rows[0]) if rows else None

    async def recent(self, limit: int) -> list[LedgerRow]:
        """The newest rows, newest first."""
        return [parse_row(row) for row in await self._database.read(_RECENT, {"limit": limit})]

    async def totals(self) -> Totals:
        """Sums over all rows."""
        (row,) = await self._database.read(_TOTALS)
        return Totals(
            requests=row["requests"],
            usd=render_usd_nano(row["usd_nano"]),
            saved_usd=render_usd_nano(row["saved_usd_nano"]),
        )


def parse_usd(usd: float) -> int:
    """USD as whole nano-dollars (1e-9 USD): integers add up exactly, however many."""
    nano = usd * _NANO
    if -_MOST <= nano <= _MOST:
        whole = round(nano)
        # Above four million dollars the product itself is rounded, to halves.
        return next((each for each in (whole, whole + 1, whole - 1) if each / _NANO == usd), whole)
    return 0 if not math.isfinite(usd) else (_MOST if nano > 0 else -_MOST)


def render_usd_nano(nano: int) -> float:
    """Nano-dollars as USD."""
    return nano / _NANO


def render_row(row: LedgerRow) -> dict[str, Any]:
    """A row as the parameters of its INSERT."""
    return {
        "request_id": row.request_id,
        "created_at": row.created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "caller": _short(row.caller),
        "key_id": _short(row.key_id),
        "route": _short(row.route),
        "asked_model": _short(row.asked_model),
        "model": row.model,
        "decision_id": row.decision_id,
        "stream": int(row.stream),
        "input_tokens": _bounded(row.input_tokens),
        "output_tokens": _bounded(row.output_tokens),
        "cached_tokens": _bounded(row.cached_tokens),
        "cache_written_tokens": _bounded(row.cache_written_tokens),
        "tokens_estimated": int(row.tokens_estimated),
        "usd_nano": parse_usd(row.usd),
        "price_source": _short(row.price_source),
        "strongest_model": row.strongest_model,
        "strongest_usd_nano": parse_usd(row.strongest_usd),
        "saved_usd_nano": parse_usd(row.saved_usd),
        "first_token_ms": row.first_token_ms,
        "total_ms": row.total_ms,
        "attempts": row.attempts,
        "outcome": _short(row.outcome),
        "http_status": row.http_status,
    }


def parse_row(row: dict[str, Any]) -> LedgerRow:
    """A row as the database gives it."""
    return LedgerRow(
        request_id=row["request_id"],
        created_at=datetime.fromisoformat(row["created_at"]),
        caller=row["caller"],
        key_id=row["key_id"],
        route=row["route"],
        asked_model=row["asked_model"],
        model=row["model"],
        decision_id=row["decision_id"],
        stream=bool(row["stream"]),
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cached_tokens=row["cached_tokens"],
        cache_written_tokens=row["cache_written_tokens"],
        tokens_estimated=bool(row["tokens_estimated"]),
        usd=render_usd_nano(row["usd_nano"]),
        price_source=row["price_source"],
        strongest_model=row["strongest_model"],
        strongest_usd=render_usd_nano(row["strongest_usd_nano"]),
        saved_usd=render_usd_nano(row["saved_usd_nano"]),
        first_token_ms=row["first_token_ms"],
        total_ms=row["total_ms"],
        attempts=row["attempts"],
        outcome=row["outcome"],
        http_status=row["http_status"],
    )


def _bounded(count: int) -> int:
    return max(0, min(_MOST, count))


def _short(text: str) -> str:
    """Text that a caller may have chosen: bounded, and without what a database or a terminal trips over."""
    text = text[:_MOST_TEXT]
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
