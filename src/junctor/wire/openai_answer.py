"""What an upstream that speaks OpenAI's chat API answers, as events.

In relay mode an event carries the upstream's bytes, and only the few fields are decoded that tell us how much
was said, what it cost and whether it is complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from junctor.chat import Event, Finished, FinishReason, Raw, Text, Thought, ToolCall, UpstreamBroken, Usage
from junctor.wire.json_value import BAD_JSON, as_count, as_list, as_object, as_text

DONE = b"[DONE]"

FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "max_tokens": "length",
    "model_length": "length",
}
"""OpenAI's words, its old one for tool calls, and those of servers that imitate it. An unknown one means that
the answer is complete: `stop`."""


class _PromptDetails(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    "Where servers in front of Anthropic's models put them."


class _OutputDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    "Where some servers put the cached tokens instead."


class _Said(msgspec.Struct, frozen=True):
    """A delta of a stream or the message of a whole reply. Their fields vary with the server: all lenient."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None

    def says_something(self) -> bool:
        return bool(
            self.content
            or self.tool_calls
            or self.reasoning_content
            or self.reasoning
            or self.refusal
            or self.function_call
            or self.audio
        )


class _Choice(msgspec.Struct, frozen=True):
    index: int | None = None
    delta: _Said | None = None
    message: _Said | None = None
    text: Any = None
    finish_reason: str | None = None
    stop_reason: Any = None
    "Where vLLM says which stop sequence it was."


class _Frame(msgspec.Struct, frozen=True):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


class _SaidError(msgspec.Struct, frozen=True):
    message: str
    type: str | None
    param: str | None
    code: str | None


class _Envelope(msgspec.Struct, frozen=True):
    error: _SaidError


_decoder = msgspec.json.Decoder(_Frame)
_envelope_decoder = msgspec.json.Decoder(_Envelope)


def is_error_envelope(body: bytes) -> bool:
    """Whether a body is an error as OpenAI's specification has it, with all four fields."""
    try:
        _envelope_decoder.decode(body)
    except BAD_JSON:
        return False
    return True


def _decode(data: bytes) -> _Frame:
    try:
        frame = _decoder.decode(data)
    except BAD_JSON as error:
        raise UpstreamBroken(f"its answer is not what OpenAI's chat API defines: {error}") from None
    if frame.error is not None:
        raise UpstreamBroken(f"it failed while it answered: {error_message(frame.error)}")
    return frame


def error_message(error: object) -> str:
    """The text in the `error` field of an upstream, whatever its form; at most 1,000 characters."""
    return str(as_object(error).get("message") or error)[:1000]


def _usage_events(usage: _Usage | None) -> tuple[Usage, ...]:
    """The count, if there is one: some servers send empty or null fields until the end."""
    if usage is None or (usage.prompt_tokens is None and usage.completion_tokens is None):
        return ()
    details, output = usage.prompt_tokens_details, usage.completion_tokens_details
    cached = (details.cached_tokens if details else None) or usage.prompt_cache_hit_tokens
    counted = Usage(
        as_count(usage.prompt_tokens),
        as_count(usage.completion_tokens),
        as_count(cached),
        cache_written_tokens=as_count(details.cache_write_tokens) if details else 0,
        reasoning_tokens=as_count(output.reasoning_tokens) if output else 0,
    )
    return (counted,)


def parse_reply(body: bytes, *, relay: bool) -> Iterator[Event]:
    """The events of a whole reply. Raises `UpstreamBroken`."""
    frame = _decode(body)
    if not frame.choices:
        raise UpstreamBroken("its answer holds no `choices`")
    choice = frame.choices[0]
    reason = _finish_reason(choice.finish_reason or "stop")
    if relay:
        yield Raw(body)
    else:
        message = choice.message or _Said()
        calls = _ToolCalls()
        yield from _decoded(message, calls)
        if calls.seen and reason == "stop":
            reason = "tool_calls"
    yield from _usage_events(frame.usage)
    yield Finished(reason, as_text(choice.stop_reason) or None)


class ChunkParser:
    """Reads the chunks of one streamed answer. `Finished` comes with `end()`: usage follows the last text."""

    def __init__(self, *, relay: bool) -> None:
        self._relay = relay
        self._reason: str | None = None
        self._stop_sequence: str | None = None
        self._begun: set[int] = set()
        self._finished: set[int] = set()
        "Choices, by index: a request with `n` above 1 gets several."
        self._calls = _ToolCalls()
        self.done = False
        "Whether the stream has said that it is over; whatever follows is ignored."

    def parse(self, data: bytes) -> Iterator[Event]:
        """The events of one chunk. Raises `UpstreamBroken`."""
        if self.done:
            return
        if data == DONE:
            self.done = True
            return
        frame = _decode(data)
        has_text = False
        for choice in frame.choices or ():
            index = choice.index or 0
            if index and not self._relay:
                continue
            self._begun.add(index)
            if choice.finish_reason:
                self._reason = choice.finish_reason
                self._stop_sequence = as_text(choice.stop_reason) or None
                self._finished.add(index)
            if choice.delta is None:
                continue
            if self._relay:
                has_text = has_text or choice.delta.says_something()
            else:
                yield from _decoded(choice.delta, self._calls)
        if self._relay:
            yield Raw(data, has_text)
        yield from _usage_events(frame.usage)

    def end(self) -> Finished:
        """The stream is over. Raises `UpstreamBroken` when the answer is not."""
        if self._reason is None or not (self.done or self._begun <= self._finished):
            raise UpstreamBroken("its stream ended in the middle of the answer")
        reason = _finish_reason(self._reason)
        reason = "tool_calls" if self._calls.seen and reason == "stop" else reason
        return Finished(reason, self._stop_sequence)


def _finish_reason(word: str) -> FinishReason:
    return FINISH_REASONS.get(word, "stop")


def _decoded(said: _Said, calls: _ToolCalls) -> Iterator[Event]:
    if thought := as_text(said.reasoning_content) or as_text(said.reasoning):
        yield Thought(thought)
    if parts := as_list(said.content):
        yield from _parts(parts)
    elif text := as_text(said.content):
        yield Text(text)
    if text := as_text(said.refusal):
        yield Text(text)
    if said.tool_calls:
        yield from calls.pieces(said.tool_calls)
    if said.function_call:
        yield from calls.pieces([{"index": 0, "function": said.function_call}])


def _parts(parts: list[Any]) -> Iterator[Event]:
    """Content that comes as a list of parts: text, or a model's thinking (Mistral's form)."""
    for part in parts:
        known = as_object(part)
        if text := as_text(known.get("text")):
            yield Text(text)
        for inner in as_list(known.get("thinking")):
            if text := as_text(as_object(inner).get("text")):
                yield Thought(text)


class _Function(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: Any = None


class _ToolCallPiece(msgspec.Struct, frozen=True):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _ToolCalls:
    """Numbers the tool calls of one answer, also for servers that leave the index out."""

    def __init__(self) -> None:
        self._begun: set[int] = set()
        self._last = -1

    @property
    def seen(self) -> bool:
        return bool(self._begun)

    def pieces(self, raw: Any) -> Iterator[ToolCall]:
        try:
            pieces = msgspec.convert(raw, list[_ToolCallPiece])
        except (msgspec.ValidationError, OverflowError) as error:
            raise UpstreamBroken(f"it called a tool in a form that we do not know: {error}") from None
        for piece in pieces:
            function = piece.function or _Function()
            index = self._last if piece.index is None else piece.index
            if piece.index is None and (piece.id or index < 0):
                index = self._last + 1
            self._last = index
            is_new = index not in self._begun
            self._begun.add(index)
            yield ToolCall(
                index=index,
                id=(piece.id or f"call_{index}") if is_new else "",
                name=(function.name or "") if is_new else "",
                arguments=_arguments(function.arguments),
            )


def _arguments(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
