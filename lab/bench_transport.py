"""Our way to the upstreams beside the client libraries: CPU a request, and what a cancellation leaves.

    .venv/bin/python lab/bench_transport.py [--rounds 5] [--requests 4000] [--json OUT]

One mock upstream (a child process on the other core) answers a fixed chat reply of 1 KB. The clients take
turns, round by round, in this process, which is pinned to one core; CPU seconds are those of this process,
all threads. Then a request whose reply has not begun is cancelled, and up to 5 s are waited for the server to
see the connection close.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import aiohttp
import uvloop
from pyreqwest.client import ClientBuilder

from junctor.pool.transport import Target, Timeouts, Transport

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 900}]}).encode()
REPLY = json.dumps(
    {"id": "c", "choices": [{"message": {"content": "y" * 900}, "finish_reason": "stop"}]}
).encode()
CONCURRENT = 16
PATIENCE_S = 5.0

Post = Callable[[str], Awaitable[bytes]]


async def serve(listener: socket.socket) -> None:
    """The mock: answers `/fast` at once, `/slow` never; says on stdout when a client of `/slow` has gone."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(REPLY)
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    int(line.split(b":")[1])
                    for line in request.lower().split(b"\r\n")
                    if line.startswith(b"content-length")
                )
                await reader.readexactly(length)
                if b"/slow" in request.split(b"\r\n")[0]:
                    print("waiting", flush=True)
                    await reader.read()
                    print("gone", flush=True)
                    return
                writer.write(head + REPLY)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, sock=listener)
    await server.serve_forever()


async def measure(post: Post, url: str, requests: int) -> float:
    """CPU microseconds of this process for one request, with `CONCURRENT` in flight."""
    left = iter(range(requests))

    async def work() -> None:
        for _ in left:
            assert len(await post(url)) == len(REPLY)

    began = time.process_time()
    await asyncio.gather(*(work() for _ in range(CONCURRENT)))
    return (time.process_time() - began) / requests * 1e6


async def seconds_until_gone(post: Post, url: str, said: asyncio.StreamReader) -> float | None:
    """How long after a cancellation the server sees the connection close; None: not within our patience."""
    task = asyncio.ensure_future(post(url))
    while b"waiting" not in await said.readline():
        pass
    began = time.perf_counter()
    task.cancel()
    await asyncio.wait([task])
    try:
        async with asyncio.timeout(PATIENCE_S):
            while b"gone" not in await said.readline():
                pass
    except TimeoutError:
        return None
    return time.perf_counter() - began


async def main(rounds: int, requests: int, out: str | None) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    cores = sorted(os.sched_getaffinity(0))
    mock = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--serve", str(listener.fileno())),
        pass_fds=[listener.fileno()],
        stdout=subprocess.PIPE,
    )
    os.sched_setaffinity(mock.pid, {cores[-1]})
    os.sched_setaffinity(0, {cores[0]})
    assert mock.stdout is not None
    transport, limits = Transport(), Timeouts()
    url = f"http://127.0.0.1:{port}"
    targets = {address: Target(address, {}) for address in (f"{url}/fast", f"{url}/slow")}
    async with ClientBuilder().build() as reqwest, aiohttp.ClientSession() as session:

        async def ours(url: str) -> bytes:
            async with transport.post(targets[url], BODY, limits, "m") as reply:
                body = await reply.body()
                reply.satisfied = True
                return body

        async def pyreqwest(url: str) -> bytes:
            reply = await reqwest.post(url).body_bytes(BODY).build().send()
            return bytes(await reply.bytes())

        async def aiohttps(url: str) -> bytes:
            async with session.post(url, data=BODY) as reply:
                return await reply.read()

        clients: dict[str, Post] = {"ours": ours, "pyreqwest": pyreqwest, "aiohttp": aiohttps}
        cpu: dict[str, list[float]] = {name: [] for name in clients}
        for _ in range(rounds):
            for name, post in clients.items():
                cpu[name].append(await measure(post, f"{url}/fast", requests))
        gone = {
            name: await seconds_until_gone(post, f"{url}/slow", mock.stdout) for name, post in clients.items()
        }
    await transport.close()
    mock.kill()
    await mock.wait()
    rows = [
        {
            "client": name,
            "cpu_us_per_request": round(statistics.median(cpu[name]), 1),
            "times_ours": round(statistics.median(cpu[name]) / statistics.median(cpu["ours"]), 2),
            "seconds_until_the_server_saw_the_cancellation": gone[name],
        }
        for name in clients
    ]
    for row in rows:
        seen = row["seconds_until_the_server_saw_the_cancellation"]
        shown = f"never within {PATIENCE_S:g} s" if seen is None else f"{seen * 1e3:.1f} ms"
        cost, ratio = row["cpu_us_per_request"], row["times_ours"]
        print(f"{row['client']:10} {cost:7.1f} us/request  {ratio:5.2f}x  {shown}")
    if out:
        with open(out, "w") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--json")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if options.serve is not None:
            runner.run(serve(socket.socket(fileno=options.serve)))
        else:
            runner.run(main(options.rounds, options.requests, options.json))
