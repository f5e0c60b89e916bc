"""OpenAI's embeddings: requests of callers, requests to upstreams, and replies. They pass byte for byte.

An embedding is asked for as a chat is, so that keys, budgets, retries and the ledger need not know the
difference: the relay is `openai_embeddings`, the answer one `Raw`, and only models of that dialect answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from junctor.chat import (
    BadRequest,
    ChatRequest,
    Dialect,
    Event,
    Finished,
    Raw,
    UnsupportedByModel,
    UpstreamBroken,
    Usage,
)
from junctor.wire.constraints import FIELD as CONSTRAINTS
from junctor.wire.constraints import parse_constraints
from junctor.wire.json_body import Rendered, is_empty_list, opens_with, parse_outer, read_model
from junctor.wire.json_value import BAD_JSON, as_count

RELAY: Dialect = "openai_embeddings"


class EmbeddingsCall(msgspec.Struct, frozen=True):
    """A request for embeddings as its caller made it."""

    request: ChatRequest


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _Reply(msgspec.Struct, frozen=True):
    data: list[msgspec.Raw] | None = None
    usage: _Usage | None = None


_reply_decoder = msgspec.json.Decoder(_Reply)


def parse_request(
    body: bytes, headers: Mapping[str, str], *, request_id: str, caller: str, model: str = ""
) -> EmbeddingsCall:
    """Read a request. `model`, when not empty, stands in its URL and counts. Raises `BadRequest`."""
    fields = parse_outer(body)
    given = fields.get("input", msgspec.Raw(b"null"))
    if not opens_with(given, b'"', b"[") or is_empty_list(given):
        raise BadRequest("`input` must be a string, or a list of strings or of tokens", param="input")
    request = ChatRequest(
        model=model or read_model(fields),
        # Nobody reads it, but what counts tokens measures it.
        messages=msgspec.Raw(b'[{"role":"user","content":%b}]' % bytes(given)),
        relay=RELAY,
        body=msgspec.Raw(body),
        constraints=parse_constraints(fields.get(CONSTRAINTS), headers),
        id=request_id,
        caller=caller,
    )
    return EmbeddingsCall(request)


def render_request(request: ChatRequest, upstream_model: str) -> Rendered:
    """The body with the upstream's name for the model. Raises `UnsupportedByModel` for a chat."""
    if request.relay != RELAY or request.body is None:
        raise UnsupportedByModel(
            "this model makes embeddings, it does not chat; ask it at /v1/embeddings", param="model"
        )
    fields: dict[str, Any] = dict(parse_outer(bytes(request.body)))
    fields.pop(CONSTRAINTS, None)
    return Rendered(msgspec.json.encode({**fields, "model": upstream_model}))


def parse_reply(body: bytes) -> Iterator[Event]:
    """The events of a reply: its bytes, and what it cost. Raises `UpstreamBroken`."""
    try:
        reply = _reply_decoder.decode(body)
    except BAD_JSON as error:
        raise UpstreamBroken(f"its answer is not what OpenAI's embeddings API defines: {error}") from None
    if reply.data is None:
        raise UpstreamBroken("its answer holds no `data`")
    # Vectors are no text: their size says nothing of tokens.
    yield Raw(body, has_text=False)
    if reply.usage is not None:
        tokens = reply.usage.prompt_tokens
        yield Usage(as_count(reply.usage.total_tokens if tokens is None else tokens), 0)
    yield Finished("stop")


class EmbeddingsRenderer:
    """Renders the events of one answer: the reply as the upstream sent it."""

    def __init__(self, call: EmbeddingsCall) -> None:
        self._body: bytes | None = None

    def render(self, event: Event) -> Iterator[bytes]:
        """Nothing: a reply is whole."""
        if isinstance(event, Raw):
            self._body = event.frame
        yield from ()

    def end(self) -> bytes:
        """The whole reply. Raises `UpstreamBroken` when there was none."""
        if self._body is None:
            raise UpstreamBroken("the answer holds no embeddings")
        return self._body
