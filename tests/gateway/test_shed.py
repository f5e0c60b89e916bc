"""Who is let in, on a clock that the tests move. What a queue does of itself: test_turnstile.py."""

from __future__ import annotations

import pytest

from junctor.gateway.shed import CALM_S, INTERVAL_S, LEAST_WAITING, PROBES, Shedder


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Door:
    """A shedder, and a queue that the tests set."""

    def __init__(self, max_in_flight: int = 10**9) -> None:
        self.clock = Clock()
        self.shedder = Shedder(max_in_flight, self.clock)

    def wait(self, seconds: float, waiting: int, at_once: int = 4) -> None:
        """For so long the queue is so long after each pass."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.shedder.note(waiting, at_once, 0.001)
            self.clock.now += 0.004

    def lets_in(self) -> bool:
        return self.shedder.admit("/v1/x") is None


@pytest.fixture
def busy() -> Door:
    """A server whose queue has stayed."""
    door = Door()
    door.wait(INTERVAL_S + 0.01, waiting=500)
    return door


def test_a_queue_that_stays_is_overload_and_no_earlier() -> None:
    door = Door()
    door.wait(INTERVAL_S - 0.01, waiting=5000)
    assert door.lets_in()
    door.wait(0.02, waiting=5000)
    assert not door.lets_in()


def test_one_pass_that_leaves_nobody_waiting_shows_that_it_does_not_stay() -> None:
    door = Door()
    for _ in range(50):
        door.wait(INTERVAL_S * 0.9, waiting=1000)
        door.wait(0.004, waiting=0)
    assert not door.shedder.shedding
    assert door.lets_in()


def test_a_pause_of_the_whole_server_is_no_overload() -> None:
    """A neighbour, or a collection of garbage: the queue is long afterwards, and has not stayed yet."""
    door = Door()
    door.clock.now += 5
    door.wait(0.1, waiting=2000)
    assert door.lets_in()


@pytest.mark.parametrize(("at_once", "most"), [(1, LEAST_WAITING), (40, 40)])
def test_while_it_sheds_so_many_may_wait_as_begin_in_one_pass(busy: Door, at_once: int, most: int) -> None:
    busy.shedder.note(most - 1, at_once, 0.0)
    assert busy.lets_in()
    busy.shedder.waiting = most
    assert not busy.lets_in()


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


def test_it_does_not_stop_while_somebody_waits(busy: Door) -> None:
    busy.wait(CALM_S * 2, waiting=1)
    assert busy.lets_in()
    assert busy.shedder.shedding


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
