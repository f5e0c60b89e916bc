"""Responses upstreams against a server that answers well and badly."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from faults.fault_server import (
    CACHED_TOKENS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    TEXT,
    WORDS,
    FaultServer,
    responses_frames,
    responses_reply,
)
from junctor.chat import (
    ChatRequest,
    Event,
    Finished,
    JunctorError,
    ModelCard,
    Raw,
    Started,
    Text,
    UnsupportedByModel,
    UpstreamBroken,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnauthorised,
    Usage,
    WindowExceeded,
    collect,
)
from junctor.pool.responses_upstream import OpenAIResponsesUpstream
from junctor.pool.transport import Timeouts, Transport
from junctor.pool.upstream import OpenAIUpstream
from junctor.wire.responses_request import RELAY, parse_request
from junctor.wire.sse import EventParser

pytestmark = pytest.mark.anyio

KEY = "sk-do-not-show"
SHORT = Timeouts(first_token_s=0.3, idle_s=0.3, total_s=1.0)
USAGE = Usage(INPUT_TOKENS, OUTPUT_TOKENS, CACHED_TOKENS)


def ask(**fields: Any) -> ChatRequest:
    return ChatRequest(model="m", messages=msgspec.Raw(b'[{"role":"user","content":"Hi"}]'), **fields)


def own(**fields: Any) -> ChatRequest:
    """A request of a caller of the same API."""
    body = json.dumps({"model": "m", "input": "Hi", **fields}).encode()
    return parse_request(body, {}, request_id="req_1", caller="").request


class Asker:
    def __init__(self, faults: FaultServer, transport: Transport) -> None:
        self._faults = faults
        self._transport = transport

    def upstream(self, fault: str = "ok", timeouts: Timeouts = SHORT) -> OpenAIResponsesUpstream:
        return OpenAIResponsesUpstream(
            ModelCard(name="m", upstream="upstream-model", dialect=RELAY),
            base_url=self._faults.base_url(fault),
            key=KEY,
            transport=self._transport,
            timeouts=timeouts,
        )

    async def events(self, request: ChatRequest, fault: str = "ok") -> list[Event]:
        return [event async for event in self.upstream(fault).answer(request)]

    async def failure(self, request: ChatRequest, fault: str) -> tuple[list[Event], JunctorError]:
        said: list[Event] = []
        with pytest.raises(JunctorError) as caught:
            async for event in self.upstream(fault).answer(request):
                said.append(event)
        assert KEY not in repr(caught.value)
        return said, caught.value


@pytest.fixture
def asker(faults: FaultServer, transport: Transport) -> Asker:
    return Asker(faults, transport)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_good_answer_decoded(asker: Asker, faults: FaultServer, stream: bool) -> None:
    events = await asker.events(ask(stream=stream))
    texts = [event.text for event in events if isinstance(event, Text)]
    assert texts == (list(WORDS) if stream else [TEXT])
    assert events[-2:] == [USAGE, Finished("stop")]
    seen = faults.seen[-1]
    assert seen.path == "/v1/responses"
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert (seen.json["model"], seen.json["store"]) == ("upstream-model", False)


async def test_the_same_api_is_relayed_frame_by_frame(asker: Asker, faults: FaultServer) -> None:
    events = await asker.events(own(stream=True, tools=[{"type": "web_search"}]))
    frames = [one.data for frame in responses_frames() for one in EventParser().feed(frame)]
    assert [event.frame for event in events if isinstance(event, Raw)] == frames
    assert events[0] == Started("m")
    assert events[-2:] == [USAGE, Finished("stop")]
    assert faults.seen[-1].json == {
        "model": "upstream-model",
        "input": "Hi",
        "stream": True,
        "tools": [{"type": "web_search"}],
    }


async def test_a_whole_reply_is_relayed_byte_for_byte(asker: Asker) -> None:
    assert await asker.events(own()) == [Started("m"), Raw(responses_reply()), USAGE, Finished("stop")]


async def test_another_api_names_what_it_loses_or_refuses_what_it_lacks(
    faults: FaultServer, transport: Transport
) -> None:
    chat = OpenAIUpstream(
        ModelCard(name="m"), base_url=faults.base_url(), key=None, transport=transport, timeouts=SHORT
    )
    traces = [
        {"type": "web_search_call", "id": "ws", "status": "completed"},
        {"role": "user", "content": "Hi"},
    ]
    async for event in chat.answer(own(input=traces, truncation="auto")):
        assert event == Started("m", ("input[0] (web_search_call)", "truncation"))
        break
    with pytest.raises(UnsupportedByModel, match=r"tools\[0\] \(web_search\)"):
        async for _ in chat.answer(own(tools=[{"type": "web_search"}])):
            pass


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("400", UpstreamRefused),
        ("401", UpstreamUnauthorised),
        ("404", UpstreamRefused),
        ("429", UpstreamRateLimited),
        ("500", UpstreamBroken),
        ("too-long", WindowExceeded),
        ("hang", UpstreamTimeout),
        ("reset", UpstreamBroken),
        ("hang-after-headers", UpstreamTimeout),
        ("error-first", UpstreamBroken),
        ("garbage", UpstreamBroken),
        ("endless-event", UpstreamBroken),
    ],
)
@pytest.mark.parametrize("relay", [True, False])
async def test_a_failure_before_the_text(
    asker: Asker, fault: str, kind: type[JunctorError], relay: bool
) -> None:
    said, error = await asker.failure(own(stream=True) if relay else ask(stream=True), fault)
    assert not [event for event in said if isinstance(event, Text) or getattr(event, "has_text", False)]
    assert type(error) is kind


@pytest.mark.parametrize("relay", [True, False])
@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("hang-mid-stream", UpstreamTimeout, "idle_s"),
        ("reset-mid-stream", UpstreamBroken, "middle of its answer"),
        ("truncated", UpstreamBroken, "middle of the answer"),
        ("error-mid-stream", UpstreamBroken, "the engine overheated"),
    ],
)
async def test_a_failure_in_mid_stream(
    asker: Asker, fault: str, kind: type[JunctorError], words: str, relay: bool
) -> None:
    said, error = await asker.failure(own(stream=True) if relay else ask(stream=True), fault)
    assert [event for event in said if isinstance(event, Raw if relay else Text)]
    assert not [event for event in said if isinstance(event, Finished)]
    assert type(error) is kind
    assert words in error.message


@pytest.mark.parametrize(
    "fault", ["double-done", "trickle", "until-close", "does-not-stream", "hang-after-done"]
)
async def test_odd_but_whole_streams_are_answers(asker: Asker, fault: str) -> None:
    answer = await collect(asker.upstream(fault, Timeouts()).answer(ask(stream=True)))
    assert (answer.text, answer.reason, answer.usage) == (TEXT, "stop", USAGE)
