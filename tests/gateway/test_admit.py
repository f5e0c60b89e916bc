"""Who may come in."""

from __future__ import annotations

import hashlib

import pytest

from junctor.chat import AuthenticationFailed, BadRequest
from junctor.gateway.admit import CallerKey, Doorkeeper, is_loopback

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
    assert LOCKED.admit(headers) == "team"


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
    assert OPEN.admit({"host": "127.0.0.1:8400", "authorization": "Bearer whatever"}) == ""


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
    assert OPEN.admit({"host": "[::1]:8400", "origin": "http://localhost:5173"}) == ""


def test_what_is_loopback() -> None:
    assert all(is_loopback(host) for host in ("localhost", "127.0.0.1", "127.1.2.3", "::1", "app.localhost"))
    assert not any(is_loopback(host) for host in ("", "0.0.0.0", "192.168.1.1", "localhost.example", "::"))
