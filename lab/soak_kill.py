"""Does the ledger keep what callers have read? `junctor serve`, killed with signal 9 again and again.

    .venv/bin/python lab/soak_kill.py [--kills 200] [--seed 1] [--at-once 16] [--json OUT]

A real `junctor serve` with scripted models of known usage and prices; callers of three API keys ask it all
the time: `auto` and named models, streamed and whole, in three dialects, refused by the model, answered by a
fallback. At a random moment it is killed and started again on the same database; one kill in eight comes
while it starts. An oracle notes each reply that was read to its end, and reckons its cost from the script.
After an orderly stop each of them must have exactly one row of that cost, its decision if one was made, and
what it stored. Of replies that nobody read to the end rows may be there or not. Bar: no difference.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from junctor.gateway.receipt import parse_receipt_comment  # noqa: E402
from plain_client import PlainReply, post  # noqa: E402

CALLERS = ("ann", "ben", "cho")
PRICES = {"small": (1, 2), "large": (10, 20)}
"USD per million tokens, input and output."
USAGE = {
    ("small", "quick"): (1000, 11),
    ("small", "paced"): (2003, 23),
    ("large", "quick"): (1009, 31),
    ("large", "paced"): (2017, 47),
}
REFUSED = "refused"
"What a prompt says that every model refuses."
PATIENCE_S = 30.0
START_S = 1.0
"A kill while the server starts comes within this time."
UP_S = 0.7
"Any other comes within this time of the first reply."


def config() -> str:
    """The models, which say what they cost; `shaky` fails always, and `small` answers for it."""
    text = '[server]\nwatch_config = false\n[store]\npath = "kill.db"\n'
    for caller in CALLERS:
        digest = hashlib.sha256(key_of(caller).encode()).hexdigest()
        text += f'[[keys]]\nname = "{caller}"\nsha256 = "{digest}"\n'
        text += "requests_per_minute = 1000000\ntokens_per_minute = 1000000000\nusd_per_day = 100000\n"
    for name, (dollars_in, dollars_out) in PRICES.items():
        text += f'[[models]]\nname = "{name}"\nprovider = "scripted"\nability = {0.78 + dollars_in / 1000}\n'
        text += f"price = {{ input = {dollars_in}, output = {dollars_out} }}\nscript = [\n"
        text += f'  {{ when = "{REFUSED}", fail = "upstream_refused" }},\n'
        for word, delay_s in (("quick", 0.0), ("paced", 0.01)):
            spent = "input_tokens = {}, output_tokens = {}".format(*USAGE[name, word])
            text += f'  {{ when = "{word}", text = "One," }}, {{ delay_s = {delay_s}, text = " two," }},\n'
            text += f'  {{ delay_s = {delay_s}, text = " three.", usage = {{ {spent} }} }},\n'
        text += "]\n"
    text += '[[models]]\nname = "shaky"\nprovider = "scripted"\nfallbacks = ["small"]\nability = 0.1\n'
    return text + 'script = [{ fail = "upstream_unreachable" }]\n'


def key_of(caller: str) -> str:
    return f"soak-kill-key-of-{caller}-0123456789"


def cost_nano(model: str, word: str) -> int:
    """What the script makes an answer cost, in nano-dollars."""
    return sum(1000 * price * tokens for price, tokens in zip(PRICES[model], USAGE[model, word], strict=True))


class Ask(NamedTuple):
    """One request."""

    caller: str
    path: str
    model: str
    word: str
    "Of the script."
    streams: bool
    mode: str
    "How `auto` decides: `balanced` takes `small`, `quality` takes `large`."

    @classmethod
    def draw(cls, dice: random.Random) -> Ask:
        path = dice.choice(("chat/completions", "chat/completions", "messages", "responses"))
        model = dice.choice(("auto", "auto", "auto", "small", "large", "shaky"))
        word = dice.choice(("quick", "quick", "paced", "paced", REFUSED))
        if word == REFUSED and model == "shaky":
            model = "small"
        return cls(
            dice.choice(CALLERS), path, model, word, dice.random() < 0.5, dice.choice(("balanced", "quality"))
        )

    def body(self) -> bytes:
        said = [{"role": "user", "content": f"A {self.word} one."}]
        prompt = {"input": said} if self.path == "responses" else {"messages": said, "max_tokens": 100}
        return json.dumps({"model": self.model, "stream": self.streams} | prompt).encode()

    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {key_of(self.caller)}", "x-junctor-mode": self.mode}


class Read(NamedTuple):
    """A reply that was read to its end: what its row must say."""

    request_id: str
    caller: str
    route: str
    asked_model: str
    model: str | None
    decision: str | None
    status: int
    usd_nano: int
    response_id: str | None
    "Of the Responses API: what a later request may go on from."


def note(ask: Ask, reply: PlainReply) -> Read:
    """What a reply says of itself. Raises `ValueError` where that is not what the script makes of it."""
    headers = reply.headers
    model, decision = headers.get("x-junctor-model"), headers.get("x-junctor-decision")
    stated, response_id = headers.get("x-junctor-cost", "0"), None
    if ask.streams and reply.status == 200:
        receipt = parse_receipt_comment(reply.body)
        if receipt is None:
            raise ValueError("a stream ended without its receipt")
        model, decision, stated = receipt.model, receipt.decision, f"{receipt.usd:.9f}"
    if ask.path == "responses" and reply.status == 200:
        response_id = _response_id(ask, reply)
    expected = 0 if reply.status != 200 else cost_nano(model or "", ask.word)
    if reply.status != (400 if ask.word == REFUSED else 200) or round(float(stated) * 1e9) != expected:
        raise ValueError(f"{ask}: {reply.status}, {stated} USD, not {expected} nano: {reply.body[:300]!r}")
    if (decision is not None) != (ask.model == "auto"):
        raise ValueError(f"{ask}: decision {decision}")
    return Read(
        headers["x-request-id"],
        *(ask.caller, f"/v1/{ask.path}", ask.model, model, decision),
        *(reply.status, expected, response_id),
    )


def _response_id(ask: Ask, reply: PlainReply) -> str:
    if not ask.streams:
        return reply.json["id"]
    first = next(line for line in reply.body.splitlines() if line.startswith(b"data: "))
    return json.loads(first.removeprefix(b"data: "))["response"]["id"]


@dataclass
class Oracle:
    """The callers' side: asks, and notes what it has read."""

    url: str
    dice: random.Random
    read: list[Read] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    "Replies that are not what the script makes of them."
    sent: int = 0
    "Requests that reached a connection."

    async def ask_on(self) -> None:
        """One request after the other, until cancelled."""
        while True:
            ask = Ask.draw(self.dice)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    reply = await post(f"{self.url}/v1/{ask.path}", ask.body(), ask.headers())
                self.read.append(note(ask, reply))
                self.outcomes[str(reply.status)] += 1
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
                continue
            except (ConnectionError, EOFError):
                self.outcomes["cut"] += 1
            except (ValueError, TimeoutError) as error:
                self.wrong.append(f"{type(error).__name__} {error}")
            self.sent += 1


class Server:
    """`junctor serve`, always on the same port and database."""

    def __init__(self, folder: Path) -> None:
        (folder / "junctor.toml").write_text(config())
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self._folder = folder
        self._log = folder / "log"
        self.database = folder / "kill.db"

    def start(self) -> subprocess.Popen[bytes]:
        command = (sys.executable, "-m", "junctor", "serve", "--port", str(self.port))
        folder = str(self._folder)
        env = {"HOME": folder, "JUNCTOR_DATA_DIR": folder, "PYTHONPATH": str(ROOT / "src")}
        with self._log.open("ab") as log:
            return subprocess.Popen(command, cwd=folder, env=env, stderr=log)

    def complaints(self) -> list[str]:
        """What it said that it should not have."""
        lines = self._log.read_text(errors="replace").splitlines()
        return [line for line in lines if "Traceback" in line or "Error" in line or " lost" in line]

    def tail(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]

    def spools(self) -> list[Path]:
        return list(self._folder.glob("*-spool-*"))


async def run(kills: int, seed: int, at_once: int, folder: Path) -> dict[str, Any]:
    """Ask and kill, stop in good order, and compare."""
    began = time.monotonic()
    server, dice = Server(folder), random.Random(seed)
    oracle = Oracle(f"http://127.0.0.1:{server.port}", random.Random(seed + 1))
    asking = [asyncio.create_task(oracle.ask_on()) for _ in range(at_once)]
    left = Counter[str]()
    for turn in range(kills):
        process = server.start()
        if turn % 8 == 7:
            await asyncio.sleep(dice.uniform(0, START_S))
        else:
            await _first_reply(oracle, server, process)
            await asyncio.sleep(dice.uniform(0, UP_S))
        process.kill()
        await asyncio.to_thread(process.wait)
        left["kills that left rows in the spool"] += any(path.stat().st_size for path in server.spools())
    process = server.start()
    await _first_reply(oracle, server, process)
    await asyncio.sleep(UP_S)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    process.send_signal(signal.SIGTERM)
    status = await asyncio.to_thread(process.wait)
    found = differences(server.database, oracle.read) + oracle.wrong + server.complaints()
    found += [f"left after an orderly stop: {path.name}" for path in server.spools()]
    found += [f"an orderly stop ended with status {status}"] * (status != 0)
    counts = count_rows(server.database)
    found += ["more rows than requests"] * (counts["ledger rows"] > oracle.sent + at_once)
    return {
        "kills": kills,
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        "requests": oracle.sent,
        "replies read to their end": len(oracle.read),
        "by status": dict(oracle.outcomes),
        **left,
        **counts,
        "usd_nano of what was read": sum(read.usd_nano for read in oracle.read),
        "differences": found,
    }


async def _first_reply(oracle: Oracle, server: Server, process: subprocess.Popen[bytes]) -> None:
    before = len(oracle.read) + len(oracle.wrong)
    while len(oracle.read) + len(oracle.wrong) == before:
        assert process.poll() is None, f"the server ended by itself: {server.tail()}"
        await asyncio.sleep(0.005)


def count_rows(database: Path) -> dict[str, int]:
    with sqlite3.connect(database) as rows:
        return {
            f"{table} rows": rows.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("ledger", "decisions", "responses")
        }


LEDGER = (
    "SELECT request_id, caller, route, asked_model, model, decision_id, http_status, usd_nano FROM ledger"
)


def differences(database: Path, read: list[Read]) -> list[str]:
    """In what a database differs from what was read."""
    with sqlite3.connect(database) as rows:
        found = [
            f"integrity_check: {said}" for (said,) in rows.execute("PRAGMA integrity_check") if said != "ok"
        ]
        ledger, decided = (
            Counter(rows.execute(LEDGER)),
            Counter(rows.execute("SELECT request_id, id FROM decisions")),
        )
        kept = {name for (name,) in rows.execute("SELECT id FROM responses")}
    for rows_of in (ledger, decided):
        times = Counter(request for request, *_ in rows_of.elements())
        found += [f"{name} stands more than once" for name, count in times.items() if count > 1]
    for one in read:
        if one[:-1] not in ledger:
            there = [row for row in ledger if row[0] == one.request_id]
            found.append(f"read {one}; the ledger has {there}")
        if one.decision is not None and (one.request_id, one.decision) not in decided:
            found.append(f"{one.request_id} has no decision {one.decision}")
        if one.response_id is not None and one.response_id not in kept:
            found.append(f"{one.request_id} stored no {one.response_id}")
    ours = {one.request_id for one in read}
    theirs = sum(row[-1] * times for row, times in ledger.items() if row[0] in ours)
    if theirs != sum(one.usd_nano for one in read):
        found.append(f"the ledger's rows cost {theirs} nano-dollars")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = uvloop.run(run(asked.kills, asked.seed, asked.at_once, Path(folder)))
    for name, value in found.items():
        if name != "differences":
            print(f"{name:36} {value}")
    for line in found["differences"][:20]:
        print(line)
    print(f"{len(found['differences'])} differences")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2) + "\n")
    sys.exit(bool(found["differences"]))


if __name__ == "__main__":
    main()
