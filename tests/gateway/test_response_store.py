"""Kept responses on a real file: each its caller's, for as long as they are kept."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from junctor.gateway.response_store import ResponseStore
from junctor.store.database import Database

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "junctor.db") as it:
        yield it


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database: Database, clock: Clock) -> ResponseStore:
    return ResponseStore(database, timedelta(days=30), clock)


async def test_a_document_is_its_callers_alone(store: ResponseStore) -> None:
    await store.add("ann", "resp_1", b'{"a": "\xc3\xa4"}')
    assert await store.find("ann", "resp_1") == '{"a": "ä"}'
    assert await store.find("bob", "resp_1") is None
    await store.delete("bob", "resp_1")
    assert await store.find("ann", "resp_1") is not None
    await store.delete("ann", "resp_1")
    assert await store.find("ann", "resp_1") is None


async def test_an_id_that_an_upstream_gives_twice(store: ResponseStore) -> None:
    """The newest of one caller counts; another caller's cannot be overwritten."""
    await store.add("ann", "resp_1", b"1")
    await store.add("ann", "resp_1", b"2")
    await store.add("bob", "resp_1", b"3")
    assert await store.find("ann", "resp_1") == "2"
    assert await store.find("bob", "resp_1") is None


async def test_what_is_too_old_is_gone_and_then_deleted(
    store: ResponseStore, clock: Clock, tmp_path: Path
) -> None:
    await store.add("ann", "resp_old", b"1")
    clock.now += timedelta(days=20)
    await store.add("ann", "resp_new", b"2")
    clock.now += timedelta(days=11)
    assert await store.find("ann", "resp_old") is None
    store.sweep()
    assert await store.find("ann", "resp_new") == "2"
    with sqlite3.connect(tmp_path / "junctor.db") as connection:
        assert connection.execute("SELECT id FROM responses").fetchall() == [("resp_new",)]


async def test_nothing_is_kept_for_no_time(database: Database) -> None:
    assert not ResponseStore(database, timedelta(0)).keeps
