"""Upstreams against a server that plays both dialects, well and badly."""

from __future__ import annotations

import asyncio
import gc
from contextlib import aclosing
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
    chat_frames,
    chat_reply,
)
from junctor.chat import (
    BadRequest,
    ChatRequest,
    Event,
    Finished,
    JunctorError,
    ModelCard,
    Raw,
    Started,
    Text,
    UpstreamBroken,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnauthorised,
    Usage,
    WindowExceeded,
    collect,
)
from junctor.pool.transport import Timeouts, Transport
from junctor.pool.upstream import AnthropicUpstream, OpenAIUpstream, Upstream, join_url
from junctor.wire.openai_reply import ChatRenderer
from junctor.wire.openai_request import Call
from junctor.wire.sse import EventParser

pytestmark = pytest.mark.anyio

KEY = "sk-do-not-show"
DIALECTS = {"openai_chat": OpenAIUpstream, "anthropic_messages": AnthropicUpstream}
SHORT = Timeouts(first_token_s=0.3, idle_s=0.3, total_s=1.0)
USAGE = Usage(INPUT_TOKENS, OUTPUT_TOKENS, CACHED_TOKENS)


def ask(**fields: Any) -> ChatRequest:
    return ChatRequest(model="m", messages=msgspec.Raw(b'[{"role":"user","content":"Hi"}]'), **fields)


class Asker:
    """Makes upstreams that fail as told."""

    def __init__(self, faults: FaultServer, transport: Transport) -> None:
        self._faults = faults
        self._transport = transport

    def upstream(
        self, fault: str = "ok", dialect: Any = "openai_chat", timeouts: Timeouts = SHORT
    ) -> Upstream:
        card = ModelCard(name="m", upstream="upstream-model", dialect=dialect)
        base_url = self._faults.base_url(fault)
        return DIALECTS[dialect](
            card, base_url=base_url, key=KEY, transport=self._transport, timeouts=timeouts
        )

    async def events(self, fault: str = "ok", dialect: Any = "openai_chat", **fields: Any) -> list[Event]:
        return [event async for event in self.upstream(fault, dialect).answer(ask(**fields))]

    async def failure(
        self, fault: str, dialect: Any = "openai_chat", **fields: Any
    ) -> tuple[list[Event], JunctorError]:
        """What was said before the error, and the error."""
        said: list[Event] = []
        with pytest.raises(JunctorError) as caught:
            async for event in self.upstream(fault, dialect).answer(ask(**fields)):
                said.append(event)
        assert KEY not in repr(caught.value)
        assert caught.value.message == str(caught.value)
        return said, caught.value


@pytest.fixture
def asker(faults: FaultServer, transport: Transport) -> Asker:
    return Asker(faults, transport)


BOTH = pytest.mark.parametrize("dialect", list(DIALECTS))


@BOTH
@pytest.mark.parametrize("stream", [True, False])
async def test_a_good_answer_decoded(asker: Asker, dialect: str, stream: bool) -> None:
    events = await asker.events("ok", dialect, stream=stream)
    assert events[0] == Started("m")
    texts = [event.text for event in events if isinstance(event, Text)]
    assert texts == (list(WORDS) if stream else [TEXT])
    assert [event for event in events if isinstance(event, Usage)][-1] == USAGE
    assert events[-1] == Finished("stop")


async def test_a_stream_is_relayed_frame_by_frame(asker: Asker) -> None:
    events = await asker.events(stream=True, relay="openai_chat")
    frames = [event.data for frame in chat_frames() for event in EventParser().feed(frame)]
    assert [event.frame for event in events if isinstance(event, Raw)] == frames[:-1]
    assert events[-2:] == [USAGE, Finished("stop")]


async def test_what_is_relayed_reaches_the_caller_without_the_chunk_he_did_not_ask_for(asker: Asker) -> None:
    request = ask(stream=True, relay="openai_chat")
    for asked, frames in ((True, chat_frames()), (False, chat_frames(usage=False))):
        renderer = ChatRenderer(Call(request, asked))
        sent = b""
        async for event in asker.upstream().answer(request):
            sent += b"".join(renderer.render(event))
        assert sent + renderer.end() == b"".join(frames)


async def test_a_whole_reply_is_relayed_byte_for_byte(asker: Asker) -> None:
    events = await asker.events(relay="openai_chat")
    assert events == [Started("m"), Raw(chat_reply()), USAGE, Finished("stop")]


@pytest.mark.parametrize("stream", [True, False])
async def test_another_dialect_is_not_relayed(asker: Asker, stream: bool) -> None:
    events = await asker.events(dialect="anthropic_messages", stream=stream, relay="openai_chat")
    assert not [event for event in events if isinstance(event, Raw)]


async def test_requests_carry_key_and_name_in_the_dialects_way(asker: Asker, faults: FaultServer) -> None:
    await asker.events()
    await asker.events(dialect="anthropic_messages")
    chat, messages = faults.seen
    assert (chat.path, messages.path) == ("/v1/chat/completions", "/v1/messages")
    assert chat.headers["authorization"] == f"Bearer {KEY}"
    assert messages.headers["x-api-key"] == KEY
    assert messages.headers["anthropic-version"] == "2023-06-01"
    assert chat.json["model"] == messages.json["model"] == "upstream-model"
    assert messages.json["max_tokens"] == 4096


async def test_without_a_key_none_is_sent(faults: FaultServer, transport: Transport) -> None:
    for kind in DIALECTS.values():
        upstream = kind(
            ModelCard(name="m"), base_url=faults.base_url(), key=None, transport=transport, timeouts=SHORT
        )
        await collect(upstream.answer(ask()))
        assert not {"authorization", "x-api-key"} & set(faults.seen[-1].headers)
        assert faults.seen[-1].json["model"] == "m"


@BOTH
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("400", UpstreamRefused),
        ("401", UpstreamUnauthorised),
        ("403", UpstreamUnauthorised),
        ("404", UpstreamRefused),
        ("408", UpstreamTimeout),
        ("429", UpstreamRateLimited),
        ("500", UpstreamBroken),
        ("529", UpstreamBroken),
        ("html-502", UpstreamBroken),
        ("redirect", UpstreamBroken),
        ("too-long", WindowExceeded),
        ("too-long-llama", WindowExceeded),
        ("hang", UpstreamTimeout),
        ("reset", UpstreamBroken),
        ("not-http", UpstreamBroken),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_failure_before_the_answer(
    asker: Asker, dialect: str, fault: str, kind: type[JunctorError], stream: bool
) -> None:
    said, error = await asker.failure(fault, dialect, stream=stream)
    assert said == []
    assert type(error) is kind
    assert "`m`" in error.message


@BOTH
@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("hang-after-headers", UpstreamTimeout, "first_token_s"),
        ("reset-after-headers", UpstreamBroken, "closed the connection"),
        ("error-first", UpstreamBroken, "no room today"),
        ("html", UpstreamBroken, "text/html"),
        ("endless-event", UpstreamBroken, "too much"),
    ],
)
async def test_a_failure_after_the_headers_but_before_the_text(
    asker: Asker, dialect: str, fault: str, kind: type[JunctorError], words: str
) -> None:
    said, error = await asker.failure(fault, dialect, stream=True)
    assert said[0] == Started("m")
    assert not [event for event in said if isinstance(event, Text)]
    assert type(error) is kind
    assert words in error.message
    assert "`m`" in error.message


@BOTH
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
    asker: Asker, dialect: Any, fault: str, kind: type[JunctorError], words: str, relay: bool
) -> None:
    said, error = await asker.failure(fault, dialect, stream=True, relay=dialect if relay else None)
    assert [event for event in said if isinstance(event, Raw if relay else Text)]
    assert not [event for event in said if isinstance(event, Finished)]
    assert type(error) is kind
    assert words in error.message
    assert "`m`" in error.message


@BOTH
@pytest.mark.parametrize("stream", [True, False])
async def test_garbage_is_broken(asker: Asker, dialect: str, stream: bool) -> None:
    _, error = await asker.failure("garbage", dialect, stream=stream)
    assert isinstance(error, UpstreamBroken)


@BOTH
@pytest.mark.parametrize(
    "fault", ["double-done", "trickle", "until-close", "does-not-stream", "hang-after-done"]
)
async def test_odd_but_whole_streams_are_answers(asker: Asker, dialect: str, fault: str) -> None:
    answer = await collect(asker.upstream(fault, dialect, Timeouts()).answer(ask(stream=True)))
    assert (answer.text, answer.reason, answer.usage) == (TEXT, "stop", USAGE)


@BOTH
async def test_a_connection_whose_reply_ends_after_the_answer_is_kept(
    asker: Asker, faults: FaultServer, dialect: str
) -> None:
    for _ in range(3):
        await asker.events("late-end", dialect, stream=True)
        await asyncio.sleep(0.2)
    assert faults.connections == 1


async def test_a_server_that_cannot_stream_is_decoded_for_a_relay(asker: Asker) -> None:
    """Its body is no frame of a stream: the caller gets chunks all the same."""
    events = await asker.events("does-not-stream", stream=True, relay="openai_chat")
    assert events == [Started("m"), Text(TEXT), USAGE, Finished("stop")]


async def test_no_usage_is_no_event(asker: Asker) -> None:
    assert not [event for event in await asker.events("no-usage", stream=True) if isinstance(event, Usage)]


async def test_an_error_whose_body_never_comes_is_told_by_its_status(
    faults: FaultServer, transport: Transport
) -> None:
    with pytest.raises(UpstreamBroken, match="status 500"):
        await collect(Asker(faults, transport).upstream("500-hang", timeouts=Timeouts()).answer(ask()))
    await asyncio.wait_for(faults.seen[0].client_closed.wait(), 10)


async def test_a_pause_that_was_asked_for_is_known(asker: Asker) -> None:
    for fault, seconds in (("429", 2.0), ("429-ms", 0.02)):
        _, error = await asker.failure(fault)
        assert isinstance(error, UpstreamRateLimited)
        assert error.retry_after_s == seconds


async def test_a_refusal_keeps_what_client_libraries_look_at(asker: Asker) -> None:
    _, error = await asker.failure("404")
    assert (error.status, error.code, error.param) == (404, "some_code", "temperature")


async def test_what_the_dialect_cannot_say_is_refused_before_anything_is_sent(
    asker: Asker, faults: FaultServer
) -> None:
    fields = {"passthrough": {"n": msgspec.Raw(b"3")}}
    with pytest.raises(BadRequest):
        await asker.events(dialect="anthropic_messages", **fields)
    assert faults.seen == []


async def test_a_whole_answer_may_take_as_long_as_all_of_it(asker: Asker) -> None:
    """Nothing of it comes before its end: the deadline for the first text cannot hold."""
    _, error = await asker.failure("hang")
    assert "total_s" in error.message


@pytest.mark.parametrize(
    ("within_s", "words"),
    [
        (None, "within 1 s (timeouts.total_s)"),
        (0.21999, "within 0.22 s (what was left of timeouts.total_s, or a shorter limit)"),
    ],
)
async def test_who_was_late_is_told_whose_limit_it_was(
    asker: Asker, within_s: float | None, words: str
) -> None:
    """A member of a fusion has its deadline, a judge its minute: no setting of timeouts is too short then."""
    _, error = await asker.failure("hang", within_s=within_s)
    assert words in error.message


@BOTH
@pytest.mark.parametrize("fault", ["hang", "hang-after-headers", "hang-mid-stream"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_cancelled_answer_closes_the_upstreams_connection(
    asker: Asker, faults: FaultServer, dialect: str, fault: str, stream: bool
) -> None:
    answer = asker.upstream(fault, dialect, Timeouts()).answer(ask(stream=stream))
    task = asyncio.create_task(collect(answer))
    seen = await faults.wait_for_request()
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(seen.client_closed.wait(), 10)


async def test_a_reader_who_stops_closes_the_upstreams_connection(asker: Asker, faults: FaultServer) -> None:
    async with aclosing(asker.upstream("trickle", timeouts=Timeouts()).answer(ask(stream=True))) as events:
        async for event in events:
            if isinstance(event, Text):
                break
    await asyncio.wait_for(faults.seen[0].client_closed.wait(), 10)


async def test_many_answers_leave_nothing_behind(
    asker: Asker, faults: FaultServer, transport: Transport
) -> None:
    for fault in ("ok", "429", "reset-mid-stream", "garbage", "ok"):
        for _ in range(20):
            try:
                await collect(asker.upstream(fault).answer(ask(stream=True)))
            except JunctorError:
                continue
    await asyncio.sleep(0.05)
    gc.collect()
    assert len(transport._open) <= 1
    assert transport._slots._value == 1000


def test_keys_and_urls_are_checked_when_the_upstream_is_made() -> None:
    transport = Transport()
    for base_url, key in (("api.example.org", "k"), ("https://api.example.org", "line\nbreak")):
        with pytest.raises(ValueError, match=r"http|header") as caught:
            OpenAIUpstream(
                ModelCard(name="m"), base_url=base_url, key=key, transport=transport, timeouts=SHORT
            )
        assert "line" not in str(caught.value)


def test_paths_are_joined_below_the_base_url() -> None:
    assert join_url("https://a/v1", "messages") == "https://a/v1/messages"
    assert join_url("https://a/v1/", "messages") == "https://a/v1/messages"
    assert (
        join_url("https://a/d/x?api-version=1", "chat/completions")
        == "https://a/d/x/chat/completions?api-version=1"
    )
