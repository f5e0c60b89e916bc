"""Who may make, change, rotate and revoke which keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from junctor.chat import AdminOnly, BadRequest, UnknownKey
from junctor.gateway.key_registry import KeyRegistry
from junctor.gateway.key_store import KeyStore
from junctor.gateway.keys import ANYBODY, NOBODY, Grant, digest_of, make_caller
from junctor.gateway.pepper import Pepper
from junctor.store.database import Database
from junctor.store.failure import StoreFailed

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SMALL_ADMIN = make_caller("adm", "admin", Grant(is_admin=True, models=("small",), usd_nano_per_day=100))
WITHIN = Grant(models=("small",), usd_nano_per_day=50)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[KeyStore]:
    async with Database(tmp_path / "junctor.db") as database:
        yield KeyStore(database)


@pytest.fixture
def registry(store: KeyStore, tmp_path: Path) -> KeyRegistry:
    return KeyRegistry(store, Pepper(tmp_path), lambda: NOW)


async def test_a_new_key_is_kept_as_its_digest(
    registry: KeyRegistry, store: KeyStore, tmp_path: Path
) -> None:
    made = await registry.create(ANYBODY, "ann", WITHIN)
    assert await store.keys() == [made.key]
    assert made.key.digest == digest_of(Pepper(tmp_path).read(), made.text)
    assert made.text[9:15] == made.key.id
    assert (made.key.created_at, made.key.models) == (NOW, ("small",))


@pytest.mark.parametrize("caller", [NOBODY, make_caller("k", "ann", Grant())])
async def test_without_being_admin_nothing_goes(registry: KeyRegistry, caller: object) -> None:
    key = (await registry.create(ANYBODY, "ann", Grant())).key
    for work in (
        registry.create(caller, "bob", Grant()),  # type: ignore[arg-type]
        registry.change(caller, key.id, "bob", Grant()),  # type: ignore[arg-type]
        registry.rotate(caller, key.id),  # type: ignore[arg-type]
        registry.revoke(caller, key.id),  # type: ignore[arg-type]
    ):
        with pytest.raises(AdminOnly, match="--admin"):
            await work
    assert await registry.find(key.id) == key


async def test_an_admin_gives_no_more_than_it_has(registry: KeyRegistry) -> None:
    """Not by making a key, not by changing one, not by taking over one that may do more."""
    with pytest.raises(AdminOnly, match="`models`"):
        await registry.create(SMALL_ADMIN, "bob", Grant(usd_nano_per_day=50))
    with pytest.raises(AdminOnly, match="`usd_per_day`"):
        await registry.create(SMALL_ADMIN, "bob", Grant(models=("small",), usd_nano_per_day=101))
    key = (await registry.create(SMALL_ADMIN, "bob", WITHIN)).key
    with pytest.raises(AdminOnly, match="`usd_per_day`"):
        await registry.change(SMALL_ADMIN, key.id, "bob", Grant(models=("small",)))
    mighty = (await registry.create(ANYBODY, "boss", Grant(is_admin=True))).key
    with pytest.raises(AdminOnly):
        await registry.rotate(SMALL_ADMIN, mighty.id)
    assert (await registry.rotate(SMALL_ADMIN, key.id)).key.id == key.id


async def test_what_makes_no_sense_is_refused(registry: KeyRegistry) -> None:
    for name, grant, words in (
        ("", Grant(), "`name`"),
        ("ann", Grant(requests_per_minute=0), "`requests_per_minute`"),
        ("ann", Grant(expires_at=NOW), "lies in the past"),
    ):
        with pytest.raises(BadRequest, match=words):
            await registry.create(ANYBODY, name, grant)
    key = (await registry.create(ANYBODY, "ann", Grant())).key
    with pytest.raises(BadRequest, match="grace_hours"):
        await registry.rotate(ANYBODY, key.id, -1)
    with pytest.raises(BadRequest, match="grace_hours"):
        await registry.rotate(ANYBODY, key.id, float("nan"))


async def test_a_rotation_keeps_id_and_grant(registry: KeyRegistry) -> None:
    before = await registry.create(ANYBODY, "ann", WITHIN)
    after = await registry.rotate(ANYBODY, before.key.id, grace_h=1.5)
    assert after.text != before.text
    assert (after.key.id, after.key.name, after.key.models) == (before.key.id, "ann", ("small",))
    assert after.key.old_digest == before.key.digest
    assert after.key.old_digest_until == NOW + timedelta(hours=1.5)


async def test_a_revoked_key_stays_revoked(registry: KeyRegistry) -> None:
    key = (await registry.create(ANYBODY, "ann", Grant())).key
    assert (await registry.revoke(ANYBODY, key.id)).revoked_at == NOW
    assert (await registry.revoke(ANYBODY, key.id)).revoked_at == NOW
    for work in (registry.rotate(ANYBODY, key.id), registry.change(ANYBODY, key.id, "ann", Grant())):
        with pytest.raises(UnknownKey, match="revoked, for good"):
            await work


@pytest.mark.parametrize("key_id", ["nobody", "' OR 1=1 --", "", "config:team"])
async def test_an_unknown_id_is_said_to_be_one(registry: KeyRegistry, key_id: str) -> None:
    await registry.create(ANYBODY, "ann", Grant())
    with pytest.raises(UnknownKey, match="no API key has the id") as caught:
        await registry.revoke(ANYBODY, key_id)
    assert ("junctor.toml" in str(caught.value)) == key_id.startswith("config:")


async def test_a_lost_pepper_is_not_replaced_while_keys_need_it(
    registry: KeyRegistry, tmp_path: Path
) -> None:
    """A new one would make every key wrong without a word. Once those are revoked, it may be made."""
    key = (await registry.create(ANYBODY, "ann", Grant())).key
    (tmp_path / "pepper").unlink()
    with pytest.raises(StoreFailed, match="is gone"):
        await registry.create(ANYBODY, "bob", Grant())
    await registry.revoke(ANYBODY, key.id)
    await registry.create(ANYBODY, "bob", Grant())
