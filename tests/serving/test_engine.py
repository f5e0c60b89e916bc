"""Supervision, with a small child in place of llama.cpp: no crash is silent, nobody waits for ever."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from junctor.chat import EngineDown
from junctor.serving.engine import ChildEngine, Endpoint, LlamaEngine, Patience
from junctor.serving.order import Order

pytestmark = pytest.mark.anyio

CHILD = str(Path(__file__).with_name("fake_child.py"))
ORDER = Order(weights="/none", name="tiny", window=512, parallel=1, threads=1)
QUICK = Patience(start_s=10, endpoint_s=10, backoff_s=0.01, quick_crashes=3, stop_s=0.3)

Make = Callable[..., Awaitable[ChildEngine]]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Starts an engine whose child runs in a mode; all are stopped in the end."""
    engines = list[ChildEngine]()

    async def make(*mode: str, patience: Patience = QUICK, command: str = sys.executable) -> ChildEngine:
        engine = ChildEngine(ORDER, (command, CHILD, *mode), environment={}, patience=patience)
        engines.append(engine)
        await engine.start()
        return engine

    yield make
    for engine in engines:
        await engine.stop()


def lives(pid: int | None) -> bool:
    return pid is not None and Path(f"/proc/{pid}").exists()


async def settled(engine: ChildEngine, state: str) -> None:
    while engine.status.state != state:
        await asyncio.sleep(0.01)


async def test_a_started_engine_says_where_it_answers(make: Make) -> None:
    """The address from the child, the key from us."""
    engine = await make("serve")
    assert engine.status.state == "starting"
    endpoint = await engine.endpoint()
    assert endpoint.base_url.startswith("http://127.0.0.1:")
    assert endpoint.base_url.endswith("/v1")
    assert len(endpoint.key) == 64
    assert engine.status.state == "ready"
    assert lives(engine.status.pid)


async def test_stop_ends_the_child(make: Make) -> None:
    """By closing its stdin; afterwards the engine is down, and can be started again."""
    engine = await make("serve")
    await engine.endpoint()
    pid = engine.status.pid
    await engine.stop()
    assert not lives(pid)
    with pytest.raises(EngineDown, match="is not running"):
        await engine.endpoint()
    await engine.start()
    assert (await engine.endpoint()).start == 2


async def test_a_child_that_does_not_listen_is_killed(make: Make) -> None:
    """Stopping never hangs."""
    engine = await make("deaf")
    await engine.endpoint()
    pid = engine.status.pid
    await engine.stop()
    assert not lives(pid)


async def test_starting_twice_starts_one(make: Make) -> None:
    """The second start is no second child."""
    engine = await make("serve")
    first = await engine.endpoint()
    await engine.start()
    assert await engine.endpoint() == first


async def test_a_killed_child_is_replaced_with_new_secrets(make: Make) -> None:
    """kill -9: the old endpoint is dead, the new one has another key and path."""
    engine = await make("serve")
    old = await engine.endpoint()
    assert engine.status.pid
    os.kill(engine.status.pid, signal.SIGKILL)
    assert await engine.died(old)
    new = await engine.endpoint()
    assert new.start == old.start + 1
    assert new.key != old.key
    assert new.base_url.rpartition("/v1")[0][-32:] != old.base_url.rpartition("/v1")[0][-32:]
    assert engine.status.crashes == 1
    assert engine.status.detail == "signal 9"


async def test_a_living_child_has_not_died(make: Make) -> None:
    """A failed request alone proves nothing."""
    engine = await make("serve")
    assert not await engine.died(await engine.endpoint())


async def test_a_first_start_that_fails_is_tried_again(make: Make, tmp_path: Path) -> None:
    """A request that came meanwhile waits, and is answered."""
    engine = await make("flaky", str(tmp_path / "ran"))
    assert (await engine.endpoint()).start == 1
    assert engine.status.crashes == 1


async def test_a_child_that_crashes_again_and_again_is_given_up_with_its_last_words(make: Make) -> None:
    """Loudly: the state says so, the error says why, and nobody waits."""
    engine = await make("broken")
    with pytest.raises(EngineDown) as down:
        await engine.endpoint()
    assert engine.status.state == "failed"
    assert engine.status.crashes == 3
    assert "exit status 7: failed to load model" in down.value.message
    assert len(down.value.message) < 500
    assert down.value.model == "tiny"
    assert down.value.retryable


async def test_a_child_that_is_never_ready_is_given_up(make: Make) -> None:
    """The start's deadline kills it."""
    engine = await make("never", patience=Patience(start_s=0.3, backoff_s=0.01, quick_crashes=2, stop_s=0.1))
    with pytest.raises(EngineDown, match=r"was not ready after 0\.3 s"):
        await engine.endpoint()


async def test_a_request_does_not_wait_for_ever_for_a_slow_start(make: Make) -> None:
    """The endpoint's own deadline; the engine goes on starting."""
    engine = await make("never", patience=Patience(endpoint_s=0.1, stop_s=0.1))
    with pytest.raises(EngineDown, match="is loading its weights"):
        await engine.endpoint()
    assert engine.status.state == "starting"


async def test_a_child_that_talks_nonsense_is_given_up(make: Make) -> None:
    """Only our line of JSON is believed."""
    engine = await make("nonsense", patience=Patience(backoff_s=0.01, quick_crashes=2, stop_s=0.1))
    await settled(engine, "failed")


async def test_a_command_that_does_not_exist_is_given_up(make: Make) -> None:
    """No traceback in a background task, but a state and a reason."""
    engine = await make("serve", command="/no/such/python")
    with pytest.raises(EngineDown, match="cannot start /no/such/python"):
        await engine.endpoint()


async def test_the_child_sees_none_of_our_environment(monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    """Providers' keys stay here."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    engine = await make("serve")
    await engine.endpoint()
    assert b"sk-secret" not in Path(f"/proc/{engine.status.pid}/environ").read_bytes()


async def test_secrets_are_not_on_the_command_line(make: Make) -> None:
    """Any local user can read that."""
    engine = await make("serve")
    endpoint = await engine.endpoint()
    line = Path(f"/proc/{engine.status.pid}/cmdline").read_bytes().decode()
    assert endpoint.key not in line
    assert endpoint.base_url.split("/")[3] not in line


async def test_the_child_dies_with_its_parent(tmp_path: Path) -> None:
    """kill -9 of the parent: its end of the pipe closes, and the child goes."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import asyncio, sys\n"
        "from junctor.serving.engine import ChildEngine\n"
        "from junctor.serving.order import Order\n"
        "async def main():\n"
        "    order = Order(weights='', name='tiny', window=1, parallel=1, threads=1)\n"
        f"    engine = ChildEngine(order, (sys.executable, {CHILD!r}, 'serve'), environment={{}})\n"
        "    await engine.start(); await engine.endpoint()\n"
        "    print(engine.status.pid, flush=True); await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    pipe = asyncio.subprocess.PIPE
    parent = await asyncio.create_subprocess_exec(sys.executable, str(script), stdout=pipe)
    assert parent.stdout
    while not (line := await parent.stdout.readline()).strip().isdigit():
        assert line, "the parent ended early"
    parent.kill()
    await parent.wait()
    while lives(int(line)):
        await asyncio.sleep(0.01)


def test_llamas_command_is_ours_and_its_threads_are_those_we_may_use() -> None:
    """Isolated mode: neither the folder we stand in nor PYTHONPATH can slip in another module."""
    engine = LlamaEngine(Path("/w.gguf"), "tiny", window=4096, parallel=3)
    assert engine._command == (sys.executable, "-I", "-m", "junctor.serving.llama_child")
    assert engine.order.threads == len(os.sched_getaffinity(0))
    assert engine._environment["OMP_WAIT_POLICY"] == "passive"
    assert engine._environment["GOMP_SPINCOUNT"] == "0"


def test_an_endpoint_of_another_start_is_another_endpoint() -> None:
    """Even on the same port."""
    assert Endpoint(base_url="u", key="k", start=1) != Endpoint(base_url="u", key="k", start=2)
