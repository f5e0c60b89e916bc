"""Who waits for whom, and how a connection ends."""

from __future__ import annotations

import asyncio

import pytest

from junctor.gateway.pipe import LINGER_BYTES, Pipe
from wires import Wire


def test_reading_is_paused_and_resumed_once() -> None:
    wire = Wire()
    pipe = Pipe(wire)
    for step in (pipe.pause_reading, pipe.pause_reading, pipe.resume_reading, pipe.resume_reading):
        step()
    assert wire.asked == ["pause", "resume"]
    assert not pipe.paused


def test_a_closed_transport_is_not_read_again() -> None:
    wire = Wire()
    pipe = Pipe(wire)
    pipe.pause_reading()
    pipe.close()
    pipe.resume_reading()
    assert wire.asked == ["pause", "close"]


def test_a_refused_client_is_read_on_for_a_while_and_heard_no_more() -> None:
    wire = Wire()
    pipe = Pipe(wire)
    pipe.pause_reading()
    pipe.linger()
    assert pipe.closing
    assert wire.asked == ["pause", "resume", "write_eof"]
    pipe.discard(b"x" * LINGER_BYTES)
    assert "abort" not in wire.asked
    pipe.discard(b"x")
    assert wire.asked[-1] == "abort"


def test_a_line_that_is_closed_already_has_no_end_to_write() -> None:
    wire = Wire()
    pipe = Pipe(wire)
    pipe.close()
    pipe.linger()
    assert wire.asked == ["close"]


@pytest.mark.anyio
async def test_whoever_waits_goes_on_when_the_client_has_taken_enough_or_is_gone() -> None:
    pipe = Pipe(Wire())
    await pipe.drained()
    for _ in range(2):
        pipe.stick()
        waiting = [asyncio.create_task(pipe.drained()) for _ in range(2)]
        await asyncio.sleep(0)
        assert not any(it.done() for it in waiting)
        pipe.unstick()
        await asyncio.gather(*waiting)
