"""How one answer comes of several: by mode, and when things go wrong."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from panels import ANALYSIS, Made, Picky, last_verdict, member, request_of

from junctor.chat import (
    BadRequest,
    Constraints,
    Drafted,
    Event,
    Finished,
    Judging,
    Routed,
    Started,
    Text,
    ToolCall,
    UpstreamBroken,
    Usage,
)
from junctor.fusion.plan import Plan

pytestmark = pytest.mark.anyio

EVEN = {"a": 0.8, "b": 0.8, "c": 0.8, "d": 0.8, "j": 0.8}
POEM = "Roses are red, violets are blue, and this goes on for a while without an answer to compare."
ESSAY = "There is much to be said for it, and much against it, and in the end it depends on your needs."
WEATHER = msgspec.Raw(b'[{"type":"function","function":{"name":"get_weather"}}]')


def text_of(events: Iterable[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


def call(city: str) -> dict[str, object]:
    return {"tool_call": {"name": "get_weather", "arguments": f'{{"city": "{city}"}}'}}


# Votes.


async def test_two_that_agree_outvote_the_third() -> None:
    made = Made(
        [member("a", "41"), member("b", "The answer is 42.", usd=3), member("c", "42")], abilities=EVEN
    )
    events = await made.ask(mode="vote")
    verdict = last_verdict(events)
    assert text_of(events) == "The answer is 42."
    assert (verdict.path, verdict.chosen) == ("vote", 1)
    assert [(it.answer, it.members) for it in verdict.clusters] == [("42", (1, 2)), ("41", (0,))]
    assert verdict.because.startswith("2 of 3 answers agree")


async def test_a_strong_member_is_not_outvoted_by_weak_ones_that_err_together() -> None:
    made = Made(
        [member("a", "41"), member("b", "42"), member("c", "42")],
        abilities={"a": 0.98, "b": 0.3, "c": 0.3},
        mode="vote",
    )
    assert text_of(await made.ask()) == "41"


async def test_in_the_mode_vote_what_cannot_be_compared_goes_to_the_best_member() -> None:
    made = Made([member("a", POEM), member("b", ESSAY)], abilities={"b": 0.9, "a": 0.5}, mode="vote")
    events = await made.ask()
    assert text_of(events) == ESSAY
    assert last_verdict(events).path == "best member"


async def test_in_the_mode_vote_whatever_can_be_compared_is_counted() -> None:
    made = Made([member("a", POEM), member("b", ESSAY), member("c", "42")], abilities=EVEN, mode="vote")
    assert text_of(await made.ask()) == "42"


async def test_answers_that_were_cut_short_do_not_make_a_question_an_open_one() -> None:
    cut = {"text": POEM, "finish": "length"}
    made = Made([member("a", cut), member("b", cut), member("c", "42")], abilities=EVEN)
    verdict = last_verdict(await made.ask())
    assert (verdict.path, verdict.chosen) == ("vote", 2)


async def test_a_stream_ends_with_the_usage_of_all_and_the_complete_record() -> None:
    """The order that chat/events.py describes."""
    made = Made([member("a", "42"), member("b", "41"), member("c", "42")], abilities=EVEN, mode="vote")
    events = await made.ask()
    assert [type(event).__name__ for event in events][-6:] == [
        "Routed",
        "Started",
        "Text",
        "Usage",
        "Routed",
        "Finished",
    ]
    (usage,) = [event for event in events if isinstance(event, Usage)]
    verdict = last_verdict(events)
    assert usage.input_tokens == sum(it.input_tokens for it in verdict.members)
    assert usage.output_tokens == sum(it.output_tokens for it in verdict.members)
    assert verdict.usd == pytest.approx(sum(it.usd for it in verdict.members))
    assert verdict.cost_multiple == pytest.approx(verdict.usd / verdict.members[0].usd)
    assert made.verdict == verdict
    routed = [event.decision for event in events if isinstance(event, Routed)]
    assert {decision.id for decision in routed} == {"dec_1"}
    assert routed[-1].path == "fusion"


# Judges.


async def test_a_close_vote_goes_to_a_judge_in_both_orders() -> None:
    judge = Picky("j", likes="41")
    made = Made([member("a", "42"), member("b", "41"), judge], members=("a", "b"), judge="j", abilities=EVEN)
    events = await made.ask()
    verdict = last_verdict(events)
    assert text_of(events) == "41"
    assert Judging("j", 2) in events
    assert (verdict.path, verdict.judge, verdict.chosen) == ("vote+judge", "j", 1)
    assert [it.preferred for it in verdict.rulings] == [1, 1]
    assert verdict.rulings[0].order == verdict.rulings[1].order[::-1]
    assert verdict.usd == pytest.approx(sum(it.usd for it in (*verdict.members, *verdict.rulings)))


async def test_a_clear_vote_needs_no_judge() -> None:
    judge = Picky("j", likes="41")
    made = Made(
        [member("a", "42"), member("b", "41"), member("c", "42"), judge],
        members=("a", "b", "c"),
        judge="j",
        abilities=EVEN,
    )
    assert text_of(await made.ask()) == "42"
    assert not judge.requests


async def test_a_judge_that_contradicts_itself_leaves_it_to_the_vote() -> None:
    judge = Picky("j", says='{"best": "tie"}')
    made = Made([member("a", "42"), member("b", "41"), judge], members=("a", "b"), judge="j", abilities=EVEN)
    events = await made.ask()
    assert text_of(events) == "42"
    assert last_verdict(events).degraded is None


async def test_nobody_judges_an_answer_of_its_own_unasked() -> None:
    """Two members, two answers, no judge named: the vote stands."""
    made = Made([Picky("a", writes="42"), Picky("b", writes="41")], abilities=EVEN)
    assert last_verdict(await made.ask()).rulings == ()
    third = Picky("c", likes="41", writes="43")
    made = Made(
        [member("a", "42"), member("b", "41"), third],
        abilities={"a": 0.8, "b": 0.8, "c": 0.8},
    )
    assert last_verdict(await made.ask()).judge == "c"


@pytest.mark.parametrize(("otherwise", "text"), [("vote", "42"), ("best", "42")])
async def test_without_a_verdict_the_vote_or_the_best_member_decides(otherwise: str, text: str) -> None:
    judge = Picky("j", says="I will not say.")
    made = Made([member("a", "42"), member("b", "41"), judge], members=("a", "b"), judge="j", abilities=EVEN)
    events = await made.ask(on_judge_failure=otherwise)
    verdict = last_verdict(events)
    assert text_of(events) == text
    assert "j" in (verdict.degraded or "")
    assert all(ruling.failed for ruling in verdict.rulings)


async def test_a_fusion_may_rather_fail_than_do_without_its_judge() -> None:
    judge = Picky("j", says="I will not say.")
    made = Made([member("a", "42"), member("b", "41"), judge], members=("a", "b"), judge="j", abilities=EVEN)
    with pytest.raises(UpstreamBroken, match="the judge `j` gave no verdict"):
        await made.ask(on_judge_failure="error")
    assert made.verdict.rulings, "the record is kept all the same"


async def test_best_of_asks_the_judge_about_all_that_differ() -> None:
    judge = Picky("j", likes="violets")
    made = Made(
        [member("a", ESSAY), member("b", POEM), member("c", "42"), member("d", "The answer is 42."), judge],
        members=("a", "b", "c", "d"),
        judge="j",
        abilities=EVEN,
        mode="best-of",
    )
    events = await made.ask()
    verdict = last_verdict(events)
    assert text_of(events) == POEM
    assert sorted(verdict.rulings[0].order) == [0, 1, 2], "of equal answers one is shown"
    assert (verdict.path, verdict.chosen) == ("best-of", 1)


async def test_best_of_equal_answers_needs_no_judge() -> None:
    judge = Picky("j")
    made = Made([member("a"), member("b"), judge], members=("a", "b"), judge="j", mode="best-of")
    assert last_verdict(await made.ask()).because == "all give the same answer"
    assert not judge.requests


async def test_best_of_without_anybody_else_is_judged_by_the_best_member() -> None:
    """As docs/fusion.md says: this mode has to have a judge."""
    best = Picky("a", likes="41", writes="42")
    made = Made([best, member("b", "41")], abilities={"a": 0.9, "b": 0.5}, mode="best-of")
    verdict = last_verdict(await made.ask())
    assert (verdict.judge, verdict.chosen) == ("a", 1)


async def test_what_a_judge_may_cost_is_within_the_limit_too() -> None:
    judge = Picky("j", likes="41", usd=1000.0)
    made = Made([member("a", "42"), member("b", "41"), judge], members=("a", "b"), judge="j", abilities=EVEN)
    events = await made.ask(max_usd=0.02)
    assert text_of(events) == "42"
    assert "max_usd" in (last_verdict(events).degraded or "")
    assert not judge.requests


# Merges.


async def test_open_answers_are_analysed_and_a_new_one_is_written() -> None:
    judge = Picky("j", writes="Both, in one.")
    made = Made([member("a", POEM), member("b", ESSAY), judge], members=("a", "b"), judge="j", abilities=EVEN)
    events = await made.ask()
    verdict = last_verdict(events)
    assert text_of(events) == "Both, in one."
    assert (verdict.path, verdict.chosen, verdict.judge) == ("merge", None, "j")
    assert verdict.analysis is not None
    assert verdict.analysis.blind_spots == tuple(ANALYSIS["blind_spots"])
    assert Started("j") in events
    analysed, written = judge.requests
    assert b"Roses are red" in bytes(analysed.messages)
    assert b"its price" in bytes(written.messages)
    assert b"How many legs" in bytes(written.messages), "the caller's own words"
    (usage,) = [event for event in events if isinstance(event, Usage)]
    assert usage.input_tokens == sum(it.input_tokens for it in verdict.members) + 200


async def test_an_analysis_that_hangs_leaves_time_to_write() -> None:
    writer = member(
        "j",
        {"when": "Reply with the JSON", "text": "{}", "delay_s": 3600},
        {"turn": True, "text": "Both, in one."},
    )
    made = Made([member("a", POEM), member("b", ESSAY), writer], members=("a", "b"), judge="j", mode="merge")
    events = await made.ask(request_of(constraints=Constraints(max_total_ms=400)))
    assert text_of(events) == "Both, in one."
    assert "no analysis" in (last_verdict(events).degraded or "")


async def test_without_an_analysis_it_is_written_all_the_same() -> None:
    judge = Picky("j", says="no JSON", writes="Both, in one.")
    made = Made([member("a", POEM), member("b", ESSAY), judge], members=("a", "b"), judge="j", mode="merge")
    events = await made.ask()
    assert text_of(events) == "Both, in one."
    assert "no analysis" in (last_verdict(events).degraded or "")


async def test_a_writer_whose_window_is_too_small_leaves_a_members_answer() -> None:
    writer = Picky("j", writes="Both, in one.", window=900)
    models = [member("a", f"{ESSAY}\n" * 100), member("b", ESSAY * 100), writer]
    made = Made(models, members=("a", "b"), judge="j", mode="merge")
    verdict = last_verdict(await made.ask())
    assert verdict.path == "best member"
    assert "window" in (verdict.degraded or "")


async def test_what_writing_would_cost_is_within_the_limit_too() -> None:
    writer = Picky("j", usd=1e5)
    made = Made([member("a", POEM), member("b", ESSAY), writer], members=("a", "b"), judge="j", mode="merge")
    verdict = last_verdict(await made.ask(max_usd=0.1))
    assert (verdict.path, writer.requests) == ("best member", [])


async def test_a_writer_that_fails_before_its_first_words_leaves_a_members_answer() -> None:
    broken = member("j", {"fail": "upstream_broken"})
    made = Made(
        [member("a", POEM), member("b", ESSAY), broken],
        members=("a", "b"),
        judge="j",
        mode="merge",
        abilities={"a": 0.5, "b": 0.9},
    )
    events = await made.ask()
    verdict = last_verdict(events)
    assert text_of(events) == ESSAY
    assert (verdict.path, verdict.chosen) == ("best member", 1)
    assert "the writer j failed" in (verdict.degraded or "")


async def test_a_writer_that_fails_after_them_ends_the_answer_with_its_error() -> None:
    writer = member(
        "j",
        {"when": "Reply with the JSON", "text": msgspec.json.encode(ANALYSIS).decode()},
        {"turn": True, "text": "Both, "},
        {"fail": "upstream_broken"},
    )
    made = Made([member("a", POEM), member("b", ESSAY), writer], members=("a", "b"), judge="j", mode="merge")
    with pytest.raises(UpstreamBroken):
        await made.ask()
    assert made.verdict.path == "merge"


async def test_who_has_not_answered_is_not_asked_to_write() -> None:
    """Neither a best member that hangs nor one that refuses: the best of those that have answered writes."""
    for steps in (({"delay_s": 3600}, "late"), ({"fail": "upstream_refused"},)):
        best = member("best", *steps)
        b = Picky("b", writes=ESSAY)
        models = [best, member("a", POEM), b]
        made = Made(models, abilities={"best": 0.95, "a": 0.5, "b": 0.6}, deadline_ms=200)
        events = await made.ask(on_judge_failure="error")
        verdict = last_verdict(events)
        assert text_of(events) == ESSAY
        assert (verdict.path, verdict.judge, verdict.degraded) == ("merge", "b", None)
        assert len(best.requests) == 1
        assert len(b.requests) == 3, "it answered, compared, and wrote"


@pytest.mark.parametrize("otherwise", ["vote", "best", "error"])
async def test_a_judge_that_is_named_and_hangs_takes_no_longer_than_all_may(otherwise: str) -> None:
    """Half of the time for the comparison, what is left for the writing; then it is done without."""
    hangs = member("j", {"delay_s": 3600}, "late")
    made = Made([member("a", POEM), member("b", ESSAY), hangs], members=("a", "b"), judge="j", mode="merge")
    request = request_of(constraints=Constraints(max_total_ms=400))
    if otherwise == "error":
        with pytest.raises(UpstreamBroken, match="the writer `j` wrote nothing"):
            await made.ask(request, on_judge_failure=otherwise)
    else:
        assert text_of(await made.ask(request, on_judge_failure=otherwise)) == POEM
    within_s = [asked.within_s or 0 for asked in hangs.requests]
    assert len(within_s) == 2
    assert sum(within_s) < 0.4
    assert "the writer j failed" in (made.verdict.degraded or "") or otherwise == "error"


async def test_a_writer_that_only_thinks_leaves_a_members_answer() -> None:
    for end in ({"finish": "length"}, {"fail": "upstream_broken"}):
        writer = member("j", {"thought": "Let me think."}, end)
        models = [member("a", POEM), member("b", ESSAY), writer]
        made = Made(models, members=("a", "b"), judge="j", mode="merge", abilities={"a": 0.5, "b": 0.9})
        events = await made.ask()
        verdict = last_verdict(events)
        assert text_of(events) == ESSAY
        assert (verdict.path, verdict.chosen) == ("best member", 1)
        assert "the writer j failed" in (verdict.degraded or "")


# Debates.


async def test_in_a_debate_each_sees_what_differs_and_the_vote_ends_it() -> None:
    """`a` gives in; `c` agrees with `b` from the start, and is asked again because `a` does not."""
    a = member("a", {"turn": True, "text": "41"}, {"turn": True, "text": "You are right. The answer is 42."})
    b = member("b", {"turn": True, "text": "42"}, {"turn": True, "text": "I stay with it. The answer is 42."})
    c = member("c", {"turn": True, "text": "40"}, {"turn": True, "text": "The answer is 40."})
    made = Made([a, b, c], mode="debate", abilities=EVEN)
    events = await made.ask()
    verdict = last_verdict(events)
    assert (verdict.path, verdict.clusters[0].answer, verdict.clusters[0].members) == ("debate", "42", (0, 1))
    assert b"<<<" in bytes(a.requests[1].messages)
    assert len(a.requests) == 2
    assert verdict.members[0].input_tokens > 0
    told = [(event.draft.model, event.round) for event in events if isinstance(event, Drafted)]
    assert sorted(told) == [(name, round_) for name in "abc" for round_ in (1, 2)]


async def test_there_is_no_debate_where_all_agree() -> None:
    a, b = member("a"), member("b")
    verdict = last_verdict(await Made([a, b], mode="debate").ask())
    assert (verdict.path, len(a.requests)) == ("debate", 1)


async def test_who_fails_in_the_second_round_keeps_the_answer_of_the_first() -> None:
    a = member("a", {"turn": True, "text": "41"}, {"turn": True, "fail": "upstream_broken"})
    b = member("b", {"turn": True, "text": "42"}, {"turn": True, "text": "The answer is 42."})
    c = member("c", {"turn": True, "text": "42"}, {"turn": True, "text": "The answer is 42."})
    events = await Made([a, b, c], mode="debate", abilities=EVEN).ask()
    verdict = last_verdict(events)
    assert [event.round for event in events if isinstance(event, Drafted) and event.draft.failed] == [2]
    assert [it.answer for it in verdict.clusters] == ["42", "41"]
    assert verdict.members[0].status == "answered"


# Tools.


async def test_one_call_comes_of_equal_ones() -> None:
    made = Made(
        [member("a", call("Rome")), member("b", call("Paris")), member("c", call("Rome"))], abilities=EVEN
    )
    events = await made.ask(request_of("Weather?", tools=WEATHER))
    calls = [event for event in events if isinstance(event, ToolCall)]
    assert len(calls) == 1
    assert "Rome" in calls[0].arguments
    assert events[-1] == Finished("tool_calls")
    assert last_verdict(events).clusters[0].members == (0, 2)


async def test_members_that_talk_outvote_one_that_calls_and_are_then_fused() -> None:
    made = Made(
        [member("a", call("Rome")), member("b", "42"), member("c", "It is 42.")], abilities=EVEN, mode="vote"
    )
    events = await made.ask(request_of("Weather?", tools=WEATHER))
    assert not [event for event in events if isinstance(event, ToolCall)]
    assert text_of(events) == "42"


async def test_a_member_without_tools_takes_part_in_words() -> None:
    told = '{"tool": "get_weather", "arguments": {"city": "Rome"}}'
    made = Made(
        [
            member("a", call("Paris")),
            member("b", told, skills=frozenset()),
            member("c", told, skills=frozenset()),
        ],
        abilities=EVEN,
    )
    events = await made.ask(request_of("Weather?", tools=WEATHER))
    (made_call,) = [event for event in events if isinstance(event, ToolCall)]
    assert (made_call.name, msgspec.json.decode(made_call.arguments)) == ("get_weather", {"city": "Rome"})
    assert not text_of(events)


# What a request says of it.


async def test_a_request_names_its_own_members_judge_and_mode() -> None:
    models = [member("a", "42"), member("b", "41"), Picky("j", likes="41")]
    made = Made(models, members=("a",), abilities=EVEN)
    events = await made.ask(analysis_models=("a", "b"), model="j", mode="auto")
    assert text_of(events) == "41"


async def test_a_preset_is_another_fusion_by_name() -> None:
    made = Made(
        [member("a", "42"), member("b", "41")],
        members=("a",),
        presets={"other": Plan(name="other", members=("b",))},
    )
    events = await made.ask(preset="other")
    assert (text_of(events), last_verdict(events).fusion) == ("41", "fusion")


async def test_unknown_members_are_refused_before_anybody_is_asked() -> None:
    model = member("a")
    with pytest.raises(BadRequest, match="`x` cannot take part in a fusion; these can: `a`"):
        await Made([model]).ask(analysis_models=("a", "x"))
    assert not model.requests


async def test_without_keeping_answers_the_record_says_who_agreed_and_not_on_what() -> None:
    secret = "The code word is swordfish"
    made = Made([member("a", "7431"), member("b", "7431"), member("c", secret)], keeps_answers=False)
    await made.ask()
    stored = msgspec.json.encode(made.decisions)
    assert b"7431" not in stored
    assert b"swordfish" not in stored
    assert made.verdict.clusters[0].members[:2] == (0, 1)


async def test_calls_that_are_no_json_are_not_written_anew_but_given_as_they_are() -> None:
    """The best member's: a caller that waits for a call gets one, and can refuse it in the usual way."""
    broken = [{"tool_call": {"name": "get_weather", "arguments": said}} for said in ('{"city": ', "Rome")]
    for mode in ("auto", "merge", "best-of", "debate", "vote"):
        writer = Picky("j", writes="It is sunny.")
        models = [member("a", broken[0]), member("b", broken[1]), writer]
        made = Made(models, members=("a", "b"), judge="j", abilities={"a": 0.5, "b": 0.9}, mode=mode)
        events = await made.ask(request_of("Weather?", tools=WEATHER))
        (made_call,) = [event for event in events if isinstance(event, ToolCall)]
        assert (made_call.name, made_call.arguments) == ("get_weather", "Rome")
        assert events[-1] == Finished("tool_calls")
        verdict = last_verdict(events)
        assert (verdict.path, verdict.chosen, writer.requests) == ("best member", 1, [])
        assert "JSON" in verdict.because


async def test_members_that_talk_speak_for_all_where_no_call_can_be_compared() -> None:
    broken = {"tool_call": {"name": "get_weather", "arguments": "Rome"}}
    made = Made([member("a", broken), member("b", "42"), member("c", "41")], abilities=EVEN, mode="vote")
    events = await made.ask(request_of("Weather?", tools=WEATHER))
    assert not [event for event in events if isinstance(event, ToolCall)]
    assert text_of(events) == "42"
