"""Upstreams that turn bad in the middle of the work, and what callers of the pool see of it.

A pool of three models, `a` (the cheapest, which `auto` prefers), `b` and `c`, each on a fault server of its
own. A scene says what they do after the turn; `play` sends the requests and counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from faults.fault_server import WORDS, FaultServer, running_fault_server
from plain_client import PlainReply, chat_body, post

NAMES = ("a", "b", "c")
KILL = "kill"
"Instead of a fault: the server ends, with all its connections."


@dataclass(frozen=True)
class Scene:
    """What happens."""

    name: str
    what: str
    turn: dict[str, str] = field(default_factory=dict)
    "Model -> the fault that it plays after the turn."
    stream: bool = False
    settings: str = ""
    urls: dict[str, str] = field(default_factory=dict)
    "Model -> where it is, instead of on its fault server."
    ok_s: float = 0.0
    late_s: float = 1.0
    mends: bool = True
    "Whether every caller can get an answer: nobody has read a text when the fault strikes."


TIMEOUTS = "[timeouts]\nconnect_s = 1\nfirst_token_s = 1\nidle_s = 1\ntotal_s = 4\n"
HEDGING = "[hedging]\nenabled = true\n"
SCENES = {
    scene.name: scene
    for scene in (
        Scene("F1", "one upstream is killed", {"a": KILL}),
        Scene("F2", "one answers 500 only", {"a": "500"}),
        Scene("F3", "one asks for a pause of 2 s at 30 % of the requests", {"a": "429%30"}),
        Scene("F4", "one hangs after it has accepted", {"a": "hang"}, ok_s=0.02),
        Scene("F5", "one hangs in mid-stream", {"a": "hang-mid-stream"}, stream=True, mends=False),
        Scene("F6", "one resets the connection in the body", {"a": "close-mid-body"}),
        Scene(
            "F6-stream",
            "one resets the connection in mid-stream",
            {"a": "reset-mid-stream"},
            stream=True,
            mends=False,
        ),
        Scene("F7-garbage", "one answers with broken JSON", {"a": "garbage"}),
        Scene("F7-truncated", "one ends its stream too soon", {"a": "truncated"}, stream=True, mends=False),
        Scene("F7-double-done", "one ends its stream twice", {"a": "double-done"}, stream=True),
        Scene("F8", "one sends a byte a second", {"a": "drip"}, stream=True),
        Scene("F9", "one takes twenty times as long", {"a": "late"}, ok_s=0.03, late_s=0.6),
        Scene("F10", "all answer 500 only", dict.fromkeys(NAMES, "500"), mends=False),
        Scene("F10-hang", "all hang", dict.fromkeys(NAMES, "hang"), mends=False),
        Scene(
            "F11",
            "5 % of the answers of each take ten times as long; hedged",
            dict.fromkeys(NAMES, "late%5"),
            settings=HEDGING,
            stream=True,
            ok_s=0.05,
            late_s=0.5,
        ),
        Scene("F12-dns", "one has no address", urls={"a": "http://no-such-host.invalid/v1"}),
        Scene("F12-port", "one's port is closed", urls={"a": "http://127.0.0.1:1/v1"}),
        Scene("F12-tls", "one does not speak TLS", {"a": "tls"}),
        Scene("F13", "one fails while the wall clock jumps by an hour, both ways", {"a": "500"}),
    )
}


class Stage:
    """The three fault servers."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.servers: dict[str, FaultServer] = {}
        self._exits: dict[str, AsyncExitStack] = {}

    async def open(self) -> None:
        for name in NAMES:
            self._exits[name] = AsyncExitStack()
            server = await self._exits[name].enter_async_context(running_fault_server())
            server.ok_s, server.late_s = self.scene.ok_s, self.scene.late_s
            server.playing = {name: "ok"}
            self.servers[name] = server

    async def turn(self) -> None:
        """From here on it is as the scene says."""
        for name, fault in self.scene.turn.items():
            if fault == KILL:
                await self._exits[name].aclose()
            else:
                self.servers[name].playing[name] = fault

    async def close(self) -> None:
        for stack in self._exits.values():
            await stack.aclose()

    @property
    def calls(self) -> dict[str, int]:
        """Requests that each upstream has got."""
        return {name: server.asked[name] for name, server in self.servers.items()}

    def config(self) -> str:
        """A `junctor.toml` for the pool."""
        models = "".join(
            f'[[models]]\nname = "{name}"\nprovider = "test"\nability = 0.9\nbase_url = "{self._url(name)}"\n'
            f"price = {{ input = {price}, output = {price} }}\n"
            for price, name in enumerate(NAMES, 1)
        )
        return TIMEOUTS + self.scene.settings + models

    def _url(self, name: str) -> str:
        url = self.scene.urls.get(name) or self.servers[name].base_url(name)
        return url.replace("http:", "https:") if self.scene.turn.get(name) == "tls" else url


@asynccontextmanager
async def staged(scene: Scene) -> AsyncIterator[Stage]:
    stage = Stage(scene)
    await stage.open()
    try:
        yield stage
    finally:
        await stage.close()


@dataclass
class Seen:
    """What callers saw, and what the upstreams did."""

    requests: int = 0
    answered: int = 0
    "Whole answers."
    told: int = 0
    "Streams that had begun and ended with an error event."
    refused: int = 0
    "Errors with a status."
    statuses: set[int] = field(default_factory=set)
    codes: set[str] = field(default_factory=set)
    seconds: list[float] = field(default_factory=list)
    refused_seconds: list[float] = field(default_factory=list)
    calls: int = 0
    "Of all upstreams."

    @property
    def cut(self) -> int:
        """Answers that ended without a word: there must be none."""
        return self.requests - self.answered - self.told - self.refused

    @property
    def amplification(self) -> float:
        return self.calls / self.requests

    def quantile(self, share: float) -> float:
        """Of the time to the whole reply, seconds."""
        return sorted(self.seconds)[min(len(self.seconds) - 1, int(share * len(self.seconds)))]

    def note(self, reply: PlainReply, seconds: float, *, stream: bool) -> None:
        self.requests += 1
        self.seconds.append(seconds)
        self.statuses.add(reply.status)
        if reply.status != 200:
            self.refused += 1
            self.refused_seconds.append(seconds)
            self.codes.add(reply.code)
        elif not stream or reply.body.endswith(b"data: [DONE]\n\n"):
            self.answered += all(word.encode() in reply.body for word in WORDS)
        elif b'data: {"error"' in reply.body:
            self.told += 1


async def play(
    stage: Stage,
    url: str,
    requests: int,
    *,
    at_once: int = 4,
    model: str = "auto",
    turn: Callable[[], Awaitable[None]] | None = None,
    warm_up: int = 40,
) -> Seen:
    """Send `warm_up` requests, then turn, then send the requests, so many at once. Counts after the turn."""
    body = chat_body(model, stream=stage.scene.stream)
    await _send(Seen(), url, body, warm_up, at_once, stream=stage.scene.stream)
    before = sum(stage.calls.values())
    await (turn or stage.turn)()
    seen = Seen()
    await _send(seen, url, body, requests, at_once, stream=stage.scene.stream)
    seen.calls = sum(stage.calls.values()) - before
    return seen


async def _send(seen: Seen, url: str, body: bytes, requests: int, at_once: int, *, stream: bool) -> None:
    left = iter(range(requests))

    async def one_after_the_other() -> None:
        for _ in left:
            began = time.perf_counter()
            reply = await post(f"{url}/v1/chat/completions", body)
            seen.note(reply, time.perf_counter() - began, stream=stream)

    await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
