"""OpenAI chat replies as we send them: streamed, whole, errors.

Frames that an upstream sent in the same dialect pass as they are; everything else is built here. Reasoning is
`reasoning_content`, as most servers have it; where it carries an upstream's proof it comes once more as
`thinking_blocks`, in LiteLLM's form: with the next request they go back unchanged. How a fusion came to its
answer stands in `fusion`: of the whole reply, or of the chunk that ends the stream; how it gets on, for those
who ask, in `fusion_event` of chunks without choices.
"""

from __future__ import annotations

import time
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
    join_tool_call,
)
from junctor.wire.fusion import render_progress, render_verdict, wants_progress
from junctor.wire.openai_answer import DONE
from junctor.wire.openai_request import Call
from junctor.wire.sse import render_event

_END = render_event(DONE)


class _Function(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: _Function


class _ThinkingBlock(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    type: str
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


class _Delta(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    thinking_blocks: tuple[_ThinkingBlock, ...] | None = None
    tool_calls: tuple[_ToolCall, ...] | None = None


class _ChunkChoice(msgspec.Struct, frozen=True):
    delta: _Delta
    finish_reason: str | None = None
    index: int = 0
    stop_reason: str | msgspec.UnsetType = msgspec.UNSET
    "The caller's stop sequence that ended the answer, where vLLM has it."


class _Details(msgspec.Struct, frozen=True):
    cached_tokens: int
    cache_write_tokens: int | msgspec.UnsetType = msgspec.UNSET


class _OutputDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _Details
    completion_tokens_details: _OutputDetails | msgspec.UnsetType = msgspec.UNSET


class _Chunk(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: str = "chat.completion.chunk"
    created: int
    model: str
    choices: tuple[_ChunkChoice, ...]
    usage: _Usage | None = None


class _FusionChunk(_Chunk, frozen=True, kw_only=True):
    fusion: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    fusion_event: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class _Message(msgspec.Struct, frozen=True, kw_only=True):
    role: str = "assistant"
    content: str | None
    refusal: None = None
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET
    thinking_blocks: tuple[_ThinkingBlock, ...] | msgspec.UnsetType = msgspec.UNSET
    tool_calls: tuple[_ToolCall, ...] | msgspec.UnsetType = msgspec.UNSET


class _Choice(msgspec.Struct, frozen=True):
    message: _Message
    finish_reason: str
    index: int = 0
    logprobs: None = None
    stop_reason: str | msgspec.UnsetType = msgspec.UNSET


class _Completion(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    object: str = "chat.completion"
    created: int
    model: str
    choices: tuple[_Choice, ...]
    usage: _Usage | msgspec.UnsetType = msgspec.UNSET
    fusion: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


_encoder = msgspec.json.Encoder()


class ChatRenderer:
    """Renders the events of one answer as the reply to one call.

    `render()` gives the pieces to send as they come: of a stream its server-sent events, of a whole reply
    nothing. `end()`, after `Finished`, gives the last bytes: the end of the stream, or the whole reply.
    """

    def __init__(self, call: Call, *, created: int | None = None) -> None:
        """`created`: seconds since 1970; None takes the clock."""
        request = call.request
        self._stream = request.stream
        self._include_usage = call.include_usage
        self._id = completion_id(request.id)
        self._created = int(time.time()) if created is None else created
        self._model = request.model
        self._role_sent = False
        self._relayed = False
        self._whole: bytes | None = None
        self._text: list[str] = []
        self._thoughts = _Thoughts()
        self._calls: dict[int, ToolCall] = {}
        self._usage: Usage | None = None
        self._finished: Finished | None = None
        self._verdict: Verdict | None = None
        "Of a fusion, as it stands."
        self._tells_progress = wants_progress(request)

    def render(self, event: Event) -> Iterator[bytes]:
        """What to send now, if anything."""
        match event:
            case Raw():
                yield from self._relay(event)
            case Text() | Thought() | ToolCall():
                if isinstance(event, Thought):
                    self._thoughts.add(event)
                if self._stream:
                    yield self._chunk(self._delta(event))
                    self._role_sent = True
                else:
                    self._keep(event)
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
                    yield self._progress(event)

    def end(self) -> bytes:
        """The last bytes. Raises `UpstreamBroken` when there was no `Finished`."""
        if self._finished is None:
            raise UpstreamBroken("the answer ended without a finish reason")
        if self._stream:
            return self._end_of_stream(self._finished)
        return self._whole if self._whole is not None else self._whole_reply(self._finished)

    def _relay(self, event: Raw) -> Iterator[bytes]:
        self._relayed = True
        if not self._stream:
            self._whole = event.frame
        elif event.has_text or self._include_usage or not is_usage_only(event.frame):
            yield render_event(event.frame)

    def _keep(self, event: Text | Thought | ToolCall) -> None:
        match event:
            case Text():
                self._text.append(event.text)
            case Thought():
                pass
            case ToolCall():
                self._calls[event.index] = join_tool_call(self._calls.get(event.index), event)

    def _delta(self, event: Text | Thought | ToolCall) -> _Delta:
        role = None if self._role_sent else "assistant"
        match event:
            case Text():
                return _Delta(role=role, content=event.text)
            case Thought():
                proven = self._thoughts.blocks[-1:] if event.signature or event.redacted else None
                return _Delta(
                    role=role,
                    reasoning_content=event.text or None,
                    thinking_blocks=tuple(proven) if proven else None,
                )
            case ToolCall():
                return _Delta(role=role, tool_calls=(_tool_call_piece(event),))

    def _chunk(self, delta: _Delta, finished: Finished | None = None) -> bytes:
        choice = _ChunkChoice(delta, finished.reason if finished else None, stop_reason=_stop_of(finished))
        if finished is not None and self._verdict is not None:
            return self._fusion_chunk((choice,), fusion=render_verdict(self._verdict))
        chunk = _Chunk(id=self._id, created=self._created, model=self._model, choices=(choice,))
        return render_event(_encoder.encode(chunk))

    def _progress(self, event: Drafted | Settled | Judging) -> bytes:
        return self._fusion_chunk((), progress=render_progress(event))

    def _fusion_chunk(
        self,
        choices: tuple[_ChunkChoice, ...],
        *,
        fusion: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET,
        progress: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET,
    ) -> bytes:
        chunk = _FusionChunk(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=choices,
            fusion=fusion,
            fusion_event=progress,
        )
        return render_event(_encoder.encode(chunk))

    def _end_of_stream(self, finished: Finished) -> bytes:
        if self._relayed:
            return _END
        last = b"" if self._role_sent else self._chunk(_Delta(role="assistant", content=""))
        last += self._chunk(_Delta(), finished)
        if self._include_usage and self._usage is not None:
            chunk = _Chunk(
                id=self._id,
                created=self._created,
                model=self._model,
                choices=(),
                usage=_render_usage(self._usage),
            )
            last += render_event(_encoder.encode(chunk))
        return last + _END

    def _whole_reply(self, finished: Finished) -> bytes:
        text = "".join(self._text)
        calls = tuple(
            _ToolCall(id=call.id, type="function", function=_Function(call.name, call.arguments))
            for _, call in sorted(self._calls.items())
        )
        message = _Message(
            content=text if text or not calls else None,
            reasoning_content="".join(self._thoughts.texts) or msgspec.UNSET,
            thinking_blocks=tuple(self._thoughts.blocks) or msgspec.UNSET,
            tool_calls=calls or msgspec.UNSET,
        )
        completion = _Completion(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=(_Choice(message, finished.reason, stop_reason=_stop_of(finished)),),
            usage=_render_usage(self._usage) if self._usage else msgspec.UNSET,
            fusion=render_verdict(self._verdict) if self._verdict else msgspec.UNSET,
        )
        return _encoder.encode(completion)


class _Thoughts:
    """Reasoning: all of its text, and the blocks that carry a proof."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.blocks: list[_ThinkingBlock] = []
        self._block: list[str] = []
        "The text of the block that is not proven yet."

    def add(self, thought: Thought) -> None:
        """Take the next piece."""
        if thought.text:
            self.texts.append(thought.text)
            self._block.append(thought.text)
        if thought.signature:
            text = "".join(self._block)
            self.blocks.append(_ThinkingBlock(type="thinking", thinking=text, signature=thought.signature))
            self._block.clear()
        if thought.redacted:
            self.blocks.append(_ThinkingBlock(type="redacted_thinking", data=thought.redacted))


def _stop_of(finished: Finished | None) -> str | msgspec.UnsetType:
    return msgspec.UNSET if finished is None or finished.stop_sequence is None else finished.stop_sequence


def completion_id(request_id: str) -> str:
    """The id of the completion that answers a request."""
    return "chatcmpl-" + request_id.removeprefix("req_")


def is_usage_only(frame: bytes) -> bool:
    """Whether a chunk is there for its token counts alone: a stream that is asked for them ends with one."""
    # The substring test costs a fraction of the decoding, and almost no chunk passes it.
    if b'"usage"' not in frame:
        return False
    try:
        chunk = _usage_decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return not chunk.choices and chunk.usage is not None


class _UsageChunk(msgspec.Struct, frozen=True):
    choices: list[msgspec.Raw] | None = None
    usage: dict[str, msgspec.Raw] | None = None


_usage_decoder = msgspec.json.Decoder(_UsageChunk)


def _tool_call_piece(call: ToolCall) -> _ToolCall:
    is_first = bool(call.id or call.name)
    return _ToolCall(
        index=call.index,
        id=call.id or None,
        type="function" if is_first else None,
        function=_Function(name=call.name or None, arguments=call.arguments),
    )


def _render_usage(usage: Usage) -> _Usage:
    total = usage.input_tokens + usage.output_tokens
    written, reasoning = usage.cache_written_tokens, usage.reasoning_tokens
    return _Usage(
        usage.input_tokens,
        usage.output_tokens,
        total,
        _Details(usage.cached_tokens, written or msgspec.UNSET),
        _OutputDetails(reasoning) if reasoning else msgspec.UNSET,
    )


class _Error(msgspec.Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str | None


def render_error(error: JunctorError) -> bytes:
    """The envelope of an error: all four keys, as OpenAI's specification has it.

    An upstream of the same dialect is quoted word for word.
    """
    if error.said is not None:
        return error.said
    return _encoder.encode({"error": _Error(error.message, error.type, error.param, error.code)})


def render_error_event(error: JunctorError) -> bytes:
    """An error after the first text: one event, after which the stream ends without `[DONE]`."""
    return render_event(render_error(error))
