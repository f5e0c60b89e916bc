"""Whose key it is, from memory alone; and how changes get there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from junctor.chat import AuthenticationFailed
from junctor.gateway.key_registry import KeyRegistry
from junctor.gateway.key_ring import KeyRing
from junctor.gateway.key_store import KeyStore
from junctor.gateway.keys import ANYBODY, Grant, make_text
from junctor.gateway.pepper import Pepper
from junctor.store.database import Database
from junctor.store.failure import StoreFailed

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


class FlakyStore(KeyStore):
    """A store that can be made to fail."""

    fails = False
    reads = 0

    async def rows(self) -> list[dict[str, Any]]:
        self.reads += 1
        if self.fails:
            raise StoreFailed("another process holds the database")
        return await super().rows()


class Bench:
    """A ring over a real database, and what changes that from elsewhere."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.now = NOW
        self.store = FlakyStore(database)
        self.pepper = Pepper(folder)
        self.registry = KeyRegistry(KeyStore(database), self.pepper, lambda: self.now)
        self.ring = self.new_ring()

    def new_ring(self) -> KeyRing:
        return KeyRing(self.store, self.pepper, lambda: self.now.timestamp(), poll_s=0.01)

    async def make(self, name: str = "ann", **grant: Any) -> str:
        made = await self.registry.create(ANYBODY, name, Grant(**grant))
        await self.ring.refresh()
        return made.text


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Database(tmp_path / "junctor.db") as database:
        yield Bench(database, tmp_path)


async def test_a_key_stands_for_its_caller(bench: Bench) -> None:
    text = await bench.make("ann", models=("small",), is_admin=True)
    caller = bench.ring.recognise(text)
    assert caller is not None
    assert (caller.name, caller.key_id, caller.models, caller.is_admin) == (
        "ann",
        text[9:15],
        ("small",),
        True,
    )
    assert bench.ring.recognise(text) is caller, "nothing is made anew for each request"


async def test_an_unknown_key_and_a_known_id_with_another_secret_are_not_recognised(bench: Bench) -> None:
    text = await bench.make()
    assert bench.ring.recognise(make_text("zzzzzz")) is None
    assert bench.ring.recognise(make_text(text[9:15])) is None


async def test_a_mistyped_key_costs_no_digest(bench: Bench) -> None:
    text = await bench.make()
    with pytest.raises(AuthenticationFailed, match="mistyped"):
        bench.ring.recognise(text[:-1] + ("0" if text[-1] != "0" else "1"))


async def test_an_expired_key_is_told_so_and_when(bench: Bench) -> None:
    text = await bench.make(expires_at=NOW + timedelta(hours=1))
    assert bench.ring.recognise(text)
    bench.now += timedelta(hours=1)
    with pytest.raises(AuthenticationFailed, match=r"expired at 2026-11-21 13:00 UTC"):
        bench.ring.recognise(text)
    assert bench.ring.recognise(make_text(text[9:15])) is None, "only its holder is told"


async def test_a_revoked_key_is_told_so(bench: Bench) -> None:
    text = await bench.make()
    await bench.registry.revoke(ANYBODY, text[9:15])
    await bench.ring.refresh()
    with pytest.raises(AuthenticationFailed, match="revoked on 2026-11-21"):
        bench.ring.recognise(text)
    assert bench.ring.locks, "nobody comes in because a key was revoked"


async def test_a_rotated_key_works_until_the_grace_ends(bench: Bench) -> None:
    old = await bench.make()
    new = (await bench.registry.rotate(ANYBODY, old[9:15], grace_h=2)).text
    await bench.ring.refresh()
    assert old[9:15] == new[9:15]
    assert bench.ring.recognise(old) == bench.ring.recognise(new) is not None
    bench.now += timedelta(hours=2)
    assert bench.ring.recognise(new)
    with pytest.raises(AuthenticationFailed, match="replaced by a new one"):
        bench.ring.recognise(old)


async def test_a_rotation_without_grace_ends_the_old_key_at_once(bench: Bench) -> None:
    old = await bench.make()
    await bench.registry.rotate(ANYBODY, old[9:15])
    await bench.ring.refresh()
    assert bench.ring.recognise(old) is None


async def wait_until(holds: Any) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.005)


async def test_what_another_process_changes_is_seen(bench: Bench) -> None:
    """The registry writes past the ring, as the command line does."""
    await bench.ring.start()
    assert not bench.ring.locks
    made = await bench.registry.create(ANYBODY, "ann", Grant())
    await wait_until(lambda: bench.ring.recognise(made.text) is not None)
    assert bench.ring.locks
    await bench.registry.change(ANYBODY, made.key.id, "ann", Grant(requests_per_minute=5))
    await wait_until(lambda: (bench.ring.recognise(made.text) or ANYBODY).requests_per_minute == 5)
    bench.ring.stop()


async def test_a_database_that_fails_leaves_the_keys_as_they_were_known(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning, however long it lasts; then changes are seen again."""
    text = await bench.make()
    await bench.ring.start()
    bench.store.fails = True
    before = bench.store.reads
    with caplog.at_level(logging.WARNING):
        await wait_until(lambda: bench.store.reads >= before + 5)
    assert bench.ring.recognise(text)
    assert len(caplog.records) == 1
    bench.store.fails = False
    await bench.registry.revoke(ANYBODY, text[9:15])

    def is_refused() -> bool:
        try:
            return bench.ring.recognise(text) is None
        except AuthenticationFailed:
            return True

    await wait_until(is_refused)
    bench.ring.stop()


async def test_keys_without_their_pepper_do_not_start(bench: Bench, tmp_path: Path) -> None:
    """A server that could let nobody in says so, instead of calling every key wrong."""
    text = await bench.make()
    (tmp_path / "pepper").unlink()
    with pytest.raises(StoreFailed, match="pepper is gone"):
        await bench.new_ring().start()
    assert bench.ring.recognise(text), "one that runs has it in memory"
    await bench.registry.revoke(ANYBODY, text[9:15])
    await bench.ring.refresh()
    ring = bench.new_ring()
    await ring.start()
    assert not ring.locks
    ring.stop()


async def test_no_key_lies_in_the_database(bench: Bench, tmp_path: Path) -> None:
    """Neither a key nor a part of its secret."""
    text = await bench.make()
    rotated = (await bench.registry.rotate(ANYBODY, text[9:15], grace_h=1)).text
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        for secret in (text[15:47], rotated[15:47]):
            assert secret.encode() not in content, path
