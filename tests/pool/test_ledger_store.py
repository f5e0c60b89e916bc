"""Rows to parameters and back, whatever a caller or an upstream puts into them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from junctor.pool.ledger_store import (
    LedgerRow,
    LedgerStore,
    parse_row,
    parse_usd,
    render_row,
    render_usd_nano,
)
from junctor.store.database import Database

moments = st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001 - a bound
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)
words = st.text("abc-/.:_", max_size=50)
money = st.integers(-(10**12), 10**12).map(render_usd_nano)
rows = st.builds(
    LedgerRow,
    request_id=words,
    created_at=moments,
    caller=words,
    route=words,
    asked_model=words,
    model=st.none() | words,
    decision_id=st.none() | words,
    stream=st.booleans(),
    input_tokens=st.integers(0, 2**40),
    output_tokens=st.integers(0, 2**40),
    cached_tokens=st.integers(0, 2**40),
    tokens_estimated=st.booleans(),
    usd=money,
    price_source=words,
    strongest_model=st.none() | words,
    strongest_usd=money,
    saved_usd=money,
    first_token_ms=st.none() | st.floats(0, 1e9),
    total_ms=st.floats(0, 1e9),
    attempts=st.integers(0, 1000),
    outcome=words,
    http_status=st.integers(100, 599),
)


@given(rows)
def test_a_row_survives_the_journey(row: LedgerRow) -> None:
    """What is stored is what comes back, to the nano-dollar and the millisecond."""
    assert parse_row(render_row(row)) == row


@given(st.integers(-(2**53), 2**53))
@example(4503599627370491)
def test_money_survives_the_journey(nano: int) -> None:
    """USD as a float holds every amount up to nine million dollars exactly enough."""
    assert parse_usd(render_usd_nano(nano)) == nano


@given(st.floats())
def test_any_amount_can_be_stored(usd: float) -> None:
    """Infinity and NaN too: a wild price must not cost the row."""
    assert abs(parse_usd(usd)) < 2**63
    assert not math.isnan(usd) or parse_usd(usd) == 0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LedgerStore]:
    async with Database(tmp_path / "x.db") as database:
        yield LedgerStore(database)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "wild", ["\ud800", "a\0b", "x" * 100_000, "'; DROP TABLE ledger; --", "\x1b[2J", "日本"]
)
async def test_wild_text_leaves_a_row(store: LedgerStore, wild: str) -> None:
    """What a caller names as a model is stored short and printable."""
    row = LedgerRow(
        request_id="req_1",
        created_at=datetime.now(UTC),
        caller="",
        route="/v1",
        asked_model=wild,
        stream=False,
    )
    store.add(row)
    found = await store.find("req_1")
    assert found is not None
    assert len(found.asked_model) <= 2000
    assert found.asked_model.isprintable()


@pytest.mark.anyio
async def test_wild_figures_leave_a_row(store: LedgerStore) -> None:
    """An upstream that reports 10^40 tokens, or fewer than none, is held to what a database can hold."""
    row = LedgerRow(
        request_id="req_1",
        created_at=datetime.now(UTC),
        caller="",
        route="/v1",
        asked_model="a",
        stream=False,
        input_tokens=10**40,
        output_tokens=-5,
        usd=1e300,
        saved_usd=float("-inf"),
        total_ms=float("inf"),
    )
    store.add(row)
    found = await store.find("req_1")
    assert found is not None
    assert (found.input_tokens, found.output_tokens, found.saved_usd) == (2**53, 0, 0.0)
    assert (await store.totals()).requests == 1
