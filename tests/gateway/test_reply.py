"""What goes back to a client."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from junctor.chat import (
    BadRequest,
    BudgetExhausted,
    JunctorError,
    Overloaded,
    RateLimited,
    UpstreamBroken,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamUnavailable,
)
from junctor.gateway.reply import Reply, render_error_headers

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
        "request-id": "req_1",
        "content-length": "2",
        "x-more": "yes",
    }
    assert wire.messages[1:] == [{"type": "http.response.body", "body": b"{}", "more_body": False}]


async def test_a_stream_is_pieces_and_an_end() -> None:
    """The first piece brings status and headers; they are asked for only then."""
    wire, asked = Wire(), list[str]()

    def headers() -> list[tuple[str, str]]:
        asked.append("yes")
        return [("x-more", "yes")]

    reply = Reply(wire, "req_1", headers)
    assert not reply.started
    assert not asked
    await reply.piece(b"a")
    await reply.end(b"b")
    assert reply.started
    assert wire.headers["x-more"] == "yes"
    assert wire.headers["content-type"].startswith("text/event-stream")
    assert [(m["body"], m["more_body"]) for m in wire.messages[1:]] == [(b"a", True), (b"b", False)]


async def test_a_sign_of_life_never_comes_before_the_headers_or_amid_another_message() -> None:
    """Given before the first piece, with the next one right behind it."""
    wire = Wire()
    reply = Reply(wire, "req_1")
    reply.give_sign(b": alive")
    await reply.piece(b"a")
    reply.give_sign(b": alive")
    reply.give_sign(b": alive")
    await reply.end(b"b")
    assert [m["type"] for m in wire.messages] == ["http.response.start"] + ["http.response.body"] * 4
    assert [m["body"] for m in wire.messages[1:]] == [b": alive", b"a", b": alive", b"b"]


async def test_while_a_message_waits_no_sign_is_given() -> None:
    """The client takes nothing: more would only wait behind it. When it waits since is told."""
    free, wire = asyncio.Event(), Wire()

    async def slow(message: dict[str, Any]) -> None:
        await free.wait()
        await wire(message)

    reply = Reply(slow, "req_1")
    sending = asyncio.create_task(reply.piece(b"a"))
    await asyncio.sleep(0)
    assert reply.sending_since is not None
    reply.give_sign(b": alive")
    free.set()
    await sending
    assert reply.sending_since is None
    assert [m.get("body") for m in wire.messages] == [None, b"a"]


@pytest.mark.parametrize(
    ("error", "headers"),
    [
        (UpstreamBroken("it broke"), {"x-should-retry": "false"}),
        (UpstreamBroken("it broke", retry_after_s=2), {"retry-after": "2"}),
        (UpstreamRefused("no", status=400), {"x-should-retry": "false"}),
        (UpstreamRateLimited("slow down"), {}),
        (UpstreamRateLimited("slow down", retry_after_s=0.1), {"retry-after": "1"}),
        (UpstreamUnavailable("nobody there"), {}),
        (UpstreamUnavailable("nobody there", retry_after_s=3), {"retry-after": "3"}),
        (BudgetExhausted("spent"), {"x-should-retry": "false"}),
        (RateLimited("too fast", retry_after_s=2), {"retry-after": "2"}),
        (Overloaded("too many", retry_after_s=1), {"retry-after": "1"}),
        (BadRequest("what?"), {}),
    ],
)
def test_when_to_come_back_and_not_to_are_never_said_together(
    error: JunctorError, headers: dict[str, str]
) -> None:
    assert dict(render_error_headers(error)) == headers


async def test_client_libraries_are_told_not_to_multiply_our_retries() -> None:
    wire = Wire()
    await Reply(wire, "req_1").error(UpstreamBroken("it broke"), "application/json", b"{}")
    assert wire.headers["x-should-retry"] == "false"
    wire = Wire()
    await Reply(wire, "req_1").error(
        UpstreamRateLimited("slow down", retry_after_s=1.2), "application/json", b"{}"
    )
    assert wire.headers["retry-after"] == "2"
    assert "x-should-retry" not in wire.headers
