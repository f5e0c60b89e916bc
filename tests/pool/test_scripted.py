"""The shipped fake does what its script says, and a wrong script is explained."""

from __future__ import annotations

import msgspec
import pytest

from junctor.chat import (
    BadRequest,
    ChatRequest,
    Finished,
    ModelCard,
    Started,
    Text,
    ToolCall,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    Usage,
    WindowExceeded,
    collect,
)
from junctor.pool.scripted import REMEMBERED, ScriptedModel, parse_script

pytestmark = pytest.mark.anyio


def asking(text: str) -> ChatRequest:
    return ChatRequest(
        model="fake", messages=msgspec.Raw(msgspec.json.encode([{"role": "user", "content": text}]))
    )


def scripted(*steps: dict) -> ScriptedModel:
    return ScriptedModel(ModelCard(name="fake"), parse_script(steps))


async def text_of(model: ScriptedModel, prompt: str = "Hi") -> str:
    return (await collect(model.answer(asking(prompt)))).text


async def test_it_says_its_lines_in_the_order_that_every_model_keeps() -> None:
    model = scripted({"text": "Hello"}, {"text": " there."})
    events = [event async for event in model.answer(asking("Hi"))]
    assert events[:3] == [Started("fake"), Text("Hello"), Text(" there.")]
    assert isinstance(events[3], Usage)
    assert events[4:] == [Finished("stop")]


async def test_turns_come_one_after_the_other_and_again() -> None:
    model = scripted({"text": "one"}, {"turn": True, "text": "two"})
    assert [await text_of(model) for _ in range(3)] == ["one", "two", "one"]


async def test_a_turn_can_wait_for_its_words() -> None:
    model = scripted({"when": "weather", "text": "sunny"}, {"turn": True, "text": "hm"})
    assert await text_of(model, "the weather?") == "sunny"
    assert await text_of(model, "anything") == "hm"


async def test_tool_calls_usage_and_finish() -> None:
    model = scripted(
        {"tool_call": {"name": "a", "arguments": '{"x": 1}'}},
        {"tool_call": {"name": "b"}},
        {"usage": {"input_tokens": 7, "output_tokens": 3, "cached_tokens": 2}},
    )
    answer = await collect(model.answer(asking("Hi")))
    assert answer.tool_calls == (
        ToolCall(0, id="call_0", name="a", arguments='{"x": 1}'),
        ToolCall(1, id="call_1", name="b", arguments="{}"),
    )
    assert answer.reason == "tool_calls"
    assert answer.usage == Usage(7, 3, 2)
    assert (await collect(scripted({"finish": "length"}).answer(asking("Hi")))).reason == "length"


async def test_delays_are_slept_through_the_given_sleep() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    model = ScriptedModel(ModelCard(name="fake"), parse_script([{"delay_s": 2, "text": "late"}]), sleep=sleep)
    assert await text_of(model) == "late"
    assert slept == [2]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("upstream_rate_limited", UpstreamRateLimited),
        ("upstream_refused", UpstreamRefused),
        ("context_length_exceeded", WindowExceeded),
    ],
)
async def test_it_fails_as_told_after_what_it_said(code: str, kind: type[Exception]) -> None:
    events = []
    with pytest.raises(kind, match="script"):
        async for event in scripted({"text": "Half"}, {"fail": code}).answer(asking("Hi")):
            events.append(event)
    assert events == [Started("fake"), Text("Half")]


async def test_a_failure_can_ask_for_patience() -> None:
    with pytest.raises(UpstreamRateLimited) as caught:
        await collect(scripted({"fail": "upstream_rate_limited", "retry_after_s": 3}).answer(asking("Hi")))
    assert caught.value.retry_after_s == 3


async def test_a_prompt_without_a_turn_is_refused() -> None:
    with pytest.raises(UpstreamRefused, match="no turn"):
        await text_of(scripted({"when": "weather", "text": "sunny"}), "Hi")


async def test_it_remembers_what_it_was_asked_but_not_for_ever() -> None:
    model = scripted({"text": "x"})
    for index in range(REMEMBERED + 5):
        await text_of(model, str(index))
    assert len(model.requests) == REMEMBERED


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([], "at least one step"),
        ([{"txt": "x"}], "did you mean `text`?"),
        ([{"bananas": 1}], "a step has when, turn"),
        ([{"text": 1}], r"script\[0\]"),
        ([{"text": "a"}, {"fail": "explode"}], r"script\[1\]: `explode` is no failure"),
    ],
)
def test_a_wrong_script_is_explained(steps: list[dict], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        parse_script(steps)


class Hours:
    """Time that passes when somebody sleeps, and when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def clock(self) -> float:
        return self.now


SLOW = ({"delay_s": 2}, {"text": "One"}, {"delay_s": 3}, {"text": " two."})


@pytest.mark.parametrize(
    ("within_s", "heard", "ends_at"),
    [(0.0, "", 100.0), (1.0, "", 101.0), (2.0, "", 102.0), (4.5, "One", 104.5)],
)
async def test_it_gives_up_when_the_requests_time_is_over(
    within_s: float, heard: str, ends_at: float
) -> None:
    """As an upstream does: after what was said in time, and not a moment later."""
    hours = Hours()
    model = ScriptedModel(ModelCard(name="fake"), parse_script(SLOW), sleep=hours.sleep, clock=hours.clock)
    said = ""
    with pytest.raises(
        UpstreamTimeout, match=r"within .* s \(what was left of timeouts\.total_s, or a shorter limit\)"
    ) as caught:
        async for event in model.answer(msgspec.structs.replace(asking("Hi"), within_s=within_s)):
            said += event.text if isinstance(event, Text) else ""
    assert (said, hours.now, caught.value.model, caught.value.sent) == (heard, ends_at, "fake", True)


@pytest.mark.parametrize("within_s", [None, 5.1])
async def test_with_time_enough_it_says_everything(within_s: float | None) -> None:
    hours = Hours()
    model = ScriptedModel(ModelCard(name="fake"), parse_script(SLOW), sleep=hours.sleep, clock=hours.clock)
    answer = await collect(model.answer(msgspec.structs.replace(asking("Hi"), within_s=within_s)))
    assert (answer.text, hours.now) == ("One two.", 105.0)


async def test_the_time_of_a_reader_that_takes_its_own_counts() -> None:
    hours = Hours()
    model = ScriptedModel(ModelCard(name="fake"), parse_script(SLOW), sleep=hours.sleep, clock=hours.clock)
    with pytest.raises(UpstreamTimeout):
        async for event in model.answer(msgspec.structs.replace(asking("Hi"), within_s=6)):
            hours.now += 2 if isinstance(event, Text) else 0
    assert hours.now == 106.0
