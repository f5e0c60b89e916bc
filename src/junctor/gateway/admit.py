"""Who may come in: API keys, and what protects a server that runs open on loopback."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import msgspec

from junctor.chat import AuthenticationFailed, BadRequest


class CallerKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as we know it: by its digest."""

    name: str
    sha256: str
    "Hexadecimal SHA-256 of the key. Keys are random, so a fast digest without salt is enough."


class Doorkeeper:
    """Names the caller of a request, or refuses it.

    Without keys the server is open, which is meant for loopback. Any web page can make a browser on this
    machine send requests to loopback, so an open server refuses requests from foreign origins and those for
    a foreign `Host` (DNS rebinding).
    """

    def __init__(self, keys: Sequence[CallerKey]) -> None:
        self._names = {bytes.fromhex(key.sha256): key.name for key in keys}

    @property
    def is_open(self) -> bool:
        """Whether requests need no key."""
        return not self._names

    def admit(self, headers: Mapping[str, str]) -> str:
        """The caller's name; empty on an open server. `headers` has lower-case names.

        Raises `AuthenticationFailed`, or `BadRequest` for a foreign origin on an open server.
        """
        if self.is_open:
            _refuse_foreign(headers)
            return ""
        digest = hashlib.sha256(_presented_key(headers).encode()).digest()
        for known, name in self._names.items():
            if hmac.compare_digest(known, digest):
                return name
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
            f"requests from web pages of {origin!r} are refused while the server runs without API keys; "
            "configure [[keys]] in junctor.toml"
        )
    host = headers.get("host", "localhost")
    if not is_loopback(_host_of(f"//{host}")):
        raise BadRequest(
            f"the Host header {host!r} is not loopback; without API keys this server answers there only"
        )


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
