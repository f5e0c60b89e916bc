"""Replies of Anthropic's Messages API as we send them: streamed, whole, errors.

Frames that an upstream sent in the same dialect pass as they are; everything else is built here. How a fusion
came to its answer stands in `fusion`, of the message or of `message_delta`; how it gets on, for those who
ask, in events `fusion.*`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from junctor.chat import (
    Drafted,
    Event,
    Finished,
    Judging,
    JunctorError,
    Raw,
    Routed,
    Settled,
    Started,
    Text,
    Thought,
    ToolCall,
    UpstreamBroken,
    Usage,
    Verdict,
    WindowExceeded,
)
from junctor.wire.anthropic_answer import type_of_event
from junctor.wire.fusion import FIELD as FUSION
from junctor.wire.fusion import render_progress, render_verdict, wants_progress
from junctor.wire.messages_blocks import Blocks
from junctor.wire.messages_request import MessagesCall
from junctor.wire.sse import render_event

PING = render_event(b'{"type": "ping"}', "ping")
"What a stream that is silent for long is sent."
TOO_LONG = "prompt is too long: "
"How Anthropic begins the error that makes Claude Code shorten its conversation; it looks for these words."

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_ERROR_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"By status. All other 4xx are `invalid_request_error`, all other 5xx `api_error`."

_encode = msgspec.json.Encoder().encode


class _ThinkingTokens(msgspec.Struct, frozen=True):
    thinking_tokens: int


class _Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    input_tokens: int
    "Without those that were read from the cache or written to it."
    output_tokens: int
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: _ThinkingTokens | None = None


class _Message(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    type: str = "message"
    role: str = "assistant"
    model: str
    content: list[dict[str, Any]]
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: _Usage
    fusion: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class MessagesRenderer:
    """Renders the events of one answer as the reply to one call.

    `render()` gives the pieces to send as they come: of a stream its server-sent events, of a whole reply
    nothing. `end()`, after `Finished`, gives the last bytes: the end of the stream, or the whole reply.
    """

    def __init__(self, call: MessagesCall) -> None:
        self._stream = call.request.stream
        self._id = message_id(call.request.id)
        self._model = call.request.model
        self._begun = False
        self._relayed: bytes | None = None
        "Of a relayed answer: its last bytes, which wait for `end()`."
        self._blocks = Blocks()
        self._usage: Usage | None = None
        self._finished: Finished | None = None
        self._verdict: Verdict | None = None
        "Of a fusion, as it stands."
        self._tells_progress = wants_progress(call.request)

    def render(self, event: Event) -> Iterator[bytes]:
        """What to send now, if anything."""
        match event:
            case Raw():
                yield from self._relay(event)
            case Text() | Thought() | ToolCall():
                self._blocks.add(event)
                if self._stream:
                    if not self._begun:
                        yield self._begin()
                    yield from self._blocks.send()
            case Usage():
                self._usage = event
            case Started():
                self._model = event.model
            case Finished():
                self._finished = event
            case Routed():
                self._verdict = event.decision.fusion
            case Drafted() | Settled() | Judging():
                if self._tells_progress:
                    yield from self._progress(event)

    def end(self) -> bytes:
        """The last bytes. Raises `UpstreamBroken` when there was no `Finished`."""
        if self._finished is None:
            raise UpstreamBroken("the answer ended without a finish reason")
        if self._relayed is not None:
            return self._relayed
        return self._end_of_stream(self._finished) if self._stream else self._whole(self._finished)

    def _relay(self, event: Raw) -> Iterator[bytes]:
        if not self._stream:
            self._relayed = event.frame
            return
        kind = type_of_event(event.frame)
        frame = render_event(event.frame, kind or None)
        if kind == "message_stop":
            self._relayed = frame
            return
        self._relayed = b""
        yield frame

    def _begin(self) -> bytes:
        self._begun = True
        # What is known of the usage by now; the counts that hold come at the end.
        start = _Message(id=self._id, model=self._model, content=[], usage=_render_usage(self._usage))
        return render_event(_encode({"type": "message_start", "message": start}), "message_start")

    def _progress(self, event: Drafted | Settled | Judging) -> Iterator[bytes]:
        # The official SDK takes no event before the message has started.
        if not self._begun:
            yield self._begin()
        said = render_progress(event)
        name = f"{FUSION}.{said['type']}"
        yield render_event(_encode({**said, "type": name}), name)

    def _end_of_stream(self, finished: Finished) -> bytes:
        delta: dict[str, Any] = {
            "type": "message_delta",
            "delta": {"stop_reason": _stop_reason(finished), "stop_sequence": finished.stop_sequence},
            "usage": _render_usage(self._usage),
        }
        if self._verdict is not None:
            delta[FUSION] = render_verdict(self._verdict)
        return b"".join(
            [
                b"" if self._begun else self._begin(),
                *self._blocks.send(last=True),
                render_event(_encode(delta), "message_delta"),
                render_event(_encode({"type": "message_stop"}), "message_stop"),
            ]
        )

    def _whole(self, finished: Finished) -> bytes:
        message = _Message(
            id=self._id,
            model=self._model,
            content=self._blocks.whole(),
            stop_reason=_stop_reason(finished),
            stop_sequence=finished.stop_sequence,
            usage=_render_usage(self._usage),
            fusion=render_verdict(self._verdict) if self._verdict else msgspec.UNSET,
        )
        return _encode(message)


def message_id(request_id: str) -> str:
    """The id of the message that answers a request."""
    return "msg_" + request_id.removeprefix("req_")


def _stop_reason(finished: Finished) -> str:
    if finished.reason == "stop" and finished.stop_sequence is not None:
        return "stop_sequence"
    return _STOP_REASONS[finished.reason]


def _render_usage(usage: Usage | None) -> _Usage:
    if usage is None:
        return _Usage(0, 0, 0, 0)
    read, written = usage.cached_tokens, usage.cache_written_tokens
    thinking = _ThinkingTokens(usage.reasoning_tokens) if usage.reasoning_tokens else None
    fresh = max(0, usage.input_tokens - read - written)
    return _Usage(fresh, usage.output_tokens, read, written, thinking)


class _Error(msgspec.Struct, frozen=True, omit_defaults=True):
    type: str
    message: str
    details: dict[str, str] | None = None
    "Our own stable name for it, where the official SDK looks for one: `error.error_code`."


class _Envelope(msgspec.Struct, frozen=True):
    type: str
    error: _Error
    request_id: str | None


def render_error(error: JunctorError, request_id: str) -> bytes:
    """The envelope of an error; an upstream of the same dialect is quoted word for word."""
    if error.said is not None:
        return error.said
    default = "invalid_request_error" if error.status < 500 else "api_error"
    kind = _ERROR_TYPES.get(error.status, default)
    message = TOO_LONG + error.message if isinstance(error, WindowExceeded) else error.message
    details = {"error_code": error.code} | ({"param": error.param} if error.param else {})
    return _encode(_Envelope("error", _Error(kind, message, details), request_id or None))


def render_error_event(error: JunctorError, request_id: str) -> bytes:
    """An error after the first text: one event, after which the stream ends without `message_stop`."""
    return render_event(render_error(error, request_id), "error")
