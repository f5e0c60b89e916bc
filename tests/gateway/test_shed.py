"""Who is let in, on a clock that the tests move."""

from __future__ import annotations

import asyncio
import time

import pytest

from junctor.chat import Overloaded
from junctor.gateway.shed import INTERVAL_S, PROBES, LagMeter, Shedder


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Sim:
    """A server of one core: work queues up, and a pass takes as long as what is ready."""

    def __init__(self, cost_s: float = 0.001, max_in_flight: int = 10**9) -> None:
        self.clock = Clock()
        self.shedder = Shedder(max_in_flight, self.clock)
        self.cost_s = cost_s
        self.queue = 0
        self.due = 0.0

    def run(self, rate: float, seconds: float) -> tuple[float, float, float]:
        """Share of the time worked, longest pass of the second half, share of requests turned away."""
        worked, longest, asked, refused = 0.0, 0.0, 0, 0
        began = self.clock.now
        last = began
        while (now := self.clock.now) < began + seconds:
            self.due += (now - last) * rate
            last = now
            while self.due >= 1:
                self.due -= 1
                asked += 1
                try:
                    self.shedder.admit()
                    self.queue += 1
                except Overloaded:
                    refused += 1
            # A request is worked on in four passes.
            step = -(-self.queue // 4)
            took = step * self.cost_s
            for _ in range(step):
                self.queue -= 1
                self.shedder.release()
            self.clock.now += max(took, 0.001)
            worked += took
            if now > began + seconds / 2:
                longest = max(longest, took)
            self.shedder.note(took)
        return worked / seconds, longest, refused / asked


def test_nobody_is_turned_away_without_need() -> None:
    sim = Sim()
    assert sim.run(rate=900, seconds=20)[2] == 0
    assert sim.shedder.in_flight == sim.queue


@pytest.mark.parametrize("factor", [1.3, 2, 5])
def test_under_overload_the_server_works_all_the_time_and_passes_stay_short(factor: float) -> None:
    sim = Sim()
    worked, longest, refused = sim.run(rate=1000 * factor, seconds=20)
    assert worked > 0.9
    assert longest < 0.06
    assert refused == pytest.approx(1 - 1 / factor, abs=0.1)


def test_a_server_that_becomes_slower_lets_fewer_in() -> None:
    sim = Sim()
    sim.run(rate=3000, seconds=5)
    before = sim.shedder.rate
    sim.cost_s *= 4
    worked, longest, _ = sim.run(rate=3000, seconds=20)
    assert sim.shedder.rate < before / 2
    assert worked > 0.9
    assert longest < 0.1


def test_when_the_load_drops_nobody_is_turned_away_any_more() -> None:
    sim = Sim()
    sim.run(rate=2000, seconds=10)
    assert sim.shedder.shedding
    sim.run(rate=500, seconds=2)
    assert not sim.shedder.shedding
    assert sim.run(rate=500, seconds=5)[2] == 0


def test_a_long_pass_and_a_burst_are_no_overload() -> None:
    sim = Sim()
    sim.shedder.note(5.0)
    sim.clock.now += 5
    assert sim.run(rate=500, seconds=1)[2] == 0
    sim.due += 100  # a hundred at once
    assert sim.run(rate=300, seconds=2)[2] == 0


def test_one_short_pass_shows_that_no_queue_stays() -> None:
    sim = Sim()
    for _ in range(100):
        for pass_s in (0.06, 0.06, 0.06, 0.001):
            sim.clock.now += pass_s
            sim.shedder.note(pass_s)
    assert not sim.shedder.shedding
    for _ in range(10):
        sim.clock.now += INTERVAL_S / 4
        sim.shedder.note(INTERVAL_S / 4)
    assert sim.shedder.shedding


def test_after_a_very_long_pass_nobody_is_let_in() -> None:
    sim = Sim()
    sim.run(rate=2000, seconds=5)
    sim.shedder.note(1.0)
    sim.clock.now += 1
    with pytest.raises(Overloaded):
        sim.shedder.admit("/v1/chat/completions")


def test_requests_in_flight_are_counted() -> None:
    shedder = Shedder(max_in_flight=2, clock=Clock())
    shedder.admit()
    shedder.admit()
    with pytest.raises(Overloaded, match="2 requests"):
        shedder.admit("/v1/chat/completions")
    assert shedder.in_flight == 2
    shedder.release()
    shedder.admit()


def test_probes_always_come_in_and_are_counted() -> None:
    shedder = Shedder(max_in_flight=0, clock=Clock())
    for path in PROBES:
        shedder.admit(path)
    assert shedder.in_flight == len(PROBES)
    assert shedder.shed == 0


def test_those_turned_away_are_told_to_come_back_at_different_times() -> None:
    shedder = Shedder(max_in_flight=0, clock=Clock())
    waits: set[float] = set()
    for _ in range(9):
        with pytest.raises(Overloaded) as caught:
            shedder.admit("/v1/x")
        waits.add(caught.value.retry_after_s)
    assert len(waits) == 3
    assert min(waits) >= 1
    assert shedder.shed == 9


@pytest.mark.anyio
async def test_the_meter_measures_a_pass() -> None:
    shedder = Shedder()
    meter = LagMeter(shedder)
    loop = asyncio.get_running_loop()
    meter.start(loop)
    await asyncio.sleep(0.05)
    assert shedder.lag_s > 0

    def block() -> None:
        began = time.thread_time()
        while time.thread_time() - began < 0.06:
            pass
        if busy:
            loop.call_soon(block)

    busy = True
    block()
    while shedder.lag_s < 0.05 or not shedder.shedding:
        await asyncio.sleep(0.1)
    busy = False
    meter.stop()
    await asyncio.sleep(0.1)
    noted = shedder.lag_s
    await asyncio.sleep(0.05)
    assert shedder.lag_s == noted, "it measures after its end"


@pytest.mark.anyio
async def test_a_loop_that_does_nothing_is_not_overloaded_however_long_it_takes() -> None:
    """A neighbour has the core: on the wall every pass is long, and nobody is to be turned away for that."""
    shedder = Shedder()
    meter = LagMeter(shedder)
    meter.start(asyncio.get_running_loop())
    for _ in range(12):
        asyncio.get_running_loop().call_soon(time.sleep, 0.04)
        await asyncio.sleep(0.01)
    meter.stop()
    assert not shedder.shedding
