"""Keys in JSON: what is asked for, and what is shown."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import BadRequest
from junctor.gateway.key_json import (
    KeyList,
    parse_changes,
    parse_grace_h,
    parse_new_key,
    show_configured,
    show_key,
    show_new_key,
)
from junctor.gateway.key_store import Use
from junctor.gateway.keys import Grant, Key

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = Key(
    id="abc123",
    name="ann",
    digest=b"digest-canary",
    old_digest=b"old-canary",
    created_at=NOW,
    models=("small",),
    usd_nano_per_day=1_500_000_000,
)


def body(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_a_new_key_may_have_every_limit() -> None:
    name, grant = parse_new_key(
        body(
            name="ann",
            models=["small", "auto"],
            requests_per_minute=60,
            tokens_per_minute=1000,
            usd_per_day=0.5,
            usd_per_month=10,
            strongest_share=0.2,
            expires="2027-01-31",
            admin=True,
        )
    )
    assert name == "ann"
    assert grant == Grant(
        is_admin=True,
        models=("small", "auto"),
        requests_per_minute=60,
        tokens_per_minute=1000,
        usd_nano_per_day=500_000_000,
        usd_nano_per_month=10_000_000_000,
        strongest_share=0.2,
        expires_at=datetime(2027, 2, 1, tzinfo=UTC),
    )
    assert parse_new_key(body(name="ann")) == ("ann", Grant())


def test_a_change_leaves_what_it_does_not_name_and_null_takes_a_limit_away() -> None:
    name, grant = parse_changes(body(usd_per_day=None, requests_per_minute=5), "ann", KEY)
    assert name == "ann"
    assert (grant.usd_nano_per_day, grant.requests_per_minute, grant.models) == (None, 5, ("small",))
    assert parse_changes(body(name="bob", models=None), "ann", Grant(models=("a",))) == ("bob", Grant())
    assert parse_changes(b"{}", "ann", Grant(is_admin=True)) == ("ann", Grant(is_admin=True))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "ann", "usd_per_dya": 1}, "did you mean `usd_per_day`"),
        ({"name": "ann", "colour": "red"}, "known: name, models"),
        ({"name": "ann", "id": "mine"}, "`id` is not a field"),
        ({}, "`name` is missing"),
        ({"name": None}, "`name` is missing"),
        ({"name": 3}, "`name` must be a string"),
        ({"name": "ann", "models": "small"}, "`models` must be a list"),
        ({"name": "ann", "models": [1]}, "`models` must be a list"),
        ({"name": "ann", "requests_per_minute": 1.5}, "must be a whole number"),
        ({"name": "ann", "requests_per_minute": True}, "must be a whole number"),
        ({"name": "ann", "usd_per_day": "5"}, "must be an amount of USD"),
        ({"name": "ann", "expires": "tomorrow"}, "2027-01-31"),
        ({"name": "ann", "admin": "yes"}, "`admin` must be true or false"),
    ],
)
def test_a_mistake_is_named(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        parse_new_key(body(**fields))
    assert caught.value.param is not None


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b'"x"', b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_new_key(raw)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_no_value_of_a_field_is_our_fault(value: Any) -> None:
    for field in (
        "name",
        "models",
        "requests_per_minute",
        "usd_per_month",
        "strongest_share",
        "expires",
        "admin",
    ):
        with suppress(BadRequest):
            parse_new_key(body(**{"name": "ann", field: value}))


def test_how_long_the_old_key_shall_work() -> None:
    assert parse_grace_h(b"") == parse_grace_h(b"{}") == 0.0
    assert parse_grace_h(b'{"grace_hours": 24}') == 24.0
    with pytest.raises(BadRequest, match="did you mean `grace_hours`"):
        parse_grace_h(b'{"grace_hour": 24}')


def test_a_key_is_shown_without_anything_of_it() -> None:
    use = Use(usd_nano_today=1, usd_nano_this_month=2_000_000_000, last_used_at=NOW)
    configured = show_configured("config:bob", "bob", Grant(expires_at=NOW), use, NOW, ())
    shown = json.loads(msgspec.json.encode(KeyList(keys=(show_key(KEY, use, NOW, ["small"]), configured))))
    assert "canary" not in json.dumps(shown)
    ann, bob = shown["keys"]
    assert ann == {
        "id": "abc123",
        "name": "ann",
        "state": "live",
        "admin": False,
        "models": ["small"],
        "requests_per_minute": None,
        "tokens_per_minute": None,
        "usd_per_day": 1.5,
        "usd_per_month": None,
        "strongest_share": None,
        "expires_at": None,
        "created_at": "2026-11-21T12:00:00Z",
        "revoked_at": None,
        "old_key_until": None,
        "usd_today": 1e-9,
        "usd_this_month": 2.0,
        "last_used_at": "2026-11-21T12:00:00Z",
        "warnings": [],
    }
    assert (bob["id"], bob["state"], bob["created_at"]) == ("config:bob", "expired", None)


def test_a_new_key_is_shown_with_its_text() -> None:
    shown = show_new_key(KEY, "jct_live_x", Use(), NOW, ["small"])
    assert (shown.key, shown.id, shown.last_used_at) == ("jct_live_x", "abc123", None)
