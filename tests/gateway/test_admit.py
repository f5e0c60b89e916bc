"""Who may come in."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from junctor.chat import AuthenticationFailed, BadRequest
from junctor.gateway.admit import CallerKey, Doorkeeper, NoRing, is_loopback
from junctor.gateway.keys import ANYBODY, Caller, Grant, make_caller, make_text

KEY = "junctor_" + "k" * 43
LOCKED = Doorkeeper(
    [
        CallerKey(name="other", sha256="00" * 32),
        CallerKey(name="team", sha256=hashlib.sha256(KEY.encode()).hexdigest()),
    ]
)
OPEN = Doorkeeper([])


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY} "},
        {"x-api-key": KEY},
        {"api-key": KEY},
    ],
)
def test_a_known_key_names_its_caller(headers: dict[str, str]) -> None:
    """OpenAI's, Anthropic's and Azure's ways to send a key are the same to us."""
    caller = LOCKED.admit(headers)
    assert (caller.name, caller.key_id) == ("team", "config:team")


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer "}, {"authorization": f"Basic {KEY}"}])
def test_a_missing_key_is_told_how_to_be_sent(headers: dict[str, str]) -> None:
    with pytest.raises(AuthenticationFailed, match="Authorization: Bearer"):
        LOCKED.admit(headers)


@pytest.mark.parametrize("key", [KEY[:-1], KEY + "x", "00" * 32, "schlüssel", "\x00"])
def test_a_wrong_key_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        LOCKED.admit({"authorization": f"Bearer {key}"})
    assert key not in str(caught.value)


def test_an_open_server_asks_for_no_key() -> None:
    assert OPEN.is_open
    assert not LOCKED.is_open
    assert OPEN.admit({"host": "127.0.0.1:8400", "authorization": "Bearer whatever"}) is ANYBODY
    assert (ANYBODY.key_id, ANYBODY.name, ANYBODY.is_admin) == ("", "", True)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example", "http://["]
)
def test_an_open_server_refuses_foreign_web_pages(origin: str) -> None:
    with pytest.raises(BadRequest, match="web pages"):
        OPEN.admit({"host": "localhost:8400", "origin": origin})


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8400", "10.0.0.1", "["])
def test_an_open_server_refuses_a_foreign_host_header(host: str) -> None:
    """A name that an attacker rebinds to loopback arrives with the attacker's Host."""
    with pytest.raises(BadRequest, match="Host header"):
        OPEN.admit({"host": host})


def test_a_page_of_this_machine_may_use_an_open_server() -> None:
    assert OPEN.admit({"host": "[::1]:8400", "origin": "http://localhost:5173"}) is ANYBODY


class Ring:
    """One key, and nothing behind it."""

    def __init__(self, text: str = "", *, locks: bool = True) -> None:
        self.locks = locks
        self.caller = make_caller("abc123", "ann", Grant())
        self._text = text

    def recognise(self, text: str) -> Caller | None:
        return self.caller if text == self._text else None


def test_keys_of_the_database_are_asked_first_and_those_of_the_file_next() -> None:
    """A key of the one form may stand in the file, too."""
    ann, listed = make_text("abc123"), make_text("zzzzzz")
    ring = Ring(ann)
    sha256 = hashlib.sha256(listed.encode()).hexdigest()
    doorkeeper = Doorkeeper([CallerKey(name="team", sha256=sha256)], ring)
    assert doorkeeper.admit({"authorization": f"Bearer {ann}"}) is ring.caller
    assert doorkeeper.admit({"x-api-key": listed}).name == "team"
    assert [caller.name for caller in doorkeeper.configured] == ["team"]
    with pytest.raises(AuthenticationFailed, match="not known here"):
        doorkeeper.admit({"authorization": f"Bearer {make_text('abc123')}"})


def test_keys_of_the_database_lock_the_door() -> None:
    assert Doorkeeper([], Ring(locks=False)).is_open
    locked = Doorkeeper([], Ring(locks=True))
    assert not locked.is_open
    with pytest.raises(AuthenticationFailed):
        locked.admit({"host": "localhost"})


def test_beyond_loopback_there_is_no_open_door() -> None:
    """Even where no key is left: whoever comes is told to bring one."""
    doorkeeper = Doorkeeper([], may_be_open=False)
    assert not doorkeeper.is_open
    with pytest.raises(AuthenticationFailed):
        doorkeeper.admit({"host": "localhost"})


def test_a_key_of_the_file_may_have_limits_and_an_end() -> None:
    ends = datetime(2027, 1, 1, tzinfo=UTC)
    now = [ends.timestamp() - 1]
    sha256 = hashlib.sha256(KEY.encode()).hexdigest()
    key = CallerKey(name="team", sha256=sha256, models=("small",), usd_nano_per_day=5, expires_at=ends)
    doorkeeper = Doorkeeper([key], clock=lambda: now[0])
    caller = doorkeeper.admit({"x-api-key": KEY})
    assert (caller.models, caller.usd_nano_per_day, caller.is_held) == (("small",), 5, True)
    now[0] += 1
    with pytest.raises(AuthenticationFailed, match="expired at 2027-01-01"):
        doorkeeper.admit({"x-api-key": KEY})


def test_nobody_is_a_door_without_a_ring() -> None:
    assert NoRing().recognise(make_text("abc123")) is None
    assert not NoRing().locks


def test_what_is_loopback() -> None:
    assert all(is_loopback(host) for host in ("localhost", "127.0.0.1", "127.1.2.3", "::1", "app.localhost"))
    assert not any(is_loopback(host) for host in ("", "0.0.0.0", "192.168.1.1", "localhost.example", "::"))
