"""Kept replies on the disk: found byte for byte, for a day, by their owner alone."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.gateway.idempotency_store import (
    KeptReply,
    ReplyStore,
    Slot,
    parse_headers,
    render_headers,
)
from junctor.store.database import Database

pytestmark = pytest.mark.anyio

SLOT = Slot("team-a", "key-1")
REPLY = KeptReply(
    request_id="req_1",
    fingerprint="ab",
    status=200,
    headers=((b"content-type", b"text/event-stream"), (b"x-request-id", b"req_1"), (b"x", b"\xe9")),
    body=b'data: {"a": 1}\n\n\x00\xff',
)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "x.db") as database:
        yield database


async def test_a_reply_comes_back_byte_for_byte(database: Database) -> None:
    store = ReplyStore(database)
    assert await store.find(SLOT) is None
    store.add(SLOT, REPLY)
    assert await store.find(SLOT) == REPLY


async def test_the_same_key_of_another_caller_is_another_key(database: Database) -> None:
    store = ReplyStore(database)
    store.add(SLOT, REPLY)
    assert await store.find(Slot("team-b", "key-1")) is None
    assert await store.find(Slot("team-a", "key-2")) is None


async def test_after_a_day_it_is_gone_and_its_key_can_be_used_again(database: Database) -> None:
    """Even when nothing has swept it away yet."""
    clock = Clock()
    store = ReplyStore(database, clock)
    store.add(SLOT, REPLY)
    clock.now += timedelta(hours=24)
    assert await store.find(SLOT) == REPLY
    clock.now += timedelta(milliseconds=1)
    assert await store.find(SLOT) is None
    again = KeptReply(request_id="req_2", fingerprint="cd", status=400, headers=(), body=b"new")
    store.add(SLOT, again)
    assert await store.find(SLOT) == again


async def test_a_sweep_deletes_what_is_older_than_a_day_and_nothing_else(
    database: Database, tmp_path: Path
) -> None:
    clock = Clock()
    store = ReplyStore(database, clock)
    store.add(SLOT, REPLY)
    clock.now += timedelta(hours=23)
    store.add(Slot("", "young"), REPLY)
    store.sweep()
    clock.now += timedelta(hours=2)
    store.sweep()
    await store.add(SLOT, REPLY)
    await database.write("DELETE FROM idempotency WHERE idempotency_key = :key", {"key": SLOT.key})
    with sqlite3.connect(tmp_path / "x.db") as other:
        assert other.execute("SELECT idempotency_key FROM idempotency").fetchall() == [("young",)]
    other.close()


@given(st.lists(st.tuples(st.binary(), st.binary())))
def test_headers_survive_whatever_bytes_they_hold(headers: list[tuple[bytes, bytes]]) -> None:
    assert parse_headers(render_headers(headers)) == tuple(headers)
