"""What an answer cost is reported once, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import (
    ChatRequest,
    Event,
    Finished,
    JunctorError,
    ModelCard,
    Price,
    Raw,
    Started,
    Text,
    Thought,
    ToolCall,
    UpstreamBroken,
    UpstreamRateLimited,
    UpstreamTimeout,
    Usage,
)
from junctor.pool.metered import CLIENT_GONE, Charged, Metered, Spent, count_prompt_tokens

pytestmark = pytest.mark.anyio

PRICE = Price(input=1.0, output=10.0, cached_input=0.1, source="a list")
MESSAGES = msgspec.Raw(b'[{"role":"user","content":"' + b"x" * 370 + b'"}]')
"400 bytes."


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Line:
    """A model that says what it is given; each step takes a quarter of a second. An error is raised."""

    def __init__(self, clock: Clock, *steps: Event | BaseException, price: Price | None = PRICE) -> None:
        self.card = ModelCard(name="a", price=price)
        self.closed = False
        self._clock = clock
        self._steps = steps

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        try:
            for step in self._steps:
                self._clock.now += 0.25
                if isinstance(step, BaseException):
                    raise step
                yield step
        finally:
            self.closed = True


class Desk:
    """Where the reports arrive."""

    def __init__(self) -> None:
        self.reports = list[tuple[str, Spent]]()

    def report(self, request_id: str, spent: Spent) -> None:
        self.reports.append((request_id, spent))

    @property
    def spent(self) -> Spent:
        ((request_id, spent),) = self.reports
        assert request_id == "req_1"
        return spent


def ask(**changes: object) -> ChatRequest:
    request = ChatRequest(model="a", messages=MESSAGES, id="req_1")
    return msgspec.structs.replace(request, **changes)


async def meter(
    *steps: Event | BaseException,
    stop: Callable[[Event], bool] = lambda _: False,
    price: Price | None = PRICE,
    request: ChatRequest | None = None,
) -> tuple[Spent, list[Event]]:
    """What was reported, and what came through; errors of the model are taken as its end."""
    clock, desk, events = Clock(), Desk(), list[Event]()
    line = Line(clock, *steps, price=price)
    try:
        async with aclosing(Metered(line, desk.report, clock).answer(request or ask())) as stream:
            async for event in stream:
                events.append(event)
                if stop(event):
                    break
    except JunctorError:
        pass
    assert line.closed
    return desk.spent, events


async def test_a_whole_answer() -> None:
    """The upstream's own count, its cost at the card's price, and the times."""
    steps = (Started("a"), Text("Hel"), Text("lo"), Usage(1000, 100, cached_tokens=600), Finished("stop"))
    spent, events = await meter(*steps)
    assert events == list(steps)
    assert spent == Spent(
        model="a",
        input_tokens=1000,
        output_tokens=100,
        cached_tokens=600,
        usd=(400 * 1.0 + 600 * 0.1 + 100 * 10.0) / 1e6,
        price_source="a list",
        first_token_ms=500.0,
        total_ms=1250.0,
        outcome="ok",
        estimated=False,
        text_seen=True,
    )


async def test_the_last_usage_holds() -> None:
    """Some upstreams state it more than once, with growing figures."""
    spent, _ = await meter(Started("a"), Usage(9, 1), Text("x"), Usage(9, 5), Finished("stop"))
    assert (spent.input_tokens, spent.output_tokens, spent.estimated) == (9, 5, False)


async def test_a_usage_that_the_upstream_layer_estimated_stays_marked() -> None:
    """An estimate does not become a fact on the way."""
    spent, _ = await meter(Started("a"), Text("x"), Usage(9, 5, estimated=True), Finished("stop"))
    assert spent.estimated


async def test_without_a_price_the_cost_is_0_and_says_so() -> None:
    """A missing price is not an error."""
    spent, _ = await meter(Started("a"), Text("x"), Usage(9, 5), Finished("stop"), price=None)
    assert (spent.usd, spent.price_source, spent.input_tokens) == (0.0, "unknown", 9)


async def test_a_failure_before_the_start_costs_nothing() -> None:
    """The model never took the request."""
    spent, _ = await meter(UpstreamRateLimited("slow down"))
    assert spent == Spent(
        model="a", price_source="a list", total_ms=250.0, outcome="upstream_rate_limited", text_seen=False
    )


@pytest.mark.parametrize(("sent", "tokens"), [(True, 100), (False, 0)])
async def test_a_timeout_before_the_start_costs_the_prompt_if_it_was_sent(sent: bool, tokens: int) -> None:
    """An upstream that thinks for too long charges for what it read; one that was not reached cannot."""
    spent, _ = await meter(UpstreamTimeout("too long", sent=sent))
    assert (spent.outcome, spent.input_tokens, spent.output_tokens) == ("upstream_timeout", tokens, 0)
    assert spent.estimated is sent
    assert spent.usd == tokens * 1.0 / 1e6


async def test_a_cut_answer_costs_what_came_through() -> None:
    """The prompt was read and some text was made: both are counted, as an estimate."""
    spent, _ = await meter(Started("a"), Text("x" * 41), UpstreamBroken("reset"))
    assert (spent.input_tokens, spent.output_tokens, spent.estimated) == (100, 11, True)
    assert (spent.outcome, spent.text_seen, spent.first_token_ms) == ("upstream_broken", True, 500.0)


async def test_text_that_was_decoded_has_no_envelope() -> None:
    """Also when its caller could have used frames: the upstream spoke another dialect."""
    pieces = [Text("x" * 40) for _ in range(10)]
    spent, _ = await meter(Started("a"), *pieces, UpstreamBroken("reset"), request=ask(relay="openai_chat"))
    assert spent.output_tokens == 100


async def test_a_failure_after_the_start_and_before_any_text_costs_the_prompt() -> None:
    """The model had taken it; `text_seen` tells that another may still be asked."""
    spent, _ = await meter(Started("a"), UpstreamBroken("reset"))
    assert (spent.input_tokens, spent.output_tokens, spent.text_seen) == (100, 0, False)


async def test_a_reader_that_leaves_is_reported() -> None:
    """`aclose` in mid-answer: the client is gone, the tokens so far are counted."""
    spent, _ = await meter(
        Started("a"), Text("one"), Text("two"), Text("three"), stop=lambda event: event == Text("two")
    )
    assert (spent.outcome, spent.output_tokens, spent.estimated) == ("client_gone", 2, True)


async def test_a_reader_that_leaves_after_the_end_has_the_whole_answer() -> None:
    """Nobody has to read past `Finished`."""
    spent, _ = await meter(
        Started("a"),
        Text("one"),
        Usage(9, 1),
        Finished("stop"),
        stop=lambda event: isinstance(event, Finished),
    )
    assert (spent.outcome, spent.estimated) == ("ok", False)


@pytest.mark.parametrize("started", [True, False])
async def test_a_cancelled_reader_is_reported(started: bool) -> None:
    """The task is cancelled while it waits for the upstream, which is at work: the prompt costs."""
    desk, waiting = Desk(), asyncio.Event()

    class Silent:
        card = ModelCard(name="a", price=PRICE)

        async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
            if started:
                yield Started("a")
            waiting.set()
            await asyncio.Event().wait()

    async def read() -> None:
        async with aclosing(Metered(Silent(), desk.report).answer(ask())) as stream:
            async for _ in stream:
                pass

    task = asyncio.create_task(read())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    spent = desk.spent
    assert (spent.outcome, spent.input_tokens, spent.estimated) == ("client_gone", 100, True)


async def test_an_early_usage_does_not_hide_what_came_after_it() -> None:
    """Anthropic states a first usage at the start; a cut answer must not be billed by it alone."""
    cut = (Started("a"), Usage(1000, 1), Text("x" * 80), UpstreamBroken("reset"))
    spent, _ = await meter(*cut)
    assert (spent.input_tokens, spent.output_tokens, spent.estimated) == (1000, 20, True)


async def test_a_cut_answer_keeps_a_usage_that_says_more() -> None:
    """Reasoning that we never saw is in the upstream's figure."""
    spent, _ = await meter(Started("a"), Text("x"), Usage(1000, 500), UpstreamBroken("reset"))
    assert (spent.output_tokens, spent.estimated) == (500, False)


async def test_a_fault_of_our_own_is_named_so() -> None:
    """It is passed on, and the report does not call it the client's."""
    desk, clock = Desk(), Clock()
    stream = Metered(Line(clock, Started("a"), ZeroDivisionError()), desk.report, clock).answer(ask())
    with pytest.raises(ZeroDivisionError):
        _ = [event async for event in stream]
    assert desk.spent.outcome == "internal_error"


async def test_a_stream_that_just_stops_is_broken() -> None:
    """No `Finished`: the reader gets an error, not a short answer."""
    desk, clock = Desk(), Clock()
    stream = Metered(Line(clock, Started("a"), Text("x")), desk.report, clock).answer(ask())
    with pytest.raises(UpstreamBroken):
        _ = [event async for event in stream]
    assert desk.spent.outcome == "upstream_broken"


async def test_an_answer_that_is_never_begun_is_not_reported() -> None:
    """Only calls count."""
    desk = Desk()
    await Metered(Line(Clock()), desk.report).answer(ask()).aclose()
    assert desk.reports == []


async def test_each_answer_is_reported_by_itself() -> None:
    """Concurrent answers of one model do not mix."""
    desk, clock = Desk(), Clock()
    metered = Metered(Line(clock, Started("a"), Text("x"), Usage(1, 1), Finished("stop")), desk.report, clock)

    async def read(name: str) -> None:
        _ = [event async for event in metered.answer(ask(id=name))]

    names = [f"req_{number}" for number in range(20)]
    await asyncio.gather(*map(read, names))
    assert sorted(name for name, _ in desk.reports) == sorted(names)


@pytest.mark.parametrize(
    ("pieces", "tokens"),
    [
        ([Text("a"), Text("b"), Text("c")], 3),
        ([Text("x" * 400)], 100),
        ([Thought("x" * 40), Text("x" * 40)], 20),
        ([ToolCall(0, "call_1", "look_up"), ToolCall(0, arguments='{"city":"Rome"}')], 6),
        ([Text("日本")], 2),
        ([Raw(b"x" * 250)] * 5, 5),
        ([Raw(b"x" * 200), Raw(b"x" * 600)], 100),
        ([Raw(b"x" * 250, has_text=False)] * 5, 0),
    ],
    ids=[
        "one a piece",
        "four bytes",
        "thoughts",
        "tools",
        "wide text",
        "one a frame",
        "big frames",
        "empty frames",
    ],
)
async def test_output_tokens_are_counted_where_nobody_says(pieces: list[Event], tokens: int) -> None:
    """The rules of `Meter.spent`, one by one."""
    relay = "openai_chat" if isinstance(pieces[0], Raw) else None
    spent, _ = await meter(Started("a"), *pieces, Finished("stop"), request=ask(relay=relay, stream=True))
    assert (spent.output_tokens, spent.estimated) == (tokens, True)
    assert (spent.first_token_ms is None) == (tokens == 0)


def test_prompt_tokens_are_a_quarter_of_its_bytes() -> None:
    """Tools are part of the prompt."""
    assert count_prompt_tokens(ask()) == 100
    assert count_prompt_tokens(ask(tools=msgspec.Raw(b"x" * 9))) == 103


def test_an_inline_image_is_not_counted_by_its_base64() -> None:
    """A megabyte of picture is not a quarter of a million tokens."""
    image = b'{"url":"data:image/png;base64,' + b"A" * 1_000_000 + b'"}'
    request = ask(messages=msgspec.Raw(b"[" + image + b"," + image + b"]"))
    assert 2000 <= count_prompt_tokens(request) <= 2020


@given(st.binary(max_size=300))
def test_any_prompt_can_be_counted(body: bytes) -> None:
    """The count needs no valid JSON and never fails."""
    request = ask(messages=msgspec.Raw(body + b'"data:;base64,' + body))
    assert count_prompt_tokens(request) > 0


async def test_whoever_stands_around_others_hears_of_all_their_calls() -> None:
    """As the ledger does, in tasks of their own too; but not of what its reader asks meanwhile."""

    class Both:
        card = ModelCard(name="both")

        async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
            async def listen(name: str) -> list[Event]:
                return [event async for event in metered(name).answer(request)]

            inner = Charged(metered("one"), within.append)
            one = [event async for event in inner.answer(request)]
            await asyncio.gather(listen("two"), listen("three"))
            for event in one:
                yield event

    def metered(name: str) -> Metered:
        line = Line(Clock(), Started(name), Text("x"), Usage(10, 1), Finished("stop"))
        line.card = msgspec.structs.replace(line.card, name=name)
        return Metered(line, lambda _, spent: ledger.append(spent))

    ledger, heard, within = list[Spent](), list[Spent](), list[Spent]()
    async for _ in Charged(Both(), heard.append).answer(ask()):
        async for _ in metered("reader").answer(ask()):
            pass
    assert {spent.model for spent in ledger} == {"one", "two", "three", "reader"}
    assert sorted(spent.model for spent in heard) == ["one", "three", "two"]
    assert heard == [spent for spent in ledger if spent.model != "reader"]
    assert [spent.model for spent in within] == ["one"]


async def test_a_call_that_is_left_is_heard_of_too() -> None:
    heard = list[Spent]()
    line = Line(Clock(), Started("a"), Text("x"), Usage(10, 1), Finished("stop"))
    async with aclosing(Charged(Metered(line, lambda _, spent: None), heard.append).answer(ask())) as events:
        await anext(events)
        assert not heard
    assert [spent.outcome for spent in heard] == [CLIENT_GONE]
