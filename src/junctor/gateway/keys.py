"""API keys: their form, what is kept of them, and what they may do.

    jct_live_ K7f3Qa 9tLmX0...(32)... 0Hk2Zp
    prefix    id     secret           checksum

The form is GitHub's ("Behind GitHub's new authentication token formats", 2021): a prefix by which secret
scanners know a key, and a CRC-32 by which a key that was mistyped or cut off is told apart from an unknown
one without looking anything up. The secret has 190 random bits: a fast keyed digest of it is enough, where a
password would need a slow one. Of a key only HMAC-SHA256(pepper, key) is kept: whoever reads the database
can neither use a key nor test guesses.
"""

from __future__ import annotations

import hmac
import math
import secrets
import string
import zlib
from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, time, timedelta

import msgspec

from junctor.chat import AuthenticationFailed, BadRequest
from junctor.wire.constraints import suggest

PREFIX = "jct_live_"
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_LENGTH = 6
_SECRET_LENGTH = 32
_CHECKSUM_LENGTH = 6
_ID_END = len(PREFIX) + _ID_LENGTH
_CHECKED_END = _ID_END + _SECRET_LENGTH
KEY_LENGTH = _CHECKED_END + _CHECKSUM_LENGTH

CONFIG_ID = "config:"
"How the ids of keys begin that stand in junctor.toml; their name follows."
LONGEST_NAME = 100
NANO = 1_000_000_000


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a key may do. None: no limit."""

    is_admin: bool = False
    "Whether it may make, change and revoke keys."
    models: tuple[str, ...] = ()
    "The models it may use; empty: all. `auto` chooses among them."
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    usd_nano_per_day: int | None = None
    "Budget of a day (UTC), 1e-9 USD."
    usd_nano_per_month: int | None = None
    "Budget of a calendar month (UTC), 1e-9 USD."
    expires_at: datetime | None = None
    strongest_share: float | None = None
    "Of the answers that the router gives it, those of the pool's strongest model at most, 0..1."

    @property
    def has_budget(self) -> bool:
        """Whether it may spend only so much."""
        return self.usd_nano_per_day is not None or self.usd_nano_per_month is not None

    @property
    def has_rates(self) -> bool:
        """Whether it may ask only so often."""
        return self.requests_per_minute is not None or self.tokens_per_minute is not None


class Caller(Grant, frozen=True, kw_only=True):
    """Who asks."""

    key_id: str = ""
    "`config:<name>` for a key of junctor.toml; empty on an open server."
    name: str = ""
    is_held: bool = False
    "Whether anything of the grant has to be looked at for a request: models, rates, budgets or a share."


NOBODY = Caller()
"Whoever was not let in, or has not been yet."
ANYBODY = Caller(is_admin=True)
"Whoever comes to an open server: one on loopback, where everybody may do everything."


class Key(Grant, frozen=True, kw_only=True):
    """A key as the database keeps it."""

    id: str
    name: str
    digest: bytes
    old_digest: bytes | None = None
    "Of the secret before the last rotation, which holds until `old_digest_until`."
    old_digest_until: datetime | None = None
    created_at: datetime
    revoked_at: datetime | None = None

    def state(self, now: datetime) -> str:
        """`live`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "live"


def make_caller(key_id: str, name: str, grant: Grant) -> Caller:
    """The caller that a key stands for."""
    fields = {field: getattr(grant, field) for field in Grant.__struct_fields__}
    has_share = grant.strongest_share is not None
    is_held = bool(grant.models) or grant.has_budget or grant.has_rates or has_share
    return Caller(key_id=key_id, name=name, is_held=is_held, **fields)


def make_id() -> str:
    """A new key's id."""
    return _random(_ID_LENGTH)


def make_text(key_id: str) -> str:
    """A new key with this id, as its owner gets it."""
    body = PREFIX + key_id + _random(_SECRET_LENGTH)
    return body + _checksum(body)


def parse_id(text: str) -> str:
    """The id in a key that begins with `PREFIX`. Raises `AuthenticationFailed` when its checksum is wrong."""
    if len(text) != KEY_LENGTH or not text.isascii() or text[_CHECKED_END:] != _checksum(text[:_CHECKED_END]):
        raise AuthenticationFailed(
            "this API key is mistyped or cut off: its checksum does not fit; copy the whole key, from "
            f"{PREFIX} on ({KEY_LENGTH} characters)"
        )
    return text[len(PREFIX) : _ID_END]


def digest_of(pepper: bytes, text: str) -> bytes:
    """What is kept of a key."""
    return hmac.digest(pepper, text.encode(), "sha256")


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
"All numbers of two digits: three look-ups write a checksum."


def _checksum(text: str) -> str:
    high, low = divmod(zlib.crc32(text.encode("ascii")), len(_PAIRS))
    high, middle = divmod(high, len(_PAIRS))
    return _PAIRS[high] + _PAIRS[middle] + _PAIRS[low]


def parse_expiry(text: str) -> datetime:
    """A day (`2027-01-31`: until its end, UTC) or a time (ISO 8601; without an offset: UTC).

    Raises `BadRequest`.
    """
    try:
        expires = _end_of_day(text) or datetime.fromisoformat(text)
        return expires.astimezone(UTC) if expires.tzinfo else expires.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise BadRequest(
            f"`expires` must be a day such as 2027-01-31, or a time such as 2027-01-31T12:00:00Z; it is "
            f"{text[:80]!r}",
            param="expires",
        ) from None


def _end_of_day(text: str) -> datetime | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def parse_budget(usd: float | None) -> int | None:
    """USD as nano-dollars; below 0 for what is no amount."""
    if usd is None:
        return None
    nano = usd * NANO
    return round(nano) if math.isfinite(nano) else -1


def render_budget(nano: int | None) -> float | None:
    """Nano-dollars as USD."""
    return None if nano is None else nano / NANO


def find_mistakes(grant: Grant, name: str) -> dict[str, str]:
    """What types cannot say: by field, in words."""
    mistakes: dict[str, str] = {}
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or name.strip() != name:
        mistakes["name"] = f"must have 1 to {LONGEST_NAME} printable characters, and no blanks around them"
    for field in ("requests_per_minute", "tokens_per_minute"):
        rate: int | None = getattr(grant, field)
        if rate is not None and not 0 < rate <= NANO:
            mistakes[field] = f"must lie between 1 and {NANO}"
    for field, nano in (("usd_per_day", grant.usd_nano_per_day), ("usd_per_month", grant.usd_nano_per_month)):
        if nano is not None and not 0 < nano <= 1_000_000 * NANO:
            mistakes[field] = "must be more than 0, and at most 1000000 USD"
    if grant.strongest_share is not None and not 0 <= grant.strongest_share <= 1:
        mistakes["strongest_share"] = "must lie between 0 and 1"
    if any(not model or not model.isprintable() for model in grant.models):
        mistakes["models"] = "must be names of models"
    return mistakes


def find_unknown_models(models: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    """What to tell of models of a key that nothing here is called, each in words. `known`: all names.

    No mistakes: a model may be added to the pool after the key. Until then the key has no use of the name.
    """
    return tuple(
        f"the key has no use of `{name[:200]}` so far: nothing here is called so{suggest(name, known)}"
        for name in dict.fromkeys(models)
        if name not in known
    )


def find_excess(grant: Grant, creator: Grant) -> str | None:
    """The first field in which a grant goes beyond its creator's; None when it stays within."""
    if creator.models and not (grant.models and set(grant.models) <= set(creator.models)):
        return "models"
    for field, name in _LIMITS.items():
        mine: float | datetime | None = getattr(creator, field)
        theirs: float | datetime | None = getattr(grant, field)
        if mine is not None and (theirs is None or theirs > mine):  # pyright: ignore[reportOperatorIssue]
            return name
    return "admin" if grant.is_admin and not creator.is_admin else None


_LIMITS = {
    "requests_per_minute": "requests_per_minute",
    "tokens_per_minute": "tokens_per_minute",
    "usd_nano_per_day": "usd_per_day",
    "usd_nano_per_month": "usd_per_month",
    "strongest_share": "strongest_share",
    "expires_at": "expires",
}
