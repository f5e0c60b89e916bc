"""The form of a key, what is kept of it, and who may give what to whom."""

from __future__ import annotations

import string
import zlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import AuthenticationFailed, BadRequest
from junctor.gateway.keys import (
    KEY_LENGTH,
    NANO,
    PREFIX,
    Grant,
    Key,
    digest_of,
    find_excess,
    find_mistakes,
    make_caller,
    make_id,
    make_text,
    parse_budget,
    parse_expiry,
    parse_id,
    render_budget,
)

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATER = datetime(2027, 1, 1, tzinfo=UTC)


def test_a_key_has_the_form_that_secret_scanners_look_for() -> None:
    """Prefix, id, 32 characters, and the CRC-32 of all that in base 62, computed here once more."""
    text = make_text("K7f3Qa")
    assert len(text) == KEY_LENGTH == 53
    assert text.startswith("jct_live_K7f3Qa")
    assert set(text.removeprefix(PREFIX)) <= set(BASE62)
    number = 0
    for digit in text[-6:]:
        number = number * 62 + BASE62.index(digit)
    assert number == zlib.crc32(text[:-6].encode())
    assert parse_id(text) == "K7f3Qa"


def test_no_two_keys_are_the_same() -> None:
    key_id = make_id()
    assert len({make_text(key_id) for _ in range(100)}) == 100
    assert len({make_id() for _ in range(100)}) == 100


@given(at=st.integers(0, KEY_LENGTH - 1), other=st.sampled_from(BASE62 + "_ -é"))
def test_one_wrong_character_is_noticed(at: int, other: str) -> None:
    """A CRC-32 finds every error of a single character."""
    text = make_text("abc123")
    wrong = text[:at] + other + text[at + 1 :]
    if wrong == text:
        return
    if not wrong.startswith(PREFIX):
        return  # it is not even a key of ours
    with pytest.raises(AuthenticationFailed, match="mistyped or cut off") as caught:
        parse_id(wrong)
    assert wrong not in str(caught.value)


@pytest.mark.parametrize("cut", [0, 1, 20, 52])
def test_a_key_that_is_cut_off_is_noticed(cut: int) -> None:
    with pytest.raises(AuthenticationFailed, match="53 characters"):
        parse_id(make_text("abc123")[:cut])


def test_a_digest_depends_on_key_and_pepper_and_hides_both() -> None:
    text = make_text("abc123")
    digest = digest_of(b"p" * 32, text)
    assert len(digest) == 32
    assert digest == digest_of(b"p" * 32, text)
    assert digest != digest_of(b"q" * 32, text)
    assert digest != digest_of(b"p" * 32, make_text("abc123"))


def test_a_day_lasts_until_its_end_and_a_time_means_utc() -> None:
    assert parse_expiry("2027-01-31") == datetime(2027, 2, 1, tzinfo=UTC)
    assert parse_expiry("2027-01-31T12:00:00") == datetime(2027, 1, 31, 12, tzinfo=UTC)
    assert parse_expiry("2027-01-31T12:00:00+02:00") == datetime(2027, 1, 31, 10, tzinfo=UTC)
    assert parse_expiry("2027-01-31T12:00:00Z") == datetime(2027, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "soon", "2027-13-01", "9999-12-31", "31.1.2027", "x" * 5000])
def test_what_is_no_day_is_refused_in_few_words(text: str) -> None:
    with pytest.raises(BadRequest, match="2027-01-31") as caught:
        parse_expiry(text)
    assert len(str(caught.value)) < 250


@given(st.floats(0.000001, 1e6))
def test_a_budget_is_whole_nano_dollars(usd: float) -> None:
    nano = parse_budget(usd)
    assert isinstance(nano, int)
    assert abs(nano - usd * NANO) <= 0.5
    assert parse_budget(render_budget(nano)) == nano


@pytest.mark.parametrize(
    ("grant", "field"),
    [
        (Grant(requests_per_minute=0), "requests_per_minute"),
        (Grant(tokens_per_minute=-1), "tokens_per_minute"),
        (Grant(usd_nano_per_day=0), "usd_per_day"),
        (Grant(usd_nano_per_month=parse_budget(float("inf"))), "usd_per_month"),
        (Grant(usd_nano_per_month=parse_budget(float("nan"))), "usd_per_month"),
        (Grant(usd_nano_per_day=parse_budget(1e308)), "usd_per_day"),  # finite, its nano-dollars are not
        (Grant(strongest_share=-0.1), "strongest_share"),
        (Grant(strongest_share=1.1), "strongest_share"),
        (Grant(strongest_share=float("nan")), "strongest_share"),
        (Grant(models=("",)), "models"),
        (Grant(models=("a\n",)), "models"),
    ],
)
def test_a_limit_that_makes_no_sense_is_named(grant: Grant, field: str) -> None:
    assert set(find_mistakes(grant, "ann")) == {field}


@pytest.mark.parametrize("name", ["", " ann", "ann\n", "x" * 101, "\x1b[31m", "\ud800"])
def test_a_name_can_be_printed(name: str) -> None:
    assert set(find_mistakes(Grant(), name)) == {"name"}


def test_whatever_is_limited_is_looked_at() -> None:
    """And what is not costs nothing."""
    assert not make_caller("id", "ann", Grant(is_admin=True, expires_at=LATER)).is_held
    for grant in (
        Grant(models=("small",)),
        Grant(requests_per_minute=1),
        Grant(tokens_per_minute=1),
        Grant(usd_nano_per_day=1),
        Grant(usd_nano_per_month=1),
        Grant(strongest_share=0.0),
    ):
        caller = make_caller("id", "ann", grant)
        assert caller.is_held
        assert (caller.key_id, caller.name, caller.models) == ("id", "ann", grant.models)


FULL = Grant(
    is_admin=True,
    models=("a", "b"),
    requests_per_minute=10,
    tokens_per_minute=10,
    usd_nano_per_day=10,
    usd_nano_per_month=10,
    strongest_share=0.2,
    expires_at=LATER,
)
MORE = {
    "admin": (Grant(is_admin=True), Grant()),
    "models": (Grant(models=("a", "c")), Grant(models=("a", "b"))),
    "requests_per_minute": (Grant(requests_per_minute=11), Grant(requests_per_minute=10)),
    "tokens_per_minute": (Grant(tokens_per_minute=11), Grant(tokens_per_minute=10)),
    "usd_per_day": (Grant(usd_nano_per_day=11), Grant(usd_nano_per_day=10)),
    "usd_per_month": (Grant(usd_nano_per_month=11), Grant(usd_nano_per_month=10)),
    "strongest_share": (Grant(strongest_share=0.3), Grant(strongest_share=0.2)),
    "expires": (Grant(expires_at=datetime(2028, 1, 1, tzinfo=UTC)), Grant(expires_at=LATER)),
}


@pytest.mark.parametrize("field", MORE)
def test_nobody_gives_more_than_they_have(field: str) -> None:
    """Neither a wider limit, nor none."""
    wider, own = MORE[field]
    assert find_excess(wider, own) == field
    assert find_excess(own, own) is None
    if field != "admin":
        assert find_excess(Grant(), own) == field
        assert find_excess(wider, Grant(is_admin=True)) is None


@given(st.data())
def test_what_is_within_a_grant_is_within_what_that_is_within(data: st.DataObject) -> None:
    """No chain of keys leads to more than its first had."""
    limits = st.one_of(st.none(), st.integers(1, 3))
    grants = st.builds(
        Grant,
        is_admin=st.booleans(),
        models=st.lists(st.sampled_from("ab"), unique=True).map(tuple),
        requests_per_minute=limits,
        usd_nano_per_day=limits,
    )
    first, second, third = (data.draw(grants) for _ in range(3))
    if find_excess(second, first) is None and find_excess(third, second) is None:
        assert find_excess(third, first) is None
    assert find_excess(FULL, FULL) is None


def test_the_state_of_a_key() -> None:
    key = Key(id="a", name="ann", digest=b"", created_at=NOW, expires_at=LATER)
    assert key.state(NOW) == "live"
    assert key.state(LATER) == "expired"
    revoked = Key(id="a", name="ann", digest=b"", created_at=NOW, revoked_at=NOW)
    assert revoked.state(NOW) == "revoked"
