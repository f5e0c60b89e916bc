"""Steady load, many streams, and what twenty minutes of it leave behind.

    .venv/bin/python lab/soak_load.py [--phases rate,streams,soak] [--soak 20] [--json OUT]

A real `junctor serve` (child process): a key with rates and budgets far above the load, `auto` over two
models, an upstream (another child) that waits 50 ms. The load is open: requests go out at their time,
answered or not. Every answer carries its number and how long the upstream really waited, so what Junctor adds
is known of each. A few requests come before, since the first ones of a new key that has a budget wait for
what its very first one costs.

    rate       300 requests a second for 60 s                            bar: no error
    streams    500 at once of 200 chunks, 100 ms apart, some in halves   bar: every byte, in order
    soak       100 requests a second, a tenth streamed, for --soak minutes, sampled every 10 s
               bar: no error; memory grows < 5 % after minute 5; open files and asyncio tasks stay
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from gateway_bench.native import free_port
from gateway_bench.process import cpu_ns, rss_mb
from gateway_bench.servers import Place, make_junctor_auto
from soak_traffic import Ask, Load, upstream

SOURCE = Path(__file__).resolve().parent.parent / "src"
GROWTH = 0.05
PHASES = ("rate", "streams", "soak")
EVERY_S = 10.0
WARM_UP = 20
SETTLED_S = 300.0
"Memory is compared from here on."
FLAT = 5
"Open files and tasks may differ by so many: connections come and go with the load."
TASKS = """
import asyncio, pathlib, signal, sys
def tell(*_):
    pathlib.Path("tasks").write_text(str(len(asyncio.all_tasks())))
signal.signal(signal.SIGUSR1, tell)
from junctor.cli import main
sys.argv[0] = "junctor"
main()
"""
"How the server starts: on SIGUSR1 it counts its tasks."


@dataclass
class Junctor:
    """The server, and what can be seen of it from outside."""

    port: int
    key: str
    process: subprocess.Popen[bytes]
    folder: Path
    upstream_pid: int

    async def sample(self, lines: int = 0) -> dict[str, float]:
        """Memory in MB, open files and sockets, tasks and threads; `lines`: connections of the load.

        `sockets_beyond` are those that neither the load nor the upstream has the other end of.
        """
        told = self.folder / "tasks"
        told.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        rss, (sockets, files) = rss_mb(self.process.pid), open_files(self.process.pid)
        beyond = sockets - lines - open_files(self.upstream_pid)[0]
        threads = len(os.listdir(f"/proc/{self.process.pid}/task"))
        while not told.exists() or not told.read_text():
            await asyncio.sleep(0.01)
        tasks = int(told.read_text())
        return {
            "rss_mb": round(rss, 2),
            "files": files,
            "sockets": sockets,
            "sockets_beyond": beyond,
            "tasks": tasks,
            "threads": threads,
        }


def open_files(pid: int) -> tuple[int, int]:
    """Sockets, and all others."""
    names = list[str]()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            names.append(os.readlink(path))
    sockets = sum(name.startswith("socket:") for name in names)
    return sockets, len(names) - sockets


@asynccontextmanager
async def junctor(upstream_port: int, upstream_pid: int) -> AsyncIterator[Junctor]:
    """The server of the benchmark with everything on."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port = free_port()
        server = make_junctor_auto(Place(folder, port, upstream_port, folder / "cache", SOURCE))
        command = [sys.executable, "-c", TASKS, *server.command[1:]]
        env = {"PATH": "/usr/bin:/bin", "HOME": name} | server.variables
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=folder, env=env, stderr=log)
        while b"serves" not in (folder / "log").read_bytes():
            assert process.poll() is None, (folder / "log").read_text()
            await asyncio.sleep(0.05)
        yield Junctor(port, server.headers["authorization"], process, folder, upstream_pid)
        process.terminate()
        assert await asyncio.to_thread(process.wait) == 0, (folder / "log").read_text()


def waited_for_a_core_s(pid: int) -> float:
    """How long the server's first thread could have run and was not let, since its start."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


async def warmed(server: Junctor) -> Load:
    """A load for a server whose key has been used."""
    load = Load(server.port, server.key)
    await load.offer((Ask(number) for number in range(WARM_UP)), 10)
    assert load.answered == WARM_UP, load.errors
    load.close()
    return Load(server.port, server.key)


async def rate(server: Junctor, seconds: float) -> dict[str, Any]:
    """300 requests a second."""
    load = await warmed(server)
    await load.offer((Ask(number) for number in range(round(300 * seconds))), 300)
    load.close()
    return load.report() | {"passed": not load.errors}


async def streams(server: Junctor, count: int) -> dict[str, Any]:
    """All at once: the last begins 5 s after the first, and each takes 20 s."""
    load = await warmed(server)
    await load.offer((Ask(number, chunks=200, pause_ms=100) for number in range(count)), count / 5)
    load.close()
    return load.report() | {"passed": load.answered == load.most_at_once == count}


async def soak(server: Junctor, seconds: float) -> dict[str, Any]:
    """100 requests a second, every tenth a stream of 20 chunks."""
    load, series = await warmed(server), list[dict[str, float]]()
    idle = await server.sample()
    began = time.monotonic()
    asks = (Ask(turn, chunks=20 * (turn % 10 == 0), pause_ms=5) for turn in range(round(100 * seconds)))
    offering = asyncio.create_task(load.offer(asks, 100))
    while not offering.done():
        await asyncio.wait([offering], timeout=EVERY_S)
        if not offering.done():
            series.append({"s": round(time.monotonic() - began)} | await server.sample(load.lines))
            print(f"  {json.dumps(series[-1])}", file=sys.stderr, flush=True)
    await offering
    load.close()
    await asyncio.sleep(2)
    verdict = judge(series, seconds) | {"idle_before": idle, "idle_after": await server.sample()}
    passed = not load.errors and verdict["grew"] < GROWTH and verdict["flat"]
    return load.report() | verdict | {"passed": passed, "series": series}


def judge(series: list[dict[str, float]], seconds: float) -> dict[str, Any]:
    """The last minute beside the one after minute 5, or after a third of a shorter run."""
    settled = [one for one in series if one["s"] >= min(SETTLED_S, seconds / 3)]

    def medians(part: list[dict[str, float]]) -> dict[str, float]:
        return {name: statistics.median(one[name] for one in part) for name in part[0] if name != "s"}

    first, last = medians(settled[:6]), medians(settled[-6:])
    return {
        "first_minute": first,
        "last_minute": last,
        "grew": round(last["rss_mb"] / first["rss_mb"] - 1, 4),
        "flat": all(
            abs(last[name] - first[name]) <= FLAT for name in ("files", "sockets_beyond", "tasks", "threads")
        ),
    }


async def run(phases: list[str], asked: argparse.Namespace, upstream_at: tuple[int, int]) -> dict[str, Any]:
    """Each phase with a server of its own."""
    found = dict[str, Any]()
    for phase in phases:
        async with junctor(*upstream_at) as server:
            match phase:
                case "rate":
                    found[phase] = await rate(server, asked.seconds)
                case "streams":
                    found[phase] = await streams(server, asked.streams)
                case _:
                    found[phase] = await soak(server, asked.soak * 60)
            requests = found[phase]["answered"] or 1
            found[phase] |= {
                "server_cpu_ms_per_request": round(cpu_ns(server.process.pid) / requests / 1e6, 3),
                "server_waited_for_a_core_s": round(waited_for_a_core_s(server.process.pid), 1),
                "rss_mb": round(rss_mb(server.process.pid), 1),
                "load_average": os.getloadavg(),
            }
        show(phase, found[phase])
    return found


def show(phase: str, row: dict[str, Any]) -> None:
    print(f"{phase}: {'ok' if row['passed'] else 'FAILED'}")
    for name, value in row.items():
        if name not in {"passed", "series"}:
            print(f"  {name:28} {value}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--phases", default=",".join(PHASES), help="of rate,streams,soak")
    parser.add_argument("--seconds", type=float, default=60, help="of the phase rate")
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--soak", type=float, default=20, help="minutes")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    phases = asked.phases.split(",")
    if not set(phases) <= set(PHASES):
        parser.error(f"--phases: of {','.join(PHASES)}")
    with upstream() as at:
        found = uvloop.run(run(phases, asked, at))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2) + "\n")
    sys.exit(not all(row["passed"] for row in found.values()))


if __name__ == "__main__":
    main()
