"""Waiting for the last request to leave."""

from __future__ import annotations

import asyncio

import pytest

from junctor.gateway.headcount import Headcount

pytestmark = pytest.mark.anyio


async def test_an_empty_place_is_not_waited_for() -> None:
    await asyncio.wait_for(Headcount().emptied(), 1)


async def test_it_waits_for_the_last_one() -> None:
    headcount = Headcount()
    headcount.inside += 1
    headcount.inside += 1
    waiting = asyncio.create_task(headcount.emptied())
    await asyncio.sleep(0)
    headcount.leave()
    await asyncio.sleep(0)
    assert not waiting.done()
    headcount.leave()
    await asyncio.wait_for(waiting, 1)
