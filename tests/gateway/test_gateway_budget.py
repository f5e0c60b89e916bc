"""Budgets of a day and a month, on a clock that the test owns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from junctor.gateway.budget import Budget, Hold
from junctor.gateway.keys import NANO, Grant

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
DAY = timedelta(days=1)
A_DOLLAR = Grant(usd_nano_per_day=NANO)


def test_what_is_lacking_and_what_is_only_reserved() -> None:
    budget = Budget(NOON, spent_today=NANO // 2, spent_this_month=NANO // 2)
    assert not budget.lacks(A_DOLLAR, NANO // 2)
    assert budget.lacks(A_DOLLAR, NANO // 2 + 1)
    hold = budget.hold(NANO // 4)
    assert not budget.lacks(A_DOLLAR, NANO // 2), "what is reserved may come back"
    assert budget.room(A_DOLLAR) == NANO // 4
    assert not budget.is_idle
    Budget.settle(hold, NANO // 4)
    assert budget.lacks(A_DOLLAR, NANO // 2)
    assert budget.room(A_DOLLAR) == NANO // 4
    assert budget.is_idle
    assert budget.day.reserved == budget.month.reserved == 0


def test_the_tighter_of_day_and_month_counts() -> None:
    grant = Grant(usd_nano_per_day=5 * NANO, usd_nano_per_month=6 * NANO)
    budget = Budget(NOON, spent_today=0, spent_this_month=5 * NANO)
    assert budget.room(grant) == NANO
    assert budget.lacks(grant, 2 * NANO)
    assert "this month" in budget.explain(grant, 2 * NANO, NOON)
    assert not budget.lacks(Grant(usd_nano_per_day=5 * NANO), 2 * NANO)


def test_a_day_begins_anew_and_so_does_a_month() -> None:
    grant = Grant(usd_nano_per_day=NANO, usd_nano_per_month=3 * NANO)
    budget = Budget(datetime(2026, 11, 28, 23, tzinfo=UTC), spent_today=NANO, spent_this_month=2 * NANO)
    assert budget.lacks(grant, 1)
    budget.roll(datetime(2026, 11, 29, 0, 0, 1, tzinfo=UTC))
    assert budget.room(grant) == NANO
    Budget.settle(budget.hold(NANO), NANO)
    budget.roll(NOON)
    assert budget.lacks(grant, 1), "the month is spent"
    budget.roll(NOON + DAY)
    assert budget.room(grant) == NANO


def test_an_answer_across_midnight_counts_to_the_day_before() -> None:
    budget = Budget(NOON)
    hold = budget.hold(NANO)
    budget.roll(NOON + DAY)
    assert budget.room(A_DOLLAR) == NANO, "its reservation does not weigh on the new day"
    Budget.settle(hold, 2 * NANO)
    assert budget.day.spent == budget.day.reserved == 0


def test_a_clock_that_is_set_back_gives_nothing_back() -> None:
    budget = Budget(NOON, spent_today=NANO, spent_this_month=NANO)
    budget.roll(NOON - DAY)
    budget.roll(NOON - 40 * DAY)
    assert budget.lacks(A_DOLLAR, 1)


def test_a_refusal_says_which_budget_how_much_and_when() -> None:
    budget = Budget(NOON, spent_today=NANO * 99 // 100, spent_this_month=0)
    said = budget.explain(A_DOLLAR, NANO // 50, NOON)
    assert said.startswith(
        "0.99 USD of the 1.00 USD that this API key may spend in a day (UTC) are spent today"
    )
    assert "may cost 0.02 USD" in said
    assert "2026-12-01 00:00 UTC, in 12 h" in said
    monthly = Grant(usd_nano_per_month=NANO)
    budget = Budget(NOON - 20 * DAY, spent_this_month=NANO)
    said = budget.explain(monthly, 1, NOON - 20 * DAY)
    assert "this month; the budget begins anew at 2026-12-01 00:00 UTC, in 20 days" in said


@given(st.data())
def test_no_order_of_events_overspends_or_leaves_anything_reserved(data: st.DataObject) -> None:
    """Whatever is asked for, settled, and however the days go: each day's and month's spending stays within
    its cap, but for what answers cost more than was reserved for them; and at the end nothing is reserved."""
    grant = Grant(
        usd_nano_per_day=data.draw(st.one_of(st.none(), st.integers(1, 50))),
        usd_nano_per_month=data.draw(st.integers(1, 100)),
    )
    now = NOON - 3 * DAY
    budget, holds, purses = Budget(now), list[Hold](), dict[int, object]()
    excess: dict[int, int] = {}
    for _ in range(data.draw(st.integers(0, 40))):
        match data.draw(st.sampled_from(["ask", "ask", "settle", "settle", "pass time"])):
            case "ask":
                nano = data.draw(st.integers(0, 30))
                if nano <= budget.room(grant):
                    holds.append(budget.hold(nano))
            case "settle" if holds:
                hold = holds.pop(data.draw(st.integers(0, len(holds) - 1)))
                cost = data.draw(st.integers(0, 40))
                Budget.settle(hold, cost)
                for purse in hold.purses:
                    excess[id(purse)] = excess.get(id(purse), 0) + max(0, cost - hold.nano)
            case _:
                now += timedelta(hours=data.draw(st.integers(-5, 30)))
                budget.roll(now)
        for purse, cap in ((budget.day, grant.usd_nano_per_day), (budget.month, grant.usd_nano_per_month)):
            purses[id(purse)] = purse
            assert purse.reserved >= 0
            assert cap is None or purse.spent <= cap + excess.get(id(purse), 0)
    for hold in holds:
        Budget.settle(hold, 0)
    assert all(purse.reserved == 0 for purse in purses.values())  # type: ignore[attr-defined]
