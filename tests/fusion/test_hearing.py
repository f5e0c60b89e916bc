"""One round: who is heard, who is waited for, and when it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import msgspec
import pytest
from panels import Made, last_verdict, member, request_of

from junctor.chat import (
    Answer,
    ChatRequest,
    Drafted,
    Event,
    Finished,
    ModelCard,
    Settled,
    Started,
    Text,
    Thought,
    UpstreamBroken,
    UpstreamError,
)
from junctor.fusion.hearing import Speaking, vote_of

pytestmark = pytest.mark.anyio

THREE = {"a": 0.8, "b": 0.8, "c": 0.8}


class Hung:
    """A model that never answers; it knows whether it was called off, and how fast."""

    def __init__(self, name: str) -> None:
        self.card = ModelCard(name=name)
        self.called_off_at = 0.0

    async def answer(self, _: ChatRequest) -> AsyncGenerator[Event, None]:
        try:
            await asyncio.sleep(3600)
            yield Text("never")
        finally:
            self.called_off_at = time.monotonic()


async def test_the_round_ends_once_the_others_cannot_change_the_outcome() -> None:
    """And whoever is still at work is called off within 100 ms."""
    hung = Hung("c")
    made = Made([member("a", "42"), member("b", "42"), hung], abilities=THREE)
    events = await made.ask()
    assert Settled("a", awaited=2, asked=3) in events
    verdict = last_verdict(events)
    assert [it.status for it in verdict.members] == ["answered", "answered", "spared"]
    assert (verdict.awaited, verdict.saved_answers, verdict.path) == (2, 1, "vote")
    assert 0 < time.monotonic() - hung.called_off_at < 5


async def test_each_member_is_told_of_as_it_is_done() -> None:
    made = Made([member("a", {"text": "41", "delay_s": 0.05}), member("b", "42")], mode="merge", judge="b")
    drafts = [event.draft for event in await made.ask() if isinstance(event, Drafted)]
    assert [(draft.model, draft.answer) for draft in drafts] == [("b", "42"), ("a", "41")]


async def test_a_failed_member_is_listed_with_its_reason_and_the_others_decide() -> None:
    broken = member("b", {"fail": "upstream_broken"})
    verdict = last_verdict(await Made([member("a", "42"), broken, member("c", "42")], abilities=THREE).ask())
    (failed,) = [it for it in verdict.members if it.status == "failed"]
    assert failed.model == "b"
    assert failed.reason
    assert verdict.clusters[0].members == (0, 2)


async def test_one_survivor_is_given_as_it_is() -> None:
    made = Made([member("a", {"fail": "upstream_broken"}), member("b", "A poem, quite a long one.")])
    events = await made.ask()
    assert last_verdict(events).path == "one answer"
    assert [event.text for event in events if isinstance(event, Text)] == ["A poem, quite a long one."]


async def test_when_all_fail_the_error_names_them_and_the_record_is_kept() -> None:
    made = Made([member("a", {"fail": "upstream_broken"}), member("b", {"fail": "upstream_unreachable"})])
    with pytest.raises(UpstreamError, match="all 2 models failed"):
        await made.ask()
    assert [it.status for it in made.verdict.members] == ["failed", "failed"]


async def test_a_hung_member_delays_nobody_past_the_deadline() -> None:
    made = Made([member("a", "41"), member("b", "42"), Hung("c")], abilities=THREE, deadline_ms=80)
    began = time.monotonic()
    verdict = last_verdict(await made.ask())
    assert time.monotonic() - began < 20, "it would have hung for an hour"
    cut = verdict.members[2]
    assert (cut.status, verdict.path) == ("cut", "vote")
    assert cut.input_tokens > 0, "it has most likely read the prompt"


async def test_a_quorum_gives_the_others_a_grace_and_no_more() -> None:
    made = Made(
        [member("a", "41"), member("b", {"text": "43", "delay_s": 0.02}), Hung("c")],
        abilities=THREE,
        quorum=1,
        grace_ms=300,
    )
    verdict = last_verdict(await made.ask())
    assert [it.status for it in verdict.members] == ["answered", "answered", "cut"]


async def test_an_empty_answer_is_a_failure_and_counts_for_no_quorum() -> None:
    made = Made([member("a", " \n"), member("b", {"text": "42", "delay_s": 0.05})], quorum=1, grace_ms=0)
    verdict = last_verdict(await made.ask())
    assert [it.status for it in verdict.members] == ["failed", "answered"]
    assert "said nothing" in (verdict.members[0].reason or "")


async def test_a_member_that_only_thinks_has_said_nothing() -> None:
    class Thinker:
        card = ModelCard(name="t")

        async def answer(self, _: ChatRequest) -> AsyncGenerator[Event, None]:
            yield Started("t")
            yield Thought("hm")
            yield Finished("stop")

    with pytest.raises(UpstreamBroken, match="thought, and said nothing"):
        async for _ in Speaking(Thinker()).answer(request_of()):
            pass


async def test_the_same_model_may_be_asked_several_times() -> None:
    model = member(
        "a", {"turn": True, "text": "42"}, {"turn": True, "text": "41"}, {"turn": True, "text": "42"}
    )
    made = Made([model], members=("a", "a", "a"))
    verdict = last_verdict(await made.ask(request_of()))
    assert len(model.requests) == 3
    assert verdict.clusters[0].answer == "42"
    assert [it.model for it in verdict.members] == ["a", "a", "a"]


async def test_members_are_not_asked_for_a_stream_or_a_relay() -> None:
    model = member("a")
    request = msgspec.structs.replace(request_of(), stream=True, relay="openai_chat")
    await Made([model]).ask(request)
    assert (model.requests[0].stream, model.requests[0].relay) == (False, None)


def test_a_choice_is_read_by_the_question_that_offers_it() -> None:
    """Without one, `B. Paris` may be somebody's name."""
    question = "What is the capital of France? A. Rome B. Paris C. Bonn"
    spelt, bare = (Answer(model="m", text=text, reason="stop") for text in ("B. Paris", "B"))
    assert vote_of(spelt, question, has_tools=False) == vote_of(bare, question, has_tools=False)
    assert vote_of(spelt, "Who wrote it?", has_tools=False) != vote_of(bare, "", has_tools=False)
