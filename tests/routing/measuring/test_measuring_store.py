"""Rows of shadows and feedback, and who wins when there are two."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from junctor.pool.ledger_store import LedgerRow, LedgerStore
from junctor.routing.measuring.store import Feedback, MeasureStore, Shadow
from junctor.store.database import Database

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "x.db") as database:
        yield database


def shadow(request_id: str, verdict: str = "equal", strongest: str = "large", hour: int = 12) -> Shadow:
    return Shadow(
        request_id=request_id,
        created_at=NOON.replace(hour=hour),
        model="small",
        strongest=strongest,
        verdict=verdict,
        difference=0.0,
    )


async def test_comparisons_come_back_in_their_order(database: Database) -> None:
    store = MeasureStore(database)
    for it in (shadow("b", "tie", hour=13), shadow("a", hour=11), shadow("c", strongest="other")):
        await store.save_shadow(it)
    assert await store.shadows("large", "") == [("equal", 0.0), ("tie", 0.0)]
    assert await store.shadows("large", "2026-11-21T12:00:00.000Z") == [("tie", 0.0)]


async def test_a_request_is_compared_once(database: Database) -> None:
    store = MeasureStore(database)
    await store.save_shadow(shadow("a"))
    await store.save_shadow(shadow("a", "worse"))
    assert await store.shadows("large", "") == [("equal", 0.0)]


async def test_the_later_word_holds(database: Database) -> None:
    store = MeasureStore(database)
    first = Feedback(id="f", created_at=NOON, request_id="r", key_id="k", model="m", score=1.0)
    second = Feedback(id="f", created_at=NOON, request_id="r", key_id="admin", model="m", score=0.25)
    assert await store.save_feedback(first) == first
    assert await store.save_feedback(second) == second
    assert await store.save_feedback(second) == second
    assert len(await database.read("SELECT * FROM feedback")) == 1


async def test_what_measuring_cost_today_is_the_ledgers(database: Database) -> None:
    ledger, store = LedgerStore(database), MeasureStore(database, now=lambda: NOON)
    for at, (route, day) in enumerate([("shadow", 21), ("shadow", 20), ("/v1/chat/completions", 21)]):
        ledger.add(
            LedgerRow(
                request_id=f"r{at}",
                created_at=NOON.replace(day=day),
                caller="",
                route=route,
                asked_model="m",
                stream=False,
                usd=0.5,
            )
        )
    assert await store.spent_today() == 0.5


async def test_a_promise_begins_when_its_calibration_was_made(database: Database) -> None:
    store = MeasureStore(database)
    assert await store.calibrated_at() == ""
    insert = "INSERT INTO calibrations VALUES (:id, :at, :kind, :is_current, '{}')"
    for key, kind, is_current in (("1", "ladder", 0), ("2", "ladder", 1), ("3", "abilities", 1)):
        await database.write(
            insert, {"id": key, "at": f"2026-11-0{key}", "kind": kind, "is_current": is_current}
        )
    assert await store.calibrated_at() == "2026-11-02"
