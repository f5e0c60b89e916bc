"""How long a model takes to its first text: its last times, and the 95th percentile of them.

A long prompt takes longer to read than a short one, and a whole answer comes when all of it is written. So
requests are told apart by whether they stream and by the size of their prompt: a time is compared with those
of its own kind only.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import deque

from junctor.chat import ChatRequest

KEPT = 128
"Times kept of each kind: the percentile is exact over these, and follows the model."
ENOUGH = 32
"Fewer say nothing about the slowest twentieth."
SIZES = (4_096, 32_768, 262_144)
"Bytes of messages that part the kinds: some 1,000, 8,000 and 65,000 tokens."


class Times:
    """The last times to the first text, of one kind of request."""

    __slots__ = ("_in_order", "_sorted")

    def __init__(self) -> None:
        self._in_order: deque[float] = deque()
        self._sorted: list[float] = []

    def add(self, seconds: float) -> None:
        """Note one more, and forget the oldest."""
        if len(self._in_order) == KEPT:
            del self._sorted[bisect_right(self._sorted, self._in_order.popleft()) - 1]
        self._in_order.append(seconds)
        insort(self._sorted, seconds)

    @property
    def p95(self) -> float | None:
        """Nineteen of twenty took no longer, seconds; None while there are too few to say."""
        known = self._sorted
        return known[(95 * len(known) - 1) // 100] if len(known) >= ENOUGH else None


class FirstTokenTimes:
    """The times of one model, by kind of request."""

    def __init__(self) -> None:
        self._kinds: dict[int, Times] = {}

    def of(self, request: ChatRequest) -> Times:
        """Those of requests like this one."""
        kind = bisect_right(SIZES, memoryview(request.messages).nbytes) * 2 + request.stream
        times = self._kinds.get(kind)
        if times is None:
            times = self._kinds[kind] = Times()
        return times
