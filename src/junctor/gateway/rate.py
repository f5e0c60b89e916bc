"""A rate: so many a minute, with a burst of as many. Pure: the time comes in, seconds from any origin."""

from __future__ import annotations

MINUTE_S = 60.0
_SLACK = 1e-6
"Of rounding, relative to the capacity: a minute's worth in equal pieces is a minute's worth."


class Bucket:
    """GCRA (ITU-T I.371) in its equal form, a leaky bucket as a meter.

    Each request pours its share in; it leaks at the rate. What would overflow is refused, and leaves nothing
    behind. A share larger than the bucket goes when the bucket is empty; all of it has to leak then.
    """

    __slots__ = ("_as_of", "_level", "per_minute")

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._level = 0.0
        self._as_of = 0.0

    def wait_s(self, share: float, now: float) -> float:
        """Seconds until so much fits; 0: it fits now."""
        over = self._level_at(now) + min(share, self.per_minute) - self.per_minute
        return over / self._per_s if over > self.per_minute * _SLACK else 0.0

    def pour(self, share: float, now: float) -> None:
        """Pour it in, or, when it is negative, take it back out."""
        self._level = max(0.0, self._level_at(now) + share)
        self._as_of = now

    def left(self, now: float) -> int:
        """How much fits now, in whole ones."""
        left = int(self.per_minute * (1 + _SLACK) - self._level_at(now))
        return max(0, min(left, self.per_minute))

    def empty_after_s(self, now: float) -> float:
        """Seconds until all of it fits."""
        return self._level_at(now) / self._per_s

    @property
    def _per_s(self) -> float:
        return self.per_minute / MINUTE_S

    def _level_at(self, now: float) -> float:
        past_s = now - self._as_of
        if past_s <= 0:
            return self._level
        level = self._level - past_s * self.per_minute / MINUTE_S
        return level if level > 0 else 0.0


def render_duration(seconds: float) -> str:
    """A duration as OpenAI's headers have it: `12ms`, `1.5s`, `6m0s`."""
    ms = -int(-seconds * 1000 // 1)
    if ms < 1000:
        return f"{ms}ms"
    if ms < 60_000:
        return f"{ms / 1000:g}s"
    whole = -(-ms // 1000)
    return f"{whole // 60}m{whole % 60}s"
