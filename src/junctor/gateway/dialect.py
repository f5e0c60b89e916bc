"""The dialects that callers speak: for each its path, how its requests are read and its replies written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Protocol

import msgspec

from junctor.chat import ChatRequest, Event, JunctorError
from junctor.wire import embeddings, messages_reply, messages_request, responses_reply, responses_request
from junctor.wire.messages_reply import MessagesRenderer
from junctor.wire.openai_reply import ChatRenderer, render_error, render_error_event
from junctor.wire.openai_request import parse_request
from junctor.wire.problem import render_problem
from junctor.wire.responses_reply import ResponsesRenderer
from junctor.wire.sse import KEEPALIVE


class Call(Protocol):
    """A request as its caller made it: what its renderer has to know, and what the pool is asked."""

    @property
    def request(self) -> ChatRequest:
        """What the pool is asked."""
        ...


class Parse(Protocol):
    """Reads a request. Raises `BadRequest`."""

    def __call__(
        self, body: bytes, headers: Mapping[str, str], *, request_id: str, caller: str, model: str
    ) -> Call:
        """`headers` has lower-case names. `model`, when not empty, is named by the URL and counts."""
        ...


class Renderer(Protocol):
    """Writes the reply to one call."""

    def render(self, event: Event) -> Iterator[bytes]:
        """What to send now, if anything: whole server-sent events; of a whole reply nothing."""
        ...

    def end(self) -> bytes:
        """The last bytes, after `Finished`: the end of the stream, or the whole reply."""
        ...


class CallerDialect(msgspec.Struct, frozen=True, kw_only=True):
    """One dialect."""

    path: str
    "Where its requests go."
    what: str
    "One line for the table of routes."
    kind: Literal["chat", "embeddings"] = "chat"
    "The models that can answer: those of the other kind do not exist for its callers."
    parse: Parse
    renderer: Callable[[Any], Renderer]
    "Takes the call that `parse` gave."
    render_error: Callable[[JunctorError, str], bytes]
    "An error as the body of a reply; takes the request's id."
    render_error_event: Callable[[JunctorError, str], bytes]
    "An error after the first text: one server-sent event, or several, that end the stream."
    keepalive: bytes
    "What a stream that is silent for long is sent; its clients skip it."
    fail: Callable[[Any, JunctorError], bytes] | None = None
    "Instead of `render_error_event`, where the end of a stream that is cut depends on what came before it."


OPENAI_CHAT = CallerDialect(
    path="/v1/chat/completions",
    what="Answers chats as OpenAI's API does, streamed or whole.",
    parse=parse_request,
    renderer=ChatRenderer,
    render_error=lambda error, _: render_error(error),
    render_error_event=lambda error, _: render_error_event(error),
    keepalive=KEEPALIVE,
)

OPENAI_RESPONSES = CallerDialect(
    path="/v1/responses",
    what="Answers as OpenAI's Responses API does, streamed or whole, stored or not.",
    parse=responses_request.parse_request,
    renderer=ResponsesRenderer,
    render_error=lambda error, _: render_error(error),
    render_error_event=lambda error, _: responses_reply.render_error_event(error),
    keepalive=KEEPALIVE,
    fail=ResponsesRenderer.fail,
)

ANTHROPIC_MESSAGES = CallerDialect(
    path="/v1/messages",
    what="Answers as Anthropic's Messages API does, streamed or whole.",
    parse=messages_request.parse_request,
    renderer=MessagesRenderer,
    render_error=messages_reply.render_error,
    render_error_event=messages_reply.render_error_event,
    keepalive=messages_reply.PING,
)

OPENAI_EMBEDDINGS = CallerDialect(
    path="/v1/embeddings",
    what="Makes embeddings as OpenAI's API does.",
    kind="embeddings",
    parse=embeddings.parse_request,
    renderer=embeddings.EmbeddingsRenderer,
    render_error=lambda error, _: render_error(error),
    render_error_event=lambda error, _: render_error_event(error),
    keepalive=KEEPALIVE,
)

DIALECTS = {
    dialect.path: dialect
    for dialect in (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES, OPENAI_EMBEDDINGS)
}
"By path."

_AZURE = re.compile(r"/openai/deployments/(.+?)(/(?:chat/completions|embeddings))")


def canonical_path(path: str) -> tuple[str, str]:
    """The path under `/v1` that a path of Azure's form means, and the model that it names, if it names one.

    Azure has `/openai/v1/...` and, older, `/openai/deployments/{model}/...?api-version=...`.
    """
    if path.startswith("/openai/v1/"):
        return path.removeprefix("/openai"), ""
    if path == "/openai/responses" or path.startswith("/openai/responses/"):
        return f"/v1/{path.removeprefix('/openai/')}", ""
    if match := _AZURE.fullmatch(path):
        return f"/v1{match[2]}", match[1]
    return path, ""


def render_refusal(error: JunctorError, path: str, request_id: str) -> tuple[str, bytes]:
    """Content type and body of an error, in the envelope that its path promises."""
    path, _ = canonical_path(path)
    for dialect in DIALECTS.values():
        if path == dialect.path or path.startswith(f"{dialect.path}/"):
            return "application/json", dialect.render_error(error, request_id)
    if path.startswith(("/v1/", "/openai/")):
        return "application/json", render_error(error)
    return "application/problem+json", render_problem(error)[1]
