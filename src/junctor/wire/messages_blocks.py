"""The blocks of an answer as Anthropic's Messages API streams them: one after the other, never two at a time.

Other APIs may send the pieces of several tool calls in turns. The first block that is not complete is sent as
it comes; what belongs to a later one waits until it is closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from junctor.chat import Text, Thought, ToolCall, UpstreamBroken
from junctor.wire.json_value import BAD_JSON

RAW_ARGUMENTS = "raw_arguments"
"Field of a whole call's `input` that holds its arguments where they are no JSON object: nothing is lost."

_Kind = Literal["text", "thinking", "redacted_thinking", "tool_use"]
_DELTAS: dict[_Kind, bytes] = {
    "text": b'{"type":"text_delta","text":%b}',
    "thinking": b'{"type":"thinking_delta","thinking":%b}',
    "tool_use": b'{"type":"input_json_delta","partial_json":%b}',
}
_encode = msgspec.json.Encoder().encode


class _Block:
    """One block: what was said of it, and how much of that was sent."""

    def __init__(self, kind: _Kind, start: dict[str, Any]) -> None:
        self.kind: _Kind = kind
        self.start = start
        self.pieces: list[str] = []
        self.signature = ""
        self._begun = False
        self._sent = 0
        "How many of the pieces."
        self._signed = False
        "Whether the signature is sent."

    def send(self, index: int) -> Iterator[bytes]:
        """The events of what was said and not sent yet."""
        if not self._begun:
            self._begun = True
            yield _event(b"content_block_start", b'%d,"content_block":%b}' % (index, _encode(self.start)))
        for piece in self.pieces[self._sent :]:
            delta = _DELTAS[self.kind] % _encode(piece)
            yield _event(b"content_block_delta", b'%d,"delta":%b}' % (index, delta))
        self._sent = len(self.pieces)
        if self.signature and not self._signed:
            self._signed = True
            delta = b'{"type":"signature_delta","signature":%b}' % _encode(self.signature)
            yield _event(b"content_block_delta", b'%d,"delta":%b}' % (index, delta))

    def takes(self, thought: Thought) -> bool:
        """Whether a thought belongs to it: its proof ends it."""
        return self.kind == "thinking" and not self.signature and not thought.redacted

    def whole(self) -> dict[str, Any]:
        """The block of a reply that is not streamed."""
        said = "".join(self.pieces)
        match self.kind:
            case "text":
                return {"type": "text", "text": said}
            case "thinking":
                return {"type": "thinking", "thinking": said, "signature": self.signature}
            case "tool_use":
                return {**self.start, "input": parse_arguments(said)}
            case "redacted_thinking":
                return self.start

    def is_whole_object(self) -> bool:
        """Of a call: whether its arguments are complete."""
        if not self.pieces or not self.pieces[-1].rstrip().endswith("}"):
            return False
        try:
            msgspec.json.decode("".join(self.pieces), type=dict[str, msgspec.Raw])
        except (*BAD_JSON, UnicodeEncodeError):
            return False
        return True


def parse_arguments(text: str) -> object:
    """A call's arguments as the object that Anthropic's API wants."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any]) if text.strip() else {}
    except (*BAD_JSON, UnicodeEncodeError):
        return {RAW_ARGUMENTS: text}


class Blocks:
    """The blocks of one answer, in the order in which they began."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._calls: dict[int, int] = {}
        "Place of a tool call's block, by the number of the call."
        self._open = 0
        "Place of the block that is being sent, or of the next one; those before it are closed."

    def add(self, event: Text | Thought | ToolCall) -> None:
        """Take the next piece. Raises `UpstreamBroken` for a call that goes on after its end."""
        match event:
            case Text():
                if not self._blocks or self._blocks[-1].kind != "text":
                    self._begin("text", {"type": "text", "text": ""})
                self._blocks[-1].pieces.append(event.text)
            case Thought():
                self._add_thought(event)
            case ToolCall():
                self._add_call(event)

    def whole(self) -> list[dict[str, Any]]:
        """All blocks, for a reply that is not streamed."""
        return [block.whole() for block in self._blocks]

    def send(self, *, last: bool = False) -> Iterator[bytes]:
        """The server-sent events that can go out now; with `last`, all that there are."""
        while self._open < len(self._blocks):
            yield from self._blocks[self._open].send(self._open)
            if not (last or self._is_over()):
                return
            yield _event(b"content_block_stop", b"%d}" % self._open)
            self._open += 1

    def _begin(self, kind: _Kind, start: dict[str, Any]) -> _Block:
        self._blocks.append(block := _Block(kind, start))
        return block

    def _add_thought(self, thought: Thought) -> None:
        if thought.redacted:
            self._begin("redacted_thinking", {"type": "redacted_thinking", "data": thought.redacted})
            return
        if not self._blocks or not self._blocks[-1].takes(thought):
            self._begin("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        block = self._blocks[-1]
        if thought.text:
            block.pieces.append(thought.text)
        block.signature = thought.signature

    def _add_call(self, call: ToolCall) -> None:
        place = self._calls.get(call.index)
        if place is None:
            place = self._calls[call.index] = len(self._blocks)
            call_id = call.id or f"toolu_{call.index}"
            self._begin("tool_use", {"type": "tool_use", "id": call_id, "name": call.name, "input": {}})
        if not call.arguments:
            return
        if place < self._open:
            if call.arguments.strip():
                raise UpstreamBroken("it went on with the arguments of a tool call that was complete")
            return
        self._blocks[place].pieces.append(call.arguments)

    def _is_over(self) -> bool:
        """Whether nothing more can come for the open block."""
        if self._open + 1 >= len(self._blocks):
            return False
        block = self._blocks[self._open]
        return block.kind != "tool_use" or block.is_whole_object()


def _event(kind: bytes, fields: bytes) -> bytes:
    """One server-sent event; its JSON is written by hand, as that takes a third of the time."""
    return b'event: %b\ndata: {"type":"%b","index":%b\n\n' % (kind, kind, fields)
