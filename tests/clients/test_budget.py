"""A budget of one dollar against 500 requests of one cent at the same time, through a running server.

Exactly 100 are served and the others are refused, whatever else happens: clients that leave, a kill -9.
Nothing stays reserved afterwards.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import openai
import pytest

from budget_client import CENT, DOLLAR, MANY, Client, spent_by
from junctor.settings import read_environment
from junctor.store.database import Database
from plain_client import chat_body, post
from running import Running, running

pytestmark = pytest.mark.anyio

MODELS = """
[[models]]
name = "cent"
provider = "scripted"
price = { input = 10, output = 0 }
ability = 0.5
script = [
  { when = "slow", text = "One" }, { delay_s = 0.2 },
  { text = " two.", usage = { input_tokens = 1000, output_tokens = 3 } },
  { turn = true, text = "Hi.", usage = { input_tokens = 1000, output_tokens = 1 } },
]

# An estimate of its answers is far too high: each costs a cent, too, but may be forty times as long.
[[models]]
name = "terse"
provider = "scripted"
price = { input = 0, output = 100 }
ability = 0.4
script = [{ text = "Hi.", usage = { input_tokens = 1, output_tokens = 100 } }]

[[models]]
name = "free"
provider = "scripted"
price = { input = 0, output = 0 }
ability = 0.1
script = [{ text = "Hi." }]
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(MODELS, tmp_path) as it:
        yield it


HEDGED = """
[hedging]
enabled = true
share = 1.0
[[models]]
name = "first"
provider = "scripted"
price = { input = 10, output = 0 }
fallbacks = ["second"]
script = [
  { when = "slow", delay_s = 5 }, { text = "Late." },
  { turn = true, text = "Hi.", usage = { input_tokens = 1000, output_tokens = 1 } },
]
[[models]]
name = "second"
provider = "scripted"
price = { input = 10, output = 0 }
script = [{ delay_s = 0.5 }, { text = "Hi.", usage = { input_tokens = 1000, output_tokens = 1 } }]
"""


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({}, id="one named model"),
        pytest.param({"stream": True}, id="streamed"),
        pytest.param({"model": "auto", "junctor": {"only": ["cent"]}}, id="routed"),
        pytest.param({"path": "/messages", "max_tokens": 10}, id="Messages"),
        pytest.param({"model": "claude-junctor-cent"}, id="by its alias"),
    ],
)
async def test_a_dollar_buys_exactly_a_hundred_cents_worth(server: Running, how: dict[str, Any]) -> None:
    """Also once more when it is raised."""
    client = Client(server, usd_per_day=1)
    assert await client.burst(**how) == {200: 100, 429: 400}
    assert (client.spent, client.reserved) == (DOLLAR, 0)
    client.allow(usd_per_day=2)
    assert await client.burst(**how) == {200: 100, 429: 400}
    assert (client.spent, client.reserved) == (2 * DOLLAR, 0)


async def test_an_estimate_that_is_too_high_leaves_nothing_of_the_budget_unused(server: Running) -> None:
    client = Client(server, usd_per_month=1)
    assert await client.burst(model="terse") == {200: 100, 429: 400}
    assert (client.spent, client.reserved) == (DOLLAR, 0)


async def test_two_keys_have_a_dollar_each(server: Running) -> None:
    ann, bob = Client(server, usd_per_day=1), Client(server, usd_per_day=1)
    for served in await asyncio.gather(ann.burst(), bob.burst()):
        assert served == {200: 100, 429: 400}
    assert ann.spent == bob.spent == DOLLAR


async def test_clients_that_leave_take_nothing_with_them(server: Running) -> None:
    """A third leaves before an answer, a third in the midst of one: what they used is counted, what was
    reserved for them is free again, and all of the budget can be spent by the others."""
    client = Client(server, usd_per_day=1)

    async def leave_after(seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await client.ask(text="slow", stream=True)

    leaving = [leave_after(0.05 + 0.4 * number / 300) for number in range(300)]
    staying = [client.ask(text="slow") for _ in range(100)]
    replies = (await asyncio.gather(*staying, *leaving))[:100]
    assert {reply.status for reply in replies if reply} <= {200, 429}
    while (await client.ask()).status == 200:
        pass
    assert DOLLAR - CENT < client.spent <= DOLLAR
    assert client.reserved == 0


async def test_a_refusal_says_what_is_spent_and_what_to_do(server: Running) -> None:
    client = Client(server, usd_per_day=0.02)
    assert [(await client.ask()).status for _ in range(2)] == [200, 200]
    with (
        openai.OpenAI(base_url=server.api, api_key=client.key) as sdk,  # it would try again twice
        pytest.raises(openai.RateLimitError, match=r"0\.02 USD of the 0\.02 USD") as caught,
    ):
        sdk.chat.completions.create(model="cent", messages=[{"role": "user", "content": "Hi"}])
    assert caught.value.code == "insufficient_quota"
    said = await client.ask(path="/messages", max_tokens=10)
    assert said.json["error"]["type"] == "rate_limit_error"
    assert (await client.ask("free")).status == 200, "what costs nothing is not refused"
    with sqlite3.connect(server.database) as database:
        rows = database.execute(
            "SELECT outcome, count(*), sum(attempts) FROM ledger WHERE key_id = ? GROUP BY outcome",
            (client.id,),
        ).fetchall()
    assert sorted(rows) == [("insufficient_quota", 2, 0), ("ok", 3, 3)], "no model was asked in vain"


async def test_a_reply_that_is_given_again_costs_nothing(server: Running) -> None:
    """An `Idempotency-Key` is not spent twice, and works when the budget is spent."""
    client = Client(server, usd_per_day=0.01, requests_per_minute=1)
    headers = {"authorization": f"Bearer {client.key}", "idempotency-key": "a"}
    url = f"{server.api}/chat/completions"
    for _ in range(3):
        assert (await post(url, chat_body("cent"), headers)).status == 200
    assert (client.spent, client.reserved) == (CENT, 0)


async def test_rates_are_held_and_said(server: Running) -> None:
    """On every reply of the key: served, refused, wrong."""
    client = Client(server, requests_per_minute=3, tokens_per_minute=6000)
    replies = [await client.ask(stream=number == 1) for number in range(4)]
    assert [reply.status for reply in replies] == [200, 200, 200, 429]
    assert [reply.headers["x-ratelimit-remaining-requests"] for reply in replies] == ["2", "1", "0", "0"]
    assert replies[0].headers["x-ratelimit-limit-requests"] == "3"
    assert re.fullmatch(r"\d+(\.\d+)?s", replies[0].headers["x-ratelimit-reset-requests"])
    left = int(replies[0].headers["x-ratelimit-remaining-tokens"])
    assert 4999 <= left < 5400, "settled to the 1001 that were counted, and not the 509 of the estimate"
    refused = replies[3]
    assert refused.code == "rate_limit_exceeded"
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert "x-should-retry" not in refused.headers
    unknown = await client.ask("nonsense")
    assert unknown.status == 404
    assert unknown.headers["x-ratelimit-limit-requests"] == "3"


async def test_a_key_of_the_file_may_have_limits_and_a_reload_changes_them(tmp_path: Path) -> None:
    sha256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"  # of "foo"
    config = MODELS + f'[[keys]]\nname = "ci"\nsha256 = "{sha256}"\nmodels = ["cent"]\nusd_per_day = 0.02\n'
    headers = {"authorization": "Bearer foo"}
    with running(config, tmp_path) as server:
        url = f"{server.api}/chat/completions"
        replies = [await post(url, chat_body("auto"), headers) for _ in range(3)]
        assert [reply.status for reply in replies] == [200, 200, 429]
        assert replies[0].headers["x-junctor-model"] == "cent"
        assert (await post(url, chat_body("terse"), headers)).code == "model_not_allowed"
        assert server.reload(config.replace("0.02", "0.03"))
        assert [(await post(url, chat_body("cent"), headers)).status for _ in range(2)] == [200, 429]
        assert spent_by(server.database, "config:ci") == 3 * CENT
    with running(config.replace("0.02", "0.04"), tmp_path) as server:
        url = f"{server.api}/chat/completions"
        assert [(await post(url, chat_body("cent"), headers)).status for _ in range(2)] == [200, 429]


@contextmanager
def serving(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`junctor serve` as a process of its own, and its URL."""
    env = {
        "PATH": read_environment().variables["PATH"],
        "HOME": str(folder),
        "JUNCTOR_DATA_DIR": str(folder),
    }
    command = [sys.executable, "-m", "junctor", "serve", "--port", "0"]
    server = subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        first = server.stderr.readline()
        found = re.search(r"http://\S+/v1", first)
        assert found, first + server.stderr.read()
        yield server, found.group()
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
        assert server.stderr is not None
        server.stderr.close()


async def open_and_close(path: Path) -> None:
    """What a server that starts again does first: bring in what the killed one left in its spool."""
    async with Database(path):
        pass


async def test_kill_9_in_the_midst_leaves_nothing_reserved_and_nothing_uncounted(tmp_path: Path) -> None:
    """Killed three times while hundreds of requests are under way; the last server serves the rest of the
    dollar and not a cent more. Those that were under way when it was killed have no row, and cost nothing."""
    (tmp_path / "junctor.toml").write_text(MODELS)
    env = {"JUNCTOR_DATA_DIR": str(tmp_path), "PATH": read_environment().variables["PATH"]}
    create = [sys.executable, "-m", "junctor", "keys", "create", "ann", "--usd-per-day", "1"]
    done = subprocess.run(create, cwd=tmp_path, env=env, check=True, capture_output=True, text=True)
    headers = {"authorization": f"Bearer {done.stdout.strip()}"}
    key_id, database = done.stdout[9:15], tmp_path / "junctor.db"
    read = 0

    async def ask(url: str, text: str) -> int:
        try:
            return (await post(f"{url}/chat/completions", chat_body("cent", text), headers)).status
        except (OSError, asyncio.IncompleteReadError):
            return 0

    for _ in range(3):
        with serving(tmp_path) as (server, url):
            asked = [asyncio.create_task(ask(url, "Hi" if number % 3 else "slow")) for number in range(300)]
            while sum(task.done() for task in asked) < 15:
                await asyncio.sleep(0.001)
            server.kill()
            read += (await asyncio.gather(*asked)).count(200)
        await open_and_close(database)
        assert read * CENT <= spent_by(database, key_id) <= DOLLAR, "who has read an answer has paid for it"
    with serving(tmp_path) as (server, url):
        statuses = Counter(await asyncio.gather(*[ask(url, "Hi") for _ in range(MANY)]))
        assert set(statuses) <= {200, 429}
        server.kill()
    await open_and_close(database)
    assert spent_by(database, key_id) == DOLLAR


async def test_hedged_requests_do_not_overspend(tmp_path: Path) -> None:
    """Each is paid for twice; what one costs was learnt from one that was not."""
    text = "x" * 3900  # some 1,000 tokens: the call that is cancelled costs as much as the one that answers
    with running(HEDGED, tmp_path) as server:
        boss = Client(server, usd_per_day=100)
        for _ in range(40):  # from 32 on it is known what is late
            await boss.ask("first", text)
        client = Client(server, usd_per_day=0.2)
        assert (await client.ask("first", text)).status == 200
        assert client.spent == CENT
        replies = await asyncio.gather(*[client.ask("first", f"slow{text}") for _ in range(60)])
        served = [reply for reply in replies if reply.status == 200]
        assert all(b"Hi." in reply.body for reply in served), "the second model answers"
        assert 0.16 * DOLLAR < client.spent <= 0.2 * DOLLAR
        assert client.spent > 1.9 * CENT * len(served), "they were paid for twice"
        assert client.reserved == 0
