"""Models that answer over HTTP: any server of OpenAI's chat API, and Anthropic's Messages API.

render -> post -> status? -> Started -> (relay: raw frames | decoded events)* -> Usage? -> Finished
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import Protocol

import msgspec

from junctor.chat import (
    ChatRequest,
    Event,
    Finished,
    JunctorError,
    ModelCard,
    Raw,
    Started,
    Text,
    Thought,
    ToolCall,
    UpstreamBroken,
    UpstreamError,
)
from junctor.pool.refusal import parse_refusal
from junctor.pool.transport import Reply, Target, Timeouts, Transport
from junctor.wire import anthropic_answer, anthropic_request, openai_answer, openai_request
from junctor.wire.sse import EventParser, EventTooLarge

MAX_REFUSAL_BYTES = 256 * 1024
"Of an error's body."
REFUSAL_PATIENCE_S = 2.0
"How long an error's body may take to come: its status says the most."
ANTHROPIC_VERSION = "2023-06-01"
"The newest version of the Messages API; newer features go by `anthropic-beta`."
DEFAULT_MAX_TOKENS = 4096
"For Anthropic, which wants a limit, when neither the request nor the card has one."


class ChunkParser(Protocol):
    """Reads the events of one streamed answer."""

    done: bool

    def parse(self, data: bytes) -> Iterator[Event]:
        """The events of one frame. Raises `UpstreamError`."""
        ...

    def end(self) -> Finished:
        """The stream is over. Raises `UpstreamBroken` when the answer is not."""
        ...


class Upstream:
    """What the dialects share. A Model; made by `OpenAIUpstream` and `AnthropicUpstream`."""

    def __init__(
        self, card: ModelCard, target: Target, key: str | None, transport: Transport, timeouts: Timeouts
    ) -> None:
        self.card = card
        self._target = target
        self._key = key
        self._transport = transport
        self._streamed = timeouts
        # A whole answer has no first text to wait for: it comes at once, when it is complete.
        self._whole = msgspec.structs.replace(
            timeouts, first_token_s=timeouts.total_s, idle_s=max(timeouts.idle_s, timeouts.first_token_s)
        )

    def render(self, request: ChatRequest) -> bytes:
        """The request in the upstream's dialect. Raises `BadRequest` for what the dialect cannot say."""
        raise NotImplementedError

    def parse_reply(self, body: bytes, *, relay: bool) -> Iterator[Event]:
        """The events of a whole reply. Raises `UpstreamBroken`."""
        raise NotImplementedError

    def chunk_parser(self, *, relay: bool) -> ChunkParser:
        """A parser for one stream."""
        raise NotImplementedError

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """As `Model.answer`. Relays raw frames when `request.relay` is the upstream's dialect."""
        body = self.render(request)
        timeouts = self._streamed if request.stream else self._whole
        if request.within_s is not None and request.within_s < timeouts.total_s:
            timeouts = msgspec.structs.replace(timeouts, total_s=request.within_s)
        async with self._transport.post(self._target, body, timeouts, self.card.name) as reply:
            if not 200 <= reply.status < 300:
                raise await self._refusal(reply)
            yield Started(self.card.name)
            try:
                relay = request.relay == self.card.dialect
                content_type = reply.headers.get("content-type", "")
                if not content_type.startswith("text/event-stream"):
                    # A server that cannot stream answers whole: its body is no frame of a stream.
                    whole = await self._read_whole(reply, content_type)
                    for event in self.parse_reply(whole, relay=relay and not request.stream):
                        yield event
                    return
                parser, events = self.chunk_parser(relay=relay and request.stream), EventParser()
                speaking = False
                while not parser.done and (piece := await reply.read()):
                    for server_event in events.feed(piece):
                        for event in parser.parse(server_event.data):
                            if not speaking and _is_text(event):
                                speaking = True
                                reply.first_text_came()
                            yield event
                finished = parser.end()
                reply.satisfied = True
                yield finished
            except EventTooLarge as error:
                raise UpstreamBroken(f"{self._who} sent too much: {error}", model=self.card.name) from None
            except UpstreamError as error:
                raise self._named(error) from None

    @property
    def _who(self) -> str:
        return f"the model `{self.card.name}`"

    async def _read_whole(self, reply: Reply, content_type: str) -> bytes:
        body = await reply.body()
        if not body.lstrip()[:1] == b"{":
            raise UpstreamBroken(
                f"it answered with {content_type or 'no content type'}; is its base_url right?"
            )
        return body

    async def _refusal(self, reply: Reply) -> JunctorError:
        try:
            async with asyncio.timeout(REFUSAL_PATIENCE_S):
                body = await reply.body(MAX_REFUSAL_BYTES)
        except (UpstreamError, TimeoutError):
            body = b""
        return parse_refusal(reply.status, reply.headers, body, self.card.name, self._key)

    def _named(self, error: UpstreamError) -> UpstreamError:
        """Errors of the codecs do not know the model."""
        if not error.model:
            error.model = self.card.name
            error.message = f"{self._who}: {error.message}"
            if self._key:
                error.message = error.message.replace(self._key, "***")
            error.args = (error.message,)
        return error


def _is_text(event: Event) -> bool:
    return event.has_text if isinstance(event, Raw) else isinstance(event, Text | Thought | ToolCall)


class OpenAIUpstream(Upstream):
    """A model behind a server that speaks OpenAI's chat API."""

    def __init__(
        self, card: ModelCard, *, base_url: str, key: str | None, transport: Transport, timeouts: Timeouts
    ) -> None:
        """`base_url`: up to and including the version, as `https://host/v1`. Raises `ValueError`."""
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        if key:
            headers["authorization"] = f"Bearer {key}"
        super().__init__(
            card, Target(join_url(base_url, "chat/completions"), headers), key, transport, timeouts
        )

    def render(self, request: ChatRequest) -> bytes:
        """The request with the upstream's name for the model."""
        return openai_request.render_request(request, self.card.upstream or self.card.name)

    def parse_reply(self, body: bytes, *, relay: bool) -> Iterator[Event]:
        """The events of a whole reply."""
        return openai_answer.parse_reply(body, relay=relay)

    def chunk_parser(self, *, relay: bool) -> ChunkParser:
        """A parser for one stream."""
        return openai_answer.ChunkParser(relay=relay)


class AnthropicUpstream(Upstream):
    """A model behind Anthropic's Messages API."""

    def __init__(
        self, card: ModelCard, *, base_url: str, key: str | None, transport: Transport, timeouts: Timeouts
    ) -> None:
        """`base_url`: up to and including the version, as `https://host/v1`. Raises `ValueError`."""
        headers = {"content-type": "application/json", "anthropic-version": ANTHROPIC_VERSION}
        if key:
            headers["x-api-key"] = key
        super().__init__(card, Target(join_url(base_url, "messages"), headers), key, transport, timeouts)

    def render(self, request: ChatRequest) -> bytes:
        """The request translated. Raises `BadRequest` for what Messages cannot say."""
        limit = self.card.max_output or DEFAULT_MAX_TOKENS
        return anthropic_request.render_messages_request(request, self.card.upstream or self.card.name, limit)

    def parse_reply(self, body: bytes, *, relay: bool) -> Iterator[Event]:
        """The events of a whole reply."""
        return anthropic_answer.parse_message(body, relay=relay)

    def chunk_parser(self, *, relay: bool) -> ChunkParser:
        """A parser for one stream."""
        return anthropic_answer.MessageStreamParser(relay=relay)


def join_url(base_url: str, path: str) -> str:
    """A path below a base URL, whose query (`?api-version=...`) is kept."""
    base, mark, query = base_url.partition("?")
    return f"{base.rstrip('/')}/{path}{mark}{query}"
