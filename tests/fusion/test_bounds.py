"""What a fusion may not do: go beyond the caller's limits, keep what is not to be kept, end in silence."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from panels import Made, Picky, last_verdict, member, request_of

from junctor.chat import Constraints, Drafted, Event, Judging, Started, Text

pytestmark = pytest.mark.anyio

EVEN = dict.fromkeys("abcj", 0.8)
POEM = "Roses are red, violets are blue, and this goes on for a while without an answer to compare."
ESSAY = "There is much to be said for it, and much against it, and in the end it depends on your needs."
WEATHER = msgspec.Raw(b'[{"type":"function","function":{"name":"get_weather"}}]')


def text_of(events: Iterable[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


async def test_an_answer_of_the_second_round_that_was_cut_short_leaves_that_of_the_first() -> None:
    cut = {"turn": True, "text": "Let me look at that agai", "finish": "length"}
    a = member("a", {"turn": True, "text": "The answer is 42."}, cut)
    b = member("b", {"turn": True, "text": "42"}, {"turn": True, "text": "42"})
    c = member("c", {"turn": True, "text": "41"}, {"turn": True, "text": "41"})
    made = Made([a, b, c], mode="debate", abilities={"a": 0.9, "b": 0.6, "c": 0.6})
    events = await made.ask()
    first = last_verdict(events).members[0]
    assert (text_of(events), first.answer, first.status) == ("The answer is 42.", "42", "answered")


@pytest.mark.parametrize("limits", [Constraints(never=("j",)), Constraints(only=("a", "b", "c"))])
@pytest.mark.parametrize("answers", [("42", "41", "40"), (POEM, ESSAY, POEM)])
async def test_the_callers_limits_hold_for_who_judges_and_writes(
    limits: Constraints, answers: tuple[str, ...]
) -> None:
    judge = Picky("j", likes="41")
    members = [member(name, text) for name, text in zip("abc", answers, strict=True)]
    made = Made([*members, judge], members=("a", "b", "c"), judge="j", abilities=EVEN)
    await made.ask(request_of(constraints=limits))
    assert not judge.requests


@pytest.mark.parametrize("mode", ["best-of", "merge"])
async def test_a_judge_that_chooses_others_keeps_to_the_callers_limits(mode: str) -> None:
    judge = Picky("j", likes="41")
    made = Made([member("a", "42"), member("b", "41"), judge], members=("a", "b"), judge="j", mode=mode)
    await made.ask(request_of(constraints=Constraints(never=("x",), mode="cost", max_usd=9.0)))
    assert len(judge.requests) == 2
    bare = [msgspec.structs.replace(request.constraints, max_usd=None) for request in judge.requests]
    assert bare == [Constraints(never=("x",))] * 2
    assert sum(request.constraints.max_usd or 9.0 for request in judge.requests) <= 9.0


async def test_what_a_judge_may_cost_is_within_the_callers_limit_too() -> None:
    judge = Picky("j", likes="41", usd=1000.0)
    made = Made([member("a", "42"), member("b", "41"), judge], members=("a", "b"), judge="j", abilities=EVEN)
    await made.ask(request_of(constraints=Constraints(max_usd=0.02)))
    assert not judge.requests


async def test_a_second_round_is_within_the_limit_too() -> None:
    models = [member("a", "42", usd=10.0), member("b", "41", usd=10.0)]
    made = Made(models, mode="debate", abilities=EVEN)
    verdict = last_verdict(await made.ask(max_usd=0.0105))
    assert [len(model.requests) for model in models] == [1, 1]
    assert "max_usd" in (verdict.degraded or "")
    assert verdict.usd <= 0.0105


async def test_a_writer_that_says_nothing_leaves_a_members_answer() -> None:
    writer = Picky("j", writes="")
    made = Made(
        [member("a", POEM), member("b", ESSAY), writer],
        members=("a", "b"),
        judge="j",
        mode="merge",
        abilities={"a": 0.5, "b": 0.9},
    )
    events = await made.ask()
    assert text_of(events) == ESSAY
    assert [event.model for event in events if isinstance(event, Started)] == ["b"]
    assert "said nothing" in (last_verdict(events).degraded or "")


async def test_without_keeping_answers_no_analysis_of_them_is_kept() -> None:
    judge = Picky("j", writes="Both, in one.")
    made = Made(
        [member("a", POEM), member("b", ESSAY), judge], members=("a", "b"), judge="j", keeps_answers=False
    )
    await made.ask()
    assert b"its price" in bytes(judge.requests[1].messages), "the writer has it"
    assert b"its price" not in msgspec.json.encode(made.decisions)


async def test_how_a_fusion_within_gets_on_is_not_told_as_how_this_one_does() -> None:
    inner = Made(
        [member("a", "42"), member("b", "41"), Picky("j", likes="42")], members=("a", "b"), judge="j"
    )
    outer = Made([inner.fusion, member("c", "42")], mode="vote")
    events = await outer.ask()
    assert [event.draft.model for event in events if isinstance(event, Drafted)] == ["c", "fusion"]
    assert not [event for event in events if isinstance(event, Judging)]


async def test_who_writes_is_asked_for_one_answer_and_for_no_calls() -> None:
    """Some upstreams refuse what belongs to tools where there are none."""
    said = dict.fromkeys(("n", "logprobs", "parallel_tool_calls", "functions", "seed"), msgspec.Raw(b"true"))
    writer = Picky("j")
    made = Made([member("a", POEM), member("b", ESSAY), writer], members=("a", "b"), judge="j", mode="merge")
    await made.ask(request_of(tools=WEATHER, passthrough=said))
    assert writer.requests[-1].passthrough.keys() == {"seed"}


async def test_a_fusion_within_that_the_callers_limits_name_is_asked_with_its_members() -> None:
    """As is a router: a key that narrows a fusion to some members names them, and not whom these ask."""
    inner = Made([member("a", "42"), member("b", "42")], name="inner")
    outer = Made([inner.fusion, member("c", "41")], name="outer")
    verdict = last_verdict(await outer.ask(request_of(constraints=Constraints(only=("inner",)))))
    assert [it.status for it in verdict.members] == ["answered", "left_out"]


@pytest.mark.parametrize(
    ("mode", "answers", "path"),
    [
        ("merge", ("42", "42"), "vote"),
        ("merge", (POEM, ESSAY), "best member"),
        ("best-of", ("42", "41"), "vote"),
        ("best-of", (POEM, ESSAY), "best member"),
    ],
)
async def test_without_judge_or_writer_the_record_says_what_decided(
    mode: str, answers: tuple[str, str], path: str
) -> None:
    members = [member(name, text) for name, text in zip("ab", answers, strict=True)]
    made = Made(
        [*members, member("j", {"fail": "upstream_broken"})], members=("a", "b"), judge="j", mode=mode
    )
    assert last_verdict(await made.ask()).path == path
