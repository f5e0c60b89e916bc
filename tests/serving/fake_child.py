"""A child process that plays the engine's part: `python fake_child.py MODE [FILE]`.

Modes: serve; deaf (serves, and ignores a closed stdin); never (never ready); nonsense (no JSON); broken (ends
at once, with last words); flaky (ends at once the first time it runs, FILE remembers, then serves).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ORDER: dict[str, Any] = {}


class Handler(BaseHTTPRequestHandler):
    """Answers a chat with three words; a message that says `die` kills the process after the first."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers["authorization"] != f"Bearer {ORDER['key']}" or not self.path.startswith(
            f"/{ORDER['path']}/"
        ):
            self.send_error(401)
            return
        if b"refuse" in body:
            self._reply(
                400, b'{"error":{"type":"exceed_context_size_error","message":"too long","code":400}}'
            )
            return
        if b"stumble" in body:
            self._reply(500, b'{"error":{"message":"stumbled"}}')
            return
        if b"drop dead" in body:
            os._exit(3)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for word in ("one ", "two ", "three"):
            self._chunk({"content": word})
            if b"die" in body:
                os.kill(os.getpid(), signal.SIGKILL)
        self._chunk({}, "stop")
        self.wfile.write(b"data: [DONE]\n\n")

    def _chunk(self, delta: dict[str, str], reason: str | None = None) -> None:
        chunk = {
            "id": "c",
            "model": ORDER["name"],
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        }
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.flush()

    def _reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(mode: str, memory: str = "") -> None:
    if mode == "broken" or (mode == "flaky" and not Path(memory).exists()):
        Path(memory).touch() if memory else None
        sys.stderr.write("x" * 100_000 + "\nfailed to load model\n")
        sys.exit(7)
    ORDER.update(json.loads(sys.stdin.readline()))
    if mode == "never":
        time.sleep(600)
    if mode == "nonsense":
        say("llama_model_load: hello")
        time.sleep(600)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say(json.dumps({"base_url": f"http://127.0.0.1:{server.server_port}/{ORDER['path']}/v1"}))
    sys.stdin.read()
    if mode == "deaf":
        time.sleep(600)


main(*sys.argv[1:])
