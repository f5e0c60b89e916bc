"""Trying again and asking another: before the first text, and never after it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec
import pytest

from junctor.chat import (
    ChatRequest,
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
    Usage,
    collect,
)
from junctor.pool.resilient import CAP_S, Fallback, Resilient, answer_first_of, hold_back_until_text
from junctor.pool.scripted import ScriptedModel, parse_script

pytestmark = pytest.mark.anyio

REQUEST = ChatRequest(model="a", messages=msgspec.Raw(b'[{"role":"user","content":"Hi"}]'))
BROKEN = {"turn": True, "fail": "upstream_broken"}


def scripted(name: str, *steps: dict) -> ScriptedModel:
    return ScriptedModel(ModelCard(name=name), parse_script(steps))


class Sleeper:
    """Counts instead of sleeping."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


def resilient(model: ScriptedModel, attempts: int = 3) -> tuple[Resilient, Sleeper]:
    sleeper = Sleeper()
    return Resilient(model, attempts, sleep=sleeper, jitter=lambda: 1.0), sleeper


async def test_a_failure_before_the_first_text_is_tried_again() -> None:
    model, sleeper = resilient(scripted("a", BROKEN, BROKEN, {"turn": True, "text": "third"}))
    events = [event async for event in model.answer(REQUEST)]
    assert events[0] == Started("a")
    assert Text("third") in events
    assert events.count(Started("a")) == 1
    assert sleeper.slept == [0.25, 0.5]


async def test_the_last_tries_error_goes_out() -> None:
    inner = scripted("a", BROKEN)
    model, sleeper = resilient(inner, attempts=3)
    with pytest.raises(UpstreamBroken):
        await collect(model.answer(REQUEST))
    assert len(inner.requests) == 3
    assert len(sleeper.slept) == 2


async def test_after_the_first_text_nothing_is_tried_again() -> None:
    inner = scripted("a", {"text": "Half"}, {"fail": "upstream_broken"}, {"turn": True, "text": "second"})
    model, _ = resilient(inner)
    seen: list[Event] = []
    with pytest.raises(UpstreamBroken):
        async for event in model.answer(REQUEST):
            seen.append(event)
    assert seen == [Started("a"), Text("Half")]
    assert len(inner.requests) == 1


async def test_what_is_the_callers_fault_is_not_tried_again() -> None:
    inner = scripted("a", {"fail": "upstream_refused"})
    model, _ = resilient(inner)
    with pytest.raises(UpstreamRefused):
        await collect(model.answer(REQUEST))
    assert len(inner.requests) == 1


async def test_a_refused_key_is_not_tried_again_but_another_model_is_asked() -> None:
    inner = scripted("a", {"fail": "upstream_unauthorised"})
    model, _ = resilient(inner)
    answer = await collect(answer_first_of([model, scripted("b", {"text": "b here"})], REQUEST))
    assert answer.model == "b"
    assert len(inner.requests) == 1


async def test_a_short_retry_after_is_obeyed_and_a_long_one_is_not_waited_for() -> None:
    short = {"fail": "upstream_rate_limited", "retry_after_s": 3}
    model, sleeper = resilient(scripted("a", short, {"turn": True, "text": "ok"}))
    assert (await collect(model.answer(REQUEST))).text == "ok"
    assert sleeper.slept == [3]
    inner = scripted("a", {"fail": "upstream_rate_limited", "retry_after_s": 60})
    model, sleeper = resilient(inner)
    with pytest.raises(UpstreamRateLimited):
        await collect(model.answer(REQUEST))
    assert sleeper.slept == []


async def test_waits_grow_up_to_a_cap() -> None:
    model, sleeper = resilient(scripted("a", BROKEN), attempts=9)
    with pytest.raises(UpstreamBroken):
        await collect(model.answer(REQUEST))
    assert sleeper.slept == sorted(sleeper.slept)
    assert max(sleeper.slept) == CAP_S


async def test_the_next_model_answers_when_the_first_fails() -> None:
    answer = await collect(
        Fallback([scripted("a", BROKEN), scripted("b", {"text": "b here"})]).answer(REQUEST)
    )
    assert (answer.model, answer.text) == ("b", "b here")


async def test_when_all_fail_the_error_names_each() -> None:
    models = [scripted("a", BROKEN), scripted("b", {"fail": "upstream_timeout"})]
    with pytest.raises(UpstreamError, match=r"all 2 models failed.*a: .*upstream_broken.*b: .*timeout"):
        await collect(answer_first_of(models, REQUEST))


async def test_no_other_model_is_asked_for_what_is_the_callers_fault() -> None:
    other = scripted("b", {"text": "b here"})
    with pytest.raises(UpstreamRefused):
        await collect(answer_first_of([scripted("a", {"fail": "upstream_refused"}), other], REQUEST))
    assert not other.requests


async def test_frames_without_text_of_a_failed_model_are_never_seen() -> None:
    """A role frame arrives, then the upstream dies: the caller sees the second model's role alone."""

    class RoleThenDeath:
        card = ModelCard(name="a")

        async def answer(self, _: ChatRequest) -> AsyncGenerator[Event, None]:
            yield Started("a")
            yield Raw(b"role of a", has_text=False)
            raise UpstreamBroken("died", model="a")

    events = [
        event async for event in answer_first_of([RoleThenDeath(), scripted("b", {"text": "x"})], REQUEST)
    ]
    assert Raw(b"role of a", has_text=False) not in events
    assert Started("a") not in events


async def test_once_it_speaks_everything_passes_in_order() -> None:
    events: list[Event] = [
        Started("a"),
        Raw(b"role", has_text=False),
        Raw(b"text"),
        Raw(b"ping", has_text=False),
        Usage(1, 1),
        Finished("stop"),
    ]

    async def stream() -> AsyncGenerator[Event, None]:
        for event in events:
            yield event

    assert [event async for event in hold_back_until_text(stream())] == events


async def test_an_answer_that_says_nothing_is_still_an_answer() -> None:
    answer = await collect(Resilient(scripted("a", {"finish": "stop"})).answer(REQUEST))
    assert (answer.model, answer.text) == ("a", "")
