"""Overload: twice as many requests as the server can answer, and what becomes of them.

    .venv/bin/python lab/soak_overload.py [--seconds 10] [--factor 2.0] [--stream] [--json OUT]

A Junctor of its own (a child process on one core) in front of a scripted model; the load comes from here
(another core), over kept connections. First the capacity, with 64 requests always in flight; then `factor`
times as many a second, whether they are answered or not (open loop); then half the capacity, to see how soon
nothing is turned away any more; then the capacity once more, since machines have neighbours. Bars: goodput
>= 90 % of the mean capacity; who is turned away hears so within 20 ms (p99); recovery within 2 s.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import uvloop

CONFIG = """
[store]
path = "soak.db"
[[models]]
name = "small"
provider = "scripted"
price = { input = 1, output = 2 }
script = [{ delay_s = 0.01 }, { text = "Hello there, this is an answer." }]
"""
BODY = {"model": "small", "messages": [{"role": "user", "content": "Say hello. " * 40}]}
MAX_LINES = 2000
LENGTH = re.compile(rb"content-length: (\d+)")

Done = Callable[[int, float], None]
"Status and seconds."


class Line(asyncio.Protocol):
    """One kept connection; answers come one at a time."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.received = b""
        self.began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def ask(self) -> None:
        self.began = time.perf_counter()
        self.transport.write(self.load.request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return
        length = LENGTH.search(self.received, 0, end)
        whole = (
            self.received.endswith(b"0\r\n\r\n")
            if length is None
            else len(self.received) - end - 4 >= int(length[1])
        )
        if whole:
            status = int(self.received[9:12])
            self.received = b""
            self.load.answered(self, status, time.perf_counter() - self.began)

    def connection_lost(self, error: Exception | None) -> None:
        self.load.lost(self)


class Load:
    """Sends requests and keeps what came of them."""

    def __init__(self, port: int, request: bytes) -> None:
        self.port = port
        self.request = request
        self.free = deque[Line]()
        self.lines = 0
        self.results: list[tuple[float, int, float]] = []
        self.unsent = 0
        self.broken = 0
        self.closed_loop = False

    async def connect(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            _, line = await loop.create_connection(lambda: Line(self), "127.0.0.1", self.port)
            self.free.append(line)
            self.lines += 1

    def answered(self, line: Line, status: int, seconds: float) -> None:
        self.results.append((time.perf_counter(), status, seconds))
        if self.closed_loop:
            line.ask()
        else:
            self.free.append(line)

    def lost(self, line: Line) -> None:
        self.broken += 1
        self.lines -= 1
        if line in self.free:
            self.free.remove(line)

    async def capacity(self, seconds: float, in_flight: int = 64) -> float:
        """Requests a second with so many always in flight."""
        self.results.clear()
        self.closed_loop = True
        began = time.perf_counter()
        for _ in range(in_flight):
            self.free.popleft().ask()
        await asyncio.sleep(seconds)
        self.closed_loop = False
        took = time.perf_counter() - began
        done = len([1 for _, status, _ in self.results if status == 200]) / took
        await asyncio.sleep(0.3)
        return done

    async def offer(self, rate: float, seconds: float) -> float:
        """So many requests a second, whatever becomes of them. Gives the time of the beginning."""
        self.results.clear()
        self.unsent = 0
        began = time.perf_counter()
        sent = 0
        while (now := time.perf_counter()) < began + seconds:
            due = int((now - began) * rate)
            while sent < due:
                sent += 1
                if not self.free and self.lines < MAX_LINES:
                    await self.connect(1)
                if self.free:
                    self.free.popleft().ask()
                else:
                    self.unsent += 1
            await asyncio.sleep(0.001)
        return began


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


async def measure(port: int, seconds: float, factor: float, stream: bool) -> dict[str, float]:
    body = json.dumps(BODY | {"stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    load = Load(port, head.encode() + body)
    await load.connect(500)
    await load.offer(1000, 2)
    before = await load.capacity(seconds / 2)
    began = await load.offer(before * factor, seconds)
    good = [(when, took) for when, status, took in load.results if status == 200]
    shed = [(when - began, took) for when, status, took in load.results if status == 503]
    other = len(load.results) - len(good) - len(shed)
    unsent = load.unsent
    ended = await load.offer(before / 2, 4)
    late = [when - ended for when, status, _ in load.results if status == 503]
    capacity = (before + await load.capacity(seconds / 2)) / 2
    settled = [took for when, took in shed if when > 1]
    return {
        "capacity_rps": capacity,
        "offered_rps": before * factor,
        "goodput_share": len(good) / seconds / capacity,
        "good_p50_ms": percentile([took for _, took in good], 0.5) * 1e3,
        "good_p99_ms": percentile([took for _, took in good], 0.99) * 1e3,
        "turned_away": len(shed),
        "turned_away_p50_ms": percentile([took for _, took in shed], 0.5) * 1e3,
        "turned_away_p99_ms": percentile([took for _, took in shed], 0.99) * 1e3,
        "after_1_s_p99_ms": percentile(settled, 0.99) * 1e3,
        "recovery_s": max(late, default=0.0),
        "other_statuses": other,
        "unsent": unsent,
        "broken_connections": load.broken,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--factor", type=float, default=2.0)
    parser.add_argument("--stream", action="store_true", help="ask for streams")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "junctor.toml").write_text(CONFIG)
        command = [sys.executable, "-m", "junctor", "serve", "--port", "0"]
        server = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
        os.sched_setaffinity(server.pid, {cores[0]})
        os.sched_setaffinity(0, {cores[-1]})
        try:
            port = int(re.search(r":(\d+)/v1", server.stderr.readline())[1])
            found = uvloop.run(measure(port, options.seconds, options.factor, options.stream))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
    for name, value in found.items():
        print(f"{name:22} {value:10.2f}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
