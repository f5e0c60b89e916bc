"""A share of the strongest model's answers: never exceeded, and given back in time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from junctor.chat import Event, Finished, Started, Text, UpstreamBroken, collect
from junctor.pool.ration import LASTS_S, WINDOW, Past, Ration, Rations


class Clock:
    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


def use(ration: Ration, name: str) -> bool:
    """One request, as the router makes it: strong if it may, else weak."""
    strong = ration.take(name, "strong")
    ration.close(name, None if strong else "weak")
    return strong


def test_of_a_hundred_answers_so_many_are_the_strongest_models() -> None:
    """At once, if it is asked at once; then as those leave the window."""
    ration = Ration(0.2, (), Clock())
    got = [use(ration, f"r{at}") for at in range(250)]
    assert got == ([True] * 20 + [False] * 80) * 2 + [True] * 20 + [False] * 30


def test_it_says_after_how_many_answers_and_when_there_is_room() -> None:
    """Whichever comes first."""
    clock = Clock()
    ration = Ration(0.02, (), clock)
    assert ration.wait("strong") is None
    assert use(ration, "a")
    clock.now += 60
    assert use(ration, "b")
    wait = ration.wait("strong")
    assert wait is not None
    assert (wait.answers, wait.seconds) == (98, LASTS_S - 60)
    for at in range(97):
        assert not use(ration, f"{at}")
    wait = ration.wait("strong")
    assert wait is not None
    assert wait.answers == 1
    assert not use(ration, "last")
    assert ration.wait("strong") is None


def test_a_day_later_there_is_room_again() -> None:
    """Whoever needs the strongest for everything is not shut out for good."""
    clock = Clock()
    ration = Ration(0.01, (), clock)
    assert use(ration, "a")
    clock.now += LASTS_S - 1
    assert not ration.take("b", "strong")
    clock.now += 2
    assert ration.take("b", "strong")


def test_requests_in_progress_hold_their_places() -> None:
    """A burst gets no more than the share; a place that was not used is free again."""
    ration = Ration(0.05, (), Clock())
    assert sum(ration.take(f"r{at}", "strong") for at in range(50)) == 5
    wait = ration.wait("strong")
    assert wait is not None
    assert wait.answers == 0
    assert ration.take("r0", "strong")
    ration.give_back("r0")
    assert ration.take("r9", "strong")
    ration.close("r1", None)
    assert not ration.take("r10", "strong")


def test_a_share_of_nothing_gives_nothing() -> None:
    """And one of less than an answer in a hundred."""
    for share in (0.0, 0.009):
        ration = Ration(share, (), Clock())
        assert not ration.take("a", "strong")
    assert all(use(Ration(1.0, (), Clock()), f"{at}") for at in range(WINDOW))


def test_a_request_that_asked_the_strongest_counts_as_its_own() -> None:
    """Also where another model's answer was taken: it was paid for."""
    ration = Ration(0.01, (), Clock())
    assert ration.take("a", "strong")
    ration.close("a", "weak")
    assert not ration.take("b", "strong")


steps = st.lists(st.tuples(st.sampled_from(("ask", "end", "fail", "weak")), st.integers(0, 9)), max_size=400)


@settings(deadline=None)
@given(steps, st.integers(0, 10))
def test_no_window_of_a_hundred_exceeds_the_share(plan: list[tuple[str, int]], places: int) -> None:
    """Whatever the order in which requests begin, fail and end."""
    ration, closed, names, running = (
        Ration(places / WINDOW, (), Clock()),
        list[bool](),
        count(),
        dict[int, str](),
    )
    for step, at in plan:
        if step == "ask" and at not in running:
            name = str(next(names))
            if ration.take(name, "strong"):
                running[at] = name
        elif step == "end" and at in running:
            ration.close(running.pop(at), "strong")
            closed.append(True)
        elif step == "fail" and at in running:
            name = running.pop(at)
            ration.give_back(name)
            ration.close(name, "weak")
            closed.append(False)
        elif step == "weak":
            for _ in range(at):
                ration.close("w", "weak")
                closed.append(False)
    for at in range(len(closed)):
        assert sum(closed[at : at + WINDOW]) <= places


async def answer(*events: Event) -> AsyncGenerator[Event, None]:
    for event in events:
        yield event
    if not isinstance(events[-1], Finished):
        raise UpstreamBroken("cut")


@pytest.mark.anyio
async def test_an_answer_counts_however_it_ends() -> None:
    """Whole, cut or left; one that nobody began counts for nothing."""
    ration = Ration(0.5, (), Clock())
    await collect(ration.count(answer(Started("weak"), Text("a"), Finished("stop")), "r1"))
    with pytest.raises(UpstreamBroken):
        await collect(ration.count(answer(Started("weak"), Text("a")), "r2"))
    left = ration.count(answer(Started("weak"), Text("a")), "r3")
    await anext(left)
    await left.aclose()
    with pytest.raises(UpstreamBroken):
        await collect(ration.count(answer(Text("never began")), "r4"))
    assert len(ration._past) == 3


@pytest.mark.anyio
async def test_a_key_goes_on_where_the_ledger_says_it_was() -> None:
    """Read once; a changed share counts from then on."""
    clock, read = Clock(), list[tuple[str, float, int]]()

    async def load(key_id: str, since: float, newest: int) -> Sequence[Past]:
        read.append((key_id, since, newest))
        return [Past(clock.now - 10, ("strong",)), Past(clock.now - 5, ("weak", "strong"))]

    rations = Rations(load, clock)
    assert rations.of("k") is None
    await rations.open("k", 0.02)
    await rations.open("k", 0.02)
    ration = rations.of("k")
    assert ration is not None
    assert ration.wait("strong") is not None
    await rations.open("k", 0.03)
    assert ration.wait("strong") is None
    assert read == [("k", clock.now - LASTS_S, WINDOW - 1)]
    rations.lift("k")
    assert rations.of("k") is None
