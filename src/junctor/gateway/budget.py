"""What one key has spent and reserved, of this day and of this month. Pure: the time comes in.

    lacks    is there less left than a request needs? then it is refused
    room     how much is neither spent nor reserved; who wants more waits for others to be settled
    hold     reserve
    settle   give it back, and count what it came to

Money is whole nano-dollars. What is reserved is held against the day and the month in which it was granted:
an answer that ends after midnight counts to the day before, as its row in the ledger does.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from junctor.gateway.keys import NANO, Grant


class Purse:
    """One period's money."""

    __slots__ = ("begins", "reserved", "spent")

    def __init__(self, begins: date, spent: int = 0) -> None:
        self.begins = begins
        self.spent = spent
        self.reserved = 0


class Hold(NamedTuple):
    """What is reserved for one request."""

    nano: int
    purses: tuple[Purse, Purse]


class Budget:
    """One key's."""

    def __init__(self, now: datetime, *, spent_today: int = 0, spent_this_month: int = 0) -> None:
        today = now.astimezone(UTC).date()
        self.day = Purse(today, spent_today)
        self.month = Purse(today.replace(day=1), spent_this_month)
        self._midnight = _midnight_after(today)

    def roll(self, now: datetime) -> None:
        """Begin a new day, and perhaps a month. A clock that is set back begins none."""
        if now < self._midnight:
            return
        today = now.astimezone(UTC).date()
        self.day, self._midnight = Purse(today), _midnight_after(today)
        if today.replace(day=1) > self.month.begins:
            self.month = Purse(today.replace(day=1))

    def lacks(self, grant: Grant, nano: int) -> bool:
        """Whether less than so much is left unspent."""
        return any(purse.spent + nano > cap for purse, cap in self._caps(grant))

    def room(self, grant: Grant) -> int:
        """How much is neither spent nor reserved."""
        return min((cap - purse.spent - purse.reserved for purse, cap in self._caps(grant)), default=0)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is reserved."""
        return not self.day.reserved and not self.month.reserved

    def hold(self, nano: int) -> Hold:
        """Reserve so much."""
        hold = Hold(nano, (self.day, self.month))
        for purse in hold.purses:
            purse.reserved += nano
        return hold

    @staticmethod
    def settle(hold: Hold, nano: int) -> None:
        """Give a reservation back, and count what was really spent."""
        for purse in hold.purses:
            purse.reserved -= hold.nano
            purse.spent += nano

    def explain(self, grant: Grant, nano: int, now: datetime) -> str:
        """Why so much cannot be had: which budget, how much of it is spent, when it begins anew."""
        purse, cap = next(it for it in self._caps(grant) if it[0].spent + nano > it[1])
        is_day = purse is self.day
        what, since = ("day", "today") if is_day else ("month", "this month")
        spent = f"{_usd(purse.spent)} of the {_usd(cap)} that this API key may spend in a {what} (UTC)"
        next_month = (self.month.begins + timedelta(days=32)).replace(day=1)
        resets = self._midnight if is_day else _midnight_after(next_month - timedelta(days=1))
        left = "" if purse.spent >= cap else f", and this request may cost {_usd(nano)}"
        return (
            f"{spent} are spent {since}{left}; the budget begins anew at {resets:%Y-%m-%d} 00:00 UTC, in "
            f"{_in_words(resets - now)}. Ask whoever runs this server for more"
        )

    def _caps(self, grant: Grant) -> list[tuple[Purse, int]]:
        caps = ((self.day, grant.usd_nano_per_day), (self.month, grant.usd_nano_per_month))
        return [(purse, cap) for purse, cap in caps if cap is not None]


def _midnight_after(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def _usd(nano: int) -> str:
    """At least two decimals, at most nine: `1.00`, `0.000021`."""
    text = f"{nano / NANO:.9f}".rstrip("0")
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals.ljust(2, '0')} USD"


def _in_words(span: timedelta) -> str:
    hours = span.total_seconds() / 3600
    if hours >= 48:
        return f"{hours / 24:.0f} days"
    return f"{hours:.0f} h" if hours >= 2 else f"{max(0.0, hours * 60):.0f} min"
