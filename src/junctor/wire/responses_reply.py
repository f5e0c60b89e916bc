"""Replies of OpenAI's Responses API as we send them: streamed, whole, and cut.

Frames that an upstream sent in the same dialect pass as they are; everything else is built here. How a fusion
came to its answer stands in `fusion` of the finished response; how it gets on, for those who ask, in events
`fusion.*`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from junctor.chat import (
    Drafted,
    Event,
    Finished,
    FinishReason,
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
    UpstreamRateLimited,
    Usage,
    Verdict,
)
from junctor.wire.fusion import FIELD as FUSION
from junctor.wire.fusion import render_progress, render_verdict, wants_progress
from junctor.wire.json_value import BAD_JSON, NULL
from junctor.wire.responses_ids import response_id
from junctor.wire.responses_output import Fields, Output, Said
from junctor.wire.responses_request import ResponsesCall
from junctor.wire.sse import render_event

ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
"The last event of a stream."
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"Why an answer is not complete, in the API's words."

_REPEATED: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"Parameters that the reply repeats, with what is said where the caller left them out."
_TYPE = re.compile(rb'\s*\{\s*"type"\s*:\s*"([\w.]{1,100})"')
_NAME = re.compile(r"[\w.]{1,100}", re.ASCII)
_encoder = msgspec.json.Encoder()


class _Typed(msgspec.Struct, frozen=True):
    type: str = ""


class _WithResponse(msgspec.Struct, frozen=True):
    response: msgspec.Raw


class _WithOutput(msgspec.Struct, frozen=True):
    id: str
    output: list[dict[str, Any]]


_typed = msgspec.json.Decoder(_Typed)
_with_response = msgspec.json.Decoder(_WithResponse)
_with_output = msgspec.json.Decoder(_WithOutput)


class Kept(msgspec.Struct, frozen=True):
    """A response as it is kept."""

    id: str
    response: msgspec.Raw
    "The object that the caller got."
    output: list[Fields]
    "Its items, with what a later request needs and the caller did not ask for."


class ResponsesRenderer:
    """Renders the events of one answer as the reply to one call.

    `render()` gives the pieces to send as they come, `end()` the last bytes, after `Finished`; `fail()` gives
    the last bytes of a stream that is cut. `kept()` is what a later request can go on from.
    """

    def __init__(self, call: ResponsesCall, *, created: int | None = None) -> None:
        """`created`: seconds since 1970; None takes the clock."""
        request = call.request
        self._stream = request.stream
        self._id = response_id(call.suffix)
        self._created = int(time.time()) if created is None else created
        self._model = request.model
        self._repeated = {name: _given(call.fields, name, value) for name, value in _REPEATED.items()}
        self._output = Output(call.suffix, shows_proof=call.shows_proof)
        self._sequence = 0
        self._begun = False
        self._usage: Usage | None = None
        self._finished: Finished | None = None
        self._verdict: Verdict | None = None
        "Of a fusion, as it stands."
        self._tells_progress = wants_progress(request)
        self._response: Fields | None = None
        "The response as it ended, where we made it ourselves."
        self._first_frame: bytes | None = None
        self._last_frame: bytes | None = None
        "Of a relayed stream; for a whole reply, its body."

    def render(self, event: Event) -> Iterator[bytes]:
        """What to send now, if anything."""
        match event:
            case Raw():
                yield from self._relay(event.frame)
            case Text() | Thought() | ToolCall():
                said = self._output.take(event)
                if self._stream:
                    yield from self._begin()
                    yield from map(self._event, said)
                else:
                    for _ in said:
                        pass
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
        if self._last_frame is not None:
            last = self._last_frame
            return render_event(last, event_type(last)) if self._stream else last
        if self._first_frame is not None:
            raise UpstreamBroken("its stream ended without its last event")
        cut = INCOMPLETE.get(self._finished.reason)
        status = "incomplete" if cut else "completed"
        closing = [*self._output.end(status)]
        self._response = self._state(status, self._finished.reason)
        if not self._stream:
            return _encoder.encode(self._response)
        events = [*self._begin(), *map(self._event, closing)]
        return b"".join([*events, self._event((status, {"response": self._response}))])

    def fail(self, error: JunctorError) -> bytes:
        """The end of a stream that is cut: `response.failed`, and `error`, which client libraries raise."""
        known = {"code": _failure_code(error), "message": error.message}
        failed = {**self._state_at_failure(), "status": "failed", "error": known}
        begin = b"" if self._first_frame is not None else b"".join(self._begin())
        ends = self._event(("failed", {"response": failed}))
        return begin + ends + render_error_event(error, self._sequence)

    def kept(self) -> Kept | None:
        """What to keep of the answer, after `end()`; None for a relayed one that cannot be read."""
        if self._response is not None:
            response = msgspec.Raw(_encoder.encode(self._response))
            return Kept(self._id, response, self._output.kept())
        if self._last_frame is None:
            return None
        try:
            response = msgspec.Raw(self._last_frame)
            if self._stream:
                response = _with_response.decode(self._last_frame).response
            found = _with_output.decode(response)
        except BAD_JSON:
            return None
        return Kept(found.id, response, found.output)

    def _begin(self) -> Iterator[bytes]:
        if self._begun:
            return
        self._begun = True
        state = self._state("in_progress")
        yield self._event(("created", {"response": state}))
        yield self._event(("in_progress", {"response": state}))

    def _progress(self, event: Drafted | Settled | Judging) -> Iterator[bytes]:
        # The official SDK takes no event before the response is created.
        yield from self._begin()
        said = render_progress(event)
        yield self._event((said.pop("type"), said), FUSION)

    def _event(self, said: Said, family: str = "response") -> bytes:
        name = f"{family}.{said[0]}"
        numbered = {"type": name, "sequence_number": self._sequence, **said[1]}
        self._sequence += 1
        # As `render_event`, without its search for line ends: our own JSON has none.
        return b"event: %b\ndata: %b\n\n" % (name.encode(), _encoder.encode(numbered))

    def _relay(self, frame: bytes) -> Iterator[bytes]:
        if not self._stream:
            self._last_frame = frame
            return
        if self._first_frame is None:
            self._first_frame = frame
        name = event_type(frame)
        if name in ENDS:
            # It goes out once the row is durable, and the response is kept.
            self._last_frame = frame
        else:
            self._sequence += 1
            yield render_event(frame, name or None)

    def _state(self, status: str, reason: FinishReason | None = None) -> Fields:
        """The response as of now."""
        cut = INCOMPLETE.get(reason) if reason else None
        fusion = {FUSION: render_verdict(self._verdict)} if self._verdict is not None and reason else {}
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "completed_at": int(time.time()) if status == "completed" else None,
            "error": None,
            "incomplete_details": {"reason": cut} if cut else None,
            "model": self._model,
            "output": [] if status == "in_progress" else self._output.shown(),
            "usage": render_usage(self._usage) if self._usage is not None and reason else None,
            **self._repeated,
            **fusion,
        }

    def _state_at_failure(self) -> Fields:
        if self._first_frame is not None:
            try:
                first = _with_response.decode(self._first_frame)
                return msgspec.json.decode(first.response, type=dict[str, Any])
            except BAD_JSON:
                pass
        return self._state("failed")


def _given(fields: dict[str, msgspec.Raw], name: str, default: object) -> object:
    value = fields.get(name)
    return default if value is None or value == NULL else value


def _failure_code(error: JunctorError) -> str:
    return "rate_limit_exceeded" if isinstance(error, UpstreamRateLimited) else "server_error"


def render_usage(usage: Usage) -> Fields:
    """Token counts as the Responses API has them."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_written_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def event_type(frame: bytes) -> str:
    """The type of a stream's event; empty when it has none."""
    # Nearly every event begins with it; decoding the whole event costs many times as much.
    if (match := _TYPE.match(frame)) is not None:
        return match[1].decode("utf-8", "replace")
    try:
        name = _typed.decode(frame).type
    except BAD_JSON:
        return ""
    return name if _NAME.fullmatch(name) else ""


def render_error_event(error: JunctorError, sequence: int = 0) -> bytes:
    """An error as the last event of a stream, as OpenAI sends it: its fields, and its envelope once more.

    The envelope is what client libraries look for: they raise it.
    """
    fields = {"code": error.code, "message": error.message, "param": error.param}
    named = {"type": "error", "sequence_number": sequence, **fields, "error": {**fields, "type": error.type}}
    return render_event(_encoder.encode(named), "error")
