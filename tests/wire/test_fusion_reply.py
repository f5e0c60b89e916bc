"""What replies say of a fusion, in every dialect: the block, and the progress for those who ask."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from anthropic.types import Message, RawMessageDeltaEvent
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseCompletedEvent

from junctor.chat import ChatRequest, Decision, Event, FusionOptions, UpstreamBroken, Verdict
from junctor.gateway.dialect import ANTHROPIC_MESSAGES, OPENAI_CHAT, OPENAI_RESPONSES, CallerDialect
from junctor.wire.fusion import render_verdict
from junctor.wire.responses_reply import ResponsesRenderer
from junctor.wire.responses_request import ResponsesCall
from junctor.wire.sse import EventParser
from verdicts import JUDGED, MERGED, decision_of, events_of

DIALECTS = pytest.mark.parametrize(
    "dialect", [OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES], ids=lambda dialect: dialect.path
)
BODY = {"model": "fusion", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}], "input": "Hi"}
SHOWN = json.loads(msgspec.json.encode(render_verdict(JUDGED)))
STEPS = ["member_done", "member_done", "settled", "judging"]


def render(
    dialect: CallerDialect, events: Sequence[Event], *, stream: bool, tells: bool = False
) -> list[dict[str, Any]]:
    """The reply as objects: one, or one for each event of the stream, with the event's name."""
    fusion = {"fusion": {"events": True}} if tells else {}
    body = json.dumps({**BODY, "stream": stream, **fusion}).encode()
    renderer = dialect.renderer(dialect.parse(body, {}, request_id="req_7", caller="", model=""))
    sent = b"".join(piece for event in events for piece in renderer.render(event))
    sent += renderer.end()
    if not stream:
        return [json.loads(sent)]
    found = [event.data for event in EventParser().feed(sent) if event.data != b"[DONE]"]
    return [json.loads(data) for data in found]


def block_of(dialect: CallerDialect, said: dict[str, Any]) -> Any:
    """Where the dialect has the block in the event that ends the answer."""
    return said["response"].get("fusion") if dialect is OPENAI_RESPONSES else said.get("fusion")


def last_of(dialect: CallerDialect, said: list[dict[str, Any]]) -> dict[str, Any]:
    """The event that ends the answer."""
    return said[-2] if dialect is ANTHROPIC_MESSAGES else said[-1]


@DIALECTS
def test_a_whole_reply_holds_the_verdict_as_it_came_out(dialect: CallerDialect) -> None:
    """The last `Routed` holds, not the one before the answer."""
    (reply,) = render(dialect, events_of(JUDGED, "42", before=MERGED), stream=False)
    assert reply["fusion"] == SHOWN
    assert reply["model"] == "large"
    if dialect is OPENAI_CHAT:
        ChatCompletion.model_validate(reply)
    elif dialect is OPENAI_RESPONSES:
        Response.model_validate(reply)
    else:
        Message.model_validate(reply)


@DIALECTS
def test_a_stream_holds_it_where_it_ends(dialect: CallerDialect) -> None:
    said = render(dialect, events_of(JUDGED, "4", "2", before=MERGED), stream=True)
    last = last_of(dialect, said)
    assert block_of(dialect, last) == SHOWN
    others = json.dumps([each for each in said if each is not last])
    assert "fusion" not in others.replace('"model": "fusion"', "")
    if dialect is OPENAI_CHAT:
        assert last["choices"][0]["finish_reason"] == "stop"
        assert ChatCompletionChunk.model_validate(last).model_extra == {"fusion": SHOWN}
    elif dialect is OPENAI_RESPONSES:
        assert last["type"] == "response.completed"
        ResponseCompletedEvent.model_validate(last)
    else:
        assert last["type"] == "message_delta"
        assert RawMessageDeltaEvent.model_validate(last).model_extra == {"fusion": SHOWN}


@DIALECTS
@pytest.mark.parametrize("stream", [False, True])
def test_the_usage_is_that_of_all_calls(dialect: CallerDialect, stream: bool) -> None:
    said = last_of(dialect, render(dialect, events_of(JUDGED, "42"), stream=stream) * (1 if stream else 2))
    usage = (said.get("response") or said).get("usage")
    if dialect is OPENAI_CHAT and stream:
        assert usage is None, "it was not asked for"
        return
    assert sum(value for name, value in usage.items() if name in ("prompt_tokens", "input_tokens")) == 600
    assert {usage.get("completion_tokens"), usage.get("output_tokens")} == {55, None}


@DIALECTS
def test_progress_is_told_to_those_who_ask(dialect: CallerDialect) -> None:
    said = render(dialect, events_of(JUDGED, "42"), stream=True, tells=True)
    if dialect is OPENAI_CHAT:
        steps = [chunk["fusion_event"] for chunk in said if "fusion_event" in chunk]
        assert [step["type"] for step in steps] == STEPS
        assert all(chunk["choices"] == [] for chunk in said[: len(STEPS)])
        assert [ChatCompletionChunk.model_validate(chunk).model_extra for chunk in said[:1]] == [
            {"fusion_event": steps[0]}
        ]
    else:
        steps = [each for each in said if each["type"].startswith("fusion.")]
        assert [step["type"] for step in steps] == [f"fusion.{step}" for step in STEPS]
        assert said[0]["type"] in ("response.created", "message_start"), "the SDKs want it first"
    assert (steps[0]["text"], steps[0]["model"], steps[0]["answer"]) == ("It is 41.", "small", "41")
    assert steps[1]["failed"] == "it answered 502"
    assert block_of(dialect, last_of(dialect, said)) == SHOWN


def test_responses_number_progress_with_the_other_events() -> None:
    said = render(OPENAI_RESPONSES, events_of(JUDGED, "42"), stream=True, tells=True)
    assert [each["sequence_number"] for each in said] == [*range(len(said))]


def test_events_are_named_by_their_type() -> None:
    for dialect in (OPENAI_RESPONSES, ANTHROPIC_MESSAGES):
        body = json.dumps({**BODY, "stream": True, "fusion": {"events": True}}).encode()
        renderer = dialect.renderer(dialect.parse(body, {}, request_id="req_7", caller="", model=""))
        sent = b"".join(piece for event in events_of(JUDGED, "42") for piece in renderer.render(event))
        for step in STEPS:
            assert b'event: fusion.%b\ndata: {"type":"fusion.%b"' % (step.encode(), step.encode()) in sent


@DIALECTS
@pytest.mark.parametrize(("stream", "tells"), [(True, False), (False, True)])
def test_nobody_else_hears_of_it(dialect: CallerDialect, stream: bool, tells: bool) -> None:
    said = render(dialect, events_of(JUDGED, "42"), stream=stream, tells=tells)
    assert "member_done" not in json.dumps(said)


@DIALECTS
@pytest.mark.parametrize("stream", [False, True])
def test_other_decisions_leave_no_trace(dialect: CallerDialect, stream: bool) -> None:
    """An answer of `auto` has the bytes that it had before there were fusions."""
    plain: Decision = msgspec.structs.replace(decision_of(JUDGED), fusion=None)
    events = [
        msgspec.structs.replace(event, decision=plain) if hasattr(event, "decision") else event
        for event in events_of(JUDGED, "42")
    ]
    said = json.dumps(render(dialect, events, stream=stream))
    assert '"fusion":' not in said
    assert "fusion_event" not in said


@DIALECTS
def test_an_answer_without_text_has_its_verdict_all_the_same(dialect: CallerDialect) -> None:
    last = last_of(dialect, render(dialect, events_of(MERGED), stream=True))
    assert block_of(dialect, last)["analysis"]["consensus"] == ["Both like Rome."]


def test_a_response_is_kept_with_its_verdict() -> None:
    request = ChatRequest(model="fusion", messages=msgspec.Raw(b"[]"), id="req_7", fusion=FusionOptions())
    renderer = ResponsesRenderer(ResponsesCall(request=request, fields={}, items=()))
    for event in events_of(JUDGED, "42"):
        assert not [*renderer.render(event)]
    renderer.end()
    kept = renderer.kept()
    assert kept is not None
    assert msgspec.json.decode(kept.response)["fusion"] == SHOWN


def test_a_response_that_is_cut_says_nothing_of_a_verdict() -> None:
    """It would be half of one."""
    request = ChatRequest(model="fusion", messages=msgspec.Raw(b"[]"), id="req_7", stream=True)
    renderer = ResponsesRenderer(ResponsesCall(request=request, fields={}, items=()))
    sent = b"".join(piece for event in events_of(JUDGED, "4")[:-3] for piece in renderer.render(event))
    sent += renderer.fail(UpstreamBroken("gone"))
    assert b'"members"' not in sent


@DIALECTS
def test_what_members_said_stays_json(dialect: CallerDialect) -> None:
    """Line ends, markup and ends of streams in an answer break nothing."""
    hostile = 'x"}\n\ndata: [DONE]\r\n\r\nevent: error\u2028</script>\x00'
    member = msgspec.structs.replace(JUDGED.members[0], answer=hostile)
    verdict: Verdict = msgspec.structs.replace(JUDGED, members=(member,), because=hostile)
    said = render(dialect, events_of(verdict, "42"), stream=True, tells=True)
    assert block_of(dialect, last_of(dialect, said))["members"][0]["answer"] == hostile
