"""Keys in a real database: they come back as they went in, and the ledger says what they spent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from junctor.gateway.key_store import _USES, KeyStore, Use
from junctor.gateway.keys import Grant, Key
from junctor.gateway.limits import Spendings
from junctor.pool.ledger_store import LedgerRow, LedgerStore
from junctor.store.database import Database
from junctor.store.failure import StoreFailed

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=30)
FULL = Key(
    id="abc123",
    name="ann",
    digest=b"\x01" * 32,
    created_at=NOW,
    expires_at=LATER,
    is_admin=True,
    models=("small", "auto"),
    requests_per_minute=1,
    tokens_per_minute=2,
    usd_nano_per_day=3,
    usd_nano_per_month=4,
    strongest_share=0.25,
)
BARE = Key(id="xyz789", name="bob", digest=b"\x02" * 32, created_at=NOW + timedelta(seconds=1))


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "junctor.db") as it:
        yield it


async def test_keys_come_back_as_they_went_in(database: Database) -> None:
    store = KeyStore(database)
    await store.add(BARE)
    await store.add(FULL)
    assert await store.keys() == [FULL, BARE], "the oldest first"


async def test_two_keys_of_one_id_cannot_be(database: Database) -> None:
    store = KeyStore(database)
    await store.add(FULL)
    with pytest.raises(StoreFailed):
        await store.add(FULL)


async def test_a_change_changes_what_it_names_and_no_other_key(database: Database) -> None:
    store = KeyStore(database)
    for key in (FULL, BARE):
        await store.add(key)
    await store.change("xyz789", "bob o'neill", Grant(usd_nano_per_day=7, models=("a", "b")))
    first, second = await store.keys()
    assert first == FULL
    assert (second.name, second.usd_nano_per_day, second.models) == ("bob o'neill", 7, ("a", "b"))
    assert second.digest == BARE.digest


async def test_a_rotation_keeps_the_old_digest_for_the_grace_alone(database: Database) -> None:
    store = KeyStore(database)
    await store.add(FULL)
    await store.rotate("abc123", b"\x03" * 32, LATER)
    (key,) = await store.keys()
    assert (key.digest, key.old_digest, key.old_digest_until) == (b"\x03" * 32, b"\x01" * 32, LATER)
    await store.rotate("abc123", b"\x04" * 32, None)
    (key,) = await store.keys()
    assert (key.digest, key.old_digest, key.old_digest_until) == (b"\x04" * 32, None, None)


async def test_a_key_is_revoked_once(database: Database) -> None:
    store = KeyStore(database)
    await store.add(FULL)
    await store.revoke("abc123", NOW)
    await store.revoke("abc123", LATER)
    (key,) = await store.keys()
    assert key.revoked_at == NOW


async def spend(database: Database, key_id: str, when: datetime, usd: float, **more: Any) -> None:
    fields = {"route": "/v1", "asked_model": "small", "stream": False, "outcome": "ok", "attempts": 1, **more}
    spend.count += 1  # type: ignore[attr-defined]
    row = LedgerRow(
        request_id=f"req_{spend.count}",  # type: ignore[attr-defined]
        created_at=when,
        caller="ann",
        key_id=key_id,
        usd=usd,
        **fields,
    )
    LedgerStore(database).add(row)


spend.count = 0  # type: ignore[attr-defined]


async def test_the_ledger_says_what_a_key_spent(database: Database) -> None:
    """Of this day and this month (UTC), to the nano-dollar; never another key's."""
    store = KeyStore(database)
    midnight = datetime(2026, 11, 21, tzinfo=UTC)
    for key_id, when, usd in (
        ("a", midnight, 0.1),
        ("a", NOW, 0.000000001),
        ("a", midnight - timedelta(milliseconds=1), 0.2),
        ("a", datetime(2026, 11, 1, tzinfo=UTC), 0.4),
        ("a", datetime(2026, 10, 31, 23, 59, 59, 999000, tzinfo=UTC), 0.8),
        ("b", NOW, 5.0),
        ("", NOW, 7.0),
    ):
        await spend(database, key_id, when, usd)
    assert await store.uses_of(["a", "nobody", "b"], NOW) == {
        "a": Use(usd_nano_today=100_000_001, usd_nano_this_month=700_000_001, last_used_at=NOW),
        "nobody": Use(),
        "b": Use(usd_nano_today=5_000_000_000, usd_nano_this_month=5_000_000_000, last_used_at=NOW),
    }
    assert await store.uses_of([], NOW) == {}


async def test_what_a_key_spent_is_looked_up_and_not_searched_for(database: Database) -> None:
    """However long the ledger is: each part of the query goes by the index of keys."""
    bounds = {"ids": '["a"]', "day": "2026-11-21", "month": "2026-11-01"}
    plan = [row["detail"] for row in await database.read(f"EXPLAIN QUERY PLAN {_USES}", bounds)]
    reads = [detail for detail in plan if "ledger" in detail]
    assert len(reads) == 3
    assert all("ledger_by_key (key_id=?" in detail for detail in reads), reads


async def test_the_ledger_says_what_answers_cost_lately(database: Database) -> None:
    """Of whole answers that a model gave, by the name of the model and not its alias."""
    store = KeyStore(database)
    just_now, long_ago = NOW - timedelta(minutes=1), NOW - timedelta(hours=1)
    await spend(database, "a", just_now, 0.1)
    await spend(database, "a", just_now, 0.3)
    await spend(database, "a", long_ago, 0.9)
    await spend(database, "a", just_now, 0.9, outcome="client_gone")
    await spend(database, "a", just_now, 0.0, attempts=0, asked_model="replayed")
    await spend(database, "a", just_now, 0.2, asked_model="claude-junctor-auto")
    said = await store.load_spendings("a", NOW)
    assert said == Spendings(
        today=2_400_000_000,
        this_month=2_400_000_000,
        dearest={"small": 300_000_000, "auto": 200_000_000},
    )
