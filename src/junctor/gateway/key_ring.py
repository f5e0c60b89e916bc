"""The keys of the database, in memory: who a key belongs to is known without a look-up.

What another process changes (`junctor keys`) is seen within `POLL_S`; a database that cannot be read leaves
the keys as they were known last.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from junctor.chat import AuthenticationFailed
from junctor.gateway.key_store import KeyStore, parse_key
from junctor.gateway.keys import Caller, Key, digest_of, make_caller, parse_id
from junctor.gateway.pepper import Pepper
from junctor.store.failure import StoreFailed

log = logging.getLogger(__name__)

POLL_S = 0.5


class _Known(msgspec.Struct, frozen=True):
    """A key, with its times as seconds of Unix time."""

    key: Key
    caller: Caller
    expires: float
    old_until: float


class KeyRing:
    """Knows keys. One for the process; belongs to its event loop."""

    def __init__(
        self,
        store: KeyStore,
        pepper: Pepper,
        clock: Callable[[], float] = time.time,
        *,
        poll_s: float = POLL_S,
    ) -> None:
        """`clock`: seconds of Unix time."""
        self._store = store
        self._pepper = pepper
        self._clock = clock
        self._poll_s = poll_s
        self._secret = b""
        "The pepper, once there are keys."
        self._rows: list[dict[str, Any]] = []
        self._known: dict[str, _Known] = {}
        self._follower: asyncio.Task[None] | None = None
        self._failing = False
        self.locks = False
        """Whether these keys lock the door. They do from the first one that is not revoked, until this
        process ends: to revoke a key that leaked must not let everybody in."""

    async def start(self) -> None:
        """Read the keys, and follow their changes from now on. Raises `StoreFailed`."""
        await self.refresh()
        self._follower = asyncio.create_task(self._follow())

    def stop(self) -> None:
        """Follow no more."""
        if self._follower is not None:
            self._follower.cancel()

    async def refresh(self) -> None:
        """Read the keys as they are now. Raises `StoreFailed`, and knows what it knew then."""
        rows = await self._store.rows()
        if rows == self._rows:
            return
        keys = [parse_key(row) for row in rows]
        if any(key.revoked_at is None for key in keys):
            self._secret = self._secret or self._pepper.read()
            self.locks = True
        self._known = {key.id: _know(key) for key in keys}
        self._rows = rows

    def recognise(self, text: str) -> Caller | None:
        """Whose key this is; None when it is not known. `text` begins with the prefix of keys.

        Raises `AuthenticationFailed` for a key that is mistyped, expired or revoked.
        """
        known = self._known.get(parse_id(text))
        if known is None or not self._secret:
            return None
        now = self._clock()
        digest = digest_of(self._secret, text)
        key = known.key
        if not hmac.compare_digest(digest, key.digest) and not (
            key.old_digest is not None
            and hmac.compare_digest(digest, key.old_digest)
            and self._within_grace(known, now)
        ):
            return None
        if key.revoked_at is not None:
            raise AuthenticationFailed(
                f"this API key was revoked on {key.revoked_at:%Y-%m-%d}; ask whoever runs this server for "
                "another one"
            )
        if now >= known.expires:
            raise AuthenticationFailed(
                f"this API key expired at {key.expires_at:%Y-%m-%d %H:%M} UTC; ask whoever runs this server "
                "for another one"
            )
        return known.caller

    def _within_grace(self, known: _Known, now: float) -> bool:
        if now < known.old_until:
            return True
        raise AuthenticationFailed(
            "this API key was replaced by a new one, and the time to change over is past; use the new one"
        )

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                await self.refresh()
            except StoreFailed as error:
                if not self._failing:
                    log.warning("API keys stay as they were known last: %s", error)
                self._failing = True
            else:
                self._failing = False


def _know(key: Key) -> _Known:
    return _Known(
        key, make_caller(key.id, key.name, key), _seconds(key.expires_at), _seconds(key.old_digest_until)
    )


def _seconds(time: datetime | None) -> float:
    return math.inf if time is None else time.timestamp()
