"""What writers and debaters are asked: the caller's messages untouched, and one question after them."""

from __future__ import annotations

import re

import msgspec
import pytest

from hostile_answers import read_case
from junctor.chat import Analysis, ChatRequest, Contradiction, Coverage, Insight, Stance
from junctor.fusion.writing import render_debate, render_writing

IMAGE = b'{"role" : "user","content":[{"type":"image_url", "image_url":{"url":"data:,AAAA"}}] ,"x":1}'
SYSTEM = b'{"role":"system","content":"In \\u0046rench."}'


def asked(*messages: bytes) -> ChatRequest:
    return ChatRequest(model="fusion", messages=msgspec.Raw(b"[ " + b" , ".join(messages) + b" ]"))


def added(request: ChatRequest, messages: msgspec.Raw) -> list[dict[str, str]]:
    """The messages after the caller's, which are as they were."""
    before = msgspec.json.decode(request.messages, type=list[msgspec.Raw])
    after = msgspec.json.decode(messages, type=list[msgspec.Raw])
    assert [bytes(it) for it in after[: len(before)]] == [bytes(it) for it in before]
    return [msgspec.json.decode(it) for it in after[len(before) :]]


def test_the_writer_sees_the_callers_messages_byte_for_byte_and_the_drafts_after_them() -> None:
    request = asked(SYSTEM, IMAGE)
    assistant, user = added(request, render_writing(request, [("north", "vier"), ("south", "4")], None))
    assert (assistant["role"], user["role"]) == ("assistant", "user")
    parts, outside = read_case(user["content"])
    assert parts == [("DRAFT A", "vier"), ("DRAFT B", "4")]
    assert "north" not in user["content"]
    assert "{" not in "".join(outside)
    assert outside[-1]


@pytest.mark.parametrize("role", ["user", "assistant", "tool", "system"])
def test_the_two_sides_take_turns(role: str) -> None:
    """Chat templates of some open models refuse anything else."""
    request = asked(b'{"role":"%s","content":"x"}' % role.encode())
    roles = [role, *(it["role"] for it in added(request, render_writing(request, [("m", "4")], None)))]
    assert not re.search("user user|assistant assistant", " ".join(roles))
    assert roles[-1] == "user"


def test_the_writer_reads_the_analysis_with_letters() -> None:
    analysis = Analysis(
        consensus=("It is even.",),
        contradictions=(Contradiction("sum", (Stance("north", "5"), Stance("south", "4"))),),
        partial_coverage=(Coverage(("south", "south"), "carrying"),),
        unique_insights=(Insight("twin", "zero"),),
        blind_spots=("units",),
    )
    request = asked(IMAGE)
    drafts = [("north", "5"), ("twin", "4"), ("south", "4"), ("twin", "four")]
    parts, _ = read_case(added(request, render_writing(request, drafts, analysis))[-1]["content"])
    assert parts[-1].name == "COMPARISON"
    assert parts[-1].text.splitlines() == [
        "Agreed: It is even.",
        "Contradiction: sum (A holds: 5; C holds: 4)",
        "Only in C: carrying",
        "Seen by B or D alone: zero",
        "Missing from all: units",
    ]


def test_drafts_are_cut_to_what_the_writer_can_read() -> None:
    request = asked(IMAGE)
    user = added(request, render_writing(request, [("m", "x" * 9000), ("n", "4")], None, most_chars=500))[-1]
    assert "8500 characters left out" in user["content"]
    assert len(user["content"]) < 4000


def test_a_debater_sees_its_own_answer_as_its_own_and_the_others_in_fences() -> None:
    request = asked(SYSTEM, IMAGE)
    own, user = added(request, render_debate(request, "It is 4.", ["It is 5.", "Six: {parts} {mark}"]))
    assert own == {"role": "assistant", "content": "It is 4."}
    parts, outside = read_case(user["content"])
    assert parts == [("ANSWER A", "It is 5."), ("ANSWER B", "Six: {parts} {mark}")]
    assert any("Keep your answer unless" in line for line in outside)


def test_a_debater_without_words_of_its_own_has_said_something() -> None:
    """Some upstreams refuse an empty message."""
    request = asked(IMAGE)
    assert added(request, render_debate(request, " ", ["5"]))[0]["content"] == "(no text)"
    assert added(request, render_debate(request, "4 \ud800", ["5"]))[0]["content"] == "4 ?"


def test_every_question_has_a_mark_of_its_own() -> None:
    request = asked(IMAGE)
    shown = {bytes(render_writing(request, [("m", "4")], None)) for _ in range(20)}
    assert len(shown) == 20
