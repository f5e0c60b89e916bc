"""Replies in progress are looked after: stuck clients go, silent streams give signs of life."""

from __future__ import annotations

import asyncio

import pytest

from junctor.gateway.vigil import Vigil

pytestmark = pytest.mark.anyio


class Patient:
    """A reply that is as it is told to be, and notes what is done to it."""

    def __init__(self, *, stuck: bool = False, streams: bool = True) -> None:
        self.since = asyncio.get_running_loop().time()
        self.stuck, self.streams = stuck, streams
        self.events = list[str]()
        self.done = asyncio.Event()

    @property
    def stuck_since(self) -> float | None:
        return self.since if self.stuck else None

    @property
    def silent_since(self) -> float | None:
        return self.since if self.streams else None

    def give_up(self) -> None:
        self.events.append("gone")
        self.done.set()

    def give_sign(self) -> None:
        self.since = asyncio.get_running_loop().time()
        self.events.append("sign")
        self.done.set()


def make_vigil() -> Vigil:
    return Vigil(0.05, keepalive_s=0.05, tick_s=0.01)


async def test_a_client_that_takes_nothing_is_gone() -> None:
    vigil, patient = make_vigil(), Patient(stuck=True)
    vigil.watch(patient)
    await asyncio.wait_for(patient.done.wait(), 5)
    vigil.forget(patient)
    assert set(patient.events) == {"gone"}


async def test_a_silent_stream_gives_a_sign_again_and_again() -> None:
    vigil, patient = make_vigil(), Patient()
    vigil.watch(patient)
    for _ in range(3):
        patient.done.clear()
        await asyncio.wait_for(patient.done.wait(), 5)
    vigil.forget(patient)
    assert patient.events[:3] == ["sign"] * 3


async def test_a_whole_reply_gives_none_and_nobody_is_looked_after_for_ever() -> None:
    """The timer stops with the last reply, and starts again with the next."""
    vigil, whole = make_vigil(), Patient(streams=False)
    vigil.watch(whole)
    await asyncio.sleep(0.1)
    vigil.forget(whole)
    assert whole.events == []
    await asyncio.sleep(0.05)
    assert vigil._timer is None
    later = Patient()
    vigil.watch(later)
    await asyncio.wait_for(later.done.wait(), 5)
    vigil.forget(later)
