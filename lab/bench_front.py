"""What reading HTTP costs: our front, uvicorn's protocol, and the floor, for applications that do nothing.

    .venv/bin/python lab/bench_front.py [--rounds 5] [--seconds 3] [--connections 16]

Each server is a child process on one core; `wrk` (Debian's package) asks from another, over kept connections,
in turns: a POST of 1 KB with 12 headers, answered with 1 KB. Figures are microseconds of the server's
processor time a request, from /proc schedstat: system calls included, the load generator not.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvicorn
import uvloop

from junctor.gateway.dialect import render_refusal
from junctor.gateway.front import Front, HttpLimits
from junctor.gateway.receive import Receive, Scope, Send
from junctor.gateway.server import http_server
from junctor.gateway.shed import Shedder

BODY = b'{"answer": "%b"}' % (b"y" * 1000)
SERVERS = ("floor", "front", "front, turning away", "uvicorn")
SCRIPT = """
wrk.method = "POST"
wrk.body = string.rep("x", 1000)
for name, value in pairs({
  ["Accept"] = "application/json", ["Accept-Encoding"] = "gzip, deflate",
  ["Content-Type"] = "application/json",
  ["User-Agent"] = "OpenAI/Python 3.52.0", ["X-Stainless-Lang"] = "python", ["X-Stainless-OS"] = "Linux",
  ["X-Stainless-Arch"] = "x64", ["X-Stainless-Runtime"] = "CPython", ["X-Stainless-Retry-Count"] = "0",
  ["Authorization"] = "Bearer sk-" .. string.rep("a", 43)
}) do wrk.headers[name] = value end
"""


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


class Floor(asyncio.Protocol):
    """Answers whatever comes, unread."""

    REPLY = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.REPLY)


async def serve(kind: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    if kind == "floor":
        server = await asyncio.get_running_loop().create_server(Floor, sock=listener)
        await server.serve_forever()
    elif kind == "uvicorn":
        config = uvicorn.Config(
            answer, http="httptools", lifespan="off", log_config=None, access_log=False, proxy_headers=False
        )
        await uvicorn.Server(config).serve(sockets=[listener])
    else:
        shedder = Shedder(2000 if kind == "front" else 0)
        front = Front(answer, HttpLimits(), shedder, lambda error, path: render_refusal(error, path, ""))
        await http_server(front).serve(sockets=[listener])


def spent_us(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e3


def measure(options: argparse.Namespace) -> None:
    cores = sorted(os.sched_getaffinity(0))
    children = {
        kind: subprocess.Popen([sys.executable, __file__, "--serve", kind], stdout=subprocess.PIPE, text=True)
        for kind in SERVERS
    }
    ports = {kind: int(child.stdout.readline()) for kind, child in children.items()}
    for child in children.values():
        os.sched_setaffinity(child.pid, {cores[0]})
    os.sched_setaffinity(0, {cores[-1]})
    time.sleep(0.5)
    found: dict[str, list[float]] = {kind: [] for kind in SERVERS}
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT)
        script.flush()
        wrk = ["wrk", "-t1", f"-c{options.connections}", f"-d{options.seconds}s", "-s", script.name]
        for _ in range(options.rounds):
            for kind, child in children.items():
                before = spent_us(child.pid)
                url = f"http://127.0.0.1:{ports[kind]}/v1/chat/completions"
                said = subprocess.run([*wrk, url], capture_output=True, text=True, check=True).stdout
                requests = int(re.search(r"(\d+) requests in", said)[1])
                found[kind].append((spent_us(child.pid) - before) / requests)
    for kind, figures in found.items():
        print(f"{kind:20} median {statistics.median(figures):6.1f}   best {min(figures):6.1f}")
    for child in children.values():
        child.terminate()
        child.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        uvloop.run(serve(options.serve))
    else:
        measure(options)


if __name__ == "__main__":
    main()
