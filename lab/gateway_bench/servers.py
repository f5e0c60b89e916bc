"""A server under measurement: how it is started, when it is ready, and Junctor and nginx themselves.

Each `make_*` writes what its server needs into a folder and says how to start it; peers.py has those that
come as packages.
"""

from __future__ import annotations

import http.client
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from gateway_bench.native import Ask, render_request
from gateway_bench.process import pinned, stop
from junctor.settings import read_environment

READY_WITHIN_S = 120.0
PASSED_ON = ("PATH", "HOME", "LANG")
"Of the environment; so that no proxy or key of the person who measures gets into it."
PROMPT = (
    "A shop sells pencils in boxes of 12 and pens in boxes of 8. A teacher wants equally many of both, at "
    "least 100 of each, for as little money as possible; a box of pencils costs 1.80 and a box of pens 3.40. "
    "How many boxes of each should she buy, and what does it cost? Explain each step, write the result as "
    "JSON with the fields pencils, pens and cost, and add a short Python function `def boxes(least: int)` "
    "that computes it for any number. Then say in one sentence why the answer for 100 and for 96 differ. "
    "Please keep the whole answer below two hundred words, and do not use any library."
)


class Unavailable(Exception):
    """A server cannot be installed or started; the message says why, or what to install."""


@dataclass(frozen=True)
class Place:
    """Where one server lives."""

    folder: Path
    "Its own, for configuration, logs and data."
    port: int
    upstream: int
    "The mock's port."
    cache: Path
    "Where peers are installed."
    source: Path | None = None
    "Another Junctor's `src`, instead of the one beside this script."


@dataclass(frozen=True)
class Server:
    """How to start a server and how to ask it."""

    name: str
    command: list[str]
    version: str = ""
    model: str = "mock"
    headers: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    streams: bool = True

    def request(self, ask: Ask, port: int) -> bytes:
        return render_request(ask, port, self.model, self.headers, PROMPT)


Make = Callable[[Place], Server]


@dataclass
class Running:
    """A started server."""

    server: Server
    port: int
    process: subprocess.Popen[bytes]
    start_s: float
    "From the start of the process to the end of its first good answer."

    @classmethod
    def start(cls, server: Server, place: Place, core: int) -> Running:
        """Raises `Unavailable` with the end of its log."""
        log = place.folder / "log"
        variables = {x: y for x, y in read_environment().variables.items() if x in PASSED_ON}
        with log.open("wb") as output, pinned(core):
            began = time.perf_counter()
            process = subprocess.Popen(
                server.command,
                cwd=place.folder,
                env=variables | server.variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _wait_until_ready(server, place.port, process, began)
        except BaseException as error:
            stop(process)
            if isinstance(error, Unavailable):
                raise Unavailable(f"{error}; its log ends: {_tail(log)}") from error
            raise
        return cls(server, place.port, process, time.perf_counter() - began)


def _wait_until_ready(server: Server, port: int, process: subprocess.Popen[bytes], began: float) -> None:
    """Until the server answers well. Raises `Unavailable`."""
    head, _, body = server.request(Ask(1, 1, 1), port).partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().splitlines()[1:])
    said = "no answer"
    while time.perf_counter() < began + READY_WITHIN_S:
        if process.poll() is not None:
            raise Unavailable(f"it ended with status {process.returncode}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("POST", "/v1/chat/completions", body, headers)
            reply = connection.getresponse()
            if reply.status == 200:
                return
            said = f"status {reply.status}: {reply.read(300)!r}"
        except OSError as error:
            said = str(error)
        finally:
            connection.close()
        time.sleep(0.005)
    raise Unavailable(f"not ready within {READY_WITHIN_S:g} s ({said})")


def _tail(log: Path) -> str:
    return " / ".join(log.read_text(errors="replace").splitlines()[-6:])[-600:]


def which(name: str, package: str) -> str:
    """The path of a program. Raises `Unavailable`."""
    found = shutil.which(name, path=f"{read_environment().variables.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise Unavailable(f"{name} is not installed: `apt-get install {package}`")
    return found


# nginx

_NGINX = """
daemon off;
worker_processes 1;
error_log error.log;
pid nginx.pid;
{user}
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_max_body_size 32m;
  client_body_buffer_size 1m;
  upstream mock {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://mock;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


def make_nginx(place: Place) -> Server:
    """The floor: a proxy in C that passes on and understands nothing."""
    program = which("nginx", "nginx-light")
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
    text = _NGINX.format(user=user, upstream=place.upstream, port=place.port)
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        text = text.replace("access_log off;", f"access_log off;\n  {kind}_temp_path {kind};")
    (place.folder / "nginx.conf").write_text(text)
    version = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
    command = [program, "-p", str(place.folder), "-c", "nginx.conf", "-e", "error.log"]
    return Server("nginx", command, version.strip().rpartition("/")[2])


# Junctor

_STORE = '[store]\npath = "junctor.db"\n'
_MODEL = """
[[models]]
name = "{name}"
provider = "mock"
model = "mock"
base_url = "http://127.0.0.1:{upstream}/v1"
price = {{ input = {input}, output = {output} }}
window = 131072
skills = ["tools", "json"]
ability = {ability}
"""
KEY_LIMITS = (
    *("--requests-per-minute", "100000000"),
    *("--tokens-per-minute", "1000000000"),
    *("--usd-per-day", "100000"),
    *("--usd-per-month", "1000000"),
)
"Limits that are checked for every request and never reached."


def make_junctor(place: Place) -> Server:
    """One named model, relayed, on an open server."""
    model = _MODEL.format(name="mock", upstream=place.upstream, input=1, output=3, ability=0.8)
    return _junctor(place, "junctor", "mock", _STORE + model)


def make_junctor_auto(place: Place) -> Server:
    """Everything on: a key with limits and budgets, the decision between two models, the ledger."""
    cheap = _MODEL.format(name="cheap", upstream=place.upstream, input=0.1, output=0.4, ability=0.62)
    strong = _MODEL.format(name="strong", upstream=place.upstream, input=2.5, output=10, ability=0.87)
    server = _junctor(place, "junctor-auto", "auto", _STORE + cheap + strong)
    return replace(server, headers={"authorization": f"Bearer {_make_key(place)}"})


def _junctor(place: Place, name: str, model: str, config: str) -> Server:
    (place.folder / "junctor.toml").write_text(config)
    command = [
        str(Path(sys.executable).parent / "junctor"),
        "serve",
        "--config",
        "junctor.toml",
        "--port",
        str(place.port),
    ]
    version = _commit() if place.source is None else f"from {place.source}"
    return Server(name, command, version, model, variables=_variables(place))


def _commit() -> str:
    """Which Junctor this is; `-dirty` where something is changed and not committed."""
    command = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return found.stdout.strip()


def _variables(place: Place) -> dict[str, str]:
    found = {"JUNCTOR_DATA_DIR": str(place.folder), "JUNCTOR_CACHE_DIR": str(place.folder / "cache")}
    return found if place.source is None else found | {"PYTHONPATH": str(place.source)}


def _make_key(place: Place) -> str:
    """An API key in the database of the server that is about to start."""
    command = [_program(), "keys", "create", "bench", *KEY_LIMITS, "--config", "junctor.toml"]
    variables = dict(read_environment().variables) | _variables(place)
    made = subprocess.run(
        command, capture_output=True, text=True, cwd=place.folder, env=variables, check=False
    )
    if made.returncode:
        raise Unavailable(f"`junctor keys create` failed: {made.stderr.strip()[-400:]}")
    return made.stdout.strip()


def _program() -> str:
    return str(Path(sys.executable).parent / "junctor")
