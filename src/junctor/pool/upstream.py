"""Models that answer over HTTP: any server of OpenAI's chat API, and Anthropic's Messages API.

render -> post -> status? -> Started -> (relay: raw frames | decoded events)* -> Usage? -> Finished
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
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
    UnsupportedByModel,
    UpstreamBroken,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnauthorised,
)
from junctor.pool.refusal import parse_refusal
from junctor.pool.transport import LEFT, Exchange, Reply, Target, Timeouts, Transport
from junctor.wire import (
    anthropic_answer,
    anthropic_request,
    messages_request,
    openai_answer,
    openai_request,
)
from junctor.wire.json_body import Rendered
from junctor.wire.openai_plain import refused_field, render_plain
from junctor.wire.sse import EventParser, EventTooLarge

MAX_REFUSAL_BYTES = 256 * 1024
"Of an error's body."
REFUSAL_PATIENCE_S = 2.0
"How long an error's body may take to come: its status says the most."
ANTHROPIC_VERSION = "2023-06-01"
"The newest version of the Messages API; newer features go by `anthropic-beta`."
_VERSION: Mapping[str, str] = {"anthropic-version": ANTHROPIC_VERSION}
COUNT_PATIENCE_S = 30.0
"How long the upstream may take to count tokens."
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

    def render(self, request: ChatRequest) -> Rendered:
        """The request in the upstream's dialect. Raises `BadRequest` for what the dialect cannot say."""
        raise NotImplementedError

    def is_envelope(self, status: int, body: bytes) -> bool:
        """Whether the body of a refusal is what callers of the same dialect know how to read."""
        raise NotImplementedError

    def parse_reply(self, body: bytes, *, relay: bool) -> Iterator[Event]:
        """The events of a whole reply. Raises `UpstreamBroken`."""
        raise NotImplementedError

    def chunk_parser(self, *, relay: bool) -> ChunkParser:
        """A parser for one stream."""
        raise NotImplementedError

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """As `Model.answer`. Relays raw frames when `request.relay` is the upstream's dialect."""
        relay = request.relay == self.card.dialect
        while True:
            sent = self.render(request) if relay else self._translate(request)
            async with self._post(request, sent) as reply:
                if not 200 <= reply.status < 300:
                    error = await self._refusal(reply, quote=relay)
                    if relay or not self._adapts_to(error):
                        raise error
                    continue
                yield Started(self.card.name, sent.left_out)
                try:
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
                    return
                except EventTooLarge as error:
                    message = f"{self._who} sent too much: {error}"
                    raise UpstreamBroken(message, model=self.card.name) from None
                except UpstreamError as error:
                    raise self._named(error) from None

    def _post(self, request: ChatRequest, sent: Rendered) -> Exchange:
        timeouts = self._streamed if request.stream else self._whole
        if request.within_s is not None and request.within_s < timeouts.total_s:
            timeouts = msgspec.structs.replace(timeouts, total_s=request.within_s, total_of=LEFT)
        return self._transport.post(self._target, sent.body, timeouts, self.card.name, sent.headers)

    def _translate(self, request: ChatRequest) -> Rendered:
        """A request that came in another dialect, with the names of all that it loses."""
        if request.refused_elsewhere:
            asked = ", ".join(request.refused_elsewhere)
            raise UnsupportedByModel(
                f"{self._who} has not what only models of the request's API have: {asked}"
            )
        sent = self.render(request)
        lost = dict.fromkeys((*request.lost_elsewhere, *sent.left_out))
        return msgspec.structs.replace(sent, left_out=tuple(lost)) if lost else sent

    def _adapts_to(self, error: JunctorError) -> bool:
        """Whether a translated request may be sent once more, without the field that was refused by name."""
        return False

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

    async def _refusal(self, reply: Reply, *, quote: bool) -> JunctorError:
        """The error for a refusal. `quote`: its words reach the caller as they are, and its status."""
        try:
            async with asyncio.timeout(REFUSAL_PATIENCE_S):
                body = await reply.body(MAX_REFUSAL_BYTES)
        except (UpstreamError, TimeoutError):
            body = b""
        error = parse_refusal(reply.status, reply.headers, body, self.card.name, self._key)
        # That our key is refused is no business of the caller's, whose own key is good; nor is a redirect.
        quote = quote and reply.status >= 400 and not isinstance(error, UpstreamUnauthorised)
        if quote and self.is_envelope(reply.status, body):
            error.status, error.said = reply.status, self._without_key(body)
        return error

    def _without_key(self, said: bytes) -> bytes:
        return said.replace(self._key.encode(), b"***") if self._key else said

    def _named(self, error: UpstreamError) -> UpstreamError:
        """Errors of the codecs do not know the model."""
        if not error.model:
            error.model = self.card.name
            error.message = f"{self._who}: {error.message}"
            if self._key:
                error.message = error.message.replace(self._key, "***")
            error.args = (error.message,)
        if error.said is not None:
            error.said = self._without_key(error.said)
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
        self._refused: frozenset[str] = frozenset()
        "Fields of translated requests that the server has refused by name."

    def render(self, request: ChatRequest) -> Rendered:
        """The request with the upstream's name for the model; one of another dialect in plain OpenAI."""
        model = self.card.upstream or self.card.name
        if request.body is None:
            return Rendered(openai_request.render_request(request, model))
        return render_plain(request, model, without=self._refused)

    def _adapts_to(self, error: JunctorError) -> bool:
        """Servers of this API differ in the fields that they know: a refused one is not sent any more."""
        if not isinstance(error, UpstreamRefused):
            return False
        field = refused_field(error.message, error.param)
        if field is None or field in self._refused:
            return False
        self._refused |= {field}
        return True

    def is_envelope(self, status: int, body: bytes) -> bool:
        """Whether it is about the request, and has the four fields of OpenAI's envelope."""
        return status < 500 and status != 429 and openai_answer.is_error_envelope(body)

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
        headers = {"content-type": "application/json"}
        if key:
            headers["x-api-key"] = key
        super().__init__(card, Target(join_url(base_url, "messages"), headers), key, transport, timeouts)
        self._counting = Target(join_url(base_url, "messages/count_tokens"), headers)

    def render(self, request: ChatRequest) -> Rendered:
        """The caller's own body, or the request translated. Raises `BadRequest` for what cannot be said."""
        model = self.card.upstream or self.card.name
        if request.body is not None and request.relay == self.card.dialect:
            sent = messages_request.render_relayed(request, model)
        else:
            limit = self.card.max_output or DEFAULT_MAX_TOKENS
            sent = anthropic_request.render_messages_request(request, model, limit)
        return msgspec.structs.replace(sent, headers={**_VERSION, **sent.headers})

    def is_envelope(self, status: int, body: bytes) -> bool:
        """Whether it has Anthropic's envelope. Claude Code looks for its words, also for those of a 529."""
        return status >= 400 and anthropic_answer.is_error_envelope(body)

    async def count_tokens(self, request: ChatRequest) -> bytes:
        """What the upstream says to `POST /v1/messages/count_tokens`. `request` has a `body` of Messages.

        Raises `JunctorError`.
        """
        sent = self.render(request)
        limits = msgspec.structs.replace(
            self._whole, total_s=COUNT_PATIENCE_S, first_token_s=COUNT_PATIENCE_S
        )
        name = self.card.name
        async with self._transport.post(self._counting, sent.body, limits, name, sent.headers) as reply:
            if not 200 <= reply.status < 300:
                raise await self._refusal(reply, quote=True)
            try:
                return await self._read_whole(reply, reply.headers.get("content-type", ""))
            except UpstreamError as error:
                raise self._named(error) from None

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
