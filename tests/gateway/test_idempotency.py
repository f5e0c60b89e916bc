"""The rules of `Idempotency-Key`, without sockets: who answers, who waits, what is kept."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from junctor.chat import BadRequest, IdempotencyMismatch, IdempotencyPending
from junctor.gateway.idempotency import (
    Idempotency,
    Turn,
    fingerprint_of,
    is_final,
    slot_of,
)
from junctor.gateway.idempotency_store import KeptReply, ReplyStore, Slot
from junctor.gateway.receive import Message
from junctor.store.database import Database, Synchronous

pytestmark = pytest.mark.anyio

SLOT = Slot("team-a", "key-1")
HEADERS = [(b"content-type", b"application/json"), (b"x-request-id", b"req_1")]


class Wire:
    """An ASGI `send` that remembers, and can keep what a crash before the last byte would leave behind."""

    def __init__(self, data: Path | None = None, wreck: Path | None = None) -> None:
        self.messages: list[Message] = []
        self._data = data
        self._wreck = wreck

    async def __call__(self, message: Message) -> None:
        if self._data and self._wreck and message.get("more_body") is False:
            shutil.copytree(self._data, self._wreck, ignore=shutil.ignore_patterns("*-shm"))
        self.messages.append(message)


def rows(path: Path) -> int:
    other = sqlite3.connect(path)
    (count,) = other.execute("SELECT count(*) FROM idempotency").fetchone()
    other.close()
    return count


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "x.db", patience_s=10.0) as database:
        yield database


@pytest.fixture
def idempotency(database: Database) -> Idempotency:
    return Idempotency(ReplyStore(database))


async def claim(idempotency: Idempotency, fingerprint: str = "ab", slot: Slot = SLOT) -> Turn:
    turn = await idempotency.claim(slot, fingerprint)
    assert isinstance(turn, Turn)
    return turn


async def answer(turn: Turn, *pieces: bytes, keeps: bool = True, wire: Wire | None = None) -> None:
    """Send a reply through a turn, and end it."""
    send = turn.recording(wire or Wire())
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    for piece in pieces[:-1]:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    turn.keeps = keeps
    await send({"type": "http.response.body", "body": pieces[-1], "more_body": False})
    turn.end()


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
async def test_what_was_answered_is_kept_before_its_last_byte_leaves(
    tmp_path: Path, synchronous: Synchronous
) -> None:
    """A crash at that moment leaves it behind, as this process finds it and as the next one does."""
    wire = Wire(tmp_path / "data", tmp_path / "wreck")
    expected = KeptReply(
        request_id="req_1", fingerprint="ab", status=200, headers=tuple(HEADERS), body=b"abc"
    )
    async with Database(tmp_path / "data" / "x.db", synchronous) as database:
        idempotency = Idempotency(ReplyStore(database))
        await answer(await claim(idempotency), b"a", b"b", b"c", wire=wire)
        assert await idempotency.claim(SLOT, "ab") == expected
    async with Database(tmp_path / "wreck" / "x.db", synchronous) as database:
        assert await Idempotency(ReplyStore(database)).claim(SLOT, "ab") == expected
    assert [message.get("body") for message in wire.messages] == [None, b"a", b"b", b"c"]


async def test_a_duplicate_waits_for_the_reply_to_the_first(idempotency: Idempotency) -> None:
    turn = await claim(idempotency)
    duplicates = [asyncio.create_task(idempotency.claim(SLOT, "ab")) for _ in range(3)]
    await asyncio.sleep(0.02)
    assert not any(duplicate.done() for duplicate in duplicates)
    await answer(turn, b"abc")
    assert {reply.body for reply in await asyncio.gather(*duplicates) if isinstance(reply, KeptReply)} == {
        b"abc"
    }


async def test_claims_of_one_moment_give_one_turn(idempotency: Idempotency) -> None:
    """Though each has to look into the database first."""
    claims = [asyncio.create_task(idempotency.claim(SLOT, "ab")) for _ in range(50)]
    done, waiting = await asyncio.wait(claims, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0.02)
    assert (len(done), len(waiting)) == (1, 49)
    (turn,) = (claim.result() for claim in done)
    assert isinstance(turn, Turn)
    await answer(turn, b"x")
    assert all(isinstance(reply, KeptReply) for reply in await asyncio.gather(*waiting))


async def test_when_the_first_ends_without_a_reply_to_keep_one_of_the_waiting_takes_its_turn(
    idempotency: Idempotency,
) -> None:
    first = await claim(idempotency)
    second, third = (asyncio.create_task(idempotency.claim(SLOT, "ab")) for _ in range(2))
    await asyncio.sleep(0.02)
    await answer(first, b"failure", keeps=False)
    turn = await second
    assert isinstance(turn, Turn)
    assert not third.done()
    await answer(turn, b"success")
    reply = await third
    assert isinstance(reply, KeptReply)
    assert reply.body == b"success"


async def test_a_request_that_is_gone_before_its_last_byte_frees_the_key(idempotency: Idempotency) -> None:
    turn = await claim(idempotency)
    send = turn.recording(Wire())
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    turn.end()
    await answer(await claim(idempotency), b"whole")


async def test_a_waiting_duplicate_that_leaves_disturbs_nobody(idempotency: Idempotency) -> None:
    turn = await claim(idempotency)
    leaving, staying = (asyncio.create_task(idempotency.claim(SLOT, "ab")) for _ in range(2))
    await asyncio.sleep(0.02)
    leaving.cancel()
    await answer(turn, b"x")
    assert isinstance(await staying, KeptReply)


async def test_another_request_under_the_key_is_refused_during_and_after(idempotency: Idempotency) -> None:
    turn = await claim(idempotency)
    with pytest.raises(IdempotencyMismatch):
        await idempotency.claim(SLOT, "cd")
    await answer(turn, b"x")
    with pytest.raises(IdempotencyMismatch, match="or a new key"):
        await idempotency.claim(SLOT, "cd")
    await answer(await claim(idempotency, "cd", Slot("team-b", "key-1")), b"y")


async def test_who_waits_too_long_is_told_to_come_again(database: Database) -> None:
    idempotency = Idempotency(ReplyStore(database), wait_s=0.05)
    turn = await claim(idempotency)
    with pytest.raises(IdempotencyPending) as caught:
        await idempotency.claim(SLOT, "ab")
    assert caught.value.retry_after_s > 0
    await answer(turn, b"x")
    assert isinstance(await idempotency.claim(SLOT, "ab"), KeptReply)


async def test_a_reply_that_is_too_large_is_sent_but_not_kept(database: Database) -> None:
    idempotency, wire = Idempotency(ReplyStore(database), max_reply_bytes=10), Wire()
    turn = await claim(idempotency)
    duplicate = asyncio.create_task(idempotency.claim(SLOT, "ab"))
    await asyncio.sleep(0.02)
    await answer(turn, b"123456", b"78901", wire=wire)
    assert [message.get("body") for message in wire.messages] == [None, b"123456", b"78901"]
    turn = await duplicate
    assert isinstance(turn, Turn)
    await answer(turn, b"1234567890")
    assert isinstance(await idempotency.claim(SLOT, "ab"), KeptReply)


async def test_a_key_is_usable_again_after_a_restart_in_the_middle_of_its_request(tmp_path: Path) -> None:
    """That it was in progress is known in memory alone."""
    async with Database(tmp_path / "x.db") as database:
        await claim(Idempotency(ReplyStore(database)))
    async with Database(tmp_path / "x.db") as database:
        await answer(await claim(Idempotency(ReplyStore(database))), b"x")
    async with Database(tmp_path / "x.db") as database:
        assert isinstance(await Idempotency(ReplyStore(database)).claim(SLOT, "ab"), KeptReply)


async def test_while_the_database_is_locked_the_reply_is_given_from_memory(
    idempotency: Idempotency, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("junctor.gateway.idempotency.DURABLE_WAIT_S", 0.05)
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    await answer(await claim(idempotency), b"x")
    assert rows(tmp_path / "x.db") == 0
    assert isinstance(await idempotency.claim(SLOT, "ab"), KeptReply)
    other.execute("ROLLBACK")
    other.close()
    while not rows(tmp_path / "x.db"):
        await asyncio.sleep(0.02)
    assert isinstance(await idempotency.claim(SLOT, "ab"), KeptReply)


async def test_replies_that_wait_for_the_database_are_bounded_in_memory(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("junctor.gateway.idempotency.DURABLE_WAIT_S", 0.05)
    idempotency = Idempotency(ReplyStore(database), max_unwritten_bytes=10)
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    await answer(await claim(idempotency), b"123456")
    await answer(await claim(idempotency, slot=Slot("", "2")), b"123456")
    assert isinstance(await idempotency.claim(SLOT, "ab"), KeptReply)
    (await claim(idempotency, slot=Slot("", "2"))).end()
    other.execute("ROLLBACK")
    other.close()
    while not rows(tmp_path / "x.db"):
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.02)
    await answer(await claim(idempotency, slot=Slot("", "2")), b"1234567890")
    assert isinstance(await idempotency.claim(Slot("", "2"), "ab"), KeptReply)


async def test_a_reply_that_the_database_could_not_take_is_given_from_memory_and_offered_again(
    database: Database, idempotency: Idempotency, tmp_path: Path
) -> None:
    """A full disk, as SQLite sees it: no page may be added."""
    await database.write("PRAGMA max_page_count = 1")
    body = bytes(200_000)
    await answer(await claim(idempotency), body)
    assert rows(tmp_path / "x.db") == 0
    assert isinstance(await idempotency.claim(SLOT, "ab"), KeptReply)
    with pytest.raises(IdempotencyMismatch):
        await idempotency.claim(SLOT, "cd")
    await database.write("PRAGMA max_page_count = 100000")
    idempotency.start()
    while not rows(tmp_path / "x.db"):
        await asyncio.sleep(0.01)
    idempotency.stop()
    kept = await Idempotency(ReplyStore(database)).claim(SLOT, "ab")
    assert isinstance(kept, KeptReply)
    assert kept.body == body


async def test_a_reply_that_was_not_taken_is_offered_a_last_time_at_the_end(
    database: Database, idempotency: Idempotency, tmp_path: Path
) -> None:
    await database.write("PRAGMA max_page_count = 1")
    await answer(await claim(idempotency), bytes(200_000))
    await database.write("PRAGMA max_page_count = 100000")
    assert rows(tmp_path / "x.db") == 0
    idempotency.stop()
    await database.close()
    assert rows(tmp_path / "x.db") == 1


async def test_a_database_that_cannot_be_read_costs_the_promise_not_the_answer(tmp_path: Path) -> None:
    async with Database(tmp_path / "x.db") as database:
        idempotency = Idempotency(ReplyStore(database))
    (await claim(idempotency)).end()


async def test_what_is_left_of_rates_is_not_given_again(idempotency: Idempotency) -> None:
    turn, wire = await claim(idempotency), Wire()
    send = turn.recording(wire)
    headers = [*HEADERS, (b"x-ratelimit-remaining-requests", b"3")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    turn.keeps = True
    await send({"type": "http.response.body", "body": b"x", "more_body": False})
    assert wire.messages[0]["headers"] == headers
    kept = await idempotency.claim(SLOT, "ab")
    assert isinstance(kept, KeptReply)
    assert kept.headers == tuple(HEADERS)


async def test_starting_sweeps_and_stopping_leaves_no_timer(idempotency: Idempotency, tmp_path: Path) -> None:
    await answer(await claim(idempotency), b"x")
    other = sqlite3.connect(tmp_path / "x.db")
    with other:
        other.execute("UPDATE idempotency SET created_at = '2020-01-01T00:00:00.000Z'")
    other.close()
    idempotency.start()
    while rows(tmp_path / "x.db"):
        await asyncio.sleep(0.01)
    idempotency.stop()


@pytest.mark.parametrize(
    ("outcome", "status", "calls", "final"),
    [
        ("ok", 200, 1, True),
        ("upstream_refused", 400, 1, True),
        ("upstream_refused", 402, 1, True),
        ("context_length_exceeded", 400, 1, True),
        ("upstream_refused", 409, 1, False),
        ("upstream_refused", 408, 1, False),
        ("upstream_rate_limited", 429, 3, False),
        ("upstream_broken", 502, 3, False),
        ("upstream_broken", 200, 1, False),  # a stream that was cut
        ("internal_error", 500, 0, False),
        ("model_not_found", 404, 0, False),
        ("invalid_request", 400, 0, False),
        ("no_model_fits", 422, 0, False),
    ],
)
def test_what_is_kept_is_what_another_try_would_not_mend(
    outcome: str, status: int, calls: int, final: bool
) -> None:
    assert is_final(outcome, status, calls) is final


def test_a_fingerprint_covers_all_that_a_request_asks_for() -> None:
    known = fingerprint_of("/v1/messages", "", {"x-junctor-mode": "cost", "a": "b"}, b"{}")
    assert known == fingerprint_of("/v1/messages", "", {"x-junctor-mode": "cost", "x-retry": "1"}, b"{}")
    others = {
        fingerprint_of("/v1/chat/completions", "", {"x-junctor-mode": "cost"}, b"{}"),
        fingerprint_of("/v1/messages", "gpt", {"x-junctor-mode": "cost"}, b"{}"),
        fingerprint_of("/v1/messages", "", {"x-junctor-mode": "quality"}, b"{}"),
        fingerprint_of("/v1/messages", "", {}, b"{}"),
        fingerprint_of("/v1/messages", "", {"x-junctor-mode": "cost"}, b"{ }"),
    }
    assert len(others | {known}) == 6


@pytest.mark.parametrize("header", ["", "x" * 256, "a\tb", "caf\xe9", "\x7f"])
def test_what_is_no_key_is_refused(header: str) -> None:
    with pytest.raises(BadRequest, match="1 to 255 printable"):
        slot_of("team-a", header)


@pytest.mark.parametrize("header", ["x", "x" * 255, "order 17 / try ~", "'; DROP TABLE idempotency; --"])
def test_what_is_a_key_is_taken_as_it_is(header: str) -> None:
    assert slot_of("team-a", header) == Slot("team-a", header)
