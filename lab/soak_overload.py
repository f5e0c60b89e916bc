"""Overload: twice as many requests as the server can answer, and what becomes of them.

    .venv/bin/python lab/soak_overload.py [--seconds 10] [--factor 2.0] [--stream] [--runs 3] [--json OUT]
        [--connections 2000] [--body-bytes 0] [--delay-s 0.01] [--source src]

A Junctor of its own (a child process on one core) in front of a scripted model; the load comes from
`open_load.c` (another core), over kept connections. First the capacity, with 64 requests always in flight;
then `factor` times as many a second, at random moments, whether they are answered or not (open loop); then
half the capacity, to see how soon nothing is turned away any more; then the capacity once more, since
machines have neighbours. Bars: goodput >= 90 % of the mean capacity; who is turned away hears so within 20
ms (p99); recovery within 2 s; with 64 in flight nobody is turned away.

Milliseconds run from before a request's first byte is sent until the last of its answer is read. Three
figures say whether a run can be believed: `load_late_p99_ms` (how much later than due the load sent its
requests), `load_busy_share` (of its core), and `waited_for_core_share`: how much of the time in which the
server was ready to run somebody else had its core; over 0.1 the milliseconds are the neighbour's. Then
`goodput_per_cpu_share` still says what overload costs: good answers for a second of the server's processor
time, in overload and at capacity. (A load in Python was too slow for this: its own queue was part of what
it measured.)
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

CONFIG = """
[store]
path = "soak.db"
[[models]]
name = "small"
provider = "scripted"
price = {{ input = 1, output = 2 }}
script = [{{ delay_s = {delay_s} }}, {{ text = "Hello there, this is an answer." }}]
"""
SOURCE = Path(__file__).with_name("open_load.c")
CALM_S = 0.3


class Request(NamedTuple):
    """What became of one. Seconds on the load's clock; `answered` 0: never; `status` 0: the line broke."""

    due: float
    sent: float
    answered: float
    status: float


class Phase(NamedTuple):
    """What the load did on one order, and what the server needed for it."""

    began: float
    ended: float
    sent: float
    unsent: float
    load_s: float
    server_s: float
    "Processor time."
    waited_s: float
    "Time it was ready to run and did not."


class Load:
    """`open_load`, which takes orders while it runs."""

    def __init__(self, folder: Path, port: int, server: int, connections: int, request: bytes) -> None:
        self._server = server
        self._records = folder / "records"
        (folder / "request").write_bytes(request)
        command = [folder / "open_load", port, connections, folder / "request", self._records]
        self._process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def order(self, words: str) -> Phase:
        """Let it work by these words; the comment in open_load.c has the grammar."""
        before = schedule(self._server)
        self._process.stdin.write(words + "\n")
        self._process.stdin.flush()
        answer = map(float, self._process.stdout.readline().split())
        after = schedule(self._server)
        return Phase(*answer, *(late - early for early, late in zip(before, after, strict=True)))

    def end(self) -> list[Request]:
        """What became of each request, in the order in which they were sent."""
        self._process.stdin.close()
        if self._process.wait():
            raise RuntimeError("the load failed")
        return [Request(*it) for it in struct.iter_unpack("4d", self._records.read_bytes())]


def schedule(pid: int) -> tuple[float, float]:
    """Seconds a process's threads ran, and were ready to run but did not."""
    paths = list(Path(f"/proc/{pid}/task").glob("*/schedstat"))
    times = [list(map(int, path.read_text().split())) for path in paths]
    return sum(it[0] for it in times) / 1e9, sum(it[1] for it in times) / 1e9


def percentile_ms(seconds: list[float], share: float) -> float:
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * share))] * 1e3 if seconds else 0.0


def rate(requests: list[Request], phase: Phase) -> float:
    """Good answers a second."""
    good = [1 for it in requests if it.status == 200 and phase.began <= it.answered <= phase.ended]
    return len(good) / (phase.ended - phase.began)


def per_cpu(requests: list[Request], *phases: Phase) -> float:
    """Good answers for a second of the server's processor time."""
    seconds = sum(it.server_s for it in phases)
    return sum(rate(requests, it) * (it.ended - it.began) for it in phases) / seconds


def within(requests: list[Request], phase: Phase) -> list[Request]:
    return [it for it in requests if phase.began <= it.sent <= phase.ended]


def measure(load: Load, seconds: float, factor: float) -> dict[str, float]:
    load.order("open 1000 2000")
    before = load.order(f"closed 64 {seconds * 500}")
    about = before.sent / (before.ended - before.began)
    load.order(f"rest {CALM_S * 1e3}")
    over = load.order(f"open {about * factor} {seconds * 1e3}")
    half = load.order(f"open {about / 2} 4000")
    load.order(f"rest {CALM_S * 1e3}")
    after = load.order(f"closed 64 {seconds * 500}")
    requests = load.end()
    capacity = (rate(requests, before) + rate(requests, after)) / 2
    return describe(requests, over, capacity) | {
        "goodput_per_cpu_share": per_cpu(requests, over) / per_cpu(requests, before, after),
        "turned_away_at_capacity": sum(
            it.status == 503 for phase in (before, after) for it in within(requests, phase)
        ),
        "offered_rps": (over.sent + over.unsent) / seconds,
        "recovery_s": max(
            (it.answered - half.began for it in within(requests, half) if it.status == 503), default=0.0
        ),
    }


def describe(requests: list[Request], over: Phase, capacity: float) -> dict[str, float]:
    asked = within(requests, over)
    good = [it.answered - it.sent for it in asked if it.status == 200]
    shed = [it.answered - it.sent for it in asked if it.status == 503]
    settled = [it.answered - it.sent for it in asked if it.status == 503 and it.sent > over.began + 1]
    seconds = over.ended - over.began
    return {
        "capacity_rps": capacity,
        "goodput_share": rate(requests, over) / capacity,
        "good_p50_ms": percentile_ms(good, 0.5),
        "good_p99_ms": percentile_ms(good, 0.99),
        "turned_away": len(shed),
        "turned_away_p50_ms": percentile_ms(shed, 0.5),
        "turned_away_p99_ms": percentile_ms(shed, 0.99),
        "turned_away_max_ms": percentile_ms(shed, 1),
        "after_1_s_p99_ms": percentile_ms(settled, 0.99),
        "other_statuses": len(asked) - len(good) - len(shed),
        "unsent": over.unsent,
        "load_late_p99_ms": percentile_ms([it.sent - it.due for it in asked], 0.99),
        "load_busy_share": over.load_s / seconds,
        "server_busy_share": over.server_s / seconds,
        "waited_for_core_share": over.waited_s / (over.waited_s + over.server_s),
    }


def render_request(stream: bool, body_bytes: int) -> bytes:
    prompt = "Say hello. " * max(40, body_bytes // 11)
    asked = {"model": "small", "messages": [{"role": "user", "content": prompt}], "stream": stream}
    body = json.dumps(asked).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@contextmanager
def serving(folder: Path, delay_s: float, source: Path | None, core: int) -> Iterator[tuple[int, int]]:
    """A Junctor; its process id and its port."""
    (folder / "junctor.toml").write_text(CONFIG.format(delay_s=delay_s))
    command = [sys.executable, "-m", "junctor", "serve", "--port", "0"]
    if source is not None:
        command = ["env", f"PYTHONPATH={source.resolve()}", *command]
    server = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    os.sched_setaffinity(server.pid, {core})
    try:
        yield server.pid, int(re.search(r":(\d+)/v1", server.stderr.readline())[1])
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def run(options: argparse.Namespace, cores: list[int]) -> dict[str, float]:
    compiler = shutil.which("gcc")
    if compiler is None:
        raise SystemExit("the load is a C program: `apt-get install gcc libc6-dev`")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([compiler, "-O2", "-o", folder / "open_load", SOURCE, "-lm"], check=True)
        with serving(folder, options.delay_s, options.source, cores[0]) as (server, port):
            os.sched_setaffinity(0, {cores[-1]})
            request = render_request(options.stream, options.body_bytes)
            load = Load(folder, port, server, options.connections, request)
            return measure(load, options.seconds, options.factor)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--factor", type=float, default=2.0)
    parser.add_argument("--stream", action="store_true", help="ask for streams")
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--body-bytes", type=int, default=0, help="size of the prompt")
    parser.add_argument("--delay-s", type=float, default=0.01, help="of the model")
    parser.add_argument("--runs", type=int, default=1, help="print the median of so many")
    parser.add_argument("--source", type=Path, help="another tree's src, to compare with")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    runs = [run(options, cores) for _ in range(options.runs)]
    for name in runs[0]:
        values = [it[name] for it in runs]
        every = "  ".join(f"{value:.2f}" for value in values) if len(values) > 1 else ""
        print(f"{name:22} {median(values):10.2f}   {every}")
    if options.json:
        options.json.write_text(json.dumps(runs, indent=1))


if __name__ == "__main__":
    main()
