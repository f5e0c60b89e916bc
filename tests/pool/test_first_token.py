"""Times to the first text: an exact percentile over the last ones, kind by kind."""

from __future__ import annotations

import math

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import ChatRequest
from junctor.pool.first_token import ENOUGH, KEPT, SIZES, FirstTokenTimes, Times


def request_of(size: int, *, stream: bool) -> ChatRequest:
    return ChatRequest(model="a", messages=msgspec.Raw(b"[" + b" " * (size - 2) + b"]"), stream=stream)


@given(st.lists(st.floats(0, 100), max_size=3 * KEPT))
def test_the_percentile_is_that_of_the_last_times(seconds: list[float]) -> None:
    """Nineteen of twenty took no longer: by the definition, over a plain list."""
    times = Times()
    for each in seconds:
        times.add(each)
    last = sorted(seconds[-KEPT:])
    if len(last) < ENOUGH:
        assert times.p95 is None
    else:
        assert times.p95 == last[math.ceil(0.95 * len(last)) - 1]


def test_a_stream_is_not_compared_with_a_whole_answer_nor_a_short_prompt_with_a_long_one() -> None:
    times = FirstTokenTimes()
    kinds = {id(times.of(request_of(size, stream=s))) for s in (True, False) for size in (9, *SIZES)}
    assert len(kinds) == 2 * (len(SIZES) + 1)
    assert times.of(request_of(20, stream=True)) is times.of(request_of(30, stream=True))
