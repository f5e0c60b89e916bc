"""How many requests are inside something that is to be taken down once the last of them has left."""

from __future__ import annotations

import asyncio


class Headcount:
    """Counts requests: `inside += 1` when one comes, `leave()` when it goes. Belongs to one event loop."""

    __slots__ = ("_emptied", "inside")

    def __init__(self) -> None:
        self.inside = 0
        self._emptied: asyncio.Event | None = None

    def leave(self) -> None:
        """One has gone."""
        self.inside -= 1
        if self._emptied is not None and not self.inside:
            self._emptied.set()

    async def emptied(self) -> None:
        """Wait until nobody is inside. To be called when nobody comes any more."""
        if self.inside:
            self._emptied = asyncio.Event()
            await self._emptied.wait()
