"""The official OpenAI SDK for Node, unmodified: `node/openai.mjs` asks a running server, this judges.

The package is installed once with `npm ci` into a folder of .venv that is named after the lock's digest.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import sqlite3
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from faults.fault_server import FaultServer, running_fault_server
from running import Running, running

NODE = Path(__file__).parent / "node"
ROOT = NODE.parents[2]
FILES = ("package.json", "package-lock.json")
KEY = "junctor_test"
CONFIG = """
[retries]
attempts = 1
[[keys]]
name = "team"
sha256 = "{digest}"
[[models]]
name = "small"
provider = "scripted"
price = {{ input = 0.1, output = 0.4 }}
ability = 0.4
skills = ["tools", "json"]
script = [
  {{ when = "sunny", text = "Take a hat." }},
  {{ when = "weather", tool_call = {{ name = "get_weather", arguments = '{{"city": "Rome"}}' }} }},
  {{ when = "break", fail = "upstream_broken" }},
  {{ when = "busy", fail = "upstream_rate_limited", retry_after_s = 7 }},
  {{ when = "half", text = "Half an " }}, {{ fail = "upstream_broken" }},
  {{ turn = true, text = "Hello" }}, {{ text = " there." }},
]
[[models]]
name = "large"
provider = "scripted"
price = {{ input = 3.0, output = 15.0 }}
ability = 0.8
skills = ["tools", "json"]
script = [{{ text = "Good day." }}]
[[models]]
name = "hang"
provider = "up"
base_url = "{hang}"
price = {{ input = 1.0, output = 2.0 }}
[[models]]
name = "vectors"
provider = "scripted"
kind = "embeddings"
price = {{ input = 0.02, output = 0.0 }}
"""

pytestmark = [
    pytest.mark.skipif(
        shutil.which("node") is None or shutil.which("npm") is None,
        reason="node or npm is not on this machine",
    ),
]


@pytest.fixture(scope="module")
def package() -> Path:
    """A folder with the SDK, and our script beside it."""
    digest = hashlib.sha256(b"".join((NODE / name).read_bytes() for name in FILES)).hexdigest()[:16]
    folder = ROOT / ".venv" / f"node-clients-{digest}"
    if not folder.is_dir():
        fresh = Path(tempfile.mkdtemp(dir=folder.parent))
        for name in FILES:
            shutil.copy(NODE / name, fresh)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=fresh, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        try:
            fresh.rename(folder)
        except OSError:  # another worker was quicker
            shutil.rmtree(fresh)
    return folder


class Upstream:
    """A fault server in a thread of its own."""

    def __init__(self) -> None:
        self.faults: FaultServer | None = None
        self._loop = asyncio.new_event_loop()
        self._ends = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    async def _serve(self) -> None:
        async with running_fault_server() as self.faults:
            self._ready.set()
            await self._ends.wait()

    def __enter__(self) -> FaultServer:
        self._thread.start()
        self._ready.wait()
        assert self.faults is not None
        return self.faults

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ends.set)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="module")
def upstream() -> Iterator[FaultServer]:
    with Upstream() as it:
        yield it


@pytest.fixture(scope="module")
def server(upstream: FaultServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    config = CONFIG.format(digest=digest, hang=upstream.base_url("hang-mid-stream"))
    with running(config, tmp_path_factory.mktemp("server")) as it:
        yield it


@pytest.fixture(scope="module")
def came_to(server: Running, package: Path) -> dict[str, Any]:
    """What each conversation came to."""
    script = shutil.copy(NODE / "openai.mjs", package)
    done = subprocess.run(["node", str(script), server.url, KEY], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert not {name: it["failed"] for name, it in found.items() if "failed" in it}
    return found


def test_plain(came_to: dict[str, Any]) -> None:
    got = came_to["plain"]
    assert got["requestId"].startswith("req_")
    assert got["cost"] > 0
    assert (got["text"], got["finish"], got["total"], got["model"]) == ("Hello there.", "stop", True, "small")


def test_a_stream_with_its_usage(came_to: dict[str, Any]) -> None:
    assert came_to["streamed"] == {
        "text": "Hello there.",
        "lastChoices": 0,
        "tokens": 3,
        "earlierUsage": False,
    }


def test_tools(came_to: dict[str, Any]) -> None:
    call = came_to["tools"]["call"]
    assert (call["type"], call["function"]) == (
        "function",
        {"name": "get_weather", "arguments": '{"city": "Rome"}'},
    )
    assert came_to["tools"]["finish"] == "tool_calls"


def test_the_sdks_own_loop_of_tools(came_to: dict[str, Any]) -> None:
    """It streams, calls the function, sends the result back, and gets the last word."""
    assert came_to["toolLoop"] == {"asked": ["Rome"], "text": "Take a hat."}


def test_auto_and_its_decision(came_to: dict[str, Any]) -> None:
    assert came_to["auto"] == {"text": "Good day.", "chosen": "large", "outcome": "ok"}


@pytest.mark.parametrize(
    ("name", "raised", "status", "code", "param"),
    [
        ("unknownModel", "NotFoundError", 404, "model_not_found", "model"),
        ("badRequest", "BadRequestError", 400, "invalid_request", "junctor.modde"),
        ("noModelFits", "UnprocessableEntityError", 422, "no_model_fits", "junctor"),
        ("wrongKey", "AuthenticationError", 401, "invalid_api_key", None),
        ("upstreamBroken", "InternalServerError", 502, "upstream_broken", None),
        ("rateLimited", "RateLimitError", 429, "upstream_rate_limited", None),
    ],
)
def test_errors_are_typed(
    came_to: dict[str, Any], name: str, raised: str, status: int, code: str, param: str | None
) -> None:
    """The class that the SDK has for the status, with code, param and the request's name."""
    got = came_to[name]
    assert (got["raised"], got["status"], got["code"], got["param"]) == (raised, status, code, param)
    assert got["requestID"].startswith("req_")


def test_what_we_have_retried_the_sdk_does_not(came_to: dict[str, Any], server: Running) -> None:
    """`x-should-retry: false`: one request, though the SDK would try three times."""
    assert came_to["noSecondTry"]["raised"] == "InternalServerError"
    broken = "SELECT count(*) FROM ledger WHERE outcome = 'upstream_broken' AND stream = 0"
    with closing(sqlite3.connect(server.database)) as database:
        assert database.execute(broken).fetchone() == (2,), "one of this test, one of the test of errors"


def test_a_break_in_mid_stream_is_raised(came_to: dict[str, Any]) -> None:
    got = came_to["brokenInMidStream"]
    assert (got["text"], got["raised"], got["code"]) == ("Half an ", "APIError", "upstream_broken")


def test_an_abort_closes_the_upstream(came_to: dict[str, Any], upstream: FaultServer) -> None:
    assert came_to["aborted"]["text"] == "Hello"
    assert came_to["aborted"]["aborted"] is True
    waited = threading.Event()
    for _ in range(200):
        if upstream.seen[-1].client_closed.is_set():
            return
        waited.wait(0.02)
    pytest.fail("the upstream still believes that somebody listens")


def test_responses_with_and_without_a_stream(came_to: dict[str, Any]) -> None:
    got = came_to["responses"]
    assert (got["text"], got["previous"], got["same"]) == ("Hello there.", True, True)
    assert (got["gone"]["raised"], got["gone"]["code"]) == ("NotFoundError", "response_not_found")
    streamed = came_to["responsesStreamed"]
    assert streamed == {"text": "Hello there.", "first": "response.created", "last": "response.completed"}
    assert came_to["responsesTool"] == {"name": "get_weather", "args": '{"city": "Rome"}'}


def test_embeddings(came_to: dict[str, Any]) -> None:
    """This SDK asks for base64 unless told otherwise."""
    assert (came_to["embeddings"]["count"], came_to["embeddings"]["numbers"]) == (2, True)


def test_models(came_to: dict[str, Any]) -> None:
    ids = ["small", "large", "hang", "vectors", "auto", "fusion"]
    assert came_to["models"] == {"ids": ids, "owner": "scripted"}


def test_azures_client(came_to: dict[str, Any]) -> None:
    """Its URLs, its `api-key` header."""
    assert came_to["azure"] == {"text": "Hello there.", "streamed": "Hello there."}
