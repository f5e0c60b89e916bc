"""What goes back to a client."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from junctor.chat import BadRequest, UpstreamBroken, UpstreamRateLimited
from junctor.gateway.receive import ClientGone
from junctor.gateway.reply import Reply, render_refusal

pytestmark = pytest.mark.anyio


class Wire:
    """An ASGI `send` that keeps what it is given."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    async def __call__(self, message: dict[str, Any]) -> None:
        self.messages.append(message)

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}


async def test_every_reply_names_its_request() -> None:
    wire = Wire()
    await Reply(wire, "req_1").whole(200, "application/json", b"{}", [("x-more", "yes")])
    assert wire.headers == {
        "content-type": "application/json",
        "x-request-id": "req_1",
        "content-length": "2",
        "x-more": "yes",
    }
    assert wire.messages[1:] == [{"type": "http.response.body", "body": b"{}", "more_body": False}]


async def test_a_stream_is_pieces_and_an_end() -> None:
    wire = Wire()
    reply = Reply(wire, "req_1")
    assert not reply.started
    await reply.start(200, "text/event-stream")
    await reply.piece(b"a")
    await reply.end(b"b")
    assert reply.started
    assert [(m["body"], m["more_body"]) for m in wire.messages[1:]] == [(b"a", True), (b"b", False)]


async def test_client_libraries_are_told_not_to_multiply_our_retries() -> None:
    wire = Wire()
    await Reply(wire, "req_1").error(UpstreamBroken("it broke"), "/v1/chat/completions")
    assert wire.headers["x-should-retry"] == "false"
    wire = Wire()
    await Reply(wire, "req_1").error(UpstreamRateLimited("slow down", retry_after_s=1.2), "/v1/x")
    assert wire.headers["retry-after"] == "2"
    assert "x-should-retry" not in wire.headers


async def test_a_client_that_takes_nothing_counts_as_gone() -> None:
    async def stuck(_: dict[str, Any]) -> None:
        await asyncio.Event().wait()

    with pytest.raises(ClientGone):
        await Reply(stuck, "req_1", send_timeout_s=0.01).piece(b"x")


def test_each_path_has_its_own_envelope() -> None:
    error = BadRequest("mend it", param="model")
    kind, body = render_refusal(error, "/v1/chat/completions")
    assert kind == "application/json"
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    kind, body = render_refusal(error, "/api/decisions/x")
    assert kind == "application/problem+json"
    assert json.loads(body)["detail"] == "mend it"
