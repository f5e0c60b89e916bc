"""Settings that change while the server runs: nothing is lost, nothing half-way, nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import logging
import os
import sqlite3
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from junctor import assemble
from junctor.chat import ChatRequest, ModelCard, UpstreamBroken
from junctor.gateway.memory import ResponseMemory
from junctor.generation import Generation
from junctor.pool.choice import Policy
from junctor.pool.outlier import Ejection
from junctor.pool.resilient import Resilience, Resilient
from junctor.pool.scripted import ScriptedModel, parse_script
from junctor.serving.engine import ChildEngine, Patience
from junctor.serving.order import Order
from plain_client import PlainReply, chat_body, post, read_reply
from running import Running, running

pytestmark = pytest.mark.anyio

CHILD = Path(__file__).parent / "serving" / "fake_child.py"
SLOW = """
[[models]]
name = "slow"
provider = "scripted"
script = [{ text = "One" }, { delay_s = 0.6 }, { text = " two." }]
"""


def model(name: str, says: str = "Hi.", **more: str) -> str:
    lines = "".join(f"{key} = {value}\n" for key, value in more.items())
    return f'[[models]]\nname = "{name}"\nprovider = "scripted"\nscript = [{{ text = "{says}" }}]\n{lines}'


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    with running(model("a") + SLOW, tmp_path) as it:
        yield it


async def chat(
    server: Running, name: str, headers: dict[str, str] | None = None, **fields: Any
) -> PlainReply:
    return await post(f"{server.api}/chat/completions", chat_body(name, **fields), headers)


async def reload(server: Running, config: str) -> bool:
    return await asyncio.to_thread(server.reload, config)


async def get(server: Running, path: str) -> tuple[int, str]:
    def fetch() -> tuple[int, str]:
        with urllib.request.urlopen(server.url + path) as reply:
            return reply.status, reply.read().decode()

    return await asyncio.to_thread(fetch)


async def parts(server: Running) -> tuple[int, dict[str, str]]:
    status, text = await get(server, "/readyz")
    return status, json.loads(text)["parts"]


async def figure(server: Running, name: str) -> float:
    _, text = await get(server, "/metrics")
    (line,) = (line for line in text.splitlines() if line.startswith(f"{name} "))
    return float(line.split()[1])


def outcomes(server: Running) -> list[tuple[str, str]]:
    connection = sqlite3.connect(server.database)
    rows = connection.execute("SELECT asked_model, outcome FROM ledger ORDER BY request_id").fetchall()
    connection.close()
    return rows


async def test_new_models_answer_and_old_ones_are_gone_at_once(server: Running) -> None:
    assert (await chat(server, "a")).status == 200
    assert await reload(server, model("b", "New."))
    assert b"New." in (await chat(server, "b")).body
    assert (await chat(server, "a")).code == "model_not_found"
    assert b"New." in (await chat(server, "auto")).body
    listed = json.loads((await get(server, "/v1/models"))[1])
    assert [each["id"] for each in listed["data"]] == ["b", "auto", "fusion"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_in_progress_ends_as_it_began(server: Running, stream: bool) -> None:
    """Its model is gone for everybody else."""
    asking = asyncio.create_task(chat(server, "slow", stream=stream))
    await asyncio.sleep(0.2)
    assert await reload(server, model("a"))
    assert (await chat(server, "slow")).status == 404
    reply = await asking
    assert reply.status == 200
    assert b" two." in reply.body
    assert ("slow", "ok") in outcomes(server)


async def test_a_bad_configuration_changes_nothing_and_one_line_names_every_mistake(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    bad = (
        model("b")
        + '[[models]]\nname = "c"\nprovider = "openai"\n[[models]]\nname = "d"\nprovider = "oops"\n'
    )
    with caplog.at_level(logging.WARNING, "junctor.app"):
        assert not await reload(server, bad)
    (line,) = (record.getMessage() for record in caplog.records if "refused" in record.getMessage())
    assert "OPENAI_API_KEY" in line
    assert "`oops`" in line
    assert (await chat(server, "a")).status == 200
    assert (await chat(server, "b")).status == 404
    assert not await reload(server, "[server]\nprot = 1")
    assert await parts(server) == (200, {"server": "ok", "store": "ok", "config": "refused"})
    assert await figure(server, "junctor_config_refused") == 1
    assert await reload(server, model("b"))
    assert (await parts(server))[1]["config"] == "ok"
    assert await figure(server, "junctor_config_refused") == 0
    assert await figure(server, "junctor_config_reloads") == 1


async def test_keys_come_and_go_at_once(server: Running) -> None:
    key = f'[[keys]]\nname = "team-a"\nsha256 = "{hashlib.sha256(b"secret").hexdigest()}"\n'
    assert await reload(server, model("a") + key)
    assert (await chat(server, "a")).status == 401
    assert (await chat(server, "a", {"authorization": "Bearer secret"})).status == 200
    assert await reload(server, model("a") + key.replace("team-a", "b").replace(key[-8:-2], "000000"))
    assert (await chat(server, "a", {"authorization": "Bearer secret"})).status == 401


async def test_limits_hold_for_connections_that_are_open_already(server: Running) -> None:
    parts = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    body = chat_body("a", "x" * 3000)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    assert (await read_reply(reader)).status == 200
    assert await reload(server, "[server]\nmax_body_bytes = 1000\nmax_in_flight = 7\n" + model("a"))
    writer.write(head.encode() + body)
    assert (await read_reply(reader)).status == 413
    writer.close()


async def test_a_reply_that_was_kept_is_given_again_after_a_reload(server: Running) -> None:
    first = await chat(server, "a", {"idempotency-key": "k"})
    assert await reload(server, model("b"))
    again = await chat(server, "a", {"idempotency-key": "k"})
    assert again.headers["idempotent-replayed"] == "true"
    assert again.body == first.body


async def test_figures_go_on_and_the_database_stays_open(server: Running) -> None:
    await chat(server, "a")
    assert await reload(server, model("a", "Other."))
    await chat(server, "a")
    _, text = await get(server, "/metrics")
    (line,) = (line for line in text.splitlines() if line.startswith("junctor_requests_total{"))
    assert line.endswith(" 2.0")
    assert outcomes(server) == [("a", "ok"), ("a", "ok")]


async def test_under_load_no_request_fails(server: Running) -> None:
    """F16 in small: lab/soak_reload.py runs it at 200 requests a second."""
    replies: list[PlainReply] = []
    ending = asyncio.Event()

    async def go_on() -> None:
        while not ending.is_set():
            replies.append(await chat(server, "a", stream=len(replies) % 2 == 0))

    workers = [asyncio.create_task(go_on()) for _ in range(8)]
    for turn in range(20):
        assert await reload(server, model("a", f"Turn {turn}.") + (SLOW if turn % 2 else ""))
        await asyncio.sleep(0.02)
    ending.set()
    await asyncio.gather(*workers)
    assert {reply.status for reply in replies} == {200}
    assert len(replies) > 50
    assert all(b"Turn" in reply.body or b"Hi." in reply.body for reply in replies)


async def test_a_hundred_reloads_leave_nothing_behind(server: Running) -> None:
    async def count() -> tuple[int, int, int]:
        gc.collect()
        alive = sum(isinstance(it, Generation | ResponseMemory) for it in gc.get_objects())
        return alive, len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))

    await chat(server, "a")
    await reload(server, model("a"))
    before = await asyncio.to_thread(server.run, count())
    for turn in range(100):
        assert await reload(server, model(f"m{turn}") + model("a"))
        assert (await chat(server, "a")).status == 200
    await asyncio.sleep(0.1)
    alive, tasks, files = await asyncio.to_thread(server.run, count())
    assert alive == before[0] == 2
    assert tasks <= before[1]
    assert files <= before[2] + 2


# What is known of the models.


async def fail_five_times(resilience: Resilience, bad: ScriptedModel) -> None:
    model = Resilient([bad], resilience)
    request = ChatRequest(model="bad", messages=msgspec.Raw(b"[]"))
    for _ in range(5):
        with pytest.raises(UpstreamBroken):
            async for _event in model.answer(request):
                pass


async def test_a_model_that_is_set_aside_stays_so_unless_it_changed() -> None:
    card = ModelCard(name="bad")
    bad = ScriptedModel(card, parse_script([{"fail": "upstream_broken"}]))
    resilience = Resilience(Policy(attempts=1))
    await fail_five_times(resilience, bad)
    kept = resilience.successor(Policy(attempts=1, ejection=Ejection(failures=2)), {"bad"})
    assert "bad" in kept.set_aside()
    assert kept.counts.set_aside["bad", "failing"] == 1
    fresh = kept.successor(Policy(attempts=1, ejection=Ejection(failures=2)), set())
    fresh.watch(bad)
    assert not fresh.set_aside()
    assert fresh.counts is resilience.counts


# Engines of local models.


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[ChildEngine]:
    """Small children in place of llama.cpp; every engine that was made."""
    made: list[ChildEngine] = []

    class SmallEngine(ChildEngine):
        def __init__(self, weights: Path, name: str, **figures: int) -> None:
            order = Order(weights=str(weights), name=name, **figures)
            patience = Patience(start_s=10, endpoint_s=10, backoff_s=0.01, quick_crashes=1, stop_s=0.3)
            command = (sys.executable, str(CHILD), "broken" if figures["window"] == 666 else "serve")
            super().__init__(order, command, environment={}, patience=patience)
            made.append(self)

    monkeypatch.setattr(assemble, "LlamaEngine", SmallEngine)
    monkeypatch.setattr(assemble, "installed", lambda manifest, folder: tmp_path / manifest.name)
    return made


def local(name: str = "qwen2.5-coder-0.5b", window: int = 8192) -> str:
    return f'[[models]]\nname = "{name}"\nprovider = "local"\nwindow = {window}\n'


async def test_an_engine_that_did_not_change_goes_on_and_one_that_is_gone_is_ended(
    tmp_path: Path, engines: list[ChildEngine]
) -> None:
    with running(local() + model("a"), tmp_path) as server:
        assert (await chat(server, "qwen2.5-coder-0.5b", stream=True)).status == 200
        engine = engines[0]
        pid = engine.status.pid
        assert await reload(server, local() + model("b"))
        assert (await chat(server, "qwen2.5-coder-0.5b", stream=True)).status == 200
        assert (engine.status.state, engine.status.pid) == ("ready", pid)
        assert await reload(server, local(window=512) + model("b"))
        assert (await chat(server, "qwen2.5-coder-0.5b", stream=True)).status == 200
        await until(lambda: engine.status.state == "stopped")
        newest = engines[-1]
        assert newest.order.window == 512
        assert await reload(server, model("b"))
        await until(lambda: newest.status.state == "stopped")
        assert not Path(f"/proc/{pid}").exists()


async def test_an_engine_goes_on_until_the_last_request_of_its_generation_has_left(
    tmp_path: Path, engines: list[ChildEngine]
) -> None:
    with running(local() + SLOW, tmp_path) as server:
        await chat(server, "qwen2.5-coder-0.5b", stream=True)
        asking = asyncio.create_task(chat(server, "slow"))
        await asyncio.sleep(0.2)
        assert await reload(server, local() + model("a"))  # a generation between, that has the engine too
        assert await reload(server, model("a"))
        await asyncio.sleep(0.1)
        assert engines[0].status.state == "ready"
        await asking
        await until(lambda: engines[0].status.state == "stopped")


async def test_an_engine_that_was_given_up_is_tried_again(tmp_path: Path, engines: list[ChildEngine]) -> None:
    with running(local(window=666), tmp_path) as server:
        await until(lambda: engines[0].status.state == "failed")
        assert await reload(server, local(window=666))
        await until(lambda: len(engines) == 2 and engines[1].status.state == "failed")


async def test_stopping_ends_the_engines_of_every_generation(
    tmp_path: Path, engines: list[ChildEngine]
) -> None:
    with running(local() + SLOW, tmp_path) as server:
        await chat(server, "qwen2.5-coder-0.5b", stream=True)
        asking = asyncio.create_task(chat(server, "slow"))
        await asyncio.sleep(0.2)
        assert await reload(server, local(window=512))
        await chat(server, "qwen2.5-coder-0.5b", stream=True)
        pids = {engine.status.pid for engine in engines if engine.status.pid}
        asking.cancel()
    assert len(pids) == 2
    assert {engine.status.state for engine in engines} == {"stopped"}
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)
