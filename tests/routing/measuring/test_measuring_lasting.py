"""Measuring in a running server: what it costs and whom, drift and what follows, faults, and the stop."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from junctor.chat import ModelCard
from junctor.pool.ledger import Ledger
from junctor.routing.measuring.lasting import Measuring
from junctor.routing.measuring.store import MeasureStore, Shadow
from junctor.store.database import Database
from junctor.store.ids import new_id
from ladders import CHEAP, STRONG
from running import Running, running
from served_ladder import store_ladder
from tables import key_table, model_table

pytestmark = pytest.mark.usefixtures("calm")

KEY = "measured-key"
RIGHT = '[{ text = "The answer is 4.", usage = { input_tokens = 100, output_tokens = 100 } }]'
WRONG = RIGHT.replace("4", "5")
SHADOW = "\n[routing.shadow]\nshare = 1.0\n"
KEYS = key_table("team", KEY, admin=True, usd_per_day=5.0)


def pool(small: str = RIGHT, large: str = RIGHT) -> str:
    return model_table("small", script=small, ability=0.895, usd=1) + model_table(
        "large", script=large, ability=0.9, usd=10
    )


def call(server: Running, path: str, body: Any = None) -> tuple[Any, Any]:
    """What is answered, as JSON or text, and the headers."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(server.url + path, data, {"authorization": f"Bearer {KEY}"})) as reply:
        text = reply.read().decode()
        return (json.loads(text) if "json" in reply.headers["content-type"] else text), reply.headers


def chat(server: Running, times: int = 1, **more: Any) -> Any:
    """The headers of the last one, once everything in the background is done."""
    body = {"model": "auto", "messages": [{"role": "user", "content": "What is 2 + 2?"}]} | more
    for _ in range(times):
        _, headers = call(server, "/v1/chat/completions", body)
    server.run(server.app.lasting.measuring.queue.emptied())
    return headers


def rows(server: Running, sql: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(server.database)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]


def metric(server: Running, name: str) -> str:
    text, _ = call(server, "/metrics")
    return next(line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(name + " "))


def test_the_ledgers_total_is_the_upstreams_total_and_no_budget_is_charged(tmp_path: Path) -> None:
    """10 requests at 0.0002 USD, 10 shadows at 0.002: all of it in the ledger, and 0.002 with the key."""
    with running(pool() + SHADOW + KEYS, tmp_path) as server:
        chat(server, 10)
        (total,) = rows(server, "SELECT sum(usd_nano) AS usd, count(*) AS n FROM ledger")
        assert total == {"usd": 10 * (200_000 + 2_000_000), "n": 20}
        assert len(rows(server, "SELECT 1 FROM shadows WHERE verdict = 'equal'")) == 10
        linked = (
            "SELECT 1 FROM shadows s JOIN ledger l ON l.request_id = 'shadow_' || substr(s.request_id, 5)"
        )
        assert len(rows(server, linked)) == 10
        (key,) = call(server, "/api/keys")[0]["keys"]
        assert key["usd_today"] == pytest.approx(0.002)
        report, _ = call(server, "/api/savings")
        assert report["money"]["requests"] == 10
        assert report["measuring_usd"] == pytest.approx(0.02)
        assert float(metric(server, "junctor_shadows_usd_total")) == pytest.approx(0.02)


def test_without_its_table_nothing_is_sampled(tmp_path: Path) -> None:
    with running(pool() + KEYS, tmp_path) as server:
        chat(server, 5)
        assert rows(server, "SELECT count(*) AS n FROM ledger") == [{"n": 5}]


def test_the_days_allowance_ends_it(tmp_path: Path) -> None:
    """A shadow is reserved 4,000 tokens of answer: 0.04 USD, of which it needs 0.002."""
    with running(pool() + SHADOW + "max_usd_per_day = 0.045\n" + KEYS, tmp_path) as server:
        for _ in range(10):
            chat(server)
        spent = rows(server, "SELECT sum(usd_nano) AS usd FROM ledger WHERE route = 'shadow'")[0]["usd"]
        assert 0 < spent <= 0.045e9
        dropped = 'junctor_shadows_dropped_total{why="max_usd_per_day"}'
        assert int(float(metric(server, dropped))) == 10 - spent // 2_000_000 > 0


@pytest.mark.parametrize("on_drift", ["strongest", "warn"])
def test_a_broken_promise_is_told_once_and_the_strongest_takes_over(
    tmp_path: Path, on_drift: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Until the router is calibrated again; or not, where it says `warn`."""
    judge = """
[[models]]
name = "judge"
provider = "scripted"
ability = 0.1
script = [{ text = '{"better": "second"}' }, { turn = true, text = '{"better": "first"}' }]
"""
    config = (
        f'{pool(small=WRONG)}{judge}\n[routing]\non_drift = "{on_drift}"\n{SHADOW}judge = "judge"\n{KEYS}'
    )
    with caplog.at_level(logging.WARNING), running(config, tmp_path) as server:
        for _ in range(40):
            chat(server)
        headers = chat(server)
        falls_back = on_drift == "strongest"
        assert headers["x-junctor-model"] == ("large" if falls_back else "small")
        report, _ = call(server, "/api/savings")
        assert (report["promise"]["status"], report["promise"]["fallback"]) == ("broken", falls_back)
        assert metric(server, "junctor_promise_kept") == "0.0"
        if falls_back:
            decision, _ = call(server, f"/api/decisions/{headers['x-junctor-decision']}")
            assert "the promise is broken" in decision["rule"]
    told = [record for record in caplog.records if "is broken" in record.getMessage()]
    assert len(told) == 1
    assert "-100.0 points" in told[0].getMessage()


def test_a_restart_remembers_that_the_promise_is_broken(tmp_path: Path) -> None:
    """The comparisons are on the disk; another mode promises something else."""
    config = pool() + SHADOW + KEYS
    with running(config, tmp_path) as server:
        store = MeasureStore(server.app.lasting.database)

        async def write() -> None:
            for _ in range(40):
                await store.save_shadow(
                    Shadow(
                        request_id=new_id("req_"),
                        created_at=store.now(),
                        model="small",
                        strongest="large",
                        verdict="worse",
                        difference=-1.0,
                    )
                )

        server.run(write())
        assert chat(server)["x-junctor-model"] == "small"
    with running(config, tmp_path) as server:
        assert chat(server)["x-junctor-model"] == "large"


def test_a_strongest_that_fails_harms_nobody(tmp_path: Path) -> None:
    with running(pool(large='[{ fail = "upstream_broken" }]') + SHADOW + KEYS, tmp_path) as server:
        chat(server, 3)
        assert rows(server, "SELECT DISTINCT verdict, difference FROM shadows") == [
            {"verdict": "failed", "difference": None}
        ]
        assert call(server, "/api/savings")[0]["quality"]["failed"] == 3


def test_a_stop_does_not_wait_for_shadows_and_what_they_cost_is_kept(tmp_path: Path) -> None:
    """The strongest would take a minute; `running` waits no longer than half of one."""
    slow = '[{ text = "The answer is 4." }, { delay_s = 60 }]'
    with running(pool(large=slow) + SHADOW + KEYS, tmp_path) as server:
        for _ in range(5):
            call(
                server,
                "/v1/chat/completions",
                {"model": "auto", "messages": [{"role": "user", "content": "?"}]},
            )
        queue = server.app.lasting.measuring.queue
    assert queue.dropped == {"stopping": 5}
    with closing(sqlite3.connect(tmp_path / "junctor.db")) as connection:
        paid = connection.execute(
            "SELECT outcome, usd_nano > 0 FROM ledger WHERE route = 'shadow'"
        ).fetchall()
    assert paid == [("server_stopped", 1)] * 2


def test_a_reload_turns_sampling_on_and_off(tmp_path: Path) -> None:
    with running(pool() + KEYS, tmp_path) as server:
        assert server.reload(pool() + SHADOW + KEYS)
        chat(server, 2)
        assert server.reload(pool() + KEYS)
        chat(server, 2)
        assert rows(server, "SELECT count(*) AS n FROM shadows") == [{"n": 2}]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
@pytest.mark.parametrize("stream", [False, True])
def test_relayed_replies_are_compared_in_every_dialect_streamed_and_whole(
    tmp_path: Path, path: str, stream: bool
) -> None:
    """Bytes of a real upstream (another Junctor) pass unchanged, and are understood afterwards."""
    dialects = {"/v1/messages": "anthropic_messages", "/v1/responses": "openai_responses"}
    with running(pool(), tmp_path / "upstream") as upstream:
        far = "".join(
            f"""
[[models]]
name = "{name}"
provider = "far"
base_url = "{upstream.api}"
dialect = "{dialects.get(path, "openai_chat")}"
price = {{ input = {usd}, output = {usd} }}
ability = {ability}
"""
            for name, usd, ability in (("small", 1, 0.895), ("large", 10, 0.9))
        )
        with running(far + SHADOW + KEYS, tmp_path) as server:
            messages = [{"role": "user", "content": "What is 2 + 2?"}]
            said = (
                {"input": messages} if path == "/v1/responses" else {"messages": messages, "max_tokens": 50}
            )
            reply, _ = call(server, path, {"model": "auto", "stream": stream, **said})
            assert "The answer is 4." in json.dumps(reply)
            server.run(server.app.lasting.measuring.queue.emptied())
            assert rows(server, "SELECT verdict, model, strongest FROM shadows") == [
                {"verdict": "equal", "model": "small", "strongest": "large"}
            ]


def test_a_key_keeps_its_models_also_from_shadows(tmp_path: Path) -> None:
    """A key that may not use the strongest model has nothing shown to it."""
    config = pool() + SHADOW + KEYS + 'models = ["small"]\n'
    with running(config, tmp_path) as server:
        chat(server, 2)
        assert rows(server, "SELECT count(*) AS n FROM ledger WHERE route = 'shadow'") == [{"n": 0}]
        assert metric(server, 'junctor_shadows_dropped_total{why="not_allowed"}') == "2.0"


def test_a_judge_that_is_not_there_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    with running(pool(), tmp_path) as server:
        assert not server.reload(pool() + SHADOW + 'judge = "larg"')
        assert not server.reload(pool() + SHADOW.replace("1.0", "1.5"))
        assert not server.reload(pool() + SHADOW + "max_usd_per_day = -1")


@asynccontextmanager
async def measuring(folder: Path) -> AsyncIterator[tuple[Measuring, Database]]:
    async with Database(folder / "x.db") as database:
        yield Measuring(database, Ledger(database, strongest=lambda: None)), database


@pytest.mark.anyio
async def test_another_promise_is_watched_from_its_beginning(tmp_path: Path) -> None:
    """Who gives up more points has promised less."""
    large = ModelCard(name="large")
    async with measuring(tmp_path) as (it, database):
        store = MeasureStore(database)
        for at in range(300):
            await store.save_shadow(
                Shadow(
                    request_id=f"req_{at}",
                    created_at=store.now(),
                    model="small",
                    strongest="large",
                    verdict="worse" if at % 20 == 0 else "equal",
                    difference=-1.0 if at % 20 == 0 else 0.0,
                )
            )
        await it.refresh(None, "quality", large, falls_back=True)
        assert not it.promise_holds()
        await it.refresh(None, "cost", large, falls_back=True)
        assert it.promise_holds()
        await it.refresh(None, "quality", large, falls_back=False)
        assert it.promise_holds(), "`warn` only says so"


@pytest.mark.anyio
async def test_a_database_that_fails_leaves_the_promise_as_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with measuring(tmp_path) as (it, _):
        pass
    await it.refresh(None, None, None, falls_back=True)
    assert it.promise_holds()
    assert "watched as before" in caplog.text


def test_savings_are_for_admins_and_errors_are_problems(tmp_path: Path) -> None:
    config = pool() + KEYS.replace("admin = true", "")
    with running(config, tmp_path) as server:
        with pytest.raises(HTTPError) as caught:
            call(server, "/api/savings")
        with caught.value as refused:
            assert refused.code == 403
            assert refused.headers["content-type"] == "application/problem+json"


CHEAP_SAYS = '[{ text = "42", usage = { input_tokens = 100, output_tokens = 100 } }]'
CASCADE = (
    "".join(
        model_table(name, script=CHEAP_SAYS, ability=ability, usd=usd)
        for name, usd, ability in [*((name, 1, 0.7) for name in CHEAP), (STRONG, 30, 0.9)]
    )
    + SHADOW
    + KEYS
)


def test_a_cascade_is_compared_with_the_strongest_of_its_ladder_and_its_floor_is_the_promise(
    tmp_path: Path,
) -> None:
    """And once that is broken, nothing is cascaded any more."""
    messages = [{"role": "user", "content": "How many legs do 3 cats and 15 hens have?"}]
    store_ladder(CASCADE, tmp_path)
    with running(CASCADE, tmp_path) as server:
        headers = chat(server, 3, messages=messages)
        decision, _ = call(server, f"/api/decisions/{headers['x-junctor-decision']}")
        assert (decision["path"], decision["outcome"]["attempts"]) == ("cascade", 2)
        assert {(row["verdict"], row["strongest"]) for row in rows(server, "SELECT * FROM shadows")} == {
            ("equal", STRONG)
        }
        promise = call(server, "/api/savings")[0]["promise"]
        assert (promise["version"], promise["compared"]) == ("ladder-1-test", 3)
        assert promise["margin_points"] == pytest.approx(2.0)
        report = call(server, "/api/savings")[0]
        assert report["money"]["spent_usd"] == pytest.approx(3 * 2 * 0.0002)
        assert report["always_cheapest"]["usd"] == pytest.approx(3 * 0.0002), "of two calls' tokens, one's"

        async def spoil() -> None:
            database = server.app.lasting.database
            await database.write("UPDATE shadows SET verdict = 'worse', difference = -1")
            for at in range(40):
                await database.write(
                    "INSERT INTO shadows SELECT :id, created_at, key_id, model, strongest, verdict, "
                    "difference, judge, usd_nano FROM shadows LIMIT 1",
                    {"id": f"req_{at}"},
                )

        server.run(spoil())
        assert server.reload(CASCADE)
        headers = chat(server, messages=messages)
        assert headers["x-junctor-model"] == STRONG
        decision, _ = call(server, f"/api/decisions/{headers['x-junctor-decision']}")
        assert (decision["path"], decision["outcome"]["attempts"]) == ("prompt", 1)
