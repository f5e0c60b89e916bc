"""Climbing a ladder: who is asked, whose answer is taken, what it costs, and what happens to failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from climbing import Climb, pool
from junctor.chat import (
    ChatRequest,
    Drafted,
    Event,
    Finished,
    FinishReason,
    Model,
    ModelCard,
    Price,
    Raw,
    Routed,
    Started,
    Text,
    ToolCall,
    UpstreamBroken,
    UpstreamRefused,
    Usage,
    collect,
)
from junctor.pool.metered import CLIENT_GONE, OK
from junctor.pool.vote import Vote
from junctor.routing.calibration.calibrate import climb
from junctor.routing.calibration.outcomes import Outcomes
from junctor.routing.ladder import FORMAT, SIGNALS, Ladder, Promise, Rung, models_of
from ladders import CHEAP, NEVER, STRONG, a_ladder, request_of, scripted

pytestmark = pytest.mark.anyio

CUT = ({"text": "I should say that "}, {"fail": "upstream_broken"})
PROSE = "It depends on many things, of which I shall now name a few at some length."


async def test_where_the_cheap_agree_nobody_else_is_asked() -> None:
    climb = Climb(*pool(cheap_b="The answer is 42."))
    answer = await collect(climb.cascade.answer(request_of()))
    assert (answer.model, answer.text, answer.reason) == ("cheap-a", "42", "stop")
    assert answer.decision == climb.decision
    assert climb.asked == [["cheap-a", "cheap-b"]]
    decision, escalation = climb.decision, climb.decision.escalation
    assert escalation is not None
    assert (decision.id, decision.path, decision.chosen) == ("dec_1", "cascade", "cheap-a")
    assert "2 of 2 answers agree" in decision.rule
    assert escalation.steps[0].p_top > 0.9
    assert escalation.steps[0].gain is not None
    assert escalation.steps[0].gain <= 0
    assert (escalation.floor, escalation.confidence, escalation.prompts) == (0.98, 0.95, 500)
    assert decision.candidates[0].refused_because is None
    assert decision.candidates[1].refused_because == "asked too: the same answer"
    assert {it.refused_because for it in decision.candidates[2:]} == {"not asked"}


async def test_the_events_are_those_of_the_taken_model_between_the_decision_and_the_end() -> None:
    climb = Climb(*pool())
    events = await climb.events()
    kinds = [type(event) for event in events]
    assert kinds == [Routed, Drafted, Drafted, Routed, Started, Text, Usage, Finished]
    assert [e.decision.id for e in events if isinstance(e, Routed)] == ["dec_1", "dec_1"]
    drafted = {e.draft.model: (e.draft.answer, e.text) for e in events if isinstance(e, Drafted)}
    assert drafted == {"cheap-a": ("42", "42"), "cheap-b": ("42", "42")}


async def test_where_they_differ_one_more_is_asked_and_may_settle_it() -> None:
    climb = Climb(*pool(cheap_b="41"))
    answer = await collect(climb.cascade.answer(request_of()))
    assert climb.asked == [["cheap-a", "cheap-b"], ["cheap-c"]]
    assert (answer.model, answer.text) == ("cheap-a", "42")
    assert "2 of 3 answers agree" in climb.decision.rule


async def test_at_the_top_the_strongest_answer_stands_unless_another_is_likelier() -> None:
    climb = Climb(*pool(cheap_a="1", cheap_b="2", cheap_c="3", strong="4"))
    assert (await collect(climb.cascade.answer(request_of()))).text == "4"
    assert climb.decision.chosen == STRONG
    sure = (1.0, *(0.0 for _ in SIGNALS[1:]))
    climb = Climb(*pool(strong="43"), ladder=a_ladder(gains=sure))
    answer = await collect(climb.cascade.answer(request_of()))
    assert (answer.model, answer.text) == ("cheap-a", "42")
    assert climb.asked == [["cheap-a", "cheap-b"], ["cheap-c"], ["strong"]]
    assert "3 of 4 gave an answer" in climb.decision.rule
    assert not climb.decision.escalation or not climb.decision.escalation.degraded


async def test_free_text_goes_straight_to_the_strongest_which_is_passed_on_as_it_comes() -> None:
    text = "It depends on many things, of which I shall now name a few at some length."
    slow = [{"text": "Well, "}, {"text": "it depends."}]
    climb = Climb(*pool(cheap_a=text, cheap_b=text, strong=slow))
    events = await climb.events()
    assert [event.text for event in events if isinstance(event, Text)] == ["Well, ", "it depends."]
    assert climb.asked == [["cheap-a", "cheap-b"], ["strong"]]
    assert "no answers could be compared" in climb.decision.rule
    assert climb.decision.chosen == STRONG


async def test_the_strongest_model_is_relayed_in_the_callers_dialect_where_it_cannot_lose() -> None:
    """Drafts are asked for decoded events."""

    class Relaying:
        card = ModelCard(name=STRONG, price=Price(input=30, output=30, source="test"))

        async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
            assert request.relay == "openai_chat"
            yield Started(STRONG)
            yield Raw(b"{}")
            yield Usage(10, 5)
            yield Finished("stop")

    cheap = pool(cheap_a=[{"fail": "upstream_broken"}], cheap_b="x y z " * 20)[:3]
    climb = Climb(*cheap, Relaying())
    events = await climb.events(request_of(relay="openai_chat", stream=True))
    assert [event for event in events if isinstance(event, Raw)] == [Raw(b"{}")]
    assert climb.decision.escalation is not None
    assert climb.decision.escalation.usd == pytest.approx(sum(spent.usd for spent in climb.spent))


async def test_what_it_cost_is_the_sum_of_all_calls_and_the_saving_is_of_the_taken_answer() -> None:
    usage = {"usage": {"input_tokens": 100, "output_tokens": 20}}
    said = {name: [{"text": "42", **usage}] for name in ("cheap_a", "cheap_c", "strong")}
    climb = Climb(*pool(cheap_b=[{"text": "7", "usage": {"input_tokens": 90, "output_tokens": 10}}], **said))
    await climb.events()
    escalation = climb.decision.escalation
    assert escalation is not None
    assert escalation.usd == pytest.approx((120 + 100 + 120) * 1e-6)
    assert escalation.usd == pytest.approx(sum(spent.usd for spent in climb.spent))
    assert climb.decision.saved_usd == pytest.approx(120 * 30e-6 - escalation.usd)


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        pytest.param({"cheap_a": CUT}, 3, id="a draft that failed midway"),
        pytest.param({"cheap_b": [{"text": "well "}, {"delay_s": 60}]}, 3, id="a draft that was too late"),
        pytest.param({"cheap_a": "1", "cheap_b": "2", "cheap_c": "3", "strong": CUT}, 4, id="the strongest"),
        pytest.param({"cheap_a": PROSE, "cheap_b": PROSE, "strong": CUT}, 3, id="cut as it is passed on"),
        pytest.param(dict.fromkeys(("cheap_a", "cheap_b", "strong"), CUT), 3, id="all but the last"),
    ],
)
async def test_what_failed_or_was_cut_cost_as_much_as_it_had_come_to(
    said: dict[str, object], asked: int
) -> None:
    """The decision says what the ledger does: what a model had said until then is paid for."""
    climb = Climb(*pool(**said))
    with suppress(UpstreamBroken):
        await climb.events(request_of(within_s=2.0 if "cheap_b" in said and len(said) == 1 else None))
    escalation = climb.decision.escalation
    assert escalation is not None
    assert len(climb.spent) >= asked
    assert all(spent.usd > 0 for spent in climb.spent)
    assert escalation.usd == pytest.approx(sum(spent.usd for spent in climb.spent), rel=1e-12)
    drafts = [draft for step in escalation.steps for draft in step.drafts]
    assert {it.model: it.usd for it in drafts if it.failed} == {
        it.model: it.usd
        for it in climb.spent
        if it.outcome != OK and it.model in {d.model for d in drafts if d.failed}
    }


async def test_drafts_of_a_caller_that_leaves_are_paid_for() -> None:
    climb = Climb(*pool(cheap_b=[{"text": "well "}, {"delay_s": 60}]))
    async with aclosing(climb.cascade.answer(request_of())) as events:
        async for event in events:
            if isinstance(event, Drafted):
                break
    assert climb.decision.escalation is not None
    assert [spent.outcome for spent in climb.spent] == [OK, CLIENT_GONE]
    assert climb.decision.escalation.usd == pytest.approx(sum(spent.usd for spent in climb.spent), rel=1e-12)


async def test_a_tool_call_is_compared_by_name_and_arguments() -> None:
    rome = [{"tool_call": {"name": "weather", "arguments": '{"city": "Rome", "days": 1}'}}]
    again = [{"tool_call": {"name": "weather", "arguments": '{"days":1,"city":"Rome"}'}}]
    oslo = [{"tool_call": {"name": "weather", "arguments": '{"city": "Oslo", "days": 1}'}}]
    climb = Climb(*pool(cheap_a=rome, cheap_b=again))
    answer = await collect(climb.cascade.answer(request_of()))
    assert answer.reason == "tool_calls"
    assert answer.tool_calls == (ToolCall(0, "call_0", "weather", '{"city": "Rome", "days": 1}'),), (
        "never two executions"
    )
    climb = Climb(*pool(cheap_a=rome, cheap_b=oslo, cheap_c="hm", strong=oslo))
    answer = await collect(climb.cascade.answer(request_of()))
    assert [call.arguments for call in answer.tool_calls] == ['{"city": "Oslo", "days": 1}']


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_a_draft_that_was_cut_counts_for_nothing(reason: FinishReason) -> None:
    climb = Climb(*pool(cheap_b=[{"text": "42", "finish": reason}]))
    await climb.events()
    assert climb.asked == [["cheap-a", "cheap-b"], ["cheap-c"]]


async def test_a_draft_that_fails_is_none_and_the_rest_goes_on() -> None:
    climb = Climb(*pool(cheap_a=[{"fail": "upstream_refused"}]))
    answer = await collect(climb.cascade.answer(request_of()))
    assert (answer.model, answer.text) == ("cheap-b", "42")
    assert climb.asked == [["cheap-a", "cheap-b"], ["cheap-c"]]
    assert climb.decision.escalation is not None
    failed = climb.decision.escalation.steps[0].drafts[0]
    assert failed.failed
    assert failed.answer is None


async def test_who_is_set_aside_is_not_asked() -> None:
    away = scripted("cheap-a", {"fail": "upstream_rate_limited", "retry_after_s": 60})
    climb = Climb(away, *pool()[1:])
    with pytest.raises(Exception, match="upstream_rate_limited"):
        await collect(climb.resilience.answer([climb.resilience.watch(away)], request_of()))
    asked = len(away.requests)
    await climb.events()
    assert len(away.requests) == asked
    assert "set aside" in (climb.decision.escalation.steps[0].drafts[0].failed or "")  # pyright: ignore[reportOptionalMemberAccess]


async def test_if_the_strongest_fails_the_likeliest_answer_so_far_is_taken_and_it_says_so() -> None:
    climb = Climb(*pool(cheap_a="1", cheap_b="2", cheap_c="3", strong=[{"fail": "upstream_broken"}]))
    answer = await collect(climb.cascade.answer(request_of()))
    assert answer.text == "1"
    assert climb.decision.escalation is not None
    assert climb.decision.escalation.degraded
    assert "strong failed (upstream_broken)" in climb.decision.rule
    assert climb.decision.candidates[0].name == "cheap-a"


async def test_if_the_strongest_fails_a_whole_free_text_is_better_than_nothing() -> None:
    text = "It depends on many things, of which I shall now name a few at some length."
    climb = Climb(*pool(cheap_a=text, cheap_b=text, strong=[{"fail": "upstream_broken"}]))
    answer = await collect(climb.cascade.answer(request_of()))
    assert (answer.model, answer.text) == ("cheap-a", text)
    assert climb.decision.escalation is not None
    assert climb.decision.escalation.degraded


async def test_if_all_that_were_asked_fail_the_others_are_asked_in_order() -> None:
    down = [{"fail": "upstream_broken"}]
    climb = Climb(*pool(cheap_a=down, cheap_b=down, strong=down), scripted("other", {"text": "42"}))
    answer = await collect(climb.cascade.answer(request_of()))
    assert (answer.model, answer.text) == ("cheap-c", "42")
    climb = Climb(*pool(cheap_a=down, cheap_b=down, cheap_c=down, strong=down), scripted("other"))
    answer = await collect(climb.cascade.answer(request_of()))
    assert (answer.model, climb.decision.chosen) == ("other", "other"), (
        "who answered, not who was tried first"
    )
    assert climb.decision.escalation is not None
    assert climb.decision.escalation.degraded
    climb = Climb(*pool(cheap_a=down, cheap_b=down, cheap_c=down, strong=down))
    with pytest.raises(UpstreamBroken):
        await climb.events()
    assert len(climb.saved) == 1
    refused = [{"fail": "upstream_refused"}]
    climb = Climb(*pool(cheap_a=refused, cheap_b=refused, strong=refused))
    with pytest.raises(UpstreamRefused):
        await climb.events()
    assert "cheap-c" not in [spent.model for spent in climb.spent], "another try would not help"


async def test_after_the_first_text_a_failure_is_a_failure() -> None:
    text = "It depends on many things, of which I shall now name a few at some length."
    cut = [{"text": "Well"}, {"fail": "upstream_broken"}]
    climb = Climb(*pool(cheap_a=text, cheap_b=text, strong=cut))
    with pytest.raises(UpstreamBroken):
        await climb.events()
    assert climb.decision.chosen == STRONG


async def test_a_caller_that_leaves_stops_all_and_leaves_one_decision() -> None:
    hanging = [{"delay_s": 3600}, {"text": "42"}]
    climb = Climb(*pool(cheap_b=hanging))
    async with aclosing(climb.cascade.answer(request_of())) as events:
        async for event in events:
            if isinstance(event, Drafted):
                break
    assert {spent.model: spent.outcome for spent in climb.spent} == {"cheap-a": OK, "cheap-b": CLIENT_GONE}
    assert climb.decision.id == "dec_1"
    assert "the caller left" in climb.decision.rule


async def test_a_cancelled_caller_stops_all() -> None:
    climb = Climb(*pool(cheap_a=[{"delay_s": 3600}], cheap_b=[{"delay_s": 3600}]))
    task = asyncio.create_task(climb.events())
    while len(climb.cascade._models) != 4 or not climb.resilience.health()["cheap-b"].waiting:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(spent.outcome for spent in climb.spent) == [CLIENT_GONE, CLIENT_GONE]
    assert len(climb.saved) == 1


async def test_answers_need_not_be_kept() -> None:
    """Which ones were equal is."""
    climb = Climb(*pool(cheap_a="secret one", cheap_b="secret two"), keeps_answers=False)
    await climb.events()
    escalation = climb.decision.escalation
    assert escalation is not None
    drafts = [draft.answer for step in escalation.steps for draft in step.drafts]
    assert drafts[:2] == ["answer 1", "answer 2"]
    assert "secret" not in str(climb.decision)


async def test_long_answers_are_kept_short() -> None:
    whole = '{"text": "' + "long " * 100 + '"}'
    climb = Climb(*pool(cheap_a=whole, cheap_b=whole))
    await climb.events()
    assert climb.decision.escalation is not None
    shown = climb.decision.escalation.steps[0].drafts[0].answer
    assert shown is not None
    assert len(shown) == 80


async def test_the_time_of_a_request_is_divided_among_its_calls() -> None:
    models = pool(cheap_a="1", cheap_b="2", cheap_c="3", strong="4")
    climb = Climb(*models)
    await climb.events(request_of(within_s=10.0))
    limits = [model.requests[0].within_s for model in models]  # pyright: ignore[reportAttributeAccessIssue]
    assert limits[0] <= 5
    assert limits[1] <= 5
    assert 5 < limits[3] <= 10


# Parity with what was calibrated.

NUMBERS = st.floats(-3, 3, allow_nan=False).map(lambda value: round(value, 3))


@st.composite
def ladders(draw: st.DrawFn) -> Ladder:
    def vote(models: int) -> Vote:
        return Vote(tuple(draw(NUMBERS) for _ in range(models)), draw(NUMBERS), draw(NUMBERS), draw(NUMBERS))

    def gains() -> tuple[float, ...]:
        return tuple(draw(NUMBERS) for _ in SIGNALS)

    promise = Promise(price=0.05, saved=0.5, quality=0.8, strongest_quality=0.8, low=0.01)
    return Ladder(
        format=FORMAT,
        version="random",
        strongest=STRONG,
        rungs=(
            Rung(CHEAP[:2], vote(2), {"balanced": gains()}),
            Rung(CHEAP[2:], vote(3), {"balanced": gains()}),
        ),
        last=vote(4),
        caution=draw(st.sampled_from([0.0, 0.2, 0.9])),
        floor=0.98,
        confidence=0.95,
        prompts=500,
        promises={"balanced": promise},
    )


TABLES = st.lists(
    st.tuples(*[st.tuples(st.sampled_from([None, 0, 1, 2]), st.integers(1, 900)) for _ in range(4)]),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(ladders(), TABLES, st.booleans())
def test_it_climbs_exactly_as_the_calibration_does(
    ladder: Ladder, table: list[tuple[tuple[int | None, int], ...]], in_turn: bool
) -> None:
    """Same answers taken, same money spent, for any ladder and any outcomes, at once or in turn."""
    rng = np.random.default_rng(len(table))
    usd = np.array([[(30 if at == 3 else 1) * row[at][1] * 1e-6 for row in table] for at in range(4)])
    outcomes = Outcomes(
        models_of(ladder),
        rng.random((4, len(table))),
        usd,
        np.array([[float(row[at][1]) for row in table] for at in range(4)]),
        tuple(tuple(row[at][0] for row in table) for at in range(4)),
    )
    expected = climb(ladder, outcomes, "balanced")
    for prompt, row in enumerate(table):
        models = [_telling(name, *said) for name, said in zip(models_of(ladder), row, strict=True)]
        climbed = Climb(*models, ladder=ladder, asks_in_turn=in_turn)
        answer = asyncio.run(collect(climbed.cascade.answer(request_of())))
        taken = models_of(ladder).index(answer.model)
        assert outcomes.scores[taken, prompt] == expected.scores[prompt]
        assert climbed.decision.escalation is not None
        assert climbed.decision.escalation.usd == pytest.approx(expected.usd[prompt])
        assert any(spent.model == STRONG for spent in climbed.spent) == expected.reached_strongest[prompt]


def _telling(name: str, answer: int | None, tokens: int) -> Model:
    text = "I would rather not say, for reasons that are my own." if answer is None else str(answer)
    return scripted(name, {"text": text, "usage": {"input_tokens": 0, "output_tokens": tokens}})


def test_a_rule_that_never_goes_on_asks_two() -> None:
    """The tests above can fail: this ladder ends otherwise."""
    climb = Climb(*pool(cheap_b="7"), ladder=a_ladder(gains=NEVER))
    asyncio.run(climb.events())
    assert climb.asked == [["cheap-a", "cheap-b"]]
