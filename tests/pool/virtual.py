"""Time that passes only when told to, for the machines that decide by it."""

from __future__ import annotations

import asyncio


class Clock:
    """A clock, and the sleep that belongs to it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)
