"""What the Responses endpoint remembers, without a server around it."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from junctor.chat import Finished, Text, Thought, UnknownPreviousResponse
from junctor.gateway import memory as memory_module
from junctor.gateway.memory import MOST_REFERENCED, NoMemory, ResponseMemory
from junctor.gateway.response_store import ResponseStore
from junctor.store.database import Database
from junctor.store.ids import new_id
from junctor.wire.responses_ids import output_id
from junctor.wire.responses_reply import ResponsesRenderer
from junctor.wire.responses_request import ResponsesCall, parse_request

pytestmark = pytest.mark.anyio


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "junctor.db") as it:
        yield it


@pytest.fixture
def memory(database: Database) -> ResponseMemory:
    return ResponseMemory(ResponseStore(database, timedelta(days=1)))


def call(caller: str = "ann", **fields: Any) -> ResponsesCall:
    body = json.dumps({"model": "m", "input": "Hi", **fields}).encode()
    return parse_request(body, {}, request_id=new_id("req_"), caller=caller)


async def answered(memory: ResponseMemory, asked: ResponsesCall) -> Any:
    """The reply's object, once it is kept."""
    renderer = ResponsesRenderer(asked)
    for event in (Thought("Hm."), Thought(signature="proof"), Text("Hello."), Finished("stop")):
        list(renderer.render(event))
    whole = json.loads(renderer.end())
    await memory.keep(asked, renderer)
    return whole


async def test_a_call_without_a_past_is_as_it_was(memory: ResponseMemory) -> None:
    asked = call()
    assert await memory.recall(asked) is asked
    assert await NoMemory().recall(asked) is asked


async def test_a_past_with_its_proofs(memory: ResponseMemory) -> None:
    """The next model gets the reasoning's proof, though the caller never saw it."""
    first = await answered(memory, call())
    assert "encrypted_content" not in json.dumps(first)
    recalled = await memory.recall(call(previous_response_id=first["id"], input="And?"))
    roles = [(one["role"], one["content"]) for one in msgspec.json.decode(recalled.request.messages)]
    assert roles == [("user", "Hi"), ("assistant", "Hello."), ("user", "And?")]
    blocks = msgspec.json.decode(recalled.request.messages)[1]["thinking_blocks"]
    assert blocks == [{"type": "thinking", "thinking": "Hm.", "signature": "proof"}]


async def test_an_unknown_past_is_refused_by_name(memory: ResponseMemory) -> None:
    first = await answered(memory, call())
    for caller, previous in (("bob", first["id"]), ("ann", "resp_none")):
        with pytest.raises(UnknownPreviousResponse) as caught:
            await memory.recall(call(caller, previous_response_id=previous))
        assert caught.value.param == "previous_response_id"


async def test_what_is_not_to_be_stored_is_not(memory: ResponseMemory) -> None:
    first = await answered(memory, call(store=False))
    with pytest.raises(UnknownPreviousResponse):
        await memory.recall(call(previous_response_id=first["id"]))


async def test_references_are_found_by_what_their_ids_say(memory: ResponseMemory) -> None:
    first = await answered(memory, call())
    known = {"type": "item_reference", "id": first["output"][1]["id"]}
    unknown = {"type": "item_reference", "id": output_id("message", "0" * 32, 0)}
    recalled = await memory.recall(call(input=[known, unknown]))
    assert recalled.items[0]["content"][0]["text"] == "Hello."
    assert recalled.items[1] == unknown


async def test_a_request_makes_a_bounded_number_of_reads(memory: ResponseMemory) -> None:
    many = [
        {"type": "item_reference", "id": output_id("message", f"{number:032x}", 0)}
        for number in range(MOST_REFERENCED * 3)
    ]
    recalled = await memory.recall(call(input=many))
    assert len(recalled.items) == len(many)


async def test_while_the_database_is_behind_memory_stays_bounded(
    memory: ResponseMemory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(memory_module, "MAX_UNWRITTEN_BYTES", 10)
    with caplog.at_level(logging.WARNING):
        first = await answered(memory, call())
    assert "not kept" in caplog.text
    monkeypatch.undo()
    with pytest.raises(UnknownPreviousResponse):
        await memory.recall(call(previous_response_id=first["id"]))


async def test_the_reply_does_not_wait_long_for_a_stuck_disk(
    memory: ResponseMemory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(memory_module, "DURABLE_WAIT_S", 0.05)
    connection = sqlite3.connect(tmp_path / "junctor.db", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    with caplog.at_level(logging.WARNING):
        first = await answered(memory, call())
    assert "not on the disk" in caplog.text
    connection.execute("ROLLBACK")
    connection.close()
    recalled = await memory.recall(call(previous_response_id=first["id"]))
    assert len(recalled.items) == 4


async def test_it_sweeps_from_the_start_until_it_is_stopped(memory: ResponseMemory) -> None:
    memory.start()
    memory.stop()
    await asyncio.sleep(0)
