"""Bounds for the mean of a bounded quantity: they hold however few are seen, and however often one looks.

Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B 86, 2024). Somebody
bets against a claim, one observation after the other, never more than is left. While the claim is true the
money ever grows beyond `1 / alpha` with a probability of at most `alpha` (Ville's inequality): one may look
after each observation, and stop when one likes. The bet itself may be any that looks back only.

Pure. Observations are differences in quality, -1 (ours is worse) to 1 (better).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import inf, log, log1p, sqrt

MEMORY = 400
"""Observations that the next bet goes by. The money survives whatever it goes by, and a short memory finds a
change soon, however long all was well."""
BOLDNESS = 0.75
"Of what could be lost at most: a bet of all would be ruined by one observation."
_PRIOR = 2.0
"Imagined observations that agree with the claim: the first bets are small."
_STEPS = 30
"Halvings of an interval of length 1: to 1e-9."


class Bet:
    """Money against the claim that the mean is at least `claim` (or at most, for `upwards`)."""

    def __init__(self, claim: float, *, upwards: bool = False) -> None:
        """`claim`: of the mean of differences, -1..1. `upwards`: bet that the mean is higher."""
        self._sign = 1.0 if upwards else -1.0
        self._claim = (1.0 + claim) / 2
        self._recent: deque[float] = deque(maxlen=MEMORY)
        self._sum = self._squares = 0.0
        self._money = self._most = 0.0

    def see(self, difference: float) -> None:
        """Take the next observation; -1..1."""
        gain = self._sign * ((1.0 + difference) / 2 - self._claim)
        self._money += log1p(self._stake() * gain)
        self._most = max(self._most, self._money)
        if len(self._recent) == MEMORY:
            oldest = self._recent[0]
            self._sum -= oldest
            self._squares -= oldest * oldest
        self._recent.append(gain)
        self._sum += gain
        self._squares += gain * gain

    def refutes(self, alpha: float) -> bool:
        """Whether the claim was refuted at any time; of true claims at most `alpha` ever are."""
        return self._most >= log(1 / alpha)

    def _stake(self) -> float:
        """Nearly the one at which the money grows fastest (their GRAPA), as of the observations so far."""
        count = len(self._recent) + _PRIOR
        mean = self._sum / count
        if mean <= 0:
            return 0.0
        spread = max(0.0, (self._squares + _PRIOR / 16) / count - mean * mean)
        # The most that one observation can take away: the distance from the claim to the wrong end.
        worst = self._claim if self._sign > 0 else 1.0 - self._claim
        return min(mean / (spread + mean * mean), BOLDNESS / worst if worst else inf)


def bound_below(differences: Sequence[float], alpha: float) -> float:
    """A lower bound of a mean of differences, -1..1: too high with a probability of `alpha` at most.

    Their predictable plug-in bets for a fixed number of observations; nothing observed: -1.
    """
    values = [(1.0 + difference) / 2 for difference in differences]
    stakes = _plug_in_stakes(values, alpha)
    low, high, enough = 0.0, 1.0, log(1 / alpha)
    for _ in range(_STEPS):
        claim = (low + high) / 2
        if _money(values, stakes, claim) >= enough:
            low = claim
        else:
            high = claim
    return 2 * low - 1


def bound_above(differences: Sequence[float], alpha: float) -> float:
    """The upper bound likewise."""
    return -bound_below([-difference for difference in differences], alpha)


def _plug_in_stakes(values: Sequence[float], alpha: float) -> list[float]:
    """One for each observation, by those before it; they do not depend on the claim."""
    total, squares, stakes = 0.5, 0.25, list[float]()
    for seen, value in enumerate(values, start=1):
        stakes.append(sqrt(2 * log(1 / alpha) * seen / (len(values) * squares)))
        total += value
        squares += (value - total / (seen + 1)) ** 2
    return stakes


def _money(values: Sequence[float], stakes: Sequence[float], claim: float) -> float:
    """The logarithm of what is left of betting that the mean is more than `claim`. Falls with `claim`."""
    if claim <= 0:
        return inf
    most, money = BOLDNESS / claim, 0.0
    for value, stake in zip(values, stakes, strict=True):
        money += log1p(min(stake, most) * (value - claim))
    return money
