"""Several models at once: who answers, who fails, who is waited for, and that nobody is left at work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
import pytest

from junctor.chat import (
    ChatRequest,
    Event,
    Finished,
    ModelCard,
    Price,
    Started,
    Text,
    ToolCall,
    UpstreamBroken,
    UpstreamRefused,
    UpstreamTimeout,
    Usage,
)
from junctor.pool.fan_out import Ask, Reply, ask_all, say_again
from junctor.pool.metered import CLIENT_GONE, Metered, Spent
from junctor.pool.scripted import ScriptedModel, parse_script

pytestmark = pytest.mark.anyio

REQUEST = ChatRequest(model="x", messages=msgspec.Raw(b'[{"role":"user","content":"?"}]'), id="req_1")


def scripted(name: str, *steps: dict[str, object]) -> ScriptedModel:
    card = ModelCard(name=name, price=Price(input=1, output=1, source="test"))
    return ScriptedModel(card, parse_script(list(steps) or [{"text": name}]))


class Held:
    """A model that answers when it is let go."""

    def __init__(self, name: str) -> None:
        self.card = ModelCard(name=name)
        self.go = asyncio.Event()
        self.asked = asyncio.Event()
        self.closed = False

    async def answer(self, _: ChatRequest) -> AsyncGenerator[Event, None]:
        self.asked.set()
        try:
            await self.go.wait()
            yield Started(self.card.name)
            yield Text(self.card.name)
            yield Finished("stop")
        finally:
            self.closed = True


async def gather(*models: ScriptedModel | Held, **how: float) -> list[Reply]:
    async with aclosing(ask_all([Ask(model, REQUEST) for model in models], **how)) as replies:  # pyright: ignore[reportArgumentType]
        return [reply async for reply in replies]


async def test_each_answers_once_with_what_it_used_and_how_it_ended() -> None:
    replies = await gather(scripted("a"), scripted("b", {"text": "much", "finish": "length"}))
    by_name = {reply.model: reply for reply in replies}
    assert by_name.keys() == {"a", "b"}
    a, b = by_name["a"].answer, by_name["b"].answer
    assert a is not None
    assert b is not None
    assert (a.text, a.reason, a.usage) == ("a", "stop", Usage(7, 1))
    assert b.reason == "length"
    assert all(reply.error is None and reply.took_s >= 0 for reply in replies)


async def test_replies_come_as_they_end() -> None:
    slow, quick = Held("slow"), Held("quick")
    async with aclosing(ask_all([Ask(slow, REQUEST), Ask(quick, REQUEST)])) as replies:
        quick.go.set()
        first = await anext(replies)
        slow.go.set()
        second = await anext(replies)
    assert [(first.at, first.model), (second.at, second.model)] == [(1, "quick"), (0, "slow")]


async def test_a_model_may_be_asked_several_times() -> None:
    """Self-fusion: each ask has its own place and its own request."""
    model = scripted("a", {"turn": True, "text": "one"}, {"turn": True, "text": "two"})
    replies = await gather(model, model)
    assert sorted(reply.at for reply in replies) == [0, 1]
    assert {reply.answer.text for reply in replies if reply.answer} == {"one", "two"}


async def test_a_failure_is_reported_and_not_raised() -> None:
    broken = scripted("broken", {"text": "The ans"}, {"fail": "upstream_broken"})
    replies = await gather(broken, scripted("a"))
    failed = next(reply for reply in replies if reply.model == "broken")
    assert isinstance(failed.error, UpstreamBroken)
    assert failed.answer is None
    assert not failed.events


async def test_when_all_fail_the_first_failure_says_so_after_all_were_given() -> None:
    first = scripted("first", {"fail": "upstream_refused"})
    given = list[Reply]()
    with pytest.raises(UpstreamRefused, match=r"all 2 models failed\. first: .*; second: ") as caught:
        async with aclosing(
            ask_all([Ask(first, REQUEST), Ask(scripted("second", {"fail": "upstream_broken"}), REQUEST)])
        ) as replies:
            async for reply in replies:
                given.append(reply)
    assert len(given) == 2
    assert caught.value.status == 400


async def test_who_is_late_is_given_up_and_cancelled() -> None:
    held = Held("held")
    late, a = sorted(await gather(held, scripted("a"), within_s=0.02), key=lambda reply: reply.at)
    assert isinstance(late.error, UpstreamTimeout)
    assert "held" in late.error.message
    assert held.closed
    assert a.answer is not None


async def test_models_are_told_how_long_they_may_take() -> None:
    """The shorter of the deadline and the request's own; and they answer with decoded events."""
    model = scripted("a")
    relayed = msgspec.structs.replace(REQUEST, relay="openai_chat", within_s=5.0)
    async with aclosing(ask_all([Ask(model, relayed), Ask(model, REQUEST)], within_s=7)) as replies:
        assert len([reply async for reply in replies]) == 2
    assert [(asked.within_s, asked.relay) for asked in model.requests] == [(5.0, None), (7, None)]


async def test_after_a_quorum_the_others_have_the_grace_and_no_more() -> None:
    held = Held("held")
    replies = await gather(scripted("a"), scripted("b"), held, quorum=2, grace_s=0.01)
    assert isinstance(replies[-1].error, UpstreamTimeout)
    assert replies[-1].model == "held"
    assert held.closed


async def test_within_the_grace_one_still_counts() -> None:
    held = Held("held")
    asks = [Ask(scripted("a"), REQUEST), Ask(held, REQUEST)]
    async with aclosing(ask_all(asks, quorum=1, grace_s=30)) as replies:
        assert (await anext(replies)).model == "a"
        held.go.set()
        assert (await anext(replies)).answer is not None


async def test_whoever_stops_reading_cancels_the_rest_and_what_they_cost_is_reported() -> None:
    reported = list[tuple[str, Spent]]()
    held = Held("held")
    metered = Metered(held, lambda request_id, spent: reported.append((request_id, spent)))
    async with aclosing(ask_all([Ask(scripted("a"), REQUEST), Ask(metered, REQUEST)])) as replies:
        assert (await anext(replies)).model == "a"
        await held.asked.wait()
    assert held.closed
    assert [(id_, spent.outcome) for id_, spent in reported] == [("req_1", CLIENT_GONE)]


async def test_a_cancelled_caller_leaves_nobody_at_work() -> None:
    held = [Held("one"), Held("two")]
    task = asyncio.create_task(gather(*held))
    await asyncio.gather(*(model.asked.wait() for model in held))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(model.closed for model in held)


async def test_our_own_fault_is_not_taken_for_a_models() -> None:
    class Faulty:
        card = ModelCard(name="faulty")

        async def answer(self, _: ChatRequest) -> AsyncGenerator[Event, None]:
            yield Started("faulty")
            raise KeyError("ours")

    held = Held("held")
    with pytest.raises(KeyError, match="ours"):
        await gather(Faulty(), held)  # pyright: ignore[reportArgumentType]
    assert held.closed


async def test_an_answer_can_be_said_again_as_it_was() -> None:
    """In one piece of text where it came in several; calls, usage and end included."""
    call = {"name": "f", "arguments": "{}"}
    model = scripted("a", {"thought": "hm"}, {"text": "on"}, {"text": "ce"}, {"tool_call": call})
    reply = (await gather(model))[0]
    assert list(say_again(reply))[2:] == [
        Text("once"),
        ToolCall(0, "call_0", "f", "{}"),
        Usage(7, 3),
        Finished("tool_calls"),
    ]
    assert next(iter(say_again(reply))) == Started("a")


class Timed:
    """A model that answers after some time, and says when its call has ended."""

    def __init__(self, name: str, after_s: float) -> None:
        self.card = ModelCard(name=name)
        self.ended = asyncio.Event()
        self._after_s = after_s

    async def answer(self, _: ChatRequest) -> AsyncGenerator[Event, None]:
        try:
            await asyncio.sleep(self._after_s)
            yield Started(self.card.name)
            yield Text(self.card.name)
            yield Finished("stop")
        finally:
            self.ended.set()


async def test_an_answer_that_came_in_time_counts_however_slowly_it_is_read() -> None:
    """The deadline is long over when the second reply is read."""
    models = [Timed("a", 0), Timed("b", 0.01), Timed("c", 0.02), Timed("late", 3600)]
    read = list[Reply]()
    async with aclosing(ask_all([Ask(model, REQUEST) for model in models], within_s=1.0)) as replies:
        async for reply in replies:
            read.append(reply)
            await models[-1].ended.wait()
    assert [(it.model, it.is_late) for it in read] == [
        ("a", False),
        ("b", False),
        ("c", False),
        ("late", True),
    ]


async def test_the_deadline_holds_while_nobody_reads() -> None:
    """Who is late is cancelled then, and not when somebody looks."""
    models = [Timed("a", 0), Timed("late", 3600)]
    async with aclosing(ask_all([Ask(model, REQUEST) for model in models], within_s=0.05)) as replies:
        assert (await anext(replies)).model == "a"
        await models[1].ended.wait()
        assert (await anext(replies)).is_late


async def test_a_quorum_is_counted_as_answers_come_and_not_as_they_are_read() -> None:
    models = [Timed("a", 0), Timed("b", 0.01), Timed("late", 3600)]
    asks = [Ask(model, REQUEST) for model in models]
    async with aclosing(ask_all(asks, quorum=2, grace_s=0.01)) as replies:
        assert (await anext(replies)).model == "a"
        await models[2].ended.wait()
        assert [(it.model, it.is_late) async for it in replies] == [("b", False), ("late", True)]


async def test_without_time_nobody_is_asked() -> None:
    held = Held("held")
    with pytest.raises(UpstreamTimeout):
        await gather(held, within_s=0)
    assert not held.asked.is_set()
