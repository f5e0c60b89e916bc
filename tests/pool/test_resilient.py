"""Trying again and asking another: before the first text, and never after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
import pytest

from junctor.chat import (
    ChatRequest,
    Constraints,
    Event,
    Finished,
    ModelCard,
    Raw,
    Started,
    Text,
    UpstreamBroken,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamUnavailable,
    Usage,
    collect,
)
from junctor.pool.choice import CAP_S, Policy
from junctor.pool.first_token import ENOUGH
from junctor.pool.metered import CLIENT_GONE, OK, Metered, Spent
from junctor.pool.outlier import Ejection
from junctor.pool.resilient import Resilience, Resilient
from junctor.pool.scripted import ScriptedModel, parse_script
from pool.virtual import Clock

pytestmark = pytest.mark.anyio

REQUEST = ChatRequest(model="a", messages=msgspec.Raw(b'[{"role":"user","content":"Hi"}]'), stream=True)
BROKEN = {"turn": True, "fail": "upstream_broken"}


def scripted(name: str, *steps: dict) -> ScriptedModel:
    return ScriptedModel(ModelCard(name=name), parse_script(steps))


class Bench:
    """A chain of models on virtual time."""

    def __init__(self, *models: object, **policy: object) -> None:
        self.clock = Clock()
        policy.setdefault("retry_share", 1.0)
        self.resilience = Resilience(
            Policy(**policy),  # pyright: ignore[reportArgumentType]
            clock=self.clock,
            sleep=self.clock.sleep,
            jitter=lambda: 1.0,
        )
        self.model = Resilient(models, self.resilience)  # pyright: ignore[reportArgumentType]

    async def ask(self, request: ChatRequest = REQUEST) -> list[Event]:
        async with aclosing(self.model.answer(request)) as events:
            return [event async for event in events]


async def test_a_failure_before_the_first_text_is_tried_again() -> None:
    bench = Bench(scripted("a", BROKEN, BROKEN, {"turn": True, "text": "third"}))
    events = await bench.ask()
    assert events[0] == Started("a")
    assert Text("third") in events
    assert events.count(Started("a")) == 1
    assert bench.clock.slept == pytest.approx([0.25, 0.5])
    assert bench.resilience.counts.retries == 2


async def test_the_last_tries_error_goes_out() -> None:
    inner = scripted("a", BROKEN)
    bench = Bench(inner, attempts=3)
    with pytest.raises(UpstreamBroken):
        await bench.ask()
    assert len(inner.requests) == 3
    assert len(bench.clock.slept) == 2


async def test_after_the_first_text_nothing_is_tried_again() -> None:
    inner = scripted("a", {"text": "Half"}, {"fail": "upstream_broken"}, {"turn": True, "text": "second"})
    bench = Bench(inner, scripted("b", {"text": "b here"}))
    seen: list[Event] = []
    with pytest.raises(UpstreamBroken):
        async for event in bench.model.answer(REQUEST):
            seen.append(event)
    assert seen == [Started("a"), Text("Half")]
    assert len(inner.requests) == 1
    assert bench.resilience.health()["a"].failures == 1


async def test_what_is_the_callers_fault_is_not_tried_again_and_not_asked_elsewhere() -> None:
    inner, other = scripted("a", {"fail": "upstream_refused"}), scripted("b", {"text": "b here"})
    with pytest.raises(UpstreamRefused):
        await Bench(inner, other).ask()
    assert len(inner.requests) == 1
    assert not other.requests


async def test_a_refused_key_is_not_tried_again_but_another_model_is_asked() -> None:
    inner = scripted("a", {"fail": "upstream_unauthorised"})
    bench = Bench(inner, scripted("b", {"text": "b here"}))
    assert (await collect(bench.model.answer(REQUEST))).model == "b"
    assert len(inner.requests) == 1
    assert bench.resilience.counts.fallbacks == 1


async def test_a_short_retry_after_is_obeyed_and_a_long_one_is_not_waited_for() -> None:
    short = {"fail": "upstream_rate_limited", "retry_after_s": 3}
    bench = Bench(scripted("a", short, {"turn": True, "text": "ok"}))
    assert (await collect(bench.model.answer(REQUEST))).text == "ok"
    assert 3 <= sum(bench.clock.slept) < 4
    bench = Bench(scripted("a", {"fail": "upstream_rate_limited", "retry_after_s": 60}))
    with pytest.raises(UpstreamRateLimited):
        await bench.ask()
    assert bench.clock.slept == []


async def test_waits_grow_up_to_a_cap() -> None:
    fine = [{"turn": True, "text": "fine"}] * 9
    bench = Bench(scripted("a", *fine, *[BROKEN] * 9), attempts=7, ejection=Ejection(failures=100))
    for _ in range(9):
        await bench.ask()
    with pytest.raises(UpstreamBroken):
        await bench.ask()
    assert bench.clock.slept == pytest.approx([0.25, 0.5, 1, 2, 4, 4])
    assert bench.clock.slept[-1] == CAP_S


async def test_the_next_model_answers_when_the_first_fails() -> None:
    bench = Bench(scripted("a", BROKEN), scripted("b", {"text": "b here"}))
    answer = await collect(bench.model.answer(REQUEST))
    assert (answer.model, answer.text) == ("b", "b here")


async def test_when_all_fail_the_error_names_each() -> None:
    bench = Bench(scripted("a", BROKEN), scripted("b", {"fail": "upstream_timeout"}))
    with pytest.raises(UpstreamError, match=r"all 2 models failed.*a: .*upstream_broken.*b: .*timeout"):
        await bench.ask()


async def test_once_all_are_set_aside_the_answer_is_a_503_at_once() -> None:
    """While one request probes, all others are told when to come back."""
    never = asyncio.Event()

    class Stuck:
        card = ModelCard(name="a")

        async def answer(self, _: ChatRequest) -> AsyncGenerator[Event, None]:
            await never.wait()
            yield Finished("stop")

    broken = scripted("a", BROKEN)
    bench = Bench(broken, attempts=1)
    for _ in range(5):
        with pytest.raises(UpstreamBroken):
            await bench.ask()
    probe = asyncio.create_task(anext(Resilient([Stuck()], bench.resilience).answer(REQUEST)))
    await asyncio.sleep(0)
    with pytest.raises(UpstreamUnavailable) as refused:
        await bench.ask()
    assert refused.value.retry_after_s is not None
    assert len(broken.requests) == 5
    never.set()
    await probe
    assert bench.resilience.health()["a"].state == "ok"


async def test_health_belongs_to_the_name_whoever_asks() -> None:
    """What `auto` learns of a model holds for those who name it."""
    bench = Bench(scripted("a", BROKEN), scripted("b", {"text": "b here"}), attempts=1)
    for _ in range(5):
        await bench.ask()
    other = Resilient([scripted("c", BROKEN), scripted("a", {"text": "back?"})], bench.resilience)
    with pytest.raises(UpstreamBroken, match="a: set aside for another 30 s: its last calls failed"):
        await collect(other.answer(REQUEST))
    assert bench.resilience.set_aside().keys() == {"a"}
    assert bench.resilience.counts.set_aside == {("a", "failing"): 1}
    assert [health.state for health in bench.resilience.health().values()] == ["failing", "ok", "ok"]


async def test_frames_without_text_of_a_failed_model_are_never_seen() -> None:
    """A role frame arrives, then the upstream dies: the caller sees the second model's role alone."""

    class RoleThenDeath:
        card = ModelCard(name="a")

        async def answer(self, _: ChatRequest) -> AsyncGenerator[Event, None]:
            yield Started("a")
            yield Raw(b"role of a", has_text=False)
            raise UpstreamBroken("died", model="a")

    events = await Bench(RoleThenDeath(), scripted("b", {"text": "x"})).ask()
    assert Raw(b"role of a", has_text=False) not in events
    assert Started("a") not in events


class Fixed:
    """Says these events."""

    def __init__(self, *events: Event) -> None:
        self.card = ModelCard(name="a")
        self.events = list(events)

    async def answer(self, _: ChatRequest) -> AsyncGenerator[Event, None]:
        for event in self.events:
            yield event


async def test_once_it_speaks_everything_passes_in_order() -> None:
    role, ping = Raw(b"role", has_text=False), Raw(b"ping", has_text=False)
    model = Fixed(Started("a"), role, Raw(b"text"), ping, Usage(1, 1), Finished("stop"))
    assert await Bench(model).ask() == model.events


async def test_an_answer_that_says_nothing_is_still_an_answer() -> None:
    answer = await collect(Bench(scripted("a", {"finish": "stop"})).model.answer(REQUEST))
    assert (answer.model, answer.text) == ("a", "")


async def test_a_stream_that_just_stops_before_its_text_is_a_failure() -> None:
    bench = Bench(Fixed(Started("a")), scripted("b", {"text": "b here"}))
    assert (await collect(bench.model.answer(REQUEST))).model == "b"


async def test_a_later_try_gets_the_time_that_is_left() -> None:
    a, b = scripted("a", BROKEN), scripted("b", {"text": "b here"})
    await Bench(a, b, total_s=10.0).ask()
    assert [request.within_s for request in a.requests] == pytest.approx([None, 9.75, 9.25])
    assert [request.within_s for request in b.requests] == pytest.approx([9.25])


async def test_the_askers_own_limit_holds_where_it_is_shorter() -> None:
    a, b = scripted("a", BROKEN), scripted("b", {"text": "b here"})
    await Bench(a, b, attempts=1).ask(msgspec.structs.replace(REQUEST, within_s=5.0))
    assert b.requests[0].within_s == pytest.approx(5.0)


async def test_no_try_begins_after_the_deadline() -> None:
    a = scripted("a", BROKEN)
    bench = Bench(a, total_s=0.6)
    with pytest.raises(UpstreamBroken):
        await bench.ask()
    assert len(a.requests) == 2
    assert bench.clock.slept == [0.25]


async def test_a_reader_who_leaves_frees_the_model_at_once() -> None:
    """Before the first text and after it; a probe included."""
    bench = Bench(scripted("a", {"text": "x"}, {"text": "y"}), attempts=1)
    async with aclosing(bench.model.answer(REQUEST)) as events:
        await anext(events)
    assert bench.resilience.health()["a"].waiting == 0

    class Stuck:
        card = ModelCard(name="a")

        async def answer(self, _: ChatRequest) -> AsyncGenerator[Event, None]:
            yield Started("a")
            await asyncio.Event().wait()

    task = asyncio.create_task(anext(Resilient([Stuck()], bench.resilience).answer(REQUEST)))
    await asyncio.sleep(0)
    assert bench.resilience.health()["a"].waiting == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.resilience.health()["a"].waiting == 0


class Timed:
    """Takes a given time, of the virtual clock, to each first text; remembers who was cancelled."""

    def __init__(self, name: str, bench_clock: Clock, *seconds: float) -> None:
        self.card = ModelCard(name=name)
        self.clock = bench_clock
        self.seconds = list(seconds)
        self.asked = 0
        self.cancelled = 0

    async def answer(self, _: ChatRequest) -> AsyncGenerator[Event, None]:
        seconds = self.seconds[min(self.asked, len(self.seconds) - 1)]
        self.asked += 1
        yield Started(self.card.name)
        try:
            if seconds == float("inf"):
                await asyncio.Event().wait()
            self.clock.now += seconds
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        yield Text(f"I am {self.card.name}")
        yield Finished("stop")


class HedgedBench(Bench):
    """Two models, of which the first hangs once it has a history; each call is metered."""

    def __init__(self, **policy: object) -> None:
        super().__init__(scripted("unused", BROKEN), **{"hedge_share": 0.07, **policy})
        self.spent: list[Spent] = []
        self.slow = Timed("slow", self.clock, *[0.001] * 200, float("inf"))
        self.quick = Timed("quick", self.clock, 0.001)
        chain = [Metered(model, lambda _, spent: self.spent.append(spent)) for model in self.models()]
        self.model = Resilient(chain, self.resilience)

    def models(self) -> list[Timed]:
        return [self.slow, self.quick]

    async def warm_up(self, requests: int = 200) -> None:
        for _ in range(requests):
            await self.ask()
        self.slow.asked = 200
        self.spent.clear()


async def test_a_late_first_text_brings_in_the_next_model_and_the_loser_is_cancelled() -> None:
    bench = HedgedBench()
    await bench.warm_up()
    answer = await collect(bench.model.answer(REQUEST))
    assert (answer.model, answer.text) == ("quick", "I am quick")
    assert bench.slow.cancelled == 1
    assert (bench.resilience.counts.hedges, bench.resilience.counts.hedges_won) == (1, 1)
    assert bench.resilience.health()["slow"].waiting == 0


async def test_the_loser_is_remembered_for_as_long_as_it_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time counts as the percentile after which it was hedged: that neither falls nor creeps up."""
    bench, cut = HedgedBench(), list[float]()
    await bench.warm_up()
    health = bench.resilience.watch(bench.slow).health
    monkeypatch.setattr(health, "cut", lambda call, waited_s: cut.append(waited_s / call.times.p95))
    await bench.ask()
    assert cut == [1.0]


async def test_what_the_loser_cost_is_reported_before_the_answer_ends() -> None:
    """The row is written when the answer ends: a call that is reported later is lost."""
    bench = HedgedBench()
    await bench.warm_up()
    await bench.ask()
    assert sorted((spent.model, spent.outcome) for spent in bench.spent) == [
        ("quick", OK),
        ("slow", CLIENT_GONE),
    ]
    assert all(spent.input_tokens for spent in bench.spent)


async def test_hedges_stay_within_their_budget() -> None:
    bench = HedgedBench(hedge_share=0.02)
    await bench.warm_up(100)
    tasks = [asyncio.create_task(bench.ask()) for _ in range(10)]
    done, hanging = await asyncio.wait(tasks, timeout=0.2)
    assert len(done) == bench.resilience.counts.hedges == 2
    for task in hanging:
        task.cancel()
    await asyncio.wait(hanging)
    assert bench.resilience.health()["slow"].waiting == 0


async def test_a_request_with_a_limit_on_its_cost_is_not_hedged() -> None:
    limited = msgspec.structs.replace(REQUEST, constraints=Constraints(max_usd=1.0))
    bench = HedgedBench()
    await bench.warm_up()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(bench.ask(limited), 0.05)
    assert bench.resilience.counts.hedges == 0


async def test_without_enough_history_there_is_no_hedge() -> None:
    bench = HedgedBench(hedge_share=1.0)
    await bench.warm_up(ENOUGH - 1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(bench.ask(), 0.05)
    assert bench.resilience.counts.hedges == 0


async def test_an_unwell_model_is_not_brought_in() -> None:
    bench = HedgedBench()
    await bench.warm_up()
    broken = Resilient([scripted("quick", BROKEN)], bench.resilience)
    for _ in range(2):
        with pytest.raises(UpstreamBroken):
            await collect(broken.answer(REQUEST))
    assert bench.resilience.health()["quick"].state == "failing"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(bench.ask(), 0.05)
    assert bench.resilience.counts.hedges == 0


async def test_off_means_off() -> None:
    bench = HedgedBench(hedge_share=0.0)
    await bench.warm_up()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(bench.ask(), 0.05)
    assert bench.quick.asked == 0
