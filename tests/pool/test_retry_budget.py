"""The budgets: a share of the requests, in a window that slides, and never more."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from junctor.pool.retry_budget import LEAST, MOST_SAVED, WINDOW_S, HedgeBudget, RetryBudget
from pool.virtual import Clock


def test_a_lone_request_may_be_tried_again_and_an_outage_is_not_multiplied() -> None:
    clock = Clock()
    budget = RetryBudget(0.2, clock)
    budget.request()
    assert [budget.take() for _ in range(5)] == [True] * LEAST + [False] * 2
    for _ in range(99):
        budget.request()
    assert sum(budget.take() for _ in range(100)) == 20 - LEAST


def test_what_left_the_window_is_forgotten() -> None:
    clock = Clock()
    budget = RetryBudget(0.2, clock)
    assert [budget.take() for _ in range(4)] == [True, True, True, False]
    clock.now += WINDOW_S - 1
    assert not budget.has_room()
    clock.now += 1
    assert budget.take()
    clock.now += 10 * WINDOW_S
    assert [budget.take() for _ in range(4)] == [True, True, True, False]


def test_a_share_of_nothing_grants_nothing() -> None:
    budget = RetryBudget(0.0, Clock())
    budget.request()
    assert not budget.take()


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 3)), max_size=300),
    st.floats(0.0, 1.0),
)
def test_retries_never_exceed_their_share_of_the_window(
    steps: list[tuple[bool, float]], share: float
) -> None:
    """Against an oracle that remembers every single request."""
    clock = Clock()
    budget = RetryBudget(share, clock)
    requests, retries = deque[int](), deque[int]()
    for is_request, wait_s in steps:
        clock.now += wait_s
        for kept in (requests, retries):
            while kept and kept[0] <= int(clock.now) - WINDOW_S:
                kept.popleft()
        if is_request:
            budget.request()
            requests.append(int(clock.now))
            continue
        room = max(LEAST if share else 0, int(share * len(requests)))
        granted = budget.take()
        assert granted == (len(retries) < room)
        if granted:
            retries.append(int(clock.now))


@given(st.lists(st.booleans(), max_size=2000), st.floats(0.0, 1.0))
def test_hedges_never_exceed_their_share_of_all_requests(steps: list[bool], share: float) -> None:
    budget = HedgeBudget(share)
    requests = hedges = 0
    for is_request in steps:
        if is_request:
            budget.request()
            requests += 1
        else:
            hedges += budget.take()
        assert hedges <= share * requests + 1e-9


def test_a_quiet_time_saves_up_a_few_hedges_only() -> None:
    budget = HedgeBudget(0.07)
    for _ in range(10_000):
        budget.request()
    assert sum(budget.take() for _ in range(100)) == MOST_SAVED
