"""The queue of those let in, on an event loop and a processor that the tests make."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise

import pytest

from front_door import answer
from junctor.gateway import turnstile
from junctor.gateway.front import Front, HttpLimits
from junctor.gateway.receive import Receive, Scope, Send
from junctor.gateway.shed import TARGET_S, Shedder
from junctor.gateway.turnstile import FIRST, MOST, PASS_S, Turnstile

STEPS = 4
"Passes in which a request is worked on."


class Request:
    """As much of an exchange as a queue sees."""

    def __init__(self, came_at: float) -> None:
        self.gone = False
        self.left = STEPS
        self.came_at = came_at


class Sim:
    """A server of one core: a pass works one step on all that has begun, then reads."""

    def __init__(self, cost_s: float = 0.001, core_share: float = 1.0) -> None:
        self.now = 100.0
        self.own = 0.0
        self.cost_s = cost_s
        self.core_share = core_share
        "What neighbours leave us of the core."
        self.shedder = Shedder(10**9, lambda: self.now)
        self.turnstile = Turnstile(
            self.shedder, self.begin, self.drop, clock=lambda: self.now, own_clock=lambda: self.own
        )
        self.ready = deque[tuple[Callable[..., object], tuple[object, ...]]]()
        self.working: list[Request] = []
        self.waits: list[float] = []
        self.dropped = 0
        self.asked = self.refused = self.done = 0
        self.longest = 0.0
        "Pass, processor time."
        self.due = 0.0

    def call_soon(self, call: Callable[..., object], *args: object) -> None:
        self.ready.append((call, args))

    def begin(self, request: Request) -> None:
        self.waits.append(self.now - request.came_at)
        self.working.append(request)

    def drop(self, request: Request) -> None:
        self.dropped += 1
        self.shedder.release()

    def ask(self) -> Request | None:
        self.asked += 1
        if self.shedder.admit("/v1/x") is not None:
            self.refused += 1
            return None
        request = Request(self.now)
        self.turnstile.enter(request, self)
        return request

    def one_pass(self) -> None:
        for _ in range(len(self.ready)):
            call, args = self.ready.popleft()
            call(*args)
        took = len(self.working) * self.cost_s / STEPS
        for request in self.working:
            request.left -= 1
        ended = [request for request in self.working if not request.left]
        for _ in ended:
            self.shedder.release()
        self.done += len(ended)
        self.working = [request for request in self.working if request.left]
        self.own += took
        self.now += max(took / self.core_share, 0.0002)
        self.longest = max(self.longest, took)

    def run(self, rate: float, seconds: float) -> tuple[float, float]:
        """Answers a second, and the share turned away, from now on."""
        self.asked = self.refused = self.done = 0
        self.longest = 0.0
        self.waits.clear()
        began = last = self.now
        while self.now < began + seconds:
            self.due += (self.now - last) * rate
            last = self.now
            while self.due >= 1:
                self.due -= 1
                self.ask()
            self.one_pass()
        return self.done / (self.now - began), self.refused / self.asked


def test_nobody_waits_and_nobody_is_turned_away_without_need() -> None:
    sim = Sim()
    served, refused = sim.run(rate=900, seconds=20)
    assert refused == 0
    assert served == pytest.approx(900, rel=0.02)
    assert max(sim.waits) < 0.02


@pytest.mark.parametrize("factor", [1.3, 2, 5])
@pytest.mark.parametrize("cost_s", [0.0002, 0.001, 0.01])
def test_under_overload_the_server_works_all_the_time_and_passes_stay_short(
    factor: float, cost_s: float
) -> None:
    sim = Sim(cost_s)
    sim.run(rate=factor / cost_s, seconds=5)
    served, refused = sim.run(rate=factor / cost_s, seconds=20)
    assert served > 0.95 / cost_s
    assert refused == pytest.approx(1 - 1 / factor, abs=0.05)
    assert sim.longest <= max(2 * PASS_S, 2 * cost_s)
    assert max(sim.waits) < max(1.3 * TARGET_S, 20 * cost_s)


def test_when_overload_begins_passes_are_short_soon() -> None:
    """Who is turned away waits for the pass in which its bytes are read."""
    sim = Sim()
    sim.run(rate=500, seconds=2)
    sim.run(rate=3000, seconds=0.05)
    sim.run(rate=3000, seconds=1)
    assert sim.longest < 3 * PASS_S


def test_a_neighbour_on_the_core_makes_passes_longer_and_not_emptier() -> None:
    """By the wall fewer and fewer would begin, and the cost of each pass would be shared by fewer."""
    alone, beside = Sim(), Sim(core_share=0.3)
    for sim in (alone, beside):
        sim.run(rate=3000, seconds=10)
    assert alone.run(3000, 10)[0] == pytest.approx(1000, rel=0.05)
    assert beside.run(3000, 10)[0] == pytest.approx(300, rel=0.05)
    assert beside.longest == pytest.approx(alone.longest, rel=0.3)


@pytest.mark.parametrize("callers", [16, 64, 200])
def test_callers_who_each_wait_for_an_answer_are_not_turned_away(callers: int) -> None:
    """All that is asked is done, and nothing piles up, though the server is never idle."""
    sim = Sim(cost_s=0.0002)
    for _ in range(callers):
        sim.ask()
    for _ in range(5000):
        before = sim.done
        sim.one_pass()
        for _ in range(sim.done - before):
            sim.ask()
    assert sim.refused == 0
    assert sim.done >= 20_000


def test_when_the_load_drops_nobody_is_turned_away_any_more() -> None:
    sim = Sim()
    sim.run(rate=2000, seconds=10)
    assert sim.shedder.shedding
    sim.run(rate=500, seconds=2)
    assert not sim.shedder.shedding
    assert sim.run(rate=500, seconds=5)[1] == 0


def test_a_burst_is_answered_in_the_order_in_which_it_came() -> None:
    sim = Sim(cost_s=0.0002)
    requests = [sim.ask() for _ in range(1200)]
    assert sim.shedder.waiting == 1200 - FIRST
    begun: list[Request] = []
    sim.turnstile._begin = lambda request: (begun.append(request), sim.begin(request))
    while sim.done < 1200:
        sim.one_pass()
    assert begun == requests[FIRST:]
    assert sim.refused == 0
    assert sim.shedder.in_flight == sim.shedder.waiting == 0
    assert sim.shedder.lag_s == 0


def test_whose_client_has_left_never_begins_and_takes_no_place() -> None:
    sim = Sim()
    requests = [sim.ask() for _ in range(FIRST + 5)]
    for request in requests[FIRST : FIRST + 4]:
        request.gone = True
    sim.one_pass()
    assert (sim.dropped, len(sim.working)) == (4, FIRST + 1)
    assert sim.shedder.in_flight == FIRST + 1
    sim.one_pass()
    assert not sim.ready, "it goes on turning with nobody there"


def test_however_long_a_pass_takes_one_begins_and_however_short_not_all() -> None:
    slow, quick = Sim(cost_s=5.0), Sim(cost_s=0)
    for sim in (slow, quick):
        for _ in range(3000):
            sim.ask()
    for _ in range(40):
        slow.one_pass()
    assert len(slow.waits) >= FIRST + 30
    for _ in range(MOST):
        quick.one_pass()
    before = len(quick.waits)
    quick.one_pass()
    assert len(quick.waits) == before + MOST


@pytest.mark.anyio
async def test_on_a_real_loop_a_thousand_at_once_do_not_hold_up_what_comes_next() -> None:
    """What is ready runs in one pass; a timer that is due waits for its end."""
    loop = asyncio.get_running_loop()
    done = 0

    async def work(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal done
        began = time.thread_time()
        while time.thread_time() - began < 0.0005:
            pass
        done += 1

    class Line:
        gone = False
        task: asyncio.Task[None] | None = None

        async def run(self, app: Callable[..., object]) -> None:
            await work({}, answer, answer)
            front.forget(self)

    front = Front(work, HttpLimits(), Shedder(), lambda error, path: ("", b""))
    for _ in range(400):
        assert front.shedder.admit() is None
        front.run(Line(), loop)
    seen: list[int] = []
    while done < 400:
        await asyncio.sleep(0)
        seen.append(done)
    assert max(late - early for early, late in pairwise(seen)) <= turnstile.MOST
    assert front.shedder.in_flight == 0
    assert not front.tasks
