"""Does a reload lose a request, or leave anything behind? Steady load while `junctor.toml` keeps changing.

    .venv/bin/python lab/soak_reload.py --seconds 60 --rate 200 --reloads 100

A real `junctor serve` with scripted models on loopback. Requests come at a fixed rate, whether earlier ones
have been answered or not; every second one is streamed, every tenth takes 300 ms. The file is replaced again
and again (models come and go, limits change), every tenth time by a bad one. Afterwards: no request failed,
and the server's open files and memory are what they were. `503 overloaded` means that the machine was too
busy for the rate, with or without reloads: give it a quieter one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from plain_client import chat_body, post  # noqa: E402

BAD = "[server]\nprot = 1\n"


def config(turn: int) -> str:
    """Two models that always are, and one that is not the next time."""
    return f"""
[server]
keepalive_s = {5 + turn % 5}
[retries]
attempts = {1 + turn % 3}
[[models]]
name = "a"
provider = "scripted"
script = [{{ text = "turn {turn}" }}]
[[models]]
name = "slow"
provider = "scripted"
script = [{{ text = "One" }}, {{ delay_s = 0.3 }}, {{ text = " two" }}]
[[models]]
name = "m{turn}"
provider = "scripted"
script = [{{ text = "x" }}]
"""


def size_of(pid: int) -> tuple[float, int]:
    """Resident memory in MB, open files."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir(f"/proc/{pid}/fd"))


class Load:
    """Requests at a fixed rate."""

    def __init__(self, url: str) -> None:
        self.outcomes = Counter[str]()
        self.slowest_s = 0.0
        self._url = url
        self._asking = set[asyncio.Task[None]]()

    async def run(self, seconds: float, rate: float) -> None:
        began = time.monotonic()
        for number in range(int(seconds * rate)):
            await asyncio.sleep(began + number / rate - time.monotonic())
            task = asyncio.create_task(self._ask(number))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        await asyncio.gather(*self._asking)

    async def _ask(self, number: int) -> None:
        model = "slow" if number % 10 == 0 else "a"
        began = time.monotonic()
        try:
            reply = await post(f"{self._url}/chat/completions", chat_body(model, stream=number % 2 == 0))
            if reply.status != 200:
                self.outcomes[f"{reply.status} {reply.code}"] += 1
                return
            whole = b"two" in reply.body if model == "slow" else b"turn" in reply.body
            self.outcomes["200" if whole else "200, not whole"] += 1
        except (OSError, EOFError) as error:
            self.outcomes[type(error).__name__] += 1
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)


async def run(seconds: float, rate: float, reloads: int, folder: Path) -> bool:
    file = folder / "junctor.toml"
    file.write_text(config(0))
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "junctor", "serve", "--config", str(file), "--port", "0"),
        env={"HOME": str(folder), "JUNCTOR_DATA_DIR": str(folder), "PYTHONPATH": str(ROOT / "src")},
        stderr=asyncio.subprocess.PIPE,
    )
    assert server.stderr
    first = await server.stderr.readline()
    found = re.search(rb"http://\S+/v1", first)
    assert found, first
    said = asyncio.create_task(server.stderr.read())
    load = Load(found[0].decode())
    await load.run(3, rate)
    before = size_of(server.pid)
    loading = asyncio.create_task(load.run(seconds, rate))
    for turn in range(1, reloads + 1):
        (folder / "draft").write_text(BAD if turn % 10 == 0 else config(turn))
        (folder / "draft").rename(file)
        await asyncio.sleep(seconds / reloads)
        server.send_signal(1)  # SIGHUP: more reloads than one look a second would notice
    await loading
    await load.run(3, rate)
    after = size_of(server.pid)
    server.terminate()
    lines = (await said).decode()
    taken, refused = lines.count("in force: "), lines.count("is refused;")
    print(f"{sum(load.outcomes.values())} requests: {dict(load.outcomes)}, slowest {load.slowest_s:.2f} s")
    print(f"reloads: {taken} taken, {refused} refused")
    print(f"memory {before[0]:.1f} -> {after[0]:.1f} MB   open files {before[1]} -> {after[1]}")
    return set(load.outcomes) == {"200"} and after[1] <= before[1] + 5 and bool(taken) and bool(refused)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--reloads", type=int, default=100)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fine = asyncio.run(run(asked.seconds, asked.rate, asked.reloads, Path(folder)))
    sys.exit(not fine)


if __name__ == "__main__":
    main()
