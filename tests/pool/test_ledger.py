"""One row for every request, whatever became of it, and its sums right."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from junctor.chat import ModelCard, Price
from junctor.pool.ledger import Entry, Ledger
from junctor.pool.metered import Spent
from junctor.store.database import Database

pytestmark = pytest.mark.anyio

STRONGEST = ModelCard(name="big", price=Price(input=10.0, output=100.0, cached_input=1.0, source="a list"))
NOW = datetime(2026, 11, 21, 8, 0, 0, 123456, tzinfo=UTC)


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "x.db", patience_s=0.1) as database:
        yield database


def make_ledger(
    database: Database, strongest: ModelCard | None = STRONGEST, clock: Clock | None = None
) -> Ledger:
    return Ledger(database, lambda: strongest, clock or Clock(), now=lambda: NOW, durable_wait_s=5.0)


def begin(ledger: Ledger, request_id: str = "req_1", asked_model: str = "auto") -> Entry:
    return ledger.open(
        request_id,
        caller="ann",
        key_id="key_1",
        route="/v1/chat/completions",
        asked_model=asked_model,
        stream=True,
    )


def spend(**changes: object) -> Spent:
    spent = Spent(
        model="small",
        input_tokens=1000,
        output_tokens=100,
        cached_tokens=200,
        cache_written_tokens=50,
        usd=0.0005,
        price_source="a list",
        first_token_ms=40.0,
        total_ms=100.0,
        text_seen=True,
    )
    return msgspec.structs.replace(spent, **changes)


async def test_a_request_leaves_its_row(database: Database) -> None:
    """Every column, as it comes back."""
    clock = Clock()
    ledger = make_ledger(database, clock=clock)
    entry = begin(ledger)
    entry.decision_id = "dec_1"
    clock.now += 0.15
    ledger.report("req_1", spend())
    clock.now += 0.05
    receipt = await ledger.close(entry, "ok", 200)
    row = await ledger.find("req_1")
    assert row is not None
    assert msgspec.structs.asdict(row) == {
        "request_id": "req_1",
        "created_at": NOW.replace(microsecond=123000),
        "caller": "ann",
        "route": "/v1/chat/completions",
        "asked_model": "auto",
        "model": "small",
        "decision_id": "dec_1",
        "stream": True,
        "input_tokens": 1000,
        "output_tokens": 100,
        "cached_tokens": 200,
        "cache_written_tokens": 50,
        "key_id": "key_1",
        "tokens_estimated": False,
        "usd": 0.0005,
        "price_source": "a list",
        "strongest_model": "big",
        "strongest_usd": 0.0182,
        "saved_usd": 0.0177,
        "first_token_ms": pytest.approx(90.0),
        "total_ms": pytest.approx(200.0),
        "attempts": 1,
        "outcome": "ok",
        "http_status": 200,
    }
    assert receipt.durable
    assert (receipt.usd, receipt.saved_usd, receipt.model) == (0.0005, 0.0177, "small")


async def test_the_receipt_is_live(database: Database) -> None:
    """Reply headers need cost and saving before the row is written."""
    ledger = make_ledger(database)
    entry = begin(ledger)
    assert (entry.receipt().usd, entry.receipt().model, entry.receipt().attempts) == (0.0, None, 0)
    ledger.report("req_1", spend())
    assert (entry.receipt().usd, entry.receipt().saved_usd, entry.receipt().durable) == (
        0.0005,
        0.0177,
        False,
    )


async def test_calls_add_up(database: Database) -> None:
    """A failed try, a cut answer and the one that counted: all were paid, one was the answer."""
    ledger = make_ledger(database)
    entry = begin(ledger)
    nothing = {"input_tokens": 0, "output_tokens": 0, "cached_tokens": 0, "usd": 0.0, "text_seen": False}
    ledger.report("req_1", spend(**nothing, outcome="upstream_timeout", first_token_ms=None))
    ledger.report("req_1", spend(model="broken", outcome="upstream_broken", estimated=True, text_seen=False))
    ledger.report("req_1", spend(model="small", usd=0.0001))
    ledger.report("req_1", spend(**nothing, model="late", outcome="client_gone"))
    await ledger.close(entry, "ok", 200)
    row = await ledger.find("req_1")
    assert row is not None
    assert (row.model, row.attempts, row.tokens_estimated) == ("small", 4, True)
    assert (row.input_tokens, row.output_tokens, row.cached_tokens, row.usd) == (2000, 200, 400, 0.0006)
    assert row.strongest_usd == 0.0182, "the strongest would have been asked once"
    assert row.saved_usd == 0.0176


async def test_of_several_whole_answers_the_one_that_the_caller_got_counts(database: Database) -> None:
    """A cascade: all calls were paid; model and comparison are of the taken answer, not of the last call."""
    clock = Clock()
    ledger = make_ledger(database, clock=clock)
    entry = begin(ledger)
    ledger.report("req_1", spend(model="small", input_tokens=1000, output_tokens=10, cached_tokens=0))
    ledger.report("req_1", spend(model="other", input_tokens=1000, output_tokens=900, cached_tokens=0))
    assert entry.receipt().model == "other"
    entry.answered_by = "small"
    clock.now += 3.0
    entry.first_text()
    receipt = entry.receipt()
    assert (receipt.model, receipt.attempts) == ("small", 2)
    assert receipt.strongest_usd == pytest.approx((1000 * 10 + 10 * 100) / 1e6)
    assert receipt.first_token_ms == 3000, "what the first call said was not passed on then"
    entry.answered_by = "nobody that was asked"
    assert entry.receipt().model == "other"


async def test_what_is_compared_with_nobody_has_saved_nothing(database: Database) -> None:
    """What several models answered together was not to be cheaper than one."""
    entry = begin(make_ledger(database))
    entry.spent(spend())
    assert entry.receipt().saved_usd != 0
    entry.compare_with_nobody()
    receipt = entry.receipt()
    assert (receipt.strongest_model, receipt.strongest_usd, receipt.saved_usd) == (None, 0, 0)
    assert receipt.usd > 0


async def test_the_first_token_is_timed_from_the_request(database: Database) -> None:
    """The failed try before it belongs to what the caller waited."""
    clock = Clock()
    ledger = make_ledger(database, clock=clock)
    entry = begin(ledger)
    clock.now += 2.0
    ledger.report("req_1", spend(first_token_ms=None, total_ms=2000.0, outcome="upstream_timeout"))
    clock.now += 0.5
    ledger.report("req_1", spend(first_token_ms=300.0, total_ms=500.0))
    assert entry.receipt().first_token_ms == pytest.approx(2300.0)


async def test_nothing_is_claimed_where_a_price_is_unknown(database: Database) -> None:
    """Neither a free-looking answer nor an unpriced strongest model makes a saving."""
    ledger = make_ledger(database)
    entry = begin(ledger)
    ledger.report("req_1", spend(usd=0.0, price_source="unknown"))
    receipt = entry.receipt()
    assert (receipt.usd, receipt.price_source, receipt.saved_usd) == (0.0, "unknown", 0.0)
    assert receipt.strongest_model is None
    for strongest in (None, ModelCard(name="big")):
        ledger = make_ledger(database, strongest)
        entry = begin(ledger)
        ledger.report("req_1", spend())
        assert (entry.receipt().saved_usd, entry.receipt().strongest_model) == (0.0, None)


async def test_a_request_that_asked_nobody_leaves_a_row_too(database: Database) -> None:
    """Refused at the door: no model, no cost, the error's code as outcome."""
    ledger = make_ledger(database)
    await ledger.close(begin(ledger), "invalid_request", 400)
    row = await ledger.find("req_1")
    assert row is not None
    assert (row.model, row.usd, row.saved_usd, row.attempts) == (None, 0.0, 0.0, 0)
    assert (row.outcome, row.http_status) == ("invalid_request", 400)


async def test_closing_twice_writes_once(database: Database) -> None:
    """Exactly one row."""
    ledger = make_ledger(database)
    entry = begin(ledger)
    first = await ledger.close(entry, "ok", 200)
    assert await ledger.close(entry, "client_gone", 499) == first
    assert [row.outcome for row in await ledger.recent()] == ["ok"]
    assert database.failed == 0


async def test_a_cancelled_close_writes_all_the_same(tmp_path: Path) -> None:
    """The client's connection may break at any time."""
    async with Database(tmp_path / "x.db", "FULL") as database:
        ledger = make_ledger(database)
        task = asyncio.create_task(ledger.close(begin(ledger), "client_gone", 499))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await ledger.find("req_1") is not None


async def test_a_report_for_no_open_request_is_logged(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Metering must never break an answer; nor may a cost vanish without a word."""
    make_ledger(database).report("req_unknown", spend())
    assert "req_unknown" in caplog.text


async def test_a_report_after_the_close_is_logged(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """The row is written; what comes late is seen in the log, with its cost."""
    ledger = make_ledger(database)
    await ledger.close(begin(ledger), "ok", 200)
    ledger.report("req_1", spend())
    assert "usd=0.0005" in caplog.text


async def test_a_row_that_cannot_be_written_does_not_cost_the_reply(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The database is locked for longer than anybody waits: the receipt says so; the row follows later."""
    async with Database(tmp_path / "x.db", "FULL", patience_s=0.05) as database:
        other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        ledger = make_ledger(database)
        entry = begin(ledger)
        ledger.report("req_1", spend())
        receipt = await ledger.close(entry, "ok", 200)
        other.execute("COMMIT")
        other.close()
        assert (receipt.durable, receipt.usd) == (False, 0.0005)
        assert "req_1 is not on the disk" in caplog.text
        while await ledger.find("req_1") is None:
            await asyncio.sleep(0.01)


async def test_a_slow_disk_holds_a_reply_up_for_so_long_and_no_longer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The row still arrives, later."""
    async with Database(tmp_path / "x.db", "FULL") as database:
        other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        ledger = Ledger(database, lambda: None, durable_wait_s=0.05)
        receipt = await ledger.close(begin(ledger), "ok", 200)
        assert not receipt.durable
        assert "not on the disk" in caplog.text
        other.execute("COMMIT")
        other.close()
        await database.write("DELETE FROM decisions")
        assert await ledger.find("req_1") is not None


async def test_a_locked_database_does_not_hold_a_reply_up(tmp_path: Path) -> None:
    """The row is in the spool at once, and in the database when the lock is gone."""
    async with Database(tmp_path / "x.db") as database:
        other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        ledger = Ledger(database, lambda: None)
        receipt = await ledger.close(begin(ledger), "ok", 200)
        assert receipt.durable
        other.execute("COMMIT")
        other.close()
        assert await ledger.find("req_1") is not None


async def test_recent_rows_come_newest_first(database: Database) -> None:
    """By time, then by id."""
    moments = iter([NOW, NOW + timedelta(seconds=1), NOW + timedelta(seconds=1)])
    ledger = Ledger(database, lambda: None, now=lambda: next(moments))
    for name in ("req_1", "req_2", "req_3"):
        await ledger.close(begin(ledger, name), "ok", 200)
    assert [row.request_id for row in await ledger.recent(2)] == ["req_3", "req_2"]
    assert await ledger.find("req_4") is None


async def test_totals_are_exact(database: Database) -> None:
    """A thousand rows of a tenth of a cent are one dollar, to the last digit: money is stored in integers."""
    ledger = make_ledger(database)
    assert (await ledger.totals()).requests == 0
    entries = [begin(ledger, f"req_{number}") for number in range(1000)]
    for entry in entries:
        ledger.report(entry.request_id, spend(usd=0.001))
    await asyncio.gather(*(ledger.close(entry, "ok", 200) for entry in entries))
    totals = await ledger.totals()
    assert (totals.requests, totals.usd, totals.saved_usd) == (1000, 1.0, 17.2)
