"""What an upstream that speaks OpenAI's Responses API answers, as events: whole and streamed.

In relay mode an event carries the upstream's bytes, and only what it cost and whether it is complete is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from junctor.chat import (
    Event,
    Finished,
    FinishReason,
    Raw,
    Text,
    Thought,
    ToolCall,
    UpstreamBroken,
    UpstreamError,
    UpstreamRateLimited,
    Usage,
)
from junctor.wire.json_value import BAD_JSON, as_count, as_list, as_object, as_text
from junctor.wire.responses_reasoning import SEAL, sign, text_of, unseal
from junctor.wire.responses_reply import ENDS, event_type

DONE = b"[DONE]"
"Some servers end with it, as the chat API does."
_REASONS: dict[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}
"Of `incomplete_details`; any other means that the answer was cut."


class _InputDetails(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Response(msgspec.Struct, frozen=True):
    status: str | None = None
    output: list[dict[str, Any]] | None = None
    usage: _Usage | None = None
    error: Any = None
    incomplete_details: Any = None


class _End(msgspec.Struct, frozen=True):
    response: _Response


class _StreamEvent(msgspec.Struct, frozen=True):
    type: str = ""
    output_index: int = 0
    summary_index: int = 0
    delta: Any = None
    arguments: Any = None
    item: Any = None
    error: Any = None
    message: Any = None
    code: Any = None


_response_decoder = msgspec.json.Decoder(_Response)
_end_decoder = msgspec.json.Decoder(_End)
_event_decoder = msgspec.json.Decoder(_StreamEvent)


def parse_response(body: bytes, *, relay: bool) -> Iterator[Event]:
    """The events of a whole reply. Raises `UpstreamError`."""
    try:
        response = _response_decoder.decode(body)
    except BAD_JSON as error:
        raise _nonsense(error) from None
    if response.output is None:
        raise _failure(response.error) if response.error else UpstreamBroken("its answer holds no `output`")
    reason = _finish_reason(response)
    if relay:
        yield Raw(body)
    else:
        parser = _Items()
        for index, item in enumerate(response.output):
            yield from parser.whole(index, item)
    yield from _usage_events(response.usage)
    yield Finished(reason)


class ResponseStreamParser:
    """Reads the events of one streamed answer. `Finished` comes with `end()`."""

    def __init__(self, *, relay: bool) -> None:
        self._relay = relay
        self._items = _Items()
        self._reason: FinishReason | None = None
        self.done = False
        "Whether the stream has said that it is over; whatever follows is ignored."

    def parse(self, data: bytes) -> Iterator[Event]:
        """The events of one frame. Raises `UpstreamError`."""
        if self.done:
            return
        if data == DONE:
            self.done = True
            return
        name = event_type(data)
        if name in ENDS:
            yield from self._end(data)
        elif name == "error":
            raise _stream_error(_decode_event(data))
        elif self._relay:
            yield Raw(data, has_text=name.endswith(".delta"))
        else:
            yield from self._items.take(_decode_event(data))

    def end(self) -> Finished:
        """The stream is over. Raises `UpstreamBroken` when the answer is not."""
        if self._reason is None:
            raise UpstreamBroken("its stream ended in the middle of the answer")
        return Finished(self._reason)

    def _end(self, data: bytes) -> Iterator[Event]:
        try:
            response = _end_decoder.decode(data).response
        except BAD_JSON as error:
            raise _nonsense(error) from None
        reason = _finish_reason(response)
        if self._relay:
            yield Raw(data, has_text=False)
        else:
            for index, item in enumerate(response.output or ()):
                yield from self._items.whole(index, item)
        yield from _usage_events(response.usage)
        self._reason = reason
        self.done = True


class _Items:
    """Tells what is new in the items of one answer: deltas come first, then the whole item, perhaps twice."""

    def __init__(self) -> None:
        self._calls: dict[int, int] = {}
        "Number of the tool call, by the index of its item."
        self._told: set[int] = set()
        "Items of which some text or arguments have been passed on."
        self._ended: set[int] = set()

    def take(self, event: _StreamEvent) -> Iterator[Event]:
        index = event.output_index
        match event.type:
            case "response.output_text.delta" | "response.refusal.delta":
                if text := as_text(event.delta):
                    self._told.add(index)
                    yield Text(text)
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                if text := as_text(event.delta):
                    self._told.add(index)
                    yield Thought(text)
            case "response.reasoning_summary_part.added":
                if event.summary_index > 0 and index in self._told:
                    yield Thought("\n\n")
            case "response.output_item.added":
                item = as_object(event.item)
                if item.get("type") == "function_call":
                    yield from self._begin_call(index, item)
            case "response.function_call_arguments.delta":
                yield from self._arguments(index, as_text(event.delta))
            case "response.output_item.done":
                yield from self.whole(index, as_object(event.item))
            case _:
                pass

    def whole(self, index: int, item: dict[str, Any]) -> Iterator[Event]:
        """What a whole item says that was not said yet."""
        if index in self._ended:
            return
        self._ended.add(index)
        match item.get("type"):
            case "message":
                if index not in self._told:
                    yield from _said(item)
            case "reasoning":
                if index not in self._told and (text := text_of(item)):
                    yield Thought(text)
                yield from _proof(item)
            case "function_call":
                yield from self._begin_call(index, item)
                if index not in self._told:
                    yield from self._arguments(index, as_text(item.get("arguments")))
            case _:
                pass

    def _begin_call(self, index: int, item: dict[str, Any]) -> Iterator[Event]:
        if index not in self._calls:
            number = self._calls[index] = len(self._calls)
            call_id = as_text(item.get("call_id")) or f"call_{number}"
            yield ToolCall(number, call_id, as_text(item.get("name")))

    def _arguments(self, index: int, piece: str) -> Iterator[Event]:
        if piece and index in self._calls:
            self._told.add(index)
            yield ToolCall(self._calls[index], arguments=piece)


def _said(message: dict[str, Any]) -> Iterator[Event]:
    for part in map(as_object, as_list(message.get("content"))):
        if text := as_text(part.get("text")) or as_text(part.get("refusal")):
            yield Text(text)


def _proof(item: dict[str, Any]) -> Iterator[Event]:
    content = as_text(item.get("encrypted_content"))
    if not content.startswith(SEAL):
        if content:
            yield Thought(signature=sign(item))
        return
    block = unseal(content) or {}
    if data := as_text(block.get("data")):
        yield Thought(redacted=data)
    elif signature := as_text(block.get("signature")):
        yield Thought(signature=signature)


def _finish_reason(response: _Response) -> FinishReason:
    """Raises `UpstreamError` for an answer that failed."""
    match response.status:
        case "failed" | "cancelled":
            raise _failure(response.error)
        case "incomplete":
            return _REASONS.get(as_text(as_object(response.incomplete_details).get("reason")), "length")
        case _:
            calls = any(item.get("type") == "function_call" for item in response.output or ())
            return "tool_calls" if calls else "stop"


def _usage_events(usage: _Usage | None) -> tuple[Usage, ...]:
    if usage is None or (usage.input_tokens is None and usage.output_tokens is None):
        return ()
    read, output = usage.input_tokens_details, usage.output_tokens_details
    counted = Usage(
        as_count(usage.input_tokens),
        as_count(usage.output_tokens),
        as_count(read.cached_tokens) if read else 0,
        cache_written_tokens=as_count(read.cache_write_tokens) if read else 0,
        reasoning_tokens=as_count(output.reasoning_tokens) if output else 0,
    )
    return (counted,)


def _decode_event(data: bytes) -> _StreamEvent:
    try:
        return _event_decoder.decode(data)
    except BAD_JSON as error:
        raise _nonsense(error) from None


def _nonsense(error: Exception) -> UpstreamBroken:
    return UpstreamBroken(f"its answer is not what OpenAI's Responses API defines: {error}")


def _stream_error(event: _StreamEvent) -> UpstreamError:
    nested = as_object(event.error)
    return _failure(nested or {"message": event.message, "code": event.code})


def _failure(error: object) -> UpstreamError:
    known = as_object(error)
    said = (as_text(known.get("message")) or str(error or "it did not say why"))[:1000]
    limited = known.get("code") in ("rate_limit_exceeded", "insufficient_quota")
    kind = UpstreamRateLimited if limited else UpstreamBroken
    return kind(f"it failed while it answered: {said}")
