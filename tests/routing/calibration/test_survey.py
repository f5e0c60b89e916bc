"""A pool asked the same questions: within a budget, around failures, resumed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import msgspec
import pytest

from junctor.chat import (
    ChatRequest,
    Event,
    Finished,
    JunctorError,
    ModelCard,
    Price,
    Started,
    Text,
    UpstreamBroken,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamUnauthorised,
    Usage,
)
from junctor.pool.choice import Policy
from junctor.routing.calibration.answer_log import AnswerLog, Said, key_of
from junctor.routing.calibration.questions import Question
from junctor.routing.calibration.survey import PATIENCE, Survey, Terms
from junctor.routing.errors import CannotCalibrate

pytestmark = pytest.mark.anyio

QUESTIONS = [Question(prompt=f"What is {at} + 1?", answer=str(at + 1), kind="own") for at in range(20)]
TERMS = Terms(max_usd=5, max_tokens=100, concurrency=4, keep_going=False)
Reaction = Callable[[int, ChatRequest], JunctorError | None]
"Of the number of the call (from 1) and the request: what it fails with."


class Adder:
    """A model that can add, or fails as it is told to."""

    def __init__(
        self, name: str, *, usd: float | None = 10.0, fails: Reaction = lambda _at, _request: None
    ) -> None:
        price = None if usd is None else Price(input=0, output=usd, source="test")
        self.card = ModelCard(name=name, provider="test", price=price)
        self.requests = list[ChatRequest]()
        self._fails = fails

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        self.requests.append(request)
        if error := self._fails(len(self.requests), request):
            raise error
        yield Started(self.card.name)
        (message,) = msgspec.json.decode(request.messages)
        number = int(message["content"].split()[2])
        yield Text(f"Well.\nAnswer: {number + 1}")
        yield Usage(10, 50)
        yield Finished("stop")


async def survey(
    path: Path, *models: Adder, terms: Terms = TERMS, questions: list[Question] = QUESTIONS
) -> tuple[Survey, dict[tuple[str, str, str], Said], list[float]]:
    naps = list[float]()

    async def nap(seconds: float) -> None:
        naps.append(seconds)
        await asyncio.sleep(seconds)

    with AnswerLog(path / "log.jsonl") as log:
        made = Survey(
            {model.card.name: model for model in models},
            questions,
            log,
            terms,
            Policy(attempts=1),
            tell=lambda _said: None,
            sleep=nap,
        )
        await made.run()
        return made, log.said, naps


async def test_every_model_answers_every_question_greedily(tmp_path: Path) -> None:
    one, other = Adder("one"), Adder("other")
    made, said, _ = await survey(tmp_path, one, other)
    assert Counter(each.model for each in said.values()) == {"one": 20, "other": 20}
    assert {each.answer for each in said.values()} == {str(at + 1) for at in range(20)}
    assert all(each.usd == pytest.approx(0.0005) and each.tokens == 50 for each in said.values())
    assert made.usd == pytest.approx(0.02)
    for request in one.requests:
        assert bytes(request.passthrough["temperature"]) == b"0"
        assert request.max_tokens == 100
    assert len({request.id for request in [*one.requests, *other.requests]}) == 40


async def test_what_is_in_the_log_is_not_asked_again(tmp_path: Path) -> None:
    await survey(tmp_path, Adder("one"), questions=QUESTIONS[:12])
    one, other = Adder("one"), Adder("other")
    made, said, _ = await survey(tmp_path, one, other)
    assert (len(one.requests), len(other.requests), len(said)) == (8, 20, 40)
    assert made.usd == pytest.approx(0.02), "what the earlier run cost counts"


async def test_another_model_of_the_same_name_is_asked_all(tmp_path: Path) -> None:
    await survey(tmp_path, Adder("one"))
    changed = Adder("one")
    changed.card = msgspec.structs.replace(changed.card, upstream="one-v2")
    await survey(tmp_path, changed)
    assert len(changed.requests) == 20


async def test_it_never_costs_more_than_it_may(tmp_path: Path) -> None:
    """An answer may cost 0.001 USD and costs 0.0005."""
    models = Adder("one"), Adder("other")
    made, said, _ = await survey(tmp_path, *models, terms=msgspec.structs.replace(TERMS, max_usd=0.0102))
    assert made.is_out_of_money
    assert 0.0090 < made.usd <= 0.0102
    answered = Counter(each.question for each in said.values())
    assert sum(count == 2 for count in answered.values()) >= len(answered) - 1, "question by question"
    made, said, _ = await survey(tmp_path, *models)
    assert not made.is_out_of_money
    assert len(said) == 40


async def test_a_model_without_a_price_is_not_stopped_by_the_budget(tmp_path: Path) -> None:
    made, said, _ = await survey(
        tmp_path, Adder("free", usd=None), terms=msgspec.structs.replace(TERMS, max_usd=0)
    )
    assert (len(said), made.usd, made.is_out_of_money) == (20, 0.0, False)


async def test_a_call_that_failed_is_made_once_more_at_the_end(tmp_path: Path) -> None:
    model = Adder("one", fails=lambda at, _: UpstreamBroken("oops", model="one") if at in (3, 9) else None)
    _, said, _ = await survey(tmp_path, model)
    assert (len(said), len(model.requests)) == (20, 22)


async def test_a_silent_model_ends_the_run_and_keeps_what_was_said(tmp_path: Path) -> None:
    good = Adder("good")
    bad = Adder("bad", fails=lambda _at, _: UpstreamBroken("no such host", model="bad"))
    with pytest.raises(CannotCalibrate, match=r"bad does not answer: no such host.*--keep-going"):
        await survey(tmp_path, good, bad)
    with AnswerLog(tmp_path / "log.jsonl") as log:
        assert len(log.said) >= 5


async def test_keep_going_leaves_it_out(tmp_path: Path) -> None:
    good = Adder("good")
    bad = Adder("bad", fails=lambda _at, _: UpstreamBroken("no such host", model="bad"))
    made, said, _ = await survey(tmp_path, good, bad, terms=msgspec.structs.replace(TERMS, keep_going=True))
    assert made.dropped == {"bad": "no such host"}
    assert {each.model for each in said.values()} == {"good"}
    assert len(said) == 20
    assert len(bad.requests) <= PATIENCE + 2 * TERMS.concurrency


async def test_a_wrong_key_is_noticed_at_once(tmp_path: Path) -> None:
    model = Adder("one", fails=lambda _at, _: UpstreamUnauthorised("wrong key", model="one"))
    with pytest.raises(CannotCalibrate, match="wrong key"):
        await survey(tmp_path, model)
    assert len(model.requests) <= TERMS.concurrency


async def test_a_refused_question_is_a_wrong_answer(tmp_path: Path) -> None:
    def refuse(_at: int, request: ChatRequest) -> JunctorError | None:
        if b"is 7 +" in bytes(request.messages):
            return UpstreamRefused("against our policy", status=400, model="one")
        return None

    model = Adder("one", fails=refuse)
    _, said, _ = await survey(tmp_path, model)
    refused = [each for each in said.values() if each.refused]
    assert [(each.answer, each.usd) for each in refused] == [(None, 0.0)]
    assert len(model.requests) == 20


async def test_a_model_that_refuses_everything_counts_as_silent(tmp_path: Path) -> None:
    """A parameter that it does not take, most likely: it is not measured as always wrong."""
    model = Adder("one", fails=lambda _at, _: UpstreamRefused("unknown field", status=400, model="one"))
    with pytest.raises(CannotCalibrate, match="unknown field"):
        await survey(tmp_path, model)


async def test_a_model_that_takes_no_temperature_is_asked_without(tmp_path: Path) -> None:
    def refuse(_at: int, request: ChatRequest) -> JunctorError | None:
        if "temperature" in request.passthrough:
            return UpstreamRefused("unsupported", status=400, model="one", param="temperature")
        return None

    model = Adder("one", fails=refuse)
    _, said, _ = await survey(tmp_path, model)
    assert len(said) == 20
    assert len(model.requests) <= 20 + TERMS.concurrency


async def test_an_upstream_that_asks_to_slow_down_is_waited_for(tmp_path: Path) -> None:
    limited = UpstreamRateLimited("slow down", model="one", retry_after_s=0.05)
    model = Adder("one", fails=lambda at, _: limited if at in (4, 5) else None)
    made, said, naps = await survey(
        tmp_path, model, terms=msgspec.structs.replace(TERMS, concurrency=1), questions=QUESTIONS[:6]
    )
    assert len(said) == 6
    assert 0.05 in naps
    assert not made.dropped


async def test_whole_replies_of_this_run_are_there_to_be_judged_and_nowhere_kept(tmp_path: Path) -> None:
    one = Adder("one")
    made, _, _ = await survey(tmp_path, one, questions=QUESTIONS[:3])
    assert made.replies["one", key_of(QUESTIONS[2])] == "Well.\nAnswer: 3"
    assert b"Well" not in (tmp_path / "log.jsonl").read_bytes()
    again, _, _ = await survey(tmp_path, one, questions=QUESTIONS[:3])
    assert again.replies == {}
