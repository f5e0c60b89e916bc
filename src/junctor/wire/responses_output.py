"""The output items of one answer, as they grow: what each event of a model adds to a Responses stream.

An item is opened by its first piece and closed by what comes after it. Tool calls stay open to the end, since
their pieces may come in turns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from junctor.chat import Text, Thought, ToolCall
from junctor.wire.responses_ids import output_id
from junctor.wire.responses_reasoning import seal

Fields = dict[str, Any]
Said = tuple[str, Fields]
"The type of a stream's event without `response.`, and its fields."
Status = Literal["completed", "incomplete"]


class _Item:
    """One output item. `index`: its place in the output; `id`: what the events call it."""

    def __init__(self, index: int, item_id: str) -> None:
        self.index = index
        self.id = item_id
        self._pieces: list[str] = []

    @property
    def _text(self) -> str:
        return "".join(self._pieces)

    def _about(self, **fields: Any) -> Fields:
        return {"item_id": self.id, "output_index": self.index, **fields}

    def _added(self, item: Fields) -> Said:
        return "output_item.added", {"output_index": self.index, "item": item}

    def _done(self, item: Fields) -> Said:
        return "output_item.done", {"output_index": self.index, "item": item}


class _Message(_Item):
    def open(self) -> Iterator[Said]:
        yield self._added({**self.shown("in_progress"), "content": []})
        yield "content_part.added", self._about(content_index=0, part=_output_text(""))

    def add(self, text: str) -> Said:
        self._pieces.append(text)
        return "output_text.delta", self._about(content_index=0, delta=text, logprobs=[])

    def close(self, status: str) -> Iterator[Said]:
        text = self._text
        yield "output_text.done", self._about(content_index=0, text=text, logprobs=[])
        yield "content_part.done", self._about(content_index=0, part=_output_text(text))
        yield self._done(self.shown(status))

    def shown(self, status: str) -> Fields:
        content = [_output_text(self._text)]
        return {"id": self.id, "type": "message", "status": status, "role": "assistant", "content": content}


class _Reasoning(_Item):
    def __init__(self, index: int, item_id: str, *, shows_proof: bool) -> None:
        super().__init__(index, item_id)
        self._shows_proof = shows_proof
        self._proof = ""

    def open(self) -> Iterator[Said]:
        yield self._added({"id": self.id, "type": "reasoning", "summary": []})

    def add(self, text: str) -> Iterator[Said]:
        if not self._pieces:
            yield "reasoning_summary_part.added", self._about(summary_index=0, part=_summary_text(""))
        self._pieces.append(text)
        yield "reasoning_summary_text.delta", self._about(summary_index=0, delta=text)

    def prove(self, thought: Thought) -> None:
        if thought.redacted:
            self._proof = seal({"type": "redacted_thinking", "data": thought.redacted})
        else:
            block = {"type": "thinking", "thinking": self._text, "signature": thought.signature}
            self._proof = seal(block)

    def close(self, status: str) -> Iterator[Said]:
        if self._pieces:
            text = self._text
            yield "reasoning_summary_text.done", self._about(summary_index=0, text=text)
            yield "reasoning_summary_part.done", self._about(summary_index=0, part=_summary_text(text))
        yield self._done(self.shown(status))

    def shown(self, status: str) -> Fields:
        item = self.kept(status)
        if not self._shows_proof:
            item.pop("encrypted_content", None)
        return item

    def kept(self, _: str) -> Fields:
        summary = [_summary_text(self._text)] if self._pieces else []
        item: Fields = {"id": self.id, "type": "reasoning", "summary": summary}
        return {**item, "encrypted_content": self._proof} if self._proof else item


class _Call(_Item):
    def __init__(self, index: int, item_id: str, call_id: str, name: str) -> None:
        super().__init__(index, item_id)
        self._call_id = call_id
        self._name = name

    def open(self) -> Iterator[Said]:
        yield self._added({**self.shown("in_progress"), "arguments": ""})

    def add(self, arguments: str) -> Said:
        self._pieces.append(arguments)
        return "function_call_arguments.delta", self._about(delta=arguments)

    def close(self, status: str) -> Iterator[Said]:
        yield "function_call_arguments.done", self._about(arguments=self._text, name=self._name)
        yield self._done(self.shown(status))

    def shown(self, status: str) -> Fields:
        return {
            "id": self.id,
            "type": "function_call",
            "status": status,
            "call_id": self._call_id,
            "name": self._name,
            "arguments": self._text,
        }


class Output:
    """Builds the output of one answer. The statuses of its items are those of the answer's end."""

    def __init__(self, suffix: str, *, shows_proof: bool) -> None:
        """`suffix` makes the items' ids; `shows_proof`: whether reasoning shows its `encrypted_content`."""
        self._suffix = suffix
        self._shows_proof = shows_proof
        self._items: list[_Message | _Reasoning | _Call] = []
        self._calls: dict[int, _Call] = {}
        self._current: _Message | _Reasoning | None = None
        self._status: str = "in_progress"

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said yet."""
        return not self._items

    def take(self, event: Text | Thought | ToolCall) -> Iterator[Said]:
        """What the next piece adds."""
        match event:
            case Text():
                if event.text or self.is_empty:
                    yield from self._say(event.text)
            case Thought():
                yield from self._think(event)
            case ToolCall():
                yield from self._call(event)

    def end(self, status: Status) -> Iterator[Said]:
        """Close what is open. An answer that says nothing is an empty message."""
        if self.is_empty:
            yield from self._say("")
        self._status = status
        yield from self._close_current(status)
        for call in self._calls.values():
            yield from call.close(status)

    def shown(self) -> list[Fields]:
        """The items as the caller sees them."""
        return [item.shown(self._status_of(item)) for item in self._items]

    def kept(self) -> list[Fields]:
        """The items as they are kept for a later request: with the proof of reasoning, asked for or not."""
        return [
            item.kept("") if isinstance(item, _Reasoning) else item.shown(self._status_of(item))
            for item in self._items
        ]

    def _status_of(self, item: _Item) -> str:
        """Only the last item is cut where the answer was."""
        return self._status if item is self._items[-1] or self._status == "in_progress" else "completed"

    def _say(self, text: str) -> Iterator[Said]:
        message = self._current
        if not isinstance(message, _Message):
            yield from self._close_current()
            message = self._current = _Message(len(self._items), self._id("message"))
            self._items.append(message)
            yield from message.open()
        if text:
            yield message.add(text)

    def _think(self, thought: Thought) -> Iterator[Said]:
        if thought.text or (thought.signature and not isinstance(self._current, _Reasoning)):
            reasoning = self._current
            if not isinstance(reasoning, _Reasoning):
                yield from self._open_reasoning()
                reasoning = self._current
            if thought.text and isinstance(reasoning, _Reasoning):
                yield from reasoning.add(thought.text)
        if thought.signature:
            yield from self._prove(Thought(signature=thought.signature))
        if thought.redacted:
            yield from self._open_reasoning()
            yield from self._prove(Thought(redacted=thought.redacted))

    def _open_reasoning(self) -> Iterator[Said]:
        yield from self._close_current()
        reasoning = _Reasoning(len(self._items), self._id("reasoning"), shows_proof=self._shows_proof)
        self._current = reasoning
        self._items.append(reasoning)
        yield from reasoning.open()

    def _prove(self, thought: Thought) -> Iterator[Said]:
        """The proof ends its block."""
        assert isinstance(self._current, _Reasoning)
        self._current.prove(thought)
        yield from self._close_current()

    def _call(self, piece: ToolCall) -> Iterator[Said]:
        call = self._calls.get(piece.index)
        if call is None:
            yield from self._close_current()
            call_id = piece.id or f"call_{self._suffix}_{len(self._items)}"
            call = _Call(len(self._items), self._id("function_call"), call_id, piece.name)
            self._calls[piece.index] = call
            self._items.append(call)
            yield from call.open()
        if piece.arguments:
            yield call.add(piece.arguments)

    def _close_current(self, status: str = "completed") -> Iterator[Said]:
        if self._current is not None:
            yield from self._current.close(status)
            self._current = None

    def _id(self, kind: str) -> str:
        return output_id(kind, self._suffix, len(self._items))


def _output_text(text: str) -> Fields:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _summary_text(text: str) -> Fields:
    return {"type": "summary_text", "text": text}
