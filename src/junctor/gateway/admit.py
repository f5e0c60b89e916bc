"""Who may come in: API keys, and what protects a server that runs open on loopback."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Protocol
from urllib.parse import urlsplit

from junctor.chat import AuthenticationFailed, BadRequest
from junctor.gateway.keys import ANYBODY, CONFIG_ID, PREFIX, Caller, Grant, make_caller


class CallerKey(Grant, frozen=True, kw_only=True):
    """An API key of the configuration, as we know it: by its digest."""

    name: str
    sha256: str
    "Hexadecimal SHA-256 of the key. Keys are random, so a fast digest without salt is enough."


class Ring(Protocol):
    """Keys that are known beside those of the configuration: a `KeyRing`."""

    @property
    def locks(self) -> bool:
        """Whether there are any, or have been."""
        ...

    def recognise(self, text: str) -> Caller | None:
        """Whose key this is; None when it is not known. Raises `AuthenticationFailed`."""
        ...


class NoRing:
    """No such keys."""

    locks = False

    def recognise(self, text: str) -> Caller | None:
        """It is not known."""
        return None


class Doorkeeper:
    """Names the caller of a request, or refuses it.

    Without keys the server is open, which is meant for loopback. Any web page can make a browser on this
    machine send requests to loopback, so an open server refuses requests from foreign origins and those for
    a foreign `Host` (DNS rebinding).
    """

    def __init__(
        self,
        keys: Sequence[CallerKey],
        ring: Ring = NoRing(),  # noqa: B008 - it holds nothing
        *,
        may_be_open: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`keys`: of the configuration; `ring`: of the database; `clock`: seconds of Unix time.

        `may_be_open`: whether the server listens on loopback. If not, it wants a key even if it has none.
        """
        self._callers = [
            (bytes.fromhex(key.sha256), make_caller(CONFIG_ID + key.name, key.name, key)) for key in keys
        ]
        self._ring = ring
        self._may_be_open = may_be_open
        self._clock = clock

    @property
    def is_open(self) -> bool:
        """Whether requests need no key."""
        return self._may_be_open and not self._callers and not self._ring.locks

    @property
    def configured(self) -> Sequence[Caller]:
        """The keys of the configuration."""
        return [caller for _, caller in self._callers]

    def admit(self, headers: Mapping[str, str]) -> Caller:
        """Who asks; `ANYBODY` on an open server. `headers` has lower-case names.

        Looks at nothing but memory. Raises `AuthenticationFailed`, or `BadRequest` for a foreign origin on an
        open server.
        """
        if self.is_open:
            _refuse_foreign(headers)
            return ANYBODY
        text = _presented_key(headers)
        if text.startswith(PREFIX) and (caller := self._ring.recognise(text)) is not None:
            return caller
        return self._find_configured(text)

    def _find_configured(self, text: str) -> Caller:
        digest = hashlib.sha256(text.encode()).digest()
        for known, caller in self._callers:
            if hmac.compare_digest(known, digest):
                if caller.expires_at is not None and caller.expires_at.timestamp() <= self._clock():
                    raise AuthenticationFailed(
                        f"this API key expired at {caller.expires_at:%Y-%m-%d %H:%M} UTC; ask whoever runs "
                        "this server for another one"
                    )
                return caller
        raise AuthenticationFailed("this API key is not known here; check it, or ask who runs this server")


def _presented_key(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    key = bearer or headers.get("x-api-key") or headers.get("api-key")
    if not key:
        raise AuthenticationFailed(
            "this server needs an API key; send it as `Authorization: Bearer <key>` (api_key in the SDKs)"
        )
    return key


def _refuse_foreign(headers: Mapping[str, str]) -> None:
    origin = headers.get("origin")
    if origin is not None and not is_loopback(_host_of(origin)):
        raise BadRequest(
            f"requests from web pages of {origin[:200]!r} are refused while the server runs without keys; "
            "make a key with `junctor keys create NAME`"
        )
    host = headers.get("host", "localhost")
    if not _means_loopback(host):
        raise BadRequest(
            f"the Host header {host[:200]!r} is not loopback; without API keys this server answers there only"
        )


@lru_cache(maxsize=256)  # callers use few, and an address takes 3 us to read
def _means_loopback(host: str) -> bool:
    """Whether a `Host` header can only mean this machine."""
    return is_loopback(_host_of(f"//{host}"))


def _host_of(address: str) -> str:
    """Empty when it cannot be read: what cannot be read is not loopback."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
