"""A local model: the engine's listener, asked as any other server of OpenAI's chat API."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from junctor.chat import (
    ChatRequest,
    EngineDown,
    Event,
    ModelCard,
    UpstreamBroken,
    UpstreamUnauthorised,
    UpstreamUnreachable,
)
from junctor.pool.transport import Timeouts, Transport
from junctor.pool.upstream import OpenAIUpstream
from junctor.serving.engine import Endpoint, Engine

PATIENT: Final = Timeouts(connect_s=5.0, first_token_s=600.0, idle_s=60.0, total_s=1800.0)
"""A processor reads some 30 tokens a second: a full window of 8192 takes five minutes before the first token,
and twice that when another request shares the machine. A dead engine is noticed at once all the same."""


class LocalModel:
    """A Model whose upstream is an engine of ours, wherever that answers at the moment."""

    def __init__(
        self, card: ModelCard, engine: Engine, transport: Transport, timeouts: Timeouts = PATIENT
    ) -> None:
        self.card = card
        self._engine = engine
        self._transport = transport
        self._timeouts = timeouts

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """As `Model.answer`. Waits for a starting engine; raises `EngineDown` when it is down or dies."""
        endpoint = await self._engine.endpoint()
        try:
            async with aclosing(self._upstream_at(endpoint).answer(request)) as events:
                async for event in events:
                    yield event
        except (UpstreamBroken, UpstreamUnreachable, UpstreamUnauthorised) as error:
            if not await self._engine.died(endpoint):
                raise
            raise EngineDown(
                f"the engine of {self.card.name} crashed while it answered; it is being restarted, try again",
                model=self.card.name,
            ) from error

    def _upstream_at(self, endpoint: Endpoint) -> OpenAIUpstream:
        return OpenAIUpstream(
            self.card,
            base_url=endpoint.base_url,
            key=endpoint.key,
            transport=self._transport,
            timeouts=self._timeouts,
        )
