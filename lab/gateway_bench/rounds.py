"""The measurement: every server is visited in every round, in an order that changes from round to round."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway_bench.native import CHUNKS, Ask, load
from gateway_bench.process import cpu_ns, cpu_ticks_s, rss_mb
from gateway_bench.servers import Running, Server

SETTLE_S = 0.15
"After a phase, before the clock is read: what a server puts off (rows, logs) belongs to the requests."
MANY = 16


@dataclass
class Visited:
    """A server, and what was seen of it."""

    name: str
    server: Server
    port: int
    running: Running | None
    "None: the upstream itself, asked directly."
    starts_s: list[float] = field(default_factory=list)
    rounds: list[dict[str, Any]] = field(default_factory=list)
    answered: int = 0
    rss_idle_mb: float | None = None
    rss_after_mb: float | None = None
    rss_after_requests: int = 0
    long_run: dict[str, Any] = field(default_factory=dict)
    "One phase of many requests without a pause, while memory is weighed."
    cpu_s: float = 0.0
    cpu_ticks_s: float = 0.0
    "The same processor time by another counter of the kernel."
    gone: str = ""
    "Why it was left out from some round on."


@dataclass(frozen=True)
class Bench:
    """Where, and how long."""

    folder: Path
    gateway_core: int
    load_core: int
    requests: int
    seconds: float
    say: Callable[[str], None]

    def phases(self) -> dict[str, Ask]:
        streams = max(16, self.requests // 8)
        return {
            "one": Ask(1, self.requests, self.seconds),
            "many": Ask(MANY, self.requests, self.seconds),
            "stream": Ask(64, streams, self.seconds, stream=True, pause_us=5000),
            "burst": Ask(MANY, streams, self.seconds, stream=True),
        }

    def run_rounds(self, all_visited: list[Visited], count: int, seed: int) -> None:
        draw = random.Random(seed)
        for number in range(count):
            order = [one for one in all_visited if not one.gone]
            draw.shuffle(order)
            for one in order:
                self._visit(one, number)
            self.say(f"round {number + 1} of {count} done")

    def _visit(self, one: Visited, number: int) -> None:
        row: dict[str, Any] = {"round": number}
        try:
            self._ask(one, Ask(MANY, 100, 0.3))  # warm again: others have been here since
            for name, ask in self.phases().items():
                if ask.stream and not one.server.streams:
                    continue
                row[name] = self._measure(one, ask)
        except subprocess.CalledProcessError as error:
            one.gone = f"round {number + 1}: {_why(one, error)}"
            self.say(f"{one.name}: {one.gone}")
        one.rounds.append(row)

    def _ask(self, one: Visited, ask: Ask) -> dict[str, Any]:
        found = load(self.folder, self.load_core, one.port, ask, one.server.request(ask, one.port))
        one.answered += found["answered"]
        return found

    def _measure(self, one: Visited, ask: Ask) -> dict[str, Any]:
        if one.running is None:
            return self._ask(one, ask)
        pid = one.running.process.pid
        ticks, before = cpu_ticks_s(pid), cpu_ns(pid)
        found = self._ask(one, ask)
        time.sleep(SETTLE_S)
        spent, ticks = (cpu_ns(pid) - before) / 1e9, cpu_ticks_s(pid) - ticks
        one.cpu_s += spent
        one.cpu_ticks_s += ticks
        found["cpu_s"] = spent
        if found["answered"]:
            found["cpu_us"] = spent * 1e6 / found["answered"]
            if ask.stream:
                found["cpu_us_per_chunk"] = found["cpu_us"] / CHUNKS
        return found

    def weigh(self, one: Visited, requests: int, seconds: float) -> None:
        """Resident memory after so many requests in all, or as many as come in so many seconds."""
        if one.running is None or one.gone:
            return
        try:
            left = requests - one.answered
            if left > 0:
                one.long_run = self._measure(one, Ask(MANY, left, seconds))
        except subprocess.CalledProcessError as error:
            one.gone = f"while its memory was weighed: {_why(one, error)}"
            return
        time.sleep(1)
        one.rss_after_mb = rss_mb(one.running.process.pid)
        one.rss_after_requests = one.answered


def _why(one: Visited, error: subprocess.CalledProcessError) -> str:
    status = None if one.running is None else one.running.process.poll()
    ended = "its process runs" if status is None else f"its process ended with status {status}"
    return f"the load could not go on (status {error.returncode}); {ended}"
