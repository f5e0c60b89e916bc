"""Betting bounds: how often they are wrong, counted over simulated traffic, and how soon they are right."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from junctor.routing.measuring.betting import Bet, bound_above, bound_below

ALPHA = 0.05


def draw(rng: random.Random, worse: float, better: float) -> float:
    """-1 with a probability of `worse`, 1 with one of `better`, else 0."""
    u = rng.random()
    return -1.0 if u < worse else 1.0 if u < worse + better else 0.0


def seen_until(bet: Bet, next_one: Callable[[], float], most: int) -> int | None:
    """After how many observations the claim is refuted; None: not within `most`."""
    for count in range(most):
        if bet.refutes(ALPHA):
            return count
        bet.see(next_one())
    return None


@pytest.mark.parametrize(("worse", "better"), [(0.05, 0.03), (0.02, 0.0), (0.32, 0.30), (0.05, 0.05)])
def test_a_promise_that_just_holds_is_seldom_called_broken_however_often_one_looks(
    worse: float, better: float
) -> None:
    """Looked at after each of 2,000 comparisons: at most 5 % false alarms, three standard errors allowed."""
    rng, runs = random.Random(1), 200
    alarms = 0
    for _ in range(runs):
        alarms += seen_until(Bet(-0.02), lambda: draw(rng, worse, better), 2000) is not None
    assert alarms / runs <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / runs) ** 0.5


def test_a_promise_that_just_fails_is_seldom_called_kept() -> None:
    rng, runs = random.Random(2), 200
    wrong = 0
    for _ in range(runs):
        bet = Bet(-0.02, upwards=True)
        wrong += seen_until(bet, lambda: draw(rng, 0.06, 0.04), 2000) is not None
    assert wrong / runs <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / runs) ** 0.5


def test_a_loss_of_ten_points_is_found_within_some_hundred_comparisons() -> None:
    rng = random.Random(3)
    found = [seen_until(Bet(-0.02), lambda: draw(rng, 0.15, 0.05), 1500) for _ in range(40)]
    assert None not in found
    assert sorted(count for count in found if count is not None)[20] < 300


def test_drift_is_found_soon_after_a_long_good_time() -> None:
    """Money is not lost while all is well: the alarm is not late for having been right for long."""
    rng, found = random.Random(4), []
    for _ in range(20):
        bet = Bet(-0.02)
        for _ in range(3000):
            bet.see(draw(rng, 0.05, 0.05))
        assert not bet.refutes(ALPHA)
        found.append(seen_until(bet, lambda: draw(rng, 0.15, 0.05), 2000))
    assert None not in found
    assert sorted(count for count in found if count is not None)[10] < 800


def test_equal_answers_prove_the_promise() -> None:
    assert seen_until(Bet(-0.02, upwards=True), lambda: 0.0, 400) is not None


def test_a_claim_once_refuted_stays_refuted() -> None:
    bet = Bet(0.0)
    for _ in range(100):
        bet.see(-1.0)
    for _ in range(1000):
        bet.see(1.0)
    assert bet.refutes(ALPHA)


@pytest.mark.parametrize("count", [5, 20, 100, 400])
def test_an_interval_holds_the_mean_as_often_as_it_says(count: int) -> None:
    """Also for few comparisons, where the bootstrap does not."""
    rng, runs, missed = random.Random(5), 200, 0
    for _ in range(runs):
        seen = [draw(rng, 0.08, 0.05) for _ in range(count)]
        missed += not bound_below(seen, ALPHA / 2) <= -0.03 <= bound_above(seen, ALPHA / 2)
    assert missed / runs <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / runs) ** 0.5


def test_twenty_ties_prove_little() -> None:
    """A bootstrap of them would say: no difference, for sure."""
    assert bound_below([0.0] * 20, 0.025) < -0.1
    assert bound_below([0.0] * 2000, 0.025) > -0.01


def test_nothing_seen_bounds_nothing() -> None:
    assert bound_below([], 0.025) == -1.0
    assert bound_above([], 0.025) == 1.0


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1), max_size=60), st.floats(0.001, 0.4))
def test_bounds_are_in_order_and_hold_the_mean_of_what_was_seen(seen: list[float], alpha: float) -> None:
    low, high = bound_below(seen, alpha), bound_above(seen, alpha)
    assert -1.0 <= low <= high <= 1.0
    if seen:
        assert low <= sum(seen) / len(seen) <= high


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1), max_size=200), st.floats(-1, 1), st.booleans())
def test_a_bet_never_goes_into_debt(seen: list[float], claim: float, upwards: bool) -> None:
    """Whatever comes: no logarithm of nothing."""
    bet = Bet(claim, upwards=upwards)
    for difference in seen:
        bet.see(difference)
    assert not bet.refutes(1e-300)
