"""Buckets: never more than the burst and the rate allow, and nothing lost of what is."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.gateway.rate import Bucket, render_duration


def test_a_minutes_worth_goes_at_once_and_then_one_by_one() -> None:
    bucket = Bucket(60)
    for left in range(60, 0, -1):
        assert (bucket.left(100.0), bucket.wait_s(1, 100.0)) == (left, 0.0)
        bucket.pour(1, 100.0)
    assert bucket.left(100.0) == 0
    assert bucket.wait_s(1, 100.0) == pytest.approx(1.0)
    assert bucket.empty_after_s(100.0) == pytest.approx(60.0)
    assert bucket.wait_s(1, 101.0) == 0.0
    assert bucket.left(160.0) == 60


@given(per_minute=st.integers(1, 1000), steps=st.lists(st.tuples(st.floats(0, 120), st.integers(1, 1500))))
def test_no_window_sees_more_than_burst_and_rate(per_minute: int, steps: list[tuple[float, int]]) -> None:
    """Shares larger than the bucket count as what they are: they go alone, and delay the next ones."""
    bucket, now, granted = Bucket(per_minute), 0.0, list[tuple[float, int]]()
    for pause, share in steps:
        now += pause
        if bucket.wait_s(share, now) == 0.0:
            bucket.pour(share, now)
            granted.append((now, share))
    for start, (since, _) in enumerate(granted):
        total = 0
        for until, share in granted[start:]:
            within = total + min(share, per_minute)
            assert within <= per_minute * (1 + (until - since) / 60) * (1 + 1e-5)
            total += share


@given(per_minute=st.integers(1, 10_000), share=st.integers(1, 10_000), taken=st.integers(0, 10_000))
def test_after_the_wait_that_is_said_it_fits(per_minute: int, share: int, taken: int) -> None:
    bucket = Bucket(per_minute)
    bucket.pour(taken, 50.0)
    wait_s = bucket.wait_s(share, 50.0)
    assert wait_s >= 0
    assert bucket.wait_s(share, 50.0 + wait_s + 1e-3) == 0.0


def test_what_was_reserved_too_much_comes_back_at_once() -> None:
    bucket = Bucket(1000)
    bucket.pour(800, 0.0)
    assert bucket.left(0.0) == 200
    bucket.pour(100 - 800, 0.0)
    assert bucket.left(0.0) == 900
    bucket.pour(-5000, 0.0)
    assert bucket.left(0.0) == 1000, "never more than a minute's worth"


def test_what_was_reserved_too_little_is_paid_off() -> None:
    bucket = Bucket(60)
    bucket.pour(180, 0.0)
    assert bucket.left(0.0) == 0
    assert bucket.wait_s(1, 0.0) == pytest.approx(121.0)
    assert bucket.wait_s(1, 121.5) == 0.0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0ms"),
        (0.0001, "1ms"),
        (0.012, "12ms"),
        (0.9999, "1s"),
        (1.5, "1.5s"),
        (59.5, "59.5s"),
        (60, "1m0s"),
        (360, "6m0s"),
        (3601.2, "60m2s"),
    ],
)
def test_durations_are_written_as_openais_are(seconds: float, said: str) -> None:
    assert render_duration(seconds) == said


@given(st.floats(0, 1e7))
def test_a_duration_is_never_said_too_short(seconds: float) -> None:
    said = render_duration(seconds)
    if said.endswith("ms"):
        parsed = float(said[:-2]) / 1000
    else:
        found = re.fullmatch(r"(?:(\d+)m)?([\d.]+)s", said)
        assert found
        parsed = 60 * int(found[1] or 0) + float(found[2])
    assert seconds - 1e-6 * max(1, seconds) <= parsed <= seconds + 1.001


@pytest.mark.parametrize("per_minute", [1, 60, 10**6, 10**12])
def test_no_more_is_left_than_the_limit(per_minute: int) -> None:
    """The slack for rounding must not show."""
    assert Bucket(per_minute).left(0.0) == per_minute
