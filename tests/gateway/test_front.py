"""What all connections share: deadlines, and the wording of refusals."""

from __future__ import annotations

import asyncio
from math import inf

import pytest

from front_door import echo, render_refusal
from junctor.chat import JunctorError, MalformedRequest, Overloaded
from junctor.gateway.front import Front, HttpLimits
from junctor.gateway.shed import Shedder


def make_front(render: object = render_refusal, **limits: float) -> Front:
    return Front(echo, HttpLimits(**limits), Shedder(), render)


class Watched:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.expired = 0

    def expire(self) -> None:
        self.expired += 1
        self.deadline = inf


@pytest.mark.anyio
async def test_one_timer_looks_after_all_deadlines() -> None:
    front = make_front(head_timeout_s=0.04)
    loop = asyncio.get_running_loop()
    due, later, never = Watched(loop.time()), Watched(loop.time() + 0.1), Watched(inf)
    front.connections.update((due, later, never))
    front.date_field = b"date: long ago\r\n"
    front.watch(loop)
    assert front.date_field.startswith(b"date: ")
    assert b"long ago" not in front.date_field
    assert [it.expired for it in (due, later, never)] == [1, 0, 0]
    async with asyncio.timeout(5):
        while not later.expired:
            await asyncio.sleep(0.01)
    front.unwatch()
    assert [it.expired for it in (due, later, never)] == [1, 1, 0]
    due.deadline = 0
    await asyncio.sleep(0.05)
    assert due.expired == 1


def test_a_refusal_is_a_whole_reply() -> None:
    front = make_front()
    reply = front.render_refusal(MalformedRequest("no"), "/v1/x", closes=True)
    head, _, body = reply.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\ndate: ")
    assert b"connection: close" in head
    assert b"content-length: %d" % len(body) in head
    assert b"retry-after" not in head
    assert front.refused == {"malformed_request": 1}


@pytest.mark.parametrize(("wait_s", "said"), [(0.0, b"1"), (1.4, b"1"), (3.0, b"3")])
def test_overload_says_when_to_come_back(wait_s: float, said: bytes) -> None:
    reply = make_front().render_refusal(Overloaded("busy", retry_after_s=wait_s), "/v1/x", closes=False)
    assert b"\r\nretry-after: %b\r\n" % said in reply
    assert b"connection" not in reply


def test_words_are_kept_within_bounds() -> None:
    """A server that turns thousands away words it once."""
    worded: list[str] = []

    def count(error: JunctorError, path: str) -> tuple[str, bytes]:
        worded.append(path)
        return render_refusal(error, path)

    front = make_front(count)
    first = front.render_refusal(Overloaded("busy", retry_after_s=1), "/v1/x", closes=False)
    assert front.render_refusal(Overloaded("busy", retry_after_s=1), "/v1/x", closes=False) == first
    assert worded == ["/v1/x"]
    for number in range(2000):
        front.render_refusal(MalformedRequest("no"), f"/{number}", closes=True)
    assert len(front._worded) <= 256
