"""Who is let in, on a clock that the tests move. What a queue does of itself: test_turnstile.py."""

from __future__ import annotations

import pytest

from junctor.gateway.shed import CALM_S, INTERVAL_S, LEAST_WAITING, PROBES, TARGET_S, Shedder


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Door:
    """A shedder, and a queue that the tests set. A pass takes 4 ms."""

    def __init__(self, max_in_flight: int = 10**9) -> None:
        self.clock = Clock()
        self.shedder = Shedder(max_in_flight, self.clock)

    def wait(self, seconds: float, waiting: int, lag_s: float = 0.0, begun: int = 4) -> None:
        """For so long the queue is so long after each pass."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.shedder.note(begun, waiting, lag_s)
            self.clock.now += 0.004

    def lets_in(self) -> bool:
        return self.shedder.admit("/v1/x") is None


LATE_S = TARGET_S * 1.01


@pytest.fixture
def busy() -> Door:
    """A server whose queue has stayed: 1,000 a second begin."""
    door = Door()
    door.wait(INTERVAL_S + 0.01, waiting=500, lag_s=LATE_S)
    return door


def test_a_wait_that_stays_is_overload_and_no_earlier() -> None:
    door = Door()
    door.wait(INTERVAL_S - 0.01, waiting=5000, lag_s=LATE_S)
    assert door.lets_in()
    door.wait(0.02, waiting=5000, lag_s=LATE_S)
    assert not door.lets_in()


def test_a_queue_that_stays_and_is_short_is_none() -> None:
    """So many callers who each wait for their answers: their number bounds it."""
    door = Door()
    door.wait(10, waiting=5000, lag_s=TARGET_S * 0.99)
    assert door.lets_in()


def test_one_pass_with_a_short_wait_shows_that_it_does_not_stay() -> None:
    door = Door()
    for _ in range(50):
        door.wait(INTERVAL_S * 0.9, waiting=1000, lag_s=LATE_S)
        door.wait(0.004, waiting=10, lag_s=0.001)
    assert not door.shedder.shedding
    assert door.lets_in()


def test_a_pause_of_the_whole_server_is_no_overload() -> None:
    """A neighbour, or a collection of garbage: the queue is long afterwards, and has not stayed yet."""
    door = Door()
    door.wait(0.01, waiting=10)
    door.clock.now += 5
    door.wait(0.1, waiting=2000, lag_s=5)
    assert door.lets_in()


@pytest.mark.parametrize(("begun", "most"), [(0, LEAST_WAITING), (4, 50), (40, 500)])
def test_while_it_sheds_so_many_may_wait_as_begin_within_the_target(
    busy: Door, begun: int, most: int
) -> None:
    busy.wait(0.2, waiting=500, lag_s=LATE_S, begun=begun)
    busy.shedder.waiting = round(most * 0.9)
    assert busy.lets_in()
    busy.shedder.waiting = round(most * 1.1)
    assert not busy.lets_in()


def test_time_in_which_nobody_waits_does_not_count(busy: Door) -> None:
    """Else a server with little to do would seem to be a slow one."""
    for _ in range(20):
        busy.wait(0.1, waiting=0, begun=1)
        busy.clock.now += 0.5
        busy.wait(0.02, waiting=5, begun=4)
    busy.shedder.waiting = 45
    assert busy.lets_in()


def test_it_stops_when_nobody_had_to_be_turned_away_for_a_while(busy: Door) -> None:
    assert not busy.lets_in()
    busy.wait(CALM_S * 0.9, waiting=0)
    assert busy.lets_in()
    assert busy.shedder.shedding
    busy.wait(CALM_S * 0.2, waiting=0)
    assert busy.lets_in()
    assert not busy.shedder.shedding
    busy.shedder.waiting = 5000
    assert busy.lets_in(), "a burst is let in again"


def test_requests_in_flight_are_counted() -> None:
    shedder = Shedder(max_in_flight=2, clock=Clock())
    assert shedder.admit() is None
    assert shedder.admit() is None
    refusal = shedder.admit("/v1/chat/completions")
    assert refusal is not None
    assert "2 requests" in refusal.message
    assert shedder.in_flight == 2
    shedder.release()
    assert shedder.admit() is None
    shedder.max_in_flight = 1
    refusal = shedder.admit()
    assert refusal is not None
    assert "1 requests" in refusal.message


def test_probes_always_come_in_and_are_counted(busy: Door) -> None:
    busy.shedder.max_in_flight = 0
    for path in PROBES:
        assert busy.shedder.admit(path) is None
    assert busy.shedder.in_flight == len(PROBES)
    assert busy.shedder.shed == 0


def test_those_turned_away_are_told_to_come_back_at_different_times() -> None:
    shedder = Shedder(max_in_flight=0, clock=Clock())
    refusals = [shedder.admit("/v1/x") for _ in range(9)]
    waits = [refusal.retry_after_s for refusal in refusals if refusal is not None]
    assert len(waits) == 9
    assert sorted(set(waits)) == [1, 2, 3]
    assert shedder.shed == 9
