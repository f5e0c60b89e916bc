"""What Anthropic's Messages API answers, as events: whole and streamed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

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
    UpstreamTimeout,
    Usage,
)
from junctor.wire.json_value import BAD_JSON, as_count

STOP_REASONS: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}

_KNOWN = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
    }
)
"Events that say something. Others, `ping` among them, are passed on and not looked into."
_ERRORS: Mapping[str, type[UpstreamError]] = {
    "rate_limit_error": UpstreamRateLimited,
    "timeout_error": UpstreamTimeout,
}
"Errors within a stream; all others, `overloaded_error` among them, mean that the upstream broke."


class _OutputDetails(msgspec.Struct, frozen=True):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None


class _Block(msgspec.Struct, frozen=True):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None


class _Message(msgspec.Struct, frozen=True):
    content: list[_Block] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: _Usage | None = None


class _Delta(msgspec.Struct, frozen=True):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Error(msgspec.Struct, frozen=True):
    type: str = ""
    message: str = ""


class _StreamEvent(msgspec.Struct, frozen=True):
    type: str
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: _Usage | None = None
    error: _Error | None = None


class _SaidError(msgspec.Struct, frozen=True):
    type: str
    message: str


class _Envelope(msgspec.Struct, frozen=True):
    type: Literal["error"]
    error: _SaidError


class _Type(msgspec.Struct, frozen=True):
    type: str


_message_decoder = msgspec.json.Decoder(_Message)
_event_decoder = msgspec.json.Decoder(_StreamEvent)
_type_decoder = msgspec.json.Decoder(_Type)
_envelope_decoder = msgspec.json.Decoder(_Envelope)

_DELTA = b'{"type":"content_block_delta",'
"How Anthropic begins the frames that make up nearly all of a stream."
_TYPE = re.compile(rb'\{\s*"type"\s*:\s*"([a-z_]+)"')


def type_of_event(data: bytes) -> str:
    """The `type` of one event of a stream; empty when it has none. Mostly without decoding the event."""
    if data.startswith(_DELTA):
        return "content_block_delta"
    if match := _TYPE.match(data):
        return match[1].decode()
    try:
        return _type_decoder.decode(data).type
    except BAD_JSON:
        return ""


def is_error_envelope(body: bytes) -> bool:
    """Whether a body is an error as Anthropic's API sends it."""
    try:
        _envelope_decoder.decode(body)
    except BAD_JSON:
        return False
    return True


def parse_message(body: bytes, *, relay: bool) -> Iterator[Event]:
    """The events of a whole reply. Raises `UpstreamBroken`."""
    try:
        message = _message_decoder.decode(body)
    except BAD_JSON as error:
        raise UpstreamBroken(f"its answer is not what Anthropic's Messages API defines: {error}") from None
    if message.content is None:
        raise UpstreamBroken("its answer holds no `content`")
    if relay:
        yield Raw(body)
    else:
        yield from _whole_blocks(message.content)
    if message.usage is not None:
        yield _UsageCount().take(message.usage)
    yield Finished(_finish_reason(message.stop_reason or "end_turn"), message.stop_sequence)


def _whole_blocks(blocks: list[_Block]) -> Iterator[Event]:
    calls = 0
    for block in blocks:
        if block.type == "text" and block.text:
            yield Text(block.text)
        elif block.type == "thinking" and (block.thinking or block.signature):
            yield Thought(block.thinking or "", signature=block.signature or "")
        elif block.type == "redacted_thinking" and block.data:
            yield Thought(redacted=block.data)
        elif block.type == "tool_use":
            arguments = msgspec.json.encode(block.input or {}).decode()
            yield ToolCall(calls, block.id or f"call_{calls}", block.name or "", arguments)
            calls += 1


def _finish_reason(word: str) -> FinishReason:
    return STOP_REASONS.get(word, "stop")


class MessageStreamParser:
    """Reads the events of one streamed answer. `Finished` comes with `end()`."""

    def __init__(self, *, relay: bool) -> None:
        self._relay = relay
        self._usage = _UsageCount()
        self._reason: str | None = None
        self._stop_sequence: str | None = None
        self._calls: dict[int, int] = {}
        "Number of the tool call, by the index of its block."
        self._has_arguments: set[int] = set()
        self.done = False
        "Whether the stream has said that it is over; whatever follows is ignored."

    def parse(self, data: bytes) -> Iterator[Event]:
        """The events of one frame; none of a kind that nobody knows. Raises `UpstreamError`."""
        if self.done:
            return
        if self._relay and data.startswith(_DELTA):
            yield Raw(data)
            return
        kind = type_of_event(data)
        if kind and kind not in _KNOWN:
            if self._relay:
                yield Raw(data, has_text=False)
            return
        try:
            event = _event_decoder.decode(data)
        except BAD_JSON as error:
            raise UpstreamBroken(
                f"its stream is not what Anthropic's Messages API defines: {error}"
            ) from None
        if event.type == "error":
            raise _stream_error(event.error or _Error(), data if self._relay else None)
        if self._relay:
            yield Raw(data, has_text=event.type == "content_block_delta")
        else:
            yield from self._decoded(event)
        yield from self._bookkeeping(event)

    def end(self) -> Finished:
        """The stream is over. Raises `UpstreamBroken` when the answer is not."""
        if self._reason is None:
            raise UpstreamBroken("its stream ended in the middle of the answer")
        return Finished(_finish_reason(self._reason), self._stop_sequence)

    def _bookkeeping(self, event: _StreamEvent) -> Iterator[Event]:
        match event.type:
            case "message_start":
                if event.message is not None and event.message.usage is not None:
                    yield self._usage.take(event.message.usage)
            case "message_delta":
                if event.delta is not None and event.delta.stop_reason:
                    self._reason, self._stop_sequence = event.delta.stop_reason, event.delta.stop_sequence
                if event.usage is not None:
                    yield self._usage.take(event.usage)
            case "message_stop":
                self.done = True
            case _:
                pass

    def _decoded(self, event: _StreamEvent) -> Iterator[Event]:
        match event.type:
            case "content_block_start":
                if event.content_block is not None:
                    yield from self._block_start(event.index, event.content_block)
            case "content_block_delta":
                if event.delta is not None:
                    yield from self._block_delta(event.index, event.delta)
            case "content_block_stop":
                if event.index in self._calls and event.index not in self._has_arguments:
                    # A call without arguments streams none; OpenAI's form wants an object.
                    yield ToolCall(self._calls[event.index], arguments="{}")
            case _:
                pass

    def _block_start(self, index: int, block: _Block) -> Iterator[Event]:
        if block.type == "tool_use":
            number = self._calls[index] = len(self._calls)
            yield ToolCall(number, block.id or f"call_{number}", block.name or "")
        else:
            yield from _whole_blocks([block])

    def _block_delta(self, index: int, delta: _Delta) -> Iterator[Event]:
        if delta.text:
            yield Text(delta.text)
        elif delta.thinking:
            yield Thought(delta.thinking)
        elif delta.signature:
            yield Thought(signature=delta.signature)
        elif delta.partial_json and index in self._calls:
            self._has_arguments.add(index)
            yield ToolCall(self._calls[index], arguments=delta.partial_json)


class _UsageCount:
    """Sums up what the parts of a stream say: each field counts from the start, and some come only once."""

    def __init__(self) -> None:
        self._input = self._output = self._read = self._written = self._thinking = 0

    def take(self, usage: _Usage) -> Usage:
        """The sum so far."""
        if usage.input_tokens is not None:
            self._input = as_count(usage.input_tokens)
        if usage.output_tokens is not None:
            self._output = as_count(usage.output_tokens)
        if usage.cache_read_input_tokens is not None:
            self._read = as_count(usage.cache_read_input_tokens)
        if usage.cache_creation_input_tokens is not None:
            self._written = as_count(usage.cache_creation_input_tokens)
        if usage.output_tokens_details is not None:
            self._thinking = as_count(usage.output_tokens_details.thinking_tokens)
        return Usage(
            self._input + self._read + self._written,
            self._output,
            self._read,
            cache_written_tokens=self._written,
            reasoning_tokens=self._thinking,
        )


def _stream_error(error: _Error, said: bytes | None) -> UpstreamError:
    kind = _ERRORS.get(error.type, UpstreamBroken)
    why = error.message[:1000] or "it did not say why"
    failure = kind(f"it failed while it answered ({error.type or 'error'}): {why}")
    failure.said = said
    return failure
