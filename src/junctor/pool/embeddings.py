"""Models that make embeddings: behind any server of OpenAI's embeddings API, and scripted ones."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

import msgspec

from junctor.chat import (
    BadRequest,
    ChatRequest,
    Event,
    Finished,
    ModelCard,
    Raw,
    Started,
    UpstreamBroken,
    Usage,
)
from junctor.pool.scripted import Script, ScriptedModel
from junctor.pool.transport import Target, Timeouts, Transport
from junctor.pool.upstream import ChunkParser, Upstream, join_url
from junctor.wire import embeddings, openai_answer
from junctor.wire.json_body import Rendered
from junctor.wire.json_value import BAD_JSON, as_list

SCRIPTED_DIMENSIONS = 8
"Of a scripted model's vectors, for requests that do not say."
MOST_SCRIPTED_DIMENSIONS = 4096


class EmbeddingsUpstream(Upstream):
    """A model behind a server that speaks OpenAI's embeddings API."""

    def __init__(
        self, card: ModelCard, *, base_url: str, key: str | None, transport: Transport, timeouts: Timeouts
    ) -> None:
        """`base_url`: up to and including the version, as `https://host/v1`. Raises `ValueError`."""
        headers = {"content-type": "application/json"}
        if key:
            headers["authorization"] = f"Bearer {key}"
        super().__init__(card, Target(join_url(base_url, "embeddings"), headers), key, transport, timeouts)

    def render(self, request: ChatRequest) -> Rendered:
        """The caller's body. Raises `UnsupportedByModel` for a chat."""
        return embeddings.render_request(request, self.card.upstream or self.card.name)

    def is_envelope(self, status: int, body: bytes) -> bool:
        """Whether it is about the request, and has the four fields of OpenAI's envelope."""
        return status < 500 and status != 429 and openai_answer.is_error_envelope(body)

    def parse_reply(self, body: bytes, *, relay: bool) -> Iterator[Event]:
        """The events of a reply."""
        return embeddings.parse_reply(body)

    def chunk_parser(self, *, relay: bool) -> ChunkParser:
        """One that takes nothing: embeddings are never streamed."""
        return _NoStream()


class _NoStream:
    done = False

    def parse(self, data: bytes) -> Iterator[Event]:
        raise UpstreamBroken("it streams, where embeddings come whole; is its base_url right?")

    def end(self) -> Finished:
        raise UpstreamBroken("it streams nothing, where embeddings come whole; is its base_url right?")


class ScriptedEmbeddings:
    """Makes the same vector of the same text, of length 1; waits and fails as its script says."""

    def __init__(self, card: ModelCard, script: Script) -> None:
        self.card = card
        self._script = ScriptedModel(card, script)

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """As `Model.answer`. Raises `UnsupportedByModel` for a chat."""
        sent = embeddings.render_request(request, self.card.name)
        async with aclosing(self._script.answer(request)) as events:
            async for event in events:
                if isinstance(event, Started):
                    yield event
        texts, reply = render_vectors(sent.body)
        yield Raw(reply, has_text=False)
        yield Usage(texts, 0)
        yield Finished("stop")


class _Asked(msgspec.Struct, frozen=True):
    model: str
    input: Any
    dimensions: int = SCRIPTED_DIMENSIONS
    encoding_format: str = "float"


def render_vectors(body: bytes) -> tuple[int, bytes]:
    """Tokens (four bytes each), and the reply to a request for embeddings. Raises `BadRequest`."""
    try:
        asked = msgspec.json.decode(body, type=_Asked)
    except BAD_JSON as error:
        raise BadRequest(f"the request is not one for embeddings: {error}") from None
    if not 1 <= asked.dimensions <= MOST_SCRIPTED_DIMENSIONS:
        raise BadRequest(
            f"`dimensions` must lie between 1 and {MOST_SCRIPTED_DIMENSIONS}", param="dimensions"
        )
    inputs = as_list(asked.input)
    if not inputs or isinstance(inputs[0], int):
        inputs = [asked.input]
    texts = [msgspec.json.encode(one) for one in inputs]
    tokens = sum(-(-len(text) // 4) for text in texts)
    vectors = [_vector(text, asked.dimensions) for text in texts]
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(vector, asked.encoding_format)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    reply = {"object": "list", "data": data, "model": asked.model, "usage": usage}
    return tokens, msgspec.json.encode(reply)


def _vector(text: bytes, dimensions: int) -> list[float]:
    noise = hashlib.shake_256(text).digest(4 * dimensions)
    raw = [number / 2**31 - 1 for number in struct.unpack(f"<{dimensions}I", noise)]
    length = math.sqrt(sum(number * number for number in raw)) or 1.0
    return [number / length for number in raw]


def _encoded(vector: list[float], encoding: str) -> list[float] | str:
    """As OpenAI encodes it: little-endian 32-bit floats in base64, or plain numbers."""
    if encoding != "base64":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
