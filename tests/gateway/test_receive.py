"""Reading from a client that may be slow, huge, or gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import pytest

from junctor.chat import BadRequest, BodyTimeout, BodyTooLarge
from junctor.gateway.receive import (
    ClientGone,
    Message,
    Presence,
    Receive,
    give_up_after,
    read_body,
    read_headers,
)

pytestmark = pytest.mark.anyio


def sender(messages: Iterable[Message]) -> Receive:
    """An ASGI `receive` that gives these messages and then waits for ever."""
    pending = iter(messages)

    async def receive() -> Message:
        for message in pending:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    return receive


def piece(body: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_pieces_are_joined() -> None:
    receive = sender([piece(b"ab", more=True), piece(b"", more=True), piece(b"c", more=False)])
    assert await read_body({}, receive, max_bytes=3, timeout_s=5) == b"abc"


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    async def receive() -> Message:
        raise AssertionError("the body was read")

    with pytest.raises(BodyTooLarge, match=r"11 bytes.*server\.max_body_bytes"):
        await read_body({"content-length": "11"}, receive, max_bytes=10, timeout_s=5)


async def test_an_undeclared_length_is_refused_when_it_gets_there() -> None:
    receive = sender([piece(b"x" * 6, more=True), piece(b"x" * 6, more=True)])
    with pytest.raises(BodyTooLarge, match="more than 10 bytes"):
        await read_body({}, receive, max_bytes=10, timeout_s=5)


async def test_a_body_that_does_not_come_is_given_up() -> None:
    with pytest.raises(BodyTimeout, match=r"within 0\.01 s"):
        await read_body({}, sender([piece(b"x", more=True)]), max_bytes=10, timeout_s=0.01)


async def test_a_compressed_body_is_refused() -> None:
    """Nothing is inflated, so there is no bomb to defuse."""
    with pytest.raises(BadRequest, match="compressed"):
        await read_body({"content-encoding": "gzip"}, sender([]), max_bytes=10, timeout_s=5)


async def test_a_client_that_leaves_while_sending_is_gone() -> None:
    with pytest.raises(ClientGone):
        await read_body({}, sender([{"type": "http.disconnect"}]), max_bytes=10, timeout_s=5)


async def test_leaving_cancels_the_block_and_only_the_block() -> None:
    cancelled: list[bool] = []
    with pytest.raises(ClientGone):
        async with Presence(sender([{"type": "http.disconnect"}])):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise
    assert cancelled == [True]
    await asyncio.sleep(0)  # would raise, were the task still marked as cancelled


async def test_a_cancellation_from_outside_stays_one() -> None:
    """A server that shuts down must not take its own cancellation for a client's leaving."""

    async def work() -> None:
        async with Presence(sender([])):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_leaving_at_the_very_end_does_not_cancel_what_comes_after() -> None:
    """The block is over before its cancellation arrives; the row is still to be written."""
    with pytest.raises(ClientGone):
        async with Presence(sender([])) as presence:
            presence.leave()
    await asyncio.sleep(0)


async def test_a_client_that_takes_nothing_can_be_told_to_leave() -> None:
    with pytest.raises(ClientGone):
        async with Presence(sender([])) as presence:
            asyncio.get_running_loop().call_soon(presence.leave)
            await asyncio.Event().wait()
    presence.leave()
    await asyncio.sleep(0)


class Wire:
    """A `Line` whose client leaves when it is told to."""

    def __init__(self, *, gone: bool = False, arrived: bool = True) -> None:
        self.gone, self.arrived = gone, arrived
        self.tell: Callable[[], None] | None = None

    def when_lost(self, tell: Callable[[], None] | None) -> None:
        self.tell = tell
        if tell is not None and self.gone:
            tell()


async def test_a_line_tells_by_itself_that_the_client_left() -> None:
    """No task has to wait for that."""
    wire, tasks = Wire(), asyncio.all_tasks()
    with pytest.raises(ClientGone):
        async with Presence(sender([]), wire):
            assert asyncio.all_tasks() == tasks
            assert wire.tell is not None
            asyncio.get_running_loop().call_soon(wire.tell)
            await asyncio.Event().wait()
    assert wire.tell is None


async def test_a_client_that_left_before_the_block_began_is_gone() -> None:
    with pytest.raises(ClientGone):
        async with Presence(sender([]), Wire(gone=True)):
            await asyncio.Event().wait()


async def test_what_has_arrived_needs_no_deadline() -> None:
    """But has the same caps."""
    whole = [piece(b"abc", more=False)]
    assert await read_body({}, sender(whole), max_bytes=3, timeout_s=0.0, line=Wire()) == b"abc"
    with pytest.raises(BodyTooLarge):
        await read_body({}, sender(whole), max_bytes=2, timeout_s=0.0, line=Wire())
    with pytest.raises(BodyTimeout):
        await read_body({}, sender([]), max_bytes=3, timeout_s=0.0, line=Wire(arrived=False))


async def test_an_error_is_given_up_when_nobody_takes_it() -> None:
    async with give_up_after(0.01):
        await asyncio.Event().wait()


async def test_a_block_that_ends_first_is_left_alone() -> None:
    before = asyncio.all_tasks()
    async with Presence(sender([])):
        pass
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


def test_the_first_of_a_repeated_header_counts() -> None:
    scope = {"headers": [(b"host", b"a"), (b"host", b"b"), (b"x-odd", b"\xe9")]}
    assert read_headers(scope) == {"host": "a", "x-odd": "é"}
