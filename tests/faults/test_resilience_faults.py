"""One upstream of three turns bad (faults F1 to F13): callers get their answers, and upstreams no storm."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from faults.scenes import NAMES, SCENES, Seen, Stage, play, staged
from plain_client import chat_body, post
from running import running

pytestmark = pytest.mark.anyio

REQUESTS = 60
BROKEN_OFF = ("F5", "F6-stream", "F7-truncated")
"The fault strikes after the first text."
MENDED = tuple(scene.name for scene in SCENES.values() if scene.mends and scene.name != "F13")


async def run(name: str, folder: Path, requests: int = REQUESTS, **more: object) -> tuple[Seen, Stage]:
    async with staged(SCENES[name]) as stage:
        with running(stage.config(), folder) as server:
            seen = await play(stage, server.url, requests, **more)  # pyright: ignore[reportArgumentType]
    assert seen.cut == 0
    return seen, stage


@pytest.mark.parametrize("name", MENDED)
async def test_while_one_model_lives_every_caller_is_answered(name: str, tmp_path: Path) -> None:
    seen, _ = await run(name, tmp_path)
    assert seen.answered == REQUESTS
    assert seen.amplification <= 1.2


@pytest.mark.parametrize("name", BROKEN_OFF)
async def test_an_answer_that_breaks_off_says_so_and_soon_nobody_meets_it(name: str, tmp_path: Path) -> None:
    """Five failures in a row, and those under way at the same time: then the model is set aside."""
    seen, stage = await run(name, tmp_path)
    assert seen.told <= 5 + 3
    assert seen.answered == REQUESTS - seen.told
    assert stage.calls["b"] == seen.answered


async def test_a_model_that_has_become_slow_is_set_aside_within_five_answers(tmp_path: Path) -> None:
    seen, stage = await run("F9", tmp_path, at_once=1)
    assert stage.calls["a"] <= 40 + 5
    assert stage.calls["b"] == REQUESTS - (stage.calls["a"] - 40)
    assert seen.answered == REQUESTS


async def test_a_model_that_hangs_costs_few_callers_their_time(tmp_path: Path) -> None:
    """It is noticed before the timeout: the others go elsewhere at once."""
    _, stage = await run("F4", tmp_path, requests=100, at_once=10)
    assert stage.calls["a"] <= 40 + 10


async def test_a_pause_that_an_upstream_asks_for_is_kept(tmp_path: Path) -> None:
    """One at a time, so that nothing is under way when it asks: after that, nothing comes for 2 s."""
    async with staged(SCENES["F3"]) as stage:
        stage.servers["a"].playing["a"] = "429"
        with running(stage.config(), tmp_path) as server:
            seen = await play(stage, server.url, 30, at_once=1, warm_up=0, turn=lambda: asyncio.sleep(0))
    assert seen.answered == 30
    assert stage.calls == {"a": 1, "b": 30, "c": 0}


async def test_when_all_are_down_the_answer_is_a_clear_error_at_once_and_the_load_stays_small(
    tmp_path: Path,
) -> None:
    seen, stage = await run("F10", tmp_path, requests=400, at_once=8)
    assert seen.answered == 0
    assert seen.amplification <= 1.2
    assert seen.statuses <= {502, 503}
    assert "upstream_unavailable" in seen.codes
    assert all(calls >= 5 for calls in stage.calls.values())


async def test_who_is_refused_at_once_learns_when_to_come_back(tmp_path: Path) -> None:
    """All hang: those that come while one request probes do not wait for it."""
    async with staged(SCENES["F10-hang"]) as stage:
        with running(stage.config(), tmp_path) as server:
            url, body = f"{server.url}/v1/chat/completions", chat_body("auto", stream=True)
            await stage.turn()
            first = await asyncio.gather(*(post(url, body) for _ in range(5)))
            assert {reply.status for reply in first} == {504}
            probe = asyncio.create_task(post(url, body))
            before = sum(stage.calls.values())
            while sum(stage.calls.values()) == before:
                await asyncio.sleep(0.01)
            refused = await post(url, body)
            assert not probe.done()
            await probe
    assert refused.status == 503
    assert refused.code == "upstream_unavailable"
    assert 1 <= int(refused.headers["retry-after"]) <= 5
    assert all(f"{name}: set aside" in refused.json["error"]["message"] for name in NAMES)


async def test_the_last_model_is_never_ejected_and_answers_as_soon_as_it_can(tmp_path: Path) -> None:
    """A model that is named, without fallbacks: its recovery is seen by the next request."""
    async with staged(SCENES["F2"]) as stage:
        with running(stage.config(), tmp_path) as server:
            seen = await play(stage, server.url, 20, at_once=1, model="a")
            assert seen.answered == 0
            stage.servers["a"].playing["a"] = "ok"
            back = await post(f"{server.url}/v1/chat/completions", chat_body("a"))
    assert back.status == 200


async def test_a_late_first_text_is_hedged_within_its_budget(tmp_path: Path) -> None:
    seen, stage = await run("F11", tmp_path, requests=400, at_once=8, warm_up=80)
    assert seen.answered == 400
    assert stage.calls["b"] > 0
    assert seen.amplification <= 1.08
    all_of_them = [each for server in stage.servers.values() for each in server.seen]
    closed = [each for each in all_of_them if each.client_closed.is_set()]
    late = [each.client_closed.is_set() for each in all_of_them if each.played == "late"]
    assert sum(late) > len(late) / 2 > 5, "half of the stragglers at least are not waited for"
    hedges = stage.calls["b"] + stage.calls["c"]
    # Each has a loser whose upstream sees it, but for those that said all in the very moment they lost.
    assert 0.8 * hedges <= len(closed) <= hedges


async def test_a_wall_clock_that_jumps_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is an ejection over early, nor does a deadline pass."""
    real, ahead_s = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + ahead_s[0])
    async with staged(SCENES["F13"]) as stage:
        with running(stage.config(), tmp_path) as server:
            for jump_s in (0.0, 3600.0, -3600.0):
                ahead_s[0] = jump_s
                seen = await play(stage, server.url, 20, warm_up=0 if jump_s else 40)
                assert seen.answered == 20
    assert stage.calls["a"] <= 40 + 5 + 3


def test_nothing_between_a_request_and_its_answer_reads_the_wall_clock() -> None:
    """The one above can only move what Python reads by `time.time`; the rest is read here."""
    src = Path(__file__).parents[2] / "src" / "junctor"
    for module in ("choice", "hedged", "outlier", "first_token", "resilient", "retry_budget", "connection"):
        text = (src / "pool" / f"{module}.py").read_text(encoding="utf-8")
        assert "datetime" not in text
        assert "time.time(" not in text
