"""The race of two calls: the first text wins, the loser is gone, and no failure is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine

import msgspec
import pytest

from junctor.chat import (
    ChatRequest,
    Event,
    Finished,
    JunctorError,
    ModelCard,
    Raw,
    Started,
    Text,
    UpstreamBroken,
    UpstreamRefused,
    Usage,
)
from junctor.pool.hedged import Opened, open_answer, race, says_something
from junctor.pool.outlier import Ejection, Health

pytestmark = pytest.mark.anyio

REQUEST = ChatRequest(model="a", messages=msgspec.Raw(b"[]"), stream=True)
SOON_S = 0.005


class Runner:
    """A model in the race: waits to be let go, then speaks or fails."""

    def __init__(self, name: str, error: JunctorError | Exception | None = None) -> None:
        self.card = ModelCard(name=name)
        self.go = asyncio.Event()
        self.error = error
        self.closed = asyncio.Event()
        self.health = Health(name, Ejection())
        self.asked = 0

    async def answer(self, _: ChatRequest) -> AsyncGenerator[Event, None]:
        self.asked += 1
        try:
            yield Started(self.card.name)
            await self.go.wait()
            if self.error is not None:
                raise self.error
            yield Text(self.card.name)
            yield Finished("stop")
        finally:
            self.closed.set()

    def run(self) -> Coroutine[None, None, Opened]:
        call = self.health.admit(REQUEST)
        assert call is not None
        return open_answer(self, self.health, call, REQUEST)


def name_of(opened: Opened) -> str:
    return opened.health.name


async def test_a_first_text_in_time_needs_no_second() -> None:
    a, b = Runner("a"), Runner("b")
    a.go.set()
    opened = await race(a.run(), 60.0, b.run)
    assert (name_of(opened), b.asked) == ("a", 0)
    assert opened.held == [Started("a"), Text("a")]
    await opened.close()


async def test_a_failure_in_time_is_raised_and_needs_no_second() -> None:
    a, b = Runner("a", UpstreamBroken("no")), Runner("b")
    a.go.set()
    with pytest.raises(UpstreamBroken):
        await race(a.run(), 60.0, b.run)
    assert b.asked == 0


async def test_the_second_wins_and_the_first_is_cancelled_at_once() -> None:
    a, b = Runner("a"), Runner("b")
    b.go.set()
    opened = await race(a.run(), SOON_S, b.run)
    assert name_of(opened) == "b"
    await asyncio.sleep(0)
    assert a.closed.is_set()
    await opened.close()
    assert b.closed.is_set()


async def test_the_first_may_still_win() -> None:
    a, b = Runner("a"), Runner("b")
    running = asyncio.create_task(race(a.run(), SOON_S, b.run))
    while not b.asked:
        await asyncio.sleep(SOON_S)
    a.go.set()
    opened = await running
    assert name_of(opened) == "a"
    await opened.close()
    assert b.closed.is_set()


async def test_when_both_begin_in_the_same_moment_the_other_is_closed() -> None:
    a, b = Runner("a"), Runner("b")
    running = asyncio.create_task(race(a.run(), SOON_S, b.run))
    while not b.asked:
        await asyncio.sleep(SOON_S)
    a.go.set()
    b.go.set()
    opened = await running
    assert name_of(opened) == "a"
    assert b.closed.is_set()
    await opened.close()


async def test_there_may_be_no_second() -> None:
    a = Runner("a")
    running = asyncio.create_task(race(a.run(), SOON_S, lambda: None))
    await asyncio.sleep(2 * SOON_S)
    a.go.set()
    opened = await running
    assert name_of(opened) == "a"
    await opened.close()


async def test_one_failure_leaves_the_race_to_the_other() -> None:
    for loser, winner in (("a", "b"), ("b", "a")):
        runners = {
            loser: Runner(loser, UpstreamBroken("no")),
            winner: Runner(winner),
        }
        running = asyncio.create_task(race(runners["a"].run(), SOON_S, runners["b"].run))
        while not runners["b"].asked:
            await asyncio.sleep(SOON_S)
        runners[loser].go.set()
        await asyncio.sleep(SOON_S)
        runners[winner].go.set()
        opened = await running
        assert name_of(opened) == winner
        await opened.close()


async def test_when_both_fail_the_firsts_error_is_raised() -> None:
    a, b = Runner("a", UpstreamBroken("a")), Runner("b", UpstreamBroken("b"))
    b.go.set()
    running = asyncio.create_task(race(a.run(), SOON_S, b.run))
    while not b.asked:
        await asyncio.sleep(SOON_S)
    a.go.set()
    with pytest.raises(UpstreamBroken, match="a"):
        await running


@pytest.mark.parametrize("error", [UpstreamRefused("no", status=400), RuntimeError("a fault of ours")])
async def test_what_no_other_model_would_mend_ends_the_race(error: Exception) -> None:
    a, b = Runner("a"), Runner("b", error)
    b.go.set()
    with pytest.raises(type(error)):
        await race(a.run(), SOON_S, b.run)
    assert a.closed.is_set()


async def test_an_asker_who_leaves_takes_both_along() -> None:
    a, b = Runner("a"), Runner("b")
    running = asyncio.create_task(race(a.run(), SOON_S, b.run))
    while not b.asked:
        await asyncio.sleep(SOON_S)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert a.closed.is_set()
    assert b.closed.is_set()
    assert a.health.snapshot().waiting == b.health.snapshot().waiting == 0


def test_an_answer_begins_with_what_the_caller_can_read() -> None:
    assert not says_something(Started("a"))
    assert not says_something(Raw(b"role", has_text=False))
    assert not says_something(Usage(1, 1))
    assert says_something(Raw(b"text"))
    assert says_something(Text("text"))
    assert says_something(Finished("stop"))
