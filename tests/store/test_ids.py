"""Ids sort by time and never repeat."""

from __future__ import annotations

import re
import threading
import time

import pytest

from junctor.store.ids import new_id


def test_an_id_is_its_prefix_and_32_hex_digits() -> None:
    """The form that callers, logs and tables rely on."""
    assert re.fullmatch(r"req_[0-9a-f]{32}", new_id("req_"))


def test_an_id_begins_with_the_time() -> None:
    """The first 48 bits are Unix milliseconds, as in UUID version 7."""
    before = time.time_ns() // 1_000_000
    milliseconds = int(new_id("dec_").removeprefix("dec_")[:12], 16)
    assert before <= milliseconds <= time.time_ns() // 1_000_000 + 1


def test_later_ids_are_greater() -> None:
    """Also within one millisecond, and as text."""
    ids = [new_id("req_") for _ in range(20_000)]
    assert ids == sorted(set(ids))


def test_ids_stay_in_order_when_the_clock_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A corrected clock must not bring an id out of order."""
    first = new_id("req_")
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    second, third = new_id("req_"), new_id("req_")
    assert first < second < third


def test_threads_do_not_share_ids() -> None:
    """The counter is guarded."""
    ids = list[str]()

    def make() -> None:
        ids.extend([new_id("req_") for _ in range(5_000)])

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 20_000


def test_a_prefix_without_its_underscore_is_refused() -> None:
    """`new_id("req")` is a slip that would break every reader of ids."""
    with pytest.raises(ValueError, match="req_"):
        new_id("req")
