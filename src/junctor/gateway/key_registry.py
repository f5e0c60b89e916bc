"""Make, change, rotate and revoke keys: what `junctor keys` and `/api/keys` share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from junctor.chat import AdminOnly, BadRequest, UnknownKey
from junctor.gateway.key_store import KeyStore
from junctor.gateway.keys import (
    CONFIG_ID,
    Caller,
    Grant,
    Key,
    digest_of,
    find_excess,
    find_mistakes,
    make_id,
    make_text,
)
from junctor.gateway.pepper import Pepper

LONGEST_GRACE_H = 24 * 365.0


class NewKey(msgspec.Struct, frozen=True):
    """A key with its text: the only time that anybody sees it."""

    key: Key
    text: str


class KeyRegistry:
    """Every change is durable when it returns. Nobody gives more than they have. Raises `StoreFailed`."""

    def __init__(
        self, store: KeyStore, pepper: Pepper, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._store = store
        self._pepper = pepper
        self._now = now

    async def create(self, creator: Caller, name: str, grant: Grant) -> NewKey:
        """Raises `BadRequest` for what makes no sense, and `AdminOnly`."""
        self._check(creator, name, grant)
        key_id = make_id()
        text = make_text(key_id)
        digest = digest_of(await self._secret(), text)
        fields = {field: getattr(grant, field) for field in Grant.__struct_fields__}
        key = Key(id=key_id, name=name, digest=digest, created_at=self._now(), **fields)
        await self._store.add(key)
        return NewKey(key, text)

    async def change(self, creator: Caller, key_id: str, name: str, grant: Grant) -> Key:
        """Give a key another name or other limits. Raises `UnknownKey`, `BadRequest`, `AdminOnly`."""
        await self.find_live(key_id)
        self._check(creator, name, grant)
        await self._store.change(key_id, name, grant)
        return await self.find(key_id)

    async def rotate(self, creator: Caller, key_id: str, grace_h: float = 0.0) -> NewKey:
        """A new secret for the same id; the old one works for `grace_h` hours more.

        Whoever has less than the key does not get its secret. Raises `UnknownKey`, `BadRequest`, `AdminOnly`.
        """
        if not 0 <= grace_h <= LONGEST_GRACE_H:
            raise BadRequest(f"`grace_hours` must lie between 0 and {LONGEST_GRACE_H:g}", param="grace_hours")
        key = await self.find_live(key_id)
        self._check(creator, key.name, key)
        text = make_text(key_id)
        until = self._now() + timedelta(hours=grace_h) if grace_h else None
        await self._store.rotate(key_id, digest_of(await self._secret(), text), until)
        return NewKey(await self.find(key_id), text)

    async def revoke(self, creator: Caller, key_id: str) -> Key:
        """It opens nothing any more. Raises `UnknownKey`, `AdminOnly`."""
        refuse_all_but_admins(creator)
        await self.find(key_id)
        await self._store.revoke(key_id, self._now())
        return await self.find(key_id)

    async def find(self, key_id: str) -> Key:
        """The key of an id. Raises `UnknownKey`."""
        found = [key for key in await self._store.keys() if key.id == key_id]
        if not found:
            where = "; that one stands in junctor.toml" if key_id.startswith(CONFIG_ID) else ""
            raise UnknownKey(f"no API key has the id {key_id[:80]!r}{where}; `junctor keys list` shows them")
        return found[0]

    async def find_live(self, key_id: str) -> Key:
        """The same for a key that can be changed: one that is not revoked."""
        key = await self.find(key_id)
        if key.revoked_at is not None:
            raise UnknownKey(f"the API key {key_id} is revoked, for good; make a new one")
        return key

    def _check(self, creator: Caller, name: str, grant: Grant) -> None:
        refuse_all_but_admins(creator)
        for field, words in find_mistakes(grant, name).items():
            raise BadRequest(f"`{field}` {words}", param=field)
        if grant.expires_at is not None and grant.expires_at <= self._now():
            raise BadRequest(f"`expires` lies in the past: {grant.expires_at.isoformat()}", param="expires")
        if (field := find_excess(grant, creator)) is not None:
            raise AdminOnly(
                f"`{field}` would go beyond what your own key may do; ask for no more than that", param=field
            )

    async def _secret(self) -> bytes:
        """A pepper that is gone is not replaced while keys need it."""
        if any(key.revoked_at is None for key in await self._store.keys()):
            return self._pepper.read()
        return self._pepper.make()


def refuse_all_but_admins(caller: Caller) -> None:
    """Raises `AdminOnly`."""
    if not caller.is_admin:
        raise AdminOnly("only an admin key may do this: `junctor keys create NAME --admin` makes one")
