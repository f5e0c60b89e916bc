"""An engine: a child process that serves one model on loopback, watched and restarted.

    stopped --start--> starting --Ready line--> ready --exit--> restarting --> starting ...
                                                  too many quick exits -----> failed

Nobody waits for ever: `endpoint` gives up at its deadline, and a request whose engine dies is cut by the
closed connection. Secrets are new at every start and go to the child on its stdin.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, Protocol

import msgspec
from msgspec.structs import replace

from junctor.chat import EngineDown
from junctor.serving.order import Order, Ready

log = logging.getLogger(__name__)

EngineState = Literal["stopped", "starting", "ready", "restarting", "failed"]

_NEWS_S: Final = 0.5
"How long the news of a death may take after its connections broke, seconds."

_LAST_WORDS: Final = 4096
"Bytes of the child's stderr that we keep for error messages."


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running engine answers, until it stops."""

    base_url: str
    "Ends with `/v1`."
    key: str
    start: int
    "Which start of the engine this belongs to, from 1."


class EngineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine is doing, for people and for health checks."""

    state: EngineState
    crashes: int
    "Exits that nobody asked for, since `start`."
    pid: int | None = None
    load_s: float | None = None
    "Seconds the last start took until the engine could answer."
    detail: str = ""
    "The last crash: exit status and last words."


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait, and how often to try again."""

    start_s: float = 120.0
    "For the weights to load, seconds; then the child is killed."
    endpoint_s: float = 60.0
    "For an engine that is starting, seconds: the longest a request waits before `EngineDown`."
    backoff_s: float = 0.5
    "Before the first restart; doubled for each further quick crash."
    quick_s: float = 30.0
    "A child that ran for less than this crashed quickly."
    quick_crashes: int = 4
    "So many quick crashes in a row, and the engine gives up."
    stop_s: float = 3.0
    "For a child to end by itself when asked to."


class Engine(Protocol):
    """Something that serves one model over OpenAI's chat API on loopback."""

    @property
    def status(self) -> EngineStatus:
        """What it is doing now."""
        ...

    async def start(self) -> None:
        """Begin loading, without waiting for it. Does nothing when it was started before."""
        ...

    async def stop(self) -> None:
        """End the child. Requests in flight are cut."""
        ...

    async def endpoint(self) -> Endpoint:
        """Where to send a request now; waits for a starting engine. Raises `EngineDown`."""
        ...

    async def died(self, endpoint: Endpoint) -> bool:
        """Whether the child behind an endpoint has ended; gives the news a moment to arrive."""
        ...


class ChildEngine:
    """An `Engine` that is a child process of ours."""

    def __init__(
        self,
        order: Order,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        patience: Patience | None = None,
    ) -> None:
        self.order = order
        "What it serves, and how; the key and the path are new at every start."
        self._command = command
        self._environment = environment
        self._patience = patience or Patience()
        self._status = EngineStatus(state="stopped", crashes=0)
        self._starts = 0
        self._endpoint: Endpoint | None = None
        self._changed = asyncio.Event()
        "Set, and replaced, whenever the status changes."
        self._keeper: asyncio.Task[None] | None = None

    @property
    def status(self) -> EngineStatus:
        """What it is doing now."""
        return self._status

    def serves(self, order: Order) -> bool:
        """Whether it does what another engine would; one that was given up does not."""
        return self.order == order and self._status.state != "failed"

    async def start(self) -> None:
        """Begin loading, without waiting for it."""
        if self._keeper is None:
            self._move(EngineStatus(state="starting", crashes=0))
            self._keeper = asyncio.create_task(self._keep(), name=f"engine {self.order.name}")

    async def stop(self) -> None:
        """End the child. Requests in flight are cut."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        self._move(EngineStatus(state="stopped", crashes=self._status.crashes))

    async def endpoint(self) -> Endpoint:
        """Where to send a request now; waits for a starting engine. Raises `EngineDown`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience.endpoint_s):
                while self._status.state in ("starting", "restarting"):
                    await self._changed.wait()
        if self._endpoint is None:
            raise self._down()
        return self._endpoint

    async def died(self, endpoint: Endpoint) -> bool:
        """Whether the child behind an endpoint has ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_NEWS_S):
                while self._endpoint == endpoint:
                    await self._changed.wait()
        return self._endpoint != endpoint

    def _down(self) -> EngineDown:
        what = {
            "stopped": "is not running",
            "failed": "crashed again and again and was given up; see the log, then restart the server",
        }.get(self._status.state, "is loading its weights; try again in a few seconds")
        last = f" (last crash: {self._status.detail})" if self._status.detail else ""
        error = EngineDown(f"the engine of {self.order.name} {what}{last}", model=self.order.name)
        error.transient = False  # `endpoint` has waited already
        return error

    async def _keep(self) -> None:
        """Run the child, again and again, until told to stop or there is no point."""
        quick = 0
        while True:
            lasted_s, cause = await self._run_once()
            quick = quick + 1 if lasted_s < self._patience.quick_s else 1
            given_up = quick >= self._patience.quick_crashes
            self._bury(cause, given_up)
            if given_up:
                return
            await asyncio.sleep(self._patience.backoff_s * 2 ** (quick - 1))
            self._move(replace(self._status, state="starting"))

    def _bury(self, cause: str, given_up: bool) -> None:
        crashes = self._status.crashes + 1
        state: EngineState = "failed" if given_up else "restarting"
        self._move(EngineStatus(state=state, crashes=crashes, load_s=self._status.load_s, detail=cause))
        if given_up:
            log.error("the engine of %s is given up after %d crashes: %s", self.order.name, crashes, cause)
        else:
            log.warning("the engine of %s crashed (%d so far): %s", self.order.name, crashes, cause)

    async def _run_once(self) -> tuple[float, str]:
        """One life of the child: how long it could answer, seconds, and what it died of, in words."""
        order = replace(self.order, key=secrets.token_hex(32), path=secrets.token_hex(16))
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=dict(self._environment)
            )
        except OSError as error:
            return 0.0, f"cannot start {self._command[0]}: {error}"
        life = _Life(process)
        try:
            return await self._live(life, order)
        finally:
            self._endpoint = None
            await life.end(self._patience.stop_s)

    async def _live(self, life: _Life, order: Order) -> tuple[float, str]:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._patience.start_s):
                ready = await life.introduce(order)
        except TimeoutError:
            return 0.0, f"was not ready after {self._patience.start_s:g} s"
        if ready is None:
            return 0.0, await life.wait()
        since = time.monotonic()
        self._starts += 1
        self._endpoint = Endpoint(base_url=ready.base_url, key=order.key, start=self._starts)
        load_s = round(since - began, 2)
        self._move(replace(self._status, state="ready", pid=life.pid, load_s=load_s))
        log.info("the engine of %s is ready after %.1f s", self.order.name, load_s)
        cause = await life.wait()
        return time.monotonic() - since, cause

    def _move(self, status: EngineStatus) -> None:
        if status.state != "ready":
            self._endpoint = None
        self._status = status
        self._changed.set()
        self._changed = asyncio.Event()


class _Life:
    """One child process, and the last it said on stderr."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.pid = process.pid
        self._words = bytearray()
        self._ear = asyncio.create_task(self._listen())

    async def introduce(self, order: Order) -> Ready | None:
        """Give the order, and read the answer; None when the child ends instead, or talks nonsense."""
        assert self._process.stdin
        assert self._process.stdout
        with suppress(ConnectionError):
            self._process.stdin.write(msgspec.json.encode(order) + b"\n")
            await self._process.stdin.drain()
        try:
            said = await self._process.stdout.readline()
            return msgspec.json.decode(said, type=Ready) if said else None
        except (msgspec.DecodeError, ValueError):
            self.kill()
            return None

    async def wait(self) -> str:
        """The cause of death, in words."""
        code = await self._process.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await asyncio.shield(self._ear)
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        said = self._words.decode("utf-8", "replace").strip()
        return f"{how}: {said.splitlines()[-1]}" if said else how

    async def end(self, patience_s: float) -> None:
        """Close its stdin, which ends it; kill it if it does not listen."""
        assert self._process.stdin
        self._process.stdin.close()
        # Not asyncio.timeout: this runs in a cancelled task, where Python 3.11.2 (Debian 12) lets it raise
        # CancelledError in place of TimeoutError.
        dying = asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait([dying], timeout=patience_s)
            if not dying.done():
                self.kill()
            await dying
        finally:
            self._ear.cancel()

    def kill(self) -> None:
        """End it at once.

        Not by `Process.kill`: that looks first whether the child has ended, and if it just has, takes its
        exit status away from asyncio, which then reports 255.
        """
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def _listen(self) -> None:
        assert self._process.stderr
        while said := await self._process.stderr.read(_LAST_WORDS):
            self._words += said
            del self._words[:-_LAST_WORDS]


class LlamaEngine(ChildEngine):
    """llama.cpp in a child process."""

    def __init__(
        self,
        weights: Path,
        name: str,
        *,
        window: int = 8192,
        parallel: int = 2,
        threads: int = 0,
        patience: Patience | None = None,
    ) -> None:
        """`window` tokens for each of `parallel` requests; `threads` 0: one for each core we may use."""
        order = Order(
            weights=str(weights),
            name=name,
            window=window,
            parallel=parallel,
            threads=threads or len(os.sched_getaffinity(0)),
        )
        # -I: neither the working directory nor PYTHONPATH can put another module in our place.
        command = (sys.executable, "-I", "-m", "junctor.serving.llama_child")
        super().__init__(order, command, environment=_ENVIRONMENT, patience=patience)


_ENVIRONMENT: Final = {
    # With threads that spin at OpenMP's barriers, two on busy cores fall from 9 tokens/s to 1.
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "0",
    "LC_ALL": "C.UTF-8",
}
"All that the child sees of the environment: providers' keys are none of its business."
