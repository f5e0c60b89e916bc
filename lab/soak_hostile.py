"""Slow and idle clients by the thousand: are they closed in time, and does anybody else notice?

    .venv/bin/python lab/soak_hostile.py [--connections 1000] [--head-s 10] [--body-s 30] [--send-s 60]

A Junctor of its own (a child process on one core) with a scripted model, and 100 ordinary requests a second
from here (another core): first alone, then beside each of four crowds, until all of a crowd are closed or the
deadline and 5 s are over.

    idle        connections that were answered once and say nothing more; they may stay (`idle_timeout_s`)
    slowloris   a header byte a second
    slow body   a body byte a second
    slow read   an answer of 400 KB that nobody reads

Bars: p99 of the ordinary requests < 2x that without a crowd (and in any case below 25 ms); slow heads closed
within the deadline and 2 s, slow bodies and readers likewise; no ordinary request fails.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

import uvloop

CONFIG = """
[server]
head_timeout_s = {head}
body_timeout_s = {body}
send_timeout_s = {send}
[store]
path = "soak.db"
[[models]]
name = "small"
provider = "scripted"
price = {{ input = 1, output = 2 }}
script = [{{ when = "long", text = "{long}" }}, {{ turn = true, text = "Hello." }}]
"""
RATE = 100
TCP_ESTABLISHED = 1
START = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"


def chat(text: str) -> bytes:
    body = json.dumps({"model": "small", "messages": [{"role": "user", "content": text}]}).encode()
    return START + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class Member(asyncio.Protocol):
    """One of the crowd."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.closed_at: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.write(self.crowd.first)
        if self.crowd.deaf:
            asyncio.get_running_loop().call_soon(transport.pause_reading)  # uvloop begins to read after this

    def look(self) -> None:
        """Who does not read is not told; the system knows."""
        state = self.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        if state != TCP_ESTABLISHED:
            self.closed_at = time.perf_counter()
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.closed_at = self.closed_at or time.perf_counter()


class Crowd:
    """Connections that do the same."""

    def __init__(self, first: bytes, drip: bytes = b"", *, deaf: bool = False) -> None:
        self.first = first
        self.drip = drip
        self.deaf = deaf
        self.members: list[Member] = []

    async def gather(self, port: int, count: int) -> None:
        loop = asyncio.get_running_loop()
        for number in range(count):
            if number % 10 == 0:
                await asyncio.sleep(0.02)
            sock = socket.socket()
            sock.setblocking(False)
            if self.deaf:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await loop.sock_connect(sock, ("127.0.0.1", port))
            _, member = await loop.create_connection(lambda: Member(self), sock=sock)
            self.members.append(member)

    @property
    def open(self) -> list[Member]:
        return [member for member in self.members if member.closed_at is None]

    async def linger(self, seconds: float) -> None:
        """Be slow until all are closed, or for so long."""
        end = time.perf_counter() + seconds
        while self.open and time.perf_counter() < end:
            await asyncio.sleep(1)
            for member in self.open:
                if self.drip:
                    member.transport.write(self.drip)
                elif self.deaf:
                    member.look()

    def scatter(self) -> None:
        for member in self.open:
            member.transport.abort()


async def ask_in_turn(port: int, stop: asyncio.Event) -> list[float]:
    """`RATE` requests a second over 20 connections; milliseconds of each, infinite when one fails."""
    took: list[float] = []
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
    free = deque(connections)
    running = set[asyncio.Task[None]]()

    async def ask() -> None:
        reader, writer = free.popleft()
        began = time.perf_counter()
        writer.write(chat("Hi"))
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))
        took.append((time.perf_counter() - began) * 1e3 if b" 200 " in head else float("inf"))
        free.append((reader, writer))

    due = time.perf_counter()
    while not stop.is_set():
        due += 1 / RATE
        await asyncio.sleep(max(0, due - time.perf_counter()))
        if free:
            task = asyncio.create_task(ask())
            running.add(task)
            task.add_done_callback(running.discard)
        else:
            took.append(float("inf"))
    await asyncio.gather(*running)
    for _, writer in connections:
        writer.close()
    return took


async def measure(port: int, crowd: Crowd | None, count: int, seconds: float) -> dict[str, float]:
    stop = asyncio.Event()
    if crowd is not None:
        await crowd.gather(port, count)
        await asyncio.sleep(1)
    gathered = time.perf_counter()
    asking = asyncio.create_task(ask_in_turn(port, stop))
    if crowd is None:
        await asyncio.sleep(seconds)
    else:
        await crowd.linger(seconds)
    stop.set()
    took = sorted(await asking)
    found = {
        "requests": len(took),
        "failed": took.count(float("inf")),
        "p50_ms": took[len(took) // 2],
        "p99_ms": took[int(len(took) * 0.99)],
    }
    if crowd is not None:
        closed = [member.closed_at - gathered + 1 for member in crowd.members if member.closed_at]
        found |= {"still_open": len(crowd.open), "last_closed_s": max(closed, default=0.0)}
        crowd.scatter()
        await asyncio.sleep(1)
    return found


async def soak(port: int, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    crowds = {
        "idle": (Crowd(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"), 10),
        "slowloris": (Crowd(START, b"x"), options.head_s + 5),
        "slow body": (Crowd(START + b"Content-Length: 1000\r\n\r\n", b"x"), options.body_s + 5),
        "slow read": (Crowd(chat("long"), deaf=True), options.send_s + 5),
    }
    found = {"alone": await measure(port, None, 0, 10)}
    for name, (crowd, seconds) in crowds.items():
        found[name] = await measure(port, crowd, options.connections, seconds)
    found["alone again"] = await measure(port, None, 0, 10)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--head-s", type=float, default=10)
    parser.add_argument("--body-s", type=float, default=30)
    parser.add_argument("--send-s", type=float, default=60)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        config = CONFIG.format(
            head=options.head_s, body=options.body_s, send=options.send_s, long="long " * 80_000
        )
        (Path(folder) / "junctor.toml").write_text(config)
        command = [sys.executable, "-m", "junctor", "serve", "--port", "0"]
        server = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
        os.sched_setaffinity(server.pid, {cores[0]})
        os.sched_setaffinity(0, {cores[-1]})
        try:
            port = int(re.search(r":(\d+)/v1", server.stderr.readline())[1])
            found = uvloop.run(soak(port, options))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
    for name, figures in found.items():
        print(f"{name:12}", *(f"{key} {value:.1f}" for key, value in figures.items()))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
