"""Shadow sampling: replies pass unchanged, samples are drawn, and the background never gets in the way."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator

import pytest
from measured import ask, decide, let_go, scripted

from junctor.chat import ChatRequest, Event, ModelCard, Routed, UpstreamBroken
from junctor.routing.measuring.shadow import (
    MOST_PROMPT_BYTES,
    Sample,
    Shadowed,
    ShadowQueue,
    may_answer,
    may_see,
)

pytestmark = pytest.mark.anyio


class FakeRouter:
    """Says its decision, then what `small` says."""

    card = ModelCard(name="auto")

    def __init__(self, *texts: str, decision: object = None) -> None:
        self.model = scripted("small", *texts)
        self.decision = decision or decide("small", "large")

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        yield Routed(self.decision)  # pyright: ignore[reportArgumentType]
        async for event in self.model.answer(request):
            yield event


class Bench:
    def __init__(
        self, router: FakeRouter, *, share: float = 1.0, strongest: str = "large", seed: int = 1
    ) -> None:
        self.samples: list[Sample] = []
        self.queue = ShadowQueue()

        async def examine(sample: Sample) -> None:
            self.samples.append(sample)

        self.model = Shadowed(
            router,
            share=share,
            strongest=strongest,
            examine=examine,
            queue=self.queue,
            draw=random.Random(seed).random,
        )

    async def ask(self, request: ChatRequest | None = None) -> list[Event]:
        events = [event async for event in self.model.answer(request or ask())]
        await self.queue.emptied()
        return events


async def test_a_sampled_reply_is_the_same_and_is_handed_on() -> None:
    plain = [event async for event in FakeRouter("The answer is 4.").answer(ask())]
    bench = Bench(FakeRouter("The answer is 4."))
    assert await bench.ask() == plain
    (sample,) = bench.samples
    assert (sample.answer.model, sample.answer.text, sample.strongest) == (
        "small",
        "The answer is 4.",
        "large",
    )
    assert sample.request == ask()


async def test_the_share_is_kept_and_the_draw_can_be_repeated() -> None:
    async def drawn(seed: int) -> list[bool]:
        bench, hits = Bench(FakeRouter("4"), share=0.2, seed=seed), []
        for _ in range(500):
            before = len(bench.samples)
            await bench.ask()
            hits.append(len(bench.samples) > before)
        return hits

    first = await drawn(7)
    assert first == await drawn(7)
    assert first != await drawn(8)
    assert 70 <= sum(first) <= 130


async def test_a_request_that_is_not_drawn_goes_straight_to_the_router() -> None:
    """The hot path: not one generator more."""
    router = FakeRouter("4")
    stream = Bench(router, share=0.0).model.answer(ask())
    assert stream.ag_code is FakeRouter.answer.__code__  # pyright: ignore[reportAttributeAccessIssue]
    await stream.aclose()


async def test_the_strongest_models_own_answer_is_compared_with_nothing() -> None:
    bench = Bench(FakeRouter("4"), strongest="small")
    await bench.ask()
    assert bench.samples == []
    assert not bench.queue.dropped


async def test_very_long_prompts_are_not_sampled() -> None:
    bench = Bench(FakeRouter("4"))
    await bench.ask(ask("x" * MOST_PROMPT_BYTES))
    assert bench.samples == []


async def test_a_reply_that_fails_is_no_sample() -> None:
    router = FakeRouter("4")
    router.model = scripted("small", steps=[{"text": "4"}, {"fail": "upstream_broken"}])
    bench = Bench(router)
    with pytest.raises(UpstreamBroken):
        await bench.ask()
    await bench.queue.emptied()
    assert bench.samples == []


async def test_a_reader_who_leaves_makes_no_sample() -> None:
    bench = Bench(FakeRouter("4"))
    stream = bench.model.answer(ask())
    await anext(stream)
    await stream.aclose()
    await bench.queue.emptied()
    assert bench.samples == []


@pytest.mark.parametrize("why", ["never", "only", "needs.tools", "window", "max_tokens"])
async def test_the_strongest_is_not_shown_what_it_may_not_see_or_cannot_answer(why: str) -> None:
    bench = Bench(FakeRouter("4", decision=decide("small", ruled_out={"large": why})))
    await bench.ask()
    assert bench.samples == []
    assert bench.queue.dropped == {"not_allowed": 1}


@pytest.mark.parametrize(
    "why", ["max_usd", "max_first_token_ms", "max_total_ms", "quality", "key.strongest_share"]
)
def test_limits_on_the_callers_own_answer_do_not_hold_for_a_shadow(why: str) -> None:
    assert may_answer(decide("small", ruled_out={"large": why}), "large")


def test_a_model_that_the_decision_does_not_know_sees_nothing() -> None:
    assert not may_see(decide("small"), "large")
    assert not may_answer(decide("small"), "large")


async def test_a_full_queue_drops_and_counts_and_delays_nobody() -> None:
    gate, done = asyncio.Event(), list[int]()

    async def work() -> None:
        await gate.wait()
        done.append(1)

    queue = ShadowQueue(waiting=3, at_once=2)
    for _ in range(10):
        queue.put(work)
    await let_go()
    assert queue.dropped == {"queue_full": 5}
    gate.set()
    await queue.emptied()
    await let_go()
    await queue.emptied()
    assert len(done) == 5


async def test_no_more_than_so_many_run_at_once() -> None:
    running, most = [0], [0]

    async def work() -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        await asyncio.sleep(0)
        running[0] -= 1

    queue = ShadowQueue(at_once=2)
    for _ in range(20):
        queue.put(work)
    while running[0] or queue._waiting or queue._running:
        await asyncio.sleep(0)
    assert most == [2]


async def test_nothing_is_begun_while_callers_are_turned_away() -> None:
    busy, done = [True], list[int]()

    async def work() -> None:
        done.append(1)

    queue = ShadowQueue(lambda: busy[0])
    queue.put(work)
    assert queue.dropped == {"busy": 1}
    busy[0] = False
    queue.put(work)
    await queue.emptied()
    assert done == [1]


async def test_our_own_fault_is_logged_and_the_next_one_runs(caplog: pytest.LogCaptureFixture) -> None:
    done = list[int]()

    async def fail() -> None:
        raise ZeroDivisionError

    async def work() -> None:
        done.append(1)

    queue = ShadowQueue(at_once=1)
    with caplog.at_level(logging.ERROR):
        queue.put(fail)
        queue.put(work)
        await queue.emptied()
    assert done == [1]
    assert queue.dropped == {"error": 1}
    assert "our own fault" in caplog.text


async def test_a_stop_waits_no_longer_than_a_second_even_for_work_that_clings() -> None:
    """And cancels the rest at once; what comes after is dropped."""
    let, cancelled = asyncio.Event(), list[int]()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.append(1)

    async def cling() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await let.wait()

    queue = ShadowQueue(at_once=2)
    for each in (work, cling, work, work):
        queue.put(each)
    await let_go()
    async with asyncio.timeout(30):  # of the 60 s that the work takes
        await queue.stop()
    assert cancelled == [1]
    assert queue.dropped == {"stopping": 4}
    queue.put(work)
    assert queue.dropped == {"stopping": 5}
    let.set()
    await let_go()
