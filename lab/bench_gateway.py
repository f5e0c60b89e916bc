"""Junctor beside other gateways: processor time a request and a chunk, latency added, memory, time to start.

    .venv/bin/python lab/bench_gateway.py
        [--peers junctor,junctor-auto,nginx,litellm,portkey,vllm-router,switchyard] [--json OUT]
        [--rounds 5] [--requests 2000] [--seconds 0.5] [--requests-rss 100000] [--rss-seconds 60]
        [--starts 3] [--seed 1] [--cache ~/.cache/junctor/bench-peers] [--source OTHER_JUNCTOR/src]

All servers are up in the same minutes, in front of one mock upstream; each round visits each of them, in an
order of its own. Gateways run on the first core that this process may use, the mock and the load on the last.
A phase ends after `--requests` requests or `--seconds`. Peers are installed on first use, at fixed versions;
one that cannot be is named with the reason, and the rest goes on. Needs gcc; nginx is Debian's `nginx-light`.
docs/benchmarks.md has the method, its limits and a table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gateway_bench import peers, servers
from gateway_bench.native import Mock, NoCompiler, build, free_port
from gateway_bench.process import core_seconds, machine, rss_mb, stop
from gateway_bench.report import add_ratios, render_tables, summarise
from gateway_bench.rounds import Bench, Visited
from gateway_bench.servers import Make, Place, Running, Server, Unavailable

MAKERS: dict[str, Make] = {
    "nginx": servers.make_nginx,
    "junctor": servers.make_junctor,
    "junctor-auto": servers.make_junctor_auto,
    "vllm-router": peers.make_vllm_router,
    "switchyard": peers.make_switchyard,
    "portkey": peers.make_portkey,
    "litellm": peers.make_litellm,
}
QUICK_START_S = 5.0
"A server that takes longer is started once only."


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def start(name: str, options: argparse.Namespace, bench: Bench, upstream: int) -> Visited:
    """Install and start one server, several times. Raises `Unavailable`."""
    folder = bench.folder / name
    folder.mkdir()
    place = Place(folder, free_port(), upstream, options.cache, options.source)
    server = MAKERS[name](place)
    running = Running.start(server, place, bench.gateway_core)
    starts = [running.start_s]
    while len(starts) < options.starts and starts[0] < QUICK_START_S:
        stop(running.process)
        running = Running.start(server, place, bench.gateway_core)
        starts.append(running.start_s)
    time.sleep(0.3)
    say(f"{name} {server.version}: ready in {statistics.median(starts):.2f} s")
    return Visited(name, server, place.port, running, starts, rss_idle_mb=rss_mb(running.process.pid))


def start_all(options: argparse.Namespace, bench: Bench, up: list[Visited]) -> dict[str, str]:
    """Add every server that can be started to those that are up; why the others cannot."""
    failed: dict[str, str] = {}
    for name in options.peers:
        try:
            up.append(start(name, options, bench, up[0].port))
        except Unavailable as error:
            failed[name] = str(error)
            say(f"{name}: left out: {error}")
    return failed


def measure(options: argparse.Namespace, bench: Bench, mock: Mock) -> dict[str, Any]:
    """The whole run, as the JSON has it."""
    found: dict[str, Any] = {"machine": machine(), "python": platform.python_version()}
    found["options"] = {name: str(value) for name, value in vars(options).items()}
    up = [Visited("direct", Server("direct", []), mock.port, None)]
    try:
        failed = start_all(options, bench, up)
        began, before = time.time(), core_seconds(bench.gateway_core)
        bench.run_rounds(up, options.rounds, options.seed)
        after, seconds = core_seconds(bench.gateway_core), time.time() - began
        ours = sum(one.cpu_s for one in up)
        for one in up if options.requests_rss else []:
            bench.weigh(one, options.requests_rss, options.rss_seconds)
            say(f"{one.name}: weighed after {one.rss_after_requests} requests")
    finally:
        for one in up:
            if one.running is not None:
                stop(one.running.process)
    found["machine"]["load_average_after"] = os.getloadavg()
    found["gateway_core"] = {
        "seconds": seconds,
        **{kind: after[kind] - before[kind] for kind in before},
        "ours": ours,
    }
    found["failed"] = failed | {one.name: one.gone for one in up if one.gone}
    found["targets"] = {one.name: _described(one) for one in up}
    found["summary"] = _summary(up)
    return found


def _described(one: Visited) -> dict[str, Any]:
    named = (
        "starts_s",
        "rss_idle_mb",
        "rss_after_mb",
        "rss_after_requests",
        "cpu_s",
        "cpu_ticks_s",
        "long_run",
        "rounds",
    )
    return {"version": one.server.version} | {name: getattr(one, name) for name in named}


def _summary(up: list[Visited]) -> dict[str, dict[str, Any]]:
    direct = up[0].rounds
    rows = {
        one.name: summarise(one.rounds, direct)
        | {
            "start_s": statistics.median(one.starts_s) if one.starts_s else None,
            "rss_idle_mb": one.rss_idle_mb,
            "rss_after_mb": one.rss_after_mb,
            "rss_after_requests": one.rss_after_requests,
            "cpu_us_long": one.long_run.get("cpu_us"),
        }
        for one in up
    }
    add_ratios(rows)
    return rows


def show(found: dict[str, Any]) -> None:
    core, machine = found["gateway_core"], found["machine"]
    before, after = machine["load_average"][0], machine["load_average_after"][0]
    print(render_tables(found["summary"]))
    print(
        f"\n{machine['processor']}, {machine['cores']} cores; load average {before:.1f} before, {after:.1f} "
        f"after. In {core['seconds']:.0f} s of rounds the gateways' core was busy for {core['busy']:.0f} s, "
        f"{core['ours']:.0f} s of it with what was measured; the host took {core['steal']:.1f} s."
    )
    for name, why in found["failed"].items():
        print(f"\n{name}: {why}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", default=",".join(MAKERS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=2000, help="of one phase, at most")
    parser.add_argument("--seconds", type=float, default=0.5, help="of one phase, at most")
    parser.add_argument("--requests-rss", type=int, default=100_000, help="0: memory is not weighed again")
    parser.add_argument("--rss-seconds", type=float, default=60)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/junctor/bench-peers")
    parser.add_argument("--source", type=Path, help="the `src` of the Junctor to measure; left out: this one")
    options = parser.parse_args()
    options.source = options.source and options.source.resolve()
    options.peers = [name.strip() for name in options.peers.split(",") if name.strip()]
    unknown = set(options.peers) - set(MAKERS)
    if unknown:
        parser.error(f"--peers: {', '.join(sorted(unknown))}: choose from {', '.join(MAKERS)}")
    return options


def main() -> int:
    options = parse_options()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        say("one core only: gateways, upstream and load share it; the latencies mean little")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every server is stopped
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            build(folder)
        except NoCompiler as error:
            print(error, file=sys.stderr)
            return 2
        os.sched_setaffinity(0, {cores[-1]})
        mock = Mock.start(folder, cores[-1])
        try:
            bench = Bench(folder, cores[0], cores[-1], options.requests, options.seconds, say)
            found = measure(options, bench, mock)
        finally:
            mock.stop()
    show(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
