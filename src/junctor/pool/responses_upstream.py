"""Models behind a server that speaks OpenAI's Responses API."""

from __future__ import annotations

from collections.abc import Iterator

from junctor.chat import ChatRequest, Event, ModelCard
from junctor.pool.transport import Target, Timeouts, Transport
from junctor.pool.upstream import ChunkParser, Upstream, join_url
from junctor.wire import openai_answer, responses_answer, responses_render
from junctor.wire.json_body import Rendered


class OpenAIResponsesUpstream(Upstream):
    """A model behind OpenAI's Responses API."""

    def __init__(
        self, card: ModelCard, *, base_url: str, key: str | None, transport: Transport, timeouts: Timeouts
    ) -> None:
        """`base_url`: up to and including the version, as `https://host/v1`. Raises `ValueError`."""
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        if key:
            headers["authorization"] = f"Bearer {key}"
        super().__init__(card, Target(join_url(base_url, "responses"), headers), key, transport, timeouts)

    def render(self, request: ChatRequest) -> Rendered:
        """The caller's own body, or the request translated. Raises `BadRequest` for what cannot be said."""
        return responses_render.render_request(request, self.card.upstream or self.card.name)

    def is_envelope(self, status: int, body: bytes) -> bool:
        """Whether it is about the request, and has the four fields of OpenAI's envelope."""
        return status < 500 and status != 429 and openai_answer.is_error_envelope(body)

    def parse_reply(self, body: bytes, *, relay: bool) -> Iterator[Event]:
        """The events of a whole reply."""
        return responses_answer.parse_response(body, relay=relay)

    def chunk_parser(self, *, relay: bool) -> ChunkParser:
        """A parser for one stream."""
        return responses_answer.ResponseStreamParser(relay=relay)
