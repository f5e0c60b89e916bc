"""Upstreams that fail under load: what callers see of it, and what the upstreams do.

    .venv/bin/python lab/soak_faults.py [--requests 10000] [--at-once 8] [--only F2 F10] [--json OUT]

For each fault a real `junctor serve` (a child process) in front of three fault servers (this process), of
which one, or all, turn bad after 200 good requests; then come `--requests` requests for `auto`. The scenes
are those of tests/faults/scenes.py. Bars: every caller gets an answer while one model lives (99.9 %), unless
its answer had begun, which then ends with an error event, never in silence; upstreams get at most 1.2 calls a
request.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import uvloop

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from faults.scenes import SCENES, Scene, Seen, play, staged  # noqa: E402

WARM_UP = 200
ANSWERED = 0.999
AMPLIFICATION = 1.2
JUMPS = """
import threading, time
real, ahead = time.time, [0.0]
time.time = lambda: real() + ahead[0]
def jump():
    for seconds in (3600.0, -3600.0) * 1000:
        time.sleep(1.0)
        ahead[0] = seconds
threading.Thread(target=jump, daemon=True).start()
"""
"What a server of scene F13 runs first: every second its wall clock jumps."
MAIN = "import sys; from junctor.cli import main; sys.argv[0] = 'junctor'; main()"


@asynccontextmanager
async def junctor(config: str, folder: Path, before: str = "") -> AsyncIterator[str]:
    """A server of its own process, and its URL."""
    path = folder / "junctor.toml"
    path.write_text(config, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", before + MAIN, "serve", "--config", str(path), "--port", "0"),
        env={"HOME": str(folder), "JUNCTOR_DATA_DIR": str(folder), "PYTHONPATH": str(ROOT / "src")},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        while not (found := re.search(rb"serves (http://[\d.:]+)", await process.stderr.readline())):
            assert process.returncode is None, "the server did not start"
        drain = asyncio.create_task(process.stderr.read())
        yield found[1].decode()
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()
        await drain


async def run(scene: Scene, requests: int, at_once: int) -> dict[str, Any]:
    """One scene, and what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        async with staged(scene) as stage:
            before = JUMPS if scene.name == "F13" else ""
            async with junctor(stage.config(), Path(folder), before) as url:
                began = time.perf_counter()
                seen = await play(stage, url, requests, at_once=at_once, warm_up=WARM_UP)
                return report(scene, seen, time.perf_counter() - began) | {"calls": stage.calls}


def report(scene: Scene, seen: Seen, seconds: float) -> dict[str, Any]:
    """The figures of one scene. A scene in which answers break off is held to end each of them properly."""
    share = seen.answered / seen.requests
    good = share >= ANSWERED if scene.mends else seen.cut == 0
    return {
        "fault": scene.name,
        "what": scene.what,
        "requests": seen.requests,
        "seconds": round(seconds, 1),
        "answered": share,
        "ended_by_an_error_event": seen.told,
        "refused": seen.refused,
        "cut_in_silence": seen.cut,
        "codes": sorted(seen.codes),
        "amplification": round(seen.amplification, 4),
        "p50_ms": round(seen.quantile(0.5) * 1e3, 1),
        "p99_ms": round(seen.quantile(0.99) * 1e3, 1),
        "max_ms": round(seen.quantile(1.0) * 1e3, 1),
        "passed": good and seen.cut == 0 and seen.amplification <= AMPLIFICATION,
    }


def show(row: dict[str, Any]) -> None:
    print(
        f"{row['fault']:15} {row['answered']:9.3%} answered  {row['ended_by_an_error_event']:5} told  "
        f"{row['refused']:6} refused  {row['cut_in_silence']:3} cut  x{row['amplification']:<7} "
        f"p50 {row['p50_ms']:7.1f}  p99 {row['p99_ms']:8.1f}  max {row['max_ms']:8.1f} ms  "
        f"{'ok' if row['passed'] else 'FAILED'}  ({row['what']}; {row['seconds']} s; {row['calls']})",
        flush=True,
    )


async def without_hedging(scene: Scene, requests: int, at_once: int) -> dict[str, Any]:
    """The same scene unhedged, to compare its tail with."""
    plain = Scene(
        **(vars(scene) | {"name": f"{scene.name}-off", "what": "the same, not hedged", "settings": ""})
    )
    return await run(plain, requests, at_once)


Player = Callable[[Scene, int, int], Awaitable[dict[str, Any]]]


async def main(names: list[str], requests: int, at_once: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name in names:
        players: list[Player] = [without_hedging, run] if SCENES[name].settings else [run]
        for player in players:
            rows.append(await player(SCENES[name], requests, at_once))
            show(rows[-1])
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--only", nargs="+", choices=list(SCENES), default=list(SCENES))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = uvloop.run(main(arguments.only, arguments.requests, arguments.at_once))
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(json.dumps(found).encode(), indent=2) + b"\n")
    sys.exit(0 if all(row["passed"] for row in found) else 1)
