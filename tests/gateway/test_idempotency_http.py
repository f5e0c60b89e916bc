"""`Idempotency-Key` at the front door: one upstream call, and the same answer however often it is asked."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from faults.fault_server import FaultServer, running_fault_server
from plain_client import PlainReply, chat_body, post
from running import Running, running
from tables import key_table

pytestmark = pytest.mark.anyio

FAULTS = ("ok", "400", "429.once", "500.once", "reset-mid-stream.once", "hang.once", "hang-mid-stream.once")


@pytest.fixture
async def upstream() -> AsyncIterator[FaultServer]:
    async with running_fault_server() as faults:
        yield faults


def config(upstream: FaultServer) -> str:
    urls = {fault: upstream.base_url(fault.replace(".once", "*1")) for fault in FAULTS}
    models = "".join(
        f'[[models]]\nname = "{fault}"\nprovider = "test"\nbase_url = "{url}"\n'
        "price = { input = 1, output = 2 }\n"
        for fault, url in urls.items()
    )
    return f"""
    [retries]
    attempts = 1
    {models}
    [[models]]
    name = "slow"
    provider = "scripted"
    script = [{{ delay_s = 0.3 }}, {{ text = "One" }}, {{ turn = true, text = "Two" }}]
    [[models]]
    name = "stumbles"
    provider = "scripted"
    script = [{{ delay_s = 0.3 }}, {{ fail = "upstream_broken" }}, {{ turn = true, text = "Two" }}]
    """


@pytest.fixture
async def server(upstream: FaultServer, tmp_path: Path) -> AsyncIterator[Running]:
    with running(config(upstream), tmp_path) as it:
        yield it


async def ask(
    server: Running, key: str, model: str = "ok", *, path: str = "chat/completions", **fields: Any
) -> PlainReply:
    return await post(f"{server.api}/{path}", chat_body(model, **fields), {"idempotency-key": key})


def rows(server: Running) -> list[dict[str, Any]]:
    connection = sqlite3.connect(server.database)
    connection.row_factory = sqlite3.Row
    found = [dict(row) for row in connection.execute("SELECT * FROM ledger ORDER BY request_id")]
    connection.close()
    return found


def assert_same(first: PlainReply, again: PlainReply) -> None:
    """Byte for byte, and marked as what it is."""
    assert "idempotent-replayed" not in first.headers
    assert again.headers.pop("idempotent-replayed") == "true"
    assert (again.status, again.body) == (first.status, first.body)
    ours = [name for name in first.headers if name.startswith("x-")]
    assert {name: again.headers[name] for name in ours} == {name: first.headers[name] for name in ours}
    assert again.headers["content-type"] == first.headers["content-type"]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_same_request_again_gets_the_same_answer_from_one_upstream_call(
    server: Running, upstream: FaultServer, stream: bool
) -> None:
    first = await ask(server, "a", stream=stream)
    for _ in range(3):
        assert_same(first, await ask(server, "a", stream=stream))
    assert first.status == 200
    assert b"fault server" in first.body or b" server." in first.body
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_duplicate_at_the_same_time_waits_for_the_answer(server: Running, stream: bool) -> None:
    replies = await asyncio.gather(*(ask(server, "a", "slow", stream=stream) for _ in range(5)))
    (first,) = (reply for reply in replies if "idempotent-replayed" not in reply.headers)
    for reply in replies:
        if reply is not first:
            assert_same(first, reply)
    assert b"One" in first.body
    assert sorted(row["attempts"] for row in rows(server)) == [0, 0, 0, 0, 1]


async def test_every_request_leaves_its_own_row_and_the_repeated_cost_nothing(server: Running) -> None:
    first = await ask(server, "a")
    await ask(server, "a")
    bought, again = rows(server)
    assert first.headers["x-request-id"] == bought["request_id"] != again["request_id"]
    assert bought["usd_nano"] > 0
    assert (again["attempts"], again["usd_nano"], again["input_tokens"], again["model"]) == (0, 0, 0, None)
    assert (again["outcome"], again["http_status"], again["asked_model"]) == ("ok", 200, "ok")
    assert again["route"] == bought["route"]


async def test_after_a_restart_the_answer_is_the_same(upstream: FaultServer, tmp_path: Path) -> None:
    replies: list[PlainReply] = []
    for _ in range(2):
        with running(config(upstream), tmp_path) as server:
            replies += [await ask(server, "a"), await ask(server, "b", stream=True)]
    assert_same(replies[0], replies[2])
    assert_same(replies[1], replies[3])
    assert len(upstream.seen) == 2


async def test_another_body_path_or_limit_under_the_key_is_refused(
    server: Running, upstream: FaultServer
) -> None:
    await ask(server, "a")
    assert (await ask(server, "a", text="Other")).code == "idempotency_mismatch"
    headers = {"idempotency-key": "a", "x-junctor-never": "slow"}
    other = await post(f"{server.api}/chat/completions", chat_body("ok"), headers)
    assert (other.status, other.code) == (422, "idempotency_mismatch")
    azure = f"{server.url}/openai/deployments/ok/chat/completions"
    other = await post(azure, chat_body("ok"), {"idempotency-key": "a"})
    assert (other.status, other.code) == (422, "idempotency_mismatch")
    assert len(upstream.seen) == 1
    assert [row["outcome"] for row in rows(server)] == ["ok"] + ["idempotency_mismatch"] * 3


async def test_a_refusal_by_the_model_is_an_answer_and_kept(server: Running, upstream: FaultServer) -> None:
    first = await ask(server, "a", "400")
    assert first.status == 400
    assert_same(first, await ask(server, "a", "400"))
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("fault", ["429.once", "500.once"])
async def test_a_failure_that_another_try_may_mend_frees_the_key(server: Running, fault: str) -> None:
    failed = await ask(server, "a", fault)
    assert failed.status in (429, 502)
    mended = await ask(server, "a", fault)
    assert mended.status == 200
    assert_same(mended, await ask(server, "a", fault))


async def test_a_stream_that_broke_off_frees_the_key(server: Running) -> None:
    broken = await ask(server, "a", "reset-mid-stream.once", stream=True)
    assert broken.status == 200
    assert b'"error"' in broken.body
    mended = await ask(server, "a", "reset-mid-stream.once", stream=True)
    assert b"[DONE]" in mended.body
    assert_same(mended, await ask(server, "a", "reset-mid-stream.once", stream=True))


async def test_a_request_refused_before_any_model_was_asked_frees_the_key(server: Running) -> None:
    """It can be mended and sent again: nothing was done for it."""
    assert (await ask(server, "a", "no-such-model")).code == "model_not_found"
    assert (await ask(server, "a", "ok")).status == 200


@pytest.mark.parametrize(
    ("fault", "stream"), [("hang.once", False), ("hang.once", True), ("hang-mid-stream.once", True)]
)
async def test_a_client_that_leaves_frees_the_key(
    server: Running, upstream: FaultServer, fault: str, stream: bool
) -> None:
    asking = asyncio.create_task(ask(server, "a", fault, stream=stream))
    seen = await upstream.wait_for_request()
    asking.cancel()
    await seen.client_closed.wait()
    again = await ask(server, "a", fault, stream=stream)
    assert (again.status, "idempotent-replayed" in again.headers) == (200, False)
    assert len(upstream.seen) == 2


async def test_who_waits_takes_over_when_the_first_fails(server: Running) -> None:
    replies = await asyncio.gather(*(ask(server, "a", "stumbles") for _ in range(3)))
    assert sorted(reply.status for reply in replies) == [200, 200, 502]
    good = [reply for reply in replies if reply.status == 200]
    assert good[0].body == good[1].body
    assert sorted(row["attempts"] for row in rows(server)) == [0, 1, 1]


async def test_keys_of_two_callers_are_apart(upstream: FaultServer, tmp_path: Path) -> None:
    names = ("secret-a", "secret-b")
    keys = "".join(map(key_table, names))
    with running(keys + config(upstream), tmp_path) as server:
        bodies = [
            await post(
                f"{server.api}/chat/completions",
                chat_body("ok", text=name),
                {"idempotency-key": "a", "authorization": f"Bearer {name}"},
            )
            for name in names
        ]
    assert [reply.status for reply in bodies] == [200, 200]
    assert len(upstream.seen) == 2


async def test_a_header_that_is_no_key_is_refused(server: Running, upstream: FaultServer) -> None:
    assert (await ask(server, "x" * 256)).json["error"]["param"] == "idempotency-key"
    assert (await ask(server, "")).status == 400
    assert not upstream.seen


async def test_a_hundred_pairs_at_once_make_a_hundred_calls(server: Running, upstream: FaultServer) -> None:
    """D3 in small: lab/soak_idempotency.py asks a thousand, with kill -9 in between."""
    pairs = [f"key-{number // 2}" for number in range(200)]
    replies = await asyncio.gather(*(ask(server, key, stream=bool(len(key) % 2)) for key in pairs))
    bodies: dict[str, set[bytes]] = {}
    for key, reply in zip(pairs, replies, strict=True):
        assert reply.status == 200
        bodies.setdefault(key, set()).add(reply.headers["x-request-id"].encode() + reply.body)
    assert all(len(same) == 1 for same in bodies.values())
    assert len(upstream.seen) == 100
    assert sum("idempotent-replayed" in reply.headers for reply in replies) == 100
