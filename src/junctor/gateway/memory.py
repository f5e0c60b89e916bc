"""What an endpoint remembers from one request to the next: the Responses API's stored answers.

call = await memory.recall(call)     before the pool is asked: the call with what it goes on from
memory.keep(call, renderer)          after `Finished`, before the ledger's row
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Protocol

from junctor.chat import UnknownPreviousResponse
from junctor.gateway.response_store import ResponseStore
from junctor.wire.responses_document import parse_document, render_document
from junctor.wire.responses_ids import response_of
from junctor.wire.responses_input import Item
from junctor.wire.responses_reply import ResponsesRenderer
from junctor.wire.responses_request import ResponsesCall, continue_from

log = logging.getLogger(__name__)

SWEEP_S = 60.0
MOST_REFERENCED = 100
"Responses that the items of one request may refer to; further references stay as they are."
MAX_UNWRITTEN_BYTES = 64 * 1024 * 1024
"While the database takes nothing, documents wait in memory; beyond this none is kept."

DURABLE_WAIT_S = 2.0
"How long the last byte of a reply waits for the disk at most, as for the ledger."


class Memory(Protocol):
    """What the endpoint of one dialect remembers. Calls and renderers are those of the dialect."""

    async def recall(self, call: Any) -> Any:
        """The call with what it goes on from. Raises `BadRequest` when that is not there."""
        ...

    async def keep(self, call: Any, renderer: Any) -> None:
        """Keep the answer; returns when it is durable. Never raises for the disk's sake."""
        ...


class NoMemory:
    """Remembers nothing."""

    async def recall(self, call: Any) -> Any:
        """The call as it is."""
        return call

    async def keep(self, call: Any, renderer: Any) -> None:
        """Nothing."""


class ResponseMemory:
    """Keeps the answers of the Responses API, each for its caller."""

    def __init__(self, store: ResponseStore) -> None:
        self._store = store
        self._unwritten_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to delete what is kept no longer, now and once a minute."""
        self._store.sweep()
        self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self.start)

    def stop(self) -> None:
        """Delete no more."""
        if self._timer is not None:
            self._timer.cancel()

    async def recall(self, call: ResponsesCall) -> ResponsesCall:
        """The call with the conversation before it. Raises `UnknownPreviousResponse`."""
        if call.previous_id is None and not call.references:
            return call
        earlier: list[Item] = []
        if call.previous_id is not None:
            document = await self._store.find(owner_of(call), call.previous_id)
            if document is None:
                raise UnknownPreviousResponse(
                    f"there is no response {call.previous_id[:80]!r} to go on from: it is not yours, was not "
                    "stored, or is kept no longer; send the whole conversation as `input` instead",
                    param="previous_response_id",
                )
            earlier = parse_document(document).conversation
        return continue_from(call, earlier, await self._referenced(call))

    async def keep(self, call: ResponsesCall, renderer: ResponsesRenderer) -> None:
        """Keep the answer, unless the caller or the settings want nothing kept.

        Not through the spool: what is deleted later must not come back from there after a crash.
        """
        if not call.stores or not self._store.keeps or (kept := renderer.kept()) is None:
            return
        document = render_document(call, kept)
        size = len(document)
        if self._unwritten_bytes + size > MAX_UNWRITTEN_BYTES:
            log.warning("the response %s of %d bytes is not kept: the database is behind", kept.id, size)
            return
        self._unwritten_bytes += size
        written = self._store.add(owner_of(call), kept.id, document)
        written.add_done_callback(lambda _: self._written(size))
        await asyncio.wait((written,), timeout=DURABLE_WAIT_S)
        if not written.done():
            log.warning("the response %s is not on the disk after %.1f s", kept.id, DURABLE_WAIT_S)

    def _written(self, size: int) -> None:
        self._unwritten_bytes -= size

    async def _referenced(self, call: ResponsesCall) -> dict[str, Item]:
        """Items that the input names by an id that we gave: the id says which response they belong to."""
        wanted = set(call.references)
        responses = {response_of(item_id): None for item_id in call.references}
        found: dict[str, Item] = {}
        for response in [name for name in responses if name is not None][:MOST_REFERENCED]:
            document = await self._store.find(owner_of(call), response)
            if document is not None:
                items = parse_document(document).conversation
                found |= {item["id"]: item for item in items if item.get("id") in wanted}
        return found


def owner_of(call: ResponsesCall) -> str:
    """Whose the answers to a call are."""
    return call.request.caller
