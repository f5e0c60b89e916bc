"""What a reply said: collected beside the stream, in the form it came in, and read once there is time.

Pure. Collecting costs a list append an event; frames that are relayed undecoded are decoded only by `read`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from junctor.chat import (
    Answer,
    ChatRequest,
    Decision,
    Dialect,
    Event,
    Finished,
    FinishReason,
    JunctorError,
    Raw,
    Routed,
    Started,
    Text,
    ToolCall,
    join_tool_call,
)
from junctor.wire import anthropic_answer, openai_answer, responses_answer

MOST_BYTES = 256 * 1024
"Of a reply that is collected; a longer one is forgotten."


class _StreamParser(Protocol):
    def parse(self, data: bytes) -> Iterator[Event]: ...


class _Form(msgspec.Struct, frozen=True):
    """How the frames of a dialect are decoded."""

    whole: Callable[..., Iterator[Event]]
    stream: Callable[..., _StreamParser]


_FORMS: dict[Dialect, _Form] = {
    "openai_chat": _Form(openai_answer.parse_reply, openai_answer.ChunkParser),
    "anthropic_messages": _Form(anthropic_answer.parse_message, anthropic_answer.MessageStreamParser),
    "openai_responses": _Form(responses_answer.parse_response, responses_answer.ResponseStreamParser),
}


class Transcript:
    """Watches one stream of events."""

    def __init__(self, request: ChatRequest, most_bytes: int = MOST_BYTES) -> None:
        self.decision: Decision | None = None
        self.model: str | None = None
        "Who answers."
        self.reason: FinishReason | None = None
        "How it ended; None: it did not."
        self._request = request
        self._room = most_bytes
        self._said: list[Event] = []

    def see(self, event: Event) -> None:
        """Note the next event."""
        match event:
            case Raw():
                self._keep(event, len(event.frame))
            case Text():
                self._keep(event, len(event.text))
            case ToolCall():
                self._keep(event, len(event.arguments) + 1)
            case Routed():
                self.decision = event.decision
            case Started():
                self.model = event.model
            case Finished():
                self.reason = event.reason
            case _:
                pass

    def _keep(self, event: Event, size: int) -> None:
        self._room -= size
        if self._room >= 0:
            self._said.append(event)
        else:
            self._said.clear()

    def read(self) -> Answer | None:
        """What was said, without thoughts; None when it did not end, was too long, or cannot be read."""
        if self.reason is None or self._room < 0:
            return None
        try:
            return _join(self._decoded(), self.model or "", self.reason)
        except JunctorError:  # what an upstream sent may be anything
            return None

    def _decoded(self) -> Iterator[Event]:
        request = self._request
        form = _FORMS.get(request.relay) if request.relay else None
        parser = form.stream(relay=False) if form is not None and request.stream else None
        for event in self._said:
            if not isinstance(event, Raw) or form is None:
                yield event
            elif parser is not None:
                yield from parser.parse(event.frame)
            else:
                yield from form.whole(event.frame, relay=False)


def _join(events: Iterator[Event], model: str, reason: FinishReason) -> Answer:
    text, calls = list[str](), dict[int, ToolCall]()
    for event in events:
        if isinstance(event, Text):
            text.append(event.text)
        elif isinstance(event, ToolCall):
            calls[event.index] = join_tool_call(calls.get(event.index), event)
    whole = tuple(calls[index] for index in sorted(calls))
    return Answer(model=model, text="".join(text), tool_calls=whole, reason=reason)
