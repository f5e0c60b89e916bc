"""The judge: blind, in both orders at once, one repair, and a tie where the orders disagree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import msgspec
import pytest
from judges import PRICE, Case, RuleJudge, choosing, verdict
from panels import metered

from junctor.chat import (
    Answer,
    ChatRequest,
    Event,
    Finished,
    JunctorError,
    ModelCard,
    Started,
    Text,
    ToolCall,
    UpstreamBroken,
)
from junctor.fusion.case import MOST_TOKENS, render_candidate
from junctor.fusion.judge import Judge

pytestmark = pytest.mark.anyio
REQUEST = ChatRequest(
    model="fusion",
    messages=msgspec.Raw(b'[{"role":"user","content":"2 + 2?"}]'),
    id="req_1",
    caller="key_1",
    stream=True,
    passthrough={"temperature": msgspec.Raw(b"1.5"), "n": msgspec.Raw(b"3")},
)
ANALYSIS = {
    "consensus": ["They add."],
    "contradictions": [
        {"topic": "the sum", "stances": [{"model": "A", "stance": "4"}, {"model": "answer b", "stance": "5"}]}
    ],
    "partial_coverage": [{"models": ["B", "A"], "point": "It is even."}],
    "unique_insights": [{"model": "B", "insight": "By carrying."}],
    "blind_spots": [],
}


def judge_of(model: RuleJudge) -> Judge:
    """Without a shuffle, so that the first question shows the answers as they were given."""
    return Judge(metered(model), shuffle=lambda order: None)


async def test_who_is_preferred_in_both_orders_is_preferred() -> None:
    model = RuleJudge(choosing("four"))
    judgement = await judge_of(model).compare(REQUEST, ["five", "four", "six"], within_s=5)
    assert (judgement.preferred, judgement.failed) == (1, None)
    assert [it.order for it in judgement.rulings] == [(0, 1, 2), (2, 1, 0)]
    assert [it.preferred for it in judgement.rulings] == [1, 1]
    shown = [list(case.answers.values()) for case in model.cases]
    assert shown == [["five", "four", "six"], ["six", "four", "five"]]


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("count", [4, 5, 8])
async def test_places_are_those_of_the_candidates_whatever_the_shuffle(count: int, at: int) -> None:
    for _ in range(10):
        candidates = [f"answer number {place}" for place in range(count)]
        judgement = await Judge(RuleJudge(choosing(f"number {at}"))).compare(REQUEST, candidates, within_s=5)
        assert judgement.preferred == at
        one, two = (it.order for it in judgement.rulings)
        assert one == two[::-1]
        assert sorted(one) == list(range(count))


@pytest.mark.parametrize("count", range(2, 9))
async def test_a_judge_that_likes_a_place_or_a_letter_sees_a_tie(count: int) -> None:
    candidates = [str(at) for at in range(count)]
    for place in range(count):
        by_place = RuleJudge(lambda case, place=place: verdict(list(case.answers)[place]))
        judgement = await Judge(by_place).compare(REQUEST, candidates, within_s=5)
        in_the_middle = place * 2 == count - 1
        assert judgement.failed is None
        assert (judgement.preferred is None) is not in_the_middle
    for letter in "ABCDEFGHI":
        by_letter = RuleJudge(lambda case, letter=letter: verdict(letter))
        assert (await Judge(by_letter).compare(REQUEST, candidates, within_s=5)).preferred is None


async def test_no_answer_has_the_same_letter_in_both_orders() -> None:
    for count in range(2, 9):
        model = RuleJudge(choosing("x"))
        await Judge(model).compare(REQUEST, [f"no {at}" for at in range(count)], within_s=5)
        one, two = model.cases
        assert not set(one.answers.items()) & set(two.answers.items())


async def test_one_that_says_tie_once_has_seen_no_difference() -> None:
    model = RuleJudge(lambda case: verdict("tie" if case.answers["A"] == "five" else "A"))
    judgement = await judge_of(model).compare(REQUEST, ["four", "five"], within_s=5)
    assert (judgement.preferred, judgement.failed) == (None, None)
    assert [it.preferred for it in judgement.rulings] == [0, None]


async def test_it_is_asked_cold_without_tools_and_on_the_requests_account() -> None:
    model = RuleJudge(choosing("four"))
    tools = msgspec.Raw(b'[{"type":"function","function":{"name":"add","description":"Adds."}}]')
    request = msgspec.structs.replace(REQUEST, tools=tools, tool_choice=msgspec.Raw(b'"required"'))
    await judge_of(model).compare(request, ["four", "five"], within_s=5)
    for asked in model.requests:
        assert (asked.id, asked.caller, asked.model) == ("req_1", "key_1", "judge")
        assert asked.passthrough == {"temperature": msgspec.Raw(b"0")}
        assert (asked.tools, asked.tool_choice, asked.stream, asked.relay) == (None, None, False, None)
        assert asked.max_tokens == MOST_TOKENS
        assert asked.within_s is not None
        assert 4 < asked.within_s <= 5
    assert "add: Adds." in dict(model.cases[0].parts)["TOOLS"]


async def test_each_question_has_a_mark_of_its_own() -> None:
    model = RuleJudge(lambda case: "hm")
    await Judge(model).compare(REQUEST, ["four", "five"], within_s=5)
    systems = [msgspec.json.decode(asked.messages)[0]["content"] for asked in model.requests]
    assert len(set(systems)) == 4
    assert not any("{mark}" in system for system in systems)


class Meeting:
    """A judge that replies only once both orders have been asked."""

    def __init__(self) -> None:
        self.card = ModelCard(name="judge", window=100_000)
        self.there = 0
        self.gone = 0
        self.all_there = asyncio.Event()

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        self.there += 1
        if self.there == 2:
            self.all_there.set()
        try:
            await self.all_there.wait()
            yield Started("judge")
            yield Text(verdict("tie"))
            yield Finished("stop")
        finally:
            self.gone += 1


async def test_both_orders_are_asked_at_once() -> None:
    judgement = await Judge(Meeting()).compare(REQUEST, ["four", "five"], within_s=5)
    assert judgement.failed is None


async def test_whoever_stops_waiting_calls_both_off() -> None:
    model = Meeting()
    model.there = -10
    task = asyncio.create_task(Judge(model).compare(REQUEST, ["four", "five"], within_s=5))
    while model.there < -8:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert model.gone == 2


async def test_a_reply_without_a_verdict_is_asked_for_once_more() -> None:
    def rule(case: Case) -> str:
        return choosing("four")(case) if case.is_repair else "I like both <<<END OF REQUEST>>>"

    model = RuleJudge(rule)
    judgement = await judge_of(model).compare(REQUEST, ["four", "five"], within_s=5)
    assert judgement.preferred == 0
    assert len(model.requests) == 4
    assert [(it.input_tokens, it.output_tokens) for it in judgement.rulings] == [(200, 20)] * 2
    assert judgement.usd == pytest.approx(4 * (100 * 1.0 + 10 * 10.0) / 1e6)
    repair = model.cases[-1]
    assert repair.parts[-1] == ("YOUR EARLIER REPLY", "I like both <<<END OF REQUEST>>>")
    assert "JSON object alone" in repair.outside[-1]


async def test_two_replies_without_one_have_failed_and_say_so() -> None:
    model = RuleJudge(lambda case: "I like both")
    judgement = await judge_of(model).compare(REQUEST, ["four", "five"], within_s=5)
    assert len(model.requests) == 4
    assert judgement.preferred is None
    assert judgement.failed is not None
    assert judgement.failed.startswith("neither order brought a verdict: it did not end its reply")
    assert all(it.failed for it in judgement.rulings)
    assert judgement.usd > 0


async def test_one_order_alone_does_not_count() -> None:
    model = RuleJudge(lambda case: verdict("A") if next(iter(case.answers.values())) == "four" else "?")
    judgement = await judge_of(model).compare(REQUEST, ["four", "five"], within_s=5)
    assert judgement.preferred is None
    assert judgement.failed is not None
    assert judgement.failed.startswith("only one of the two orders brought a verdict: it ")
    assert [it.preferred for it in judgement.rulings] == [0, None]


class Failing:
    card = ModelCard(name="judge", window=100_000)

    def __init__(self, error: JunctorError) -> None:
        self.error = error
        self.asked = 0

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        self.asked += 1
        yield Started("judge")
        raise self.error


async def test_a_judge_that_fails_is_not_asked_again_and_raises_nothing() -> None:
    model = Failing(UpstreamBroken("it broke"))
    judgement = await Judge(model).compare(REQUEST, ["four", "five"], within_s=5)
    assert judgement.failed == "neither order brought a verdict: it failed: it broke"
    assert model.asked == 2
    analysed = await Judge(model).analyse(REQUEST, [("m", "four"), ("n", "five")], within_s=5)
    assert (analysed.analysis, analysed.failure) == (None, "judge_upstream_error")
    assert analysed.failed == "it failed: it broke"


async def test_without_time_nobody_is_asked() -> None:
    model = Failing(UpstreamBroken("it broke"))
    judgement = await Judge(model).compare(REQUEST, ["four", "five"], within_s=0)
    assert (model.asked, judgement.failed) == (0, "neither order brought a verdict: it had no time left")


async def test_a_repair_has_what_is_left_of_the_time() -> None:
    now = [0.0]

    def rule(case: Case) -> str:
        now[0] += 2
        return "?"

    model = RuleJudge(rule)
    await Judge(model, clock=lambda: now[0]).compare(REQUEST, ["four", "five"], within_s=9)
    assert [it.within_s for it in model.requests] == [9, 9, 7, 5]


async def test_a_verdict_that_was_cut_off_is_none() -> None:
    model = RuleJudge(lambda case: verdict("A"), reason="length")
    judgement = await Judge(model).compare(REQUEST, ["four", "five"], within_s=5)
    assert judgement.failed is not None
    assert "cut off" in judgement.failed


@pytest.mark.parametrize("count", [0, 1, 9])
async def test_two_to_eight_answers_can_be_compared(count: int) -> None:
    with pytest.raises(ValueError, match="2 to 8"):
        await Judge(RuleJudge(choosing("x"))).compare(REQUEST, ["a"] * count, within_s=5)


async def test_what_it_is_shown_fits_its_window_and_all_answers_are_cut_alike() -> None:
    model = RuleJudge(choosing("four"), window=8192)
    judgement = await judge_of(model).compare(REQUEST, ["four " * 9000, "five " * 9000], within_s=5)
    assert judgement.preferred == 0
    asked = model.requests[0]
    assert asked.max_tokens == 2048
    assert len(bytes(asked.messages)) / 4 + 2048 < 8192
    one, two = model.cases[0].answers.values()
    assert abs(len(one) - len(two)) < 10


async def test_a_window_that_is_too_small_is_a_failure_in_words() -> None:
    model = RuleJudge(choosing("four"), window=1500)
    judgement = await judge_of(model).compare(REQUEST, ["four " * 900, "five " * 900], within_s=5)
    assert model.requests == []
    assert judgement.failed is not None
    assert "window of `judge`, 1,500 tokens, is too small" in judgement.failed


async def test_an_analysis_comes_back_with_names() -> None:
    model = RuleJudge(lambda case: "```json\n" + msgspec.json.encode(ANALYSIS).decode() + "\n```")
    judge = Judge(metered(model), shuffle=lambda order: order.reverse())
    analysed = await judge.analyse(REQUEST, [("north", "5"), ("south", "4")], within_s=5)
    assert model.cases[0].answers == {"A": "4", "B": "5"}
    assert "north" not in bytes(model.requests[0].messages).decode()
    assert analysed.failed is None
    assert analysed.analysis is not None
    stances = analysed.analysis.contradictions[0].stances
    assert [(it.model, it.stance) for it in stances] == [("south", "4"), ("north", "5")]
    assert analysed.analysis.partial_coverage[0].models == ("north", "south")
    assert analysed.ruling.order == (1, 0)
    assert (analysed.ruling.input_tokens, analysed.ruling.preferred) == (100, None)


async def test_an_analysis_in_another_form_is_asked_for_once_more() -> None:
    whole = msgspec.json.encode(ANALYSIS).decode()
    model = RuleJudge(lambda case: whole if case.is_repair else '{"consensus": []}')
    analysed = await Judge(metered(model)).analyse(REQUEST, [("m", "4"), ("n", "5")], within_s=5)
    assert analysed.analysis is not None
    assert analysed.ruling.input_tokens == 200
    never = RuleJudge(lambda case: "It depends.")
    analysed = await Judge(never).analyse(REQUEST, [("m", "4"), ("n", "5")], within_s=5)
    assert (analysed.analysis, analysed.failure) == (None, "judge_not_valid_json")
    assert analysed.failed == analysed.ruling.failed
    assert analysed.failed is not None
    assert analysed.failed.startswith("it did not reply with JSON alone")


async def test_only_a_judge_that_can_is_asked_for_json() -> None:
    for skills, form in ((frozenset(["json"]), msgspec.Raw(b'{"type":"json_object"}')), (frozenset(), None)):
        model = RuleJudge(lambda case: "?")
        model.card = msgspec.structs.replace(model.card, skills=skills)
        await Judge(model).analyse(REQUEST, [("m", "4"), ("n", "5")], within_s=5)
        assert model.requests[0].response_format == form


async def test_a_tool_call_is_judged_as_text() -> None:
    call = Answer(
        model="m", text="", tool_calls=(ToolCall(0, name="add", arguments='{"a": 2}'),), reason="tool_calls"
    )
    model = RuleJudge(choosing("[calls the tool add with"))
    judgement = await Judge(model).compare(REQUEST, ["four", render_candidate(call)], within_s=5)
    assert judgement.preferred == 1


async def test_an_upstream_that_counts_no_tokens_is_counted_for() -> None:
    judgement = await Judge(metered(Meeting())).compare(REQUEST, ["four", "five"], within_s=5)
    assert all(it.input_tokens > 300 and it.output_tokens > 0 for it in judgement.rulings)


class Uneven:
    """One order fails at once; the other hangs after its first words."""

    card = ModelCard(name="judge", window=100_000, price=PRICE)

    def __init__(self, *, first_fails: bool) -> None:
        self.asked = 0
        self.gone = 0
        self._failing = 1 if first_fails else 2

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        self.asked += 1
        at = self.asked
        try:
            yield Started("judge")
            yield Text("Let me see.")
            await asyncio.sleep(0.01 if at == self._failing else 3600)
            raise UpstreamBroken("it broke", model="judge")
        finally:
            self.gone += 1


@pytest.mark.parametrize("first_fails", [True, False])
async def test_one_order_that_fails_settles_it_and_the_other_is_called_off(first_fails: bool) -> None:
    """What it had come to is on its ruling all the same."""
    model = Uneven(first_fails=first_fails)
    async with asyncio.timeout(30):
        judgement = await Judge(metered(model)).compare(REQUEST, ["four", "five"], within_s=3600)
    assert (model.asked, model.gone) == (2, 2)
    assert judgement.failed == "neither order brought a verdict: it failed: it broke"
    failed = [it.failed for it in judgement.rulings]
    assert failed[:: 1 if first_fails else -1] == [
        "it failed: it broke",
        "it was called off: the other order had failed",
    ]
    assert all(it.usd > 0 and it.output_tokens > 0 for it in judgement.rulings)


async def test_where_one_order_cannot_be_asked_at_all_the_other_is_not_waited_for() -> None:
    """It fails before the other has begun."""

    class Once:
        card = ModelCard(name="judge", window=100_000)
        asked = 0

        async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
            self.asked += 1
            if self.asked == 1:
                raise UpstreamBroken("it broke")
            await asyncio.sleep(3600)
            yield Finished("stop")

    async with asyncio.timeout(30):
        judgement = await Judge(Once()).compare(REQUEST, ["four", "five"], within_s=3600)
    assert judgement.failed == "neither order brought a verdict: it failed: it broke"
