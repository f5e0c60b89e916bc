"""The two C programs: compiled when the bench begins, run on the core that the gateways do not use."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway_bench.process import pinned

SOURCES = Path(__file__).parent
CHUNKS = 50
"Pieces of text in a stream of mock.c."


class NoCompiler(Exception):
    """There is no gcc."""


def build(folder: Path) -> None:
    """Compile `mock` and `load` into a folder. Raises `NoCompiler`."""
    compiler = shutil.which("gcc")
    if compiler is None:
        raise NoCompiler("the mock upstream and the load are C programs: `apt-get install gcc libc6-dev`")
    for name in ("mock", "load"):
        command = [compiler, "-O2", "-Wall", "-o", str(folder / name), str(SOURCES / f"{name}.c")]
        subprocess.run(command, check=True)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@dataclass
class Mock:
    """The upstream, running."""

    port: int
    process: subprocess.Popen[str]

    @classmethod
    def start(cls, folder: Path, core: int) -> Mock:
        port = free_port()
        with pinned(core):
            process = subprocess.Popen([folder / "mock", str(port)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the mock upstream did not start")
        return cls(port, process)

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@dataclass(frozen=True)
class Ask:
    """What one phase sends, and how."""

    connections: int
    requests: int
    seconds: float
    stream: bool = False
    pause_us: int = 0
    "Between two pieces of a stream."
    delay_us: int = 0
    "Before a whole answer."


def render_request(ask: Ask, port: int, model: str, headers: dict[str, str], prompt: str) -> bytes:
    """One HTTP request; its ten zeros are where load.c writes the number of each."""
    content = f"Request 0000000000. {prompt} @pause={ask.pause_us}; @delay={ask.delay_us};"
    body: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": content},
        ],
        "max_tokens": 256,
        "temperature": 0.2,
        "stream": ask.stream,
    }
    if ask.stream:
        body["stream_options"] = {"include_usage": True}
    text = json.dumps(body, separators=(",", ":")).encode()
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        f"host: 127.0.0.1:{port}",
        "content-type: application/json",
        f"content-length: {len(text)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + text


def load(folder: Path, core: int, port: int, ask: Ask, request: bytes) -> dict[str, Any]:
    """Run one phase. Counts, and latencies in microseconds, as load.c prints them."""
    path = folder / "request"
    path.write_bytes(request)
    marks = CHUNKS if ask.stream else 1
    numbers = (port, ask.connections, ask.requests, round(ask.seconds * 1e3), marks, int(ask.stream))
    with pinned(core):
        done = subprocess.run(
            [folder / "load", *map(str, numbers), path], stdout=subprocess.PIPE, check=True, text=True
        )
    return json.loads(done.stdout)
