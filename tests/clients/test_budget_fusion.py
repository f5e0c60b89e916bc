"""A budget of one dollar against 500 fused requests at the same time.

All calls of each count: every member, as often as it is asked, and the judge, who is asked in both
orders. Nothing is spent beyond the dollar, nothing is left of it that would have paid for one more, and
nothing stays reserved.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from budget_client import CENT, DOLLAR, MANY, Client
from running import Running, running

pytestmark = pytest.mark.anyio

PROMPT = "What is 17 * 23? Answer with the number only."


def model(name: str, says: str, ability: float = 0.5) -> str:
    """A cent for each of its answers, whatever it is asked."""
    return f"""
[[models]]
name = "{name}"
provider = "scripted"
price = {{ input = 10, output = 0 }}
ability = {ability}
script = [
  {{ delay_s = 0.002 }},
  {{ text = "{says}", usage = {{ input_tokens = 1000, output_tokens = 1 }} }},
]
"""


CONFIG = (
    model("one", "The answer is 391.")
    + model("two", "The answer is 392.")
    + model("three", "The answer is 393.")
    + model("judge", r"{\"best\": \"tie\"}", 0.4)
    + """
[[fusions]]
name = "fusion"
members = ["one", "two", "three"]
judge = "judge"
[[fusions]]
name = "thrice"
members = ["one", "one", "two"]
judge = "judge"
"""
)
"All members differ, and the judge sees no difference, in either order."


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(CONFIG, tmp_path) as it:
        yield it


@pytest.mark.parametrize(
    ("how", "calls"),
    [
        pytest.param({}, 3 + 2, id="contested"),
        pytest.param({"stream": True}, 3 + 2, id="streamed"),
        pytest.param({"max_tokens": 100}, 3 + 2, id="with a limit on the answer"),
        pytest.param({"path": "/messages", "max_tokens": 100}, 3 + 2, id="Messages"),
        pytest.param({"fusion": {"mode": "vote"}}, 3, id="vote"),
        pytest.param({"fusion": {"mode": "best-of"}}, 3 + 2, id="best-of"),
        pytest.param({"fusion": {"mode": "merge"}}, 3 + 3, id="merge"),
        pytest.param({"fusion": {"mode": "debate"}}, 3 + 3, id="debate"),
        pytest.param({"fusion": {"analysis_models": ["one"] * 8, "mode": "best-of"}}, 8, id="self-fusion"),
        pytest.param({"fusion": {"max_usd": 0.05}}, 3 + 2, id="with an estimate that is too low"),
    ],
)
async def test_a_dollar_buys_as_many_answers_as_all_their_calls_cost(
    server: Running, how: dict[str, Any], calls: int
) -> None:
    client, bought = Client(server, usd_per_day=1), DOLLAR // (calls * CENT)
    assert await client.burst(model="fusion", text=PROMPT, **how) == {200: bought, 429: MANY - bought}
    assert (client.spent, client.reserved) == (bought * calls * CENT, 0)


async def test_members_that_are_not_waited_for_leave_their_part_of_the_budget_to_others(
    server: Running,
) -> None:
    """Five of eight that say the same settle it; how many of the rest have been paid for by then varies."""
    client = Client(server, usd_per_day=1)
    asked = {"analysis_models": ["one"] * 8, "mode": "vote"}
    served = (await client.burst(model="fusion", text=PROMPT, fusion=asked))[200]
    while (await client.ask("fusion", PROMPT, fusion=asked)).status == 200:
        served += 1
    assert DOLLAR // (8 * CENT) <= served <= DOLLAR // (5 * CENT)
    assert served * 5 * CENT <= client.spent <= DOLLAR * 8 // 5, (
        "reserved as the first, who may have cost less"
    )
    assert DOLLAR - client.spent < 8 * CENT
    assert client.reserved == 0


async def test_fusions_of_all_kinds_at_once_do_not_hide_what_others_cost(server: Running) -> None:
    """Also those that name their own members, and plain models beside them."""
    client = Client(server, usd_per_day=1)
    kinds: list[dict[str, Any]] = [
        {"model": "one"},
        {"model": "fusion"},
        {"model": "thrice"},
        {"model": "fusion", "fusion": {"mode": "vote", "analysis_models": ["one", "two"]}},
        {"model": "openrouter/fusion", "fusion": {"preset": "thrice"}},
    ]
    replies = await asyncio.gather(*[client.ask(text=PROMPT, **kinds[at % 5]) for at in range(200)])
    assert set(Counter(reply.status for reply in replies)) == {200, 429}
    assert DOLLAR - 5 * CENT < client.spent <= DOLLAR
    assert client.reserved == 0


async def test_clients_that_leave_pay_for_what_was_asked_and_no_more(server: Running) -> None:
    """They leave while members answer, and while the judge does; the others can have all of the rest."""
    client = Client(server, usd_per_day=1)

    leaving = [client.ask_and_leave(0.001 + 0.1 * number / 200, "fusion", PROMPT) for number in range(200)]
    staying = [client.ask("fusion", PROMPT) for _ in range(50)]
    replies = (await asyncio.gather(*staying, *leaving))[:50]
    assert {reply.status for reply in replies if reply} <= {200, 429}
    while (await client.ask("fusion", PROMPT)).status == 200:
        pass
    assert DOLLAR - 5 * CENT < client.spent <= DOLLAR
    assert client.reserved == 0


async def test_what_members_of_a_fusion_may_use_a_minute_is_reserved_for_all_of_them(server: Running) -> None:
    client = Client(server, tokens_per_minute=10_000)
    replies = await asyncio.gather(*[client.ask("fusion", PROMPT) for _ in range(40)])
    served = [reply for reply in replies if reply.status == 200]
    assert 1 <= len(served) <= 5, "an answer comes to 5,000 tokens, and is estimated at as many"
    assert {reply.code for reply in replies if reply.status != 200} == {"rate_limit_exceeded"}


async def test_whoever_names_other_members_each_time_overspends_by_one_request_at_most(
    server: Running,
) -> None:
    """Each costs fifty times what is estimated, and nothing is known of any of the eight kinds.

    A limit on the cost changes nothing: these models keep to none.
    """
    for limits in ({}, {"max_usd": 0.01}):
        client = Client(server, usd_per_day=0.2)
        kinds = [{"mode": "vote", "analysis_models": ["one", "two"] * at, **limits} for at in range(1, 5)]
        kinds += [{"mode": "debate", "analysis_models": ["three"] * at, **limits} for at in range(1, 9)]
        replies = await asyncio.gather(
            *[client.ask("fusion", PROMPT, fusion=kinds[at % len(kinds)]) for at in range(60)]
        )
        assert set(Counter(reply.status for reply in replies)) == {200, 429}
        assert client.spent < (20 + 8) * CENT
        assert client.reserved == 0


DEAR = """
[routing]
mode = "quality"
cascade = "off"
[[models]]
name = "dear"
provider = "scripted"
ability = 0.95
price = { input = 50, output = 50 }
script = [{ text = "The answer is 391.", usage = { input_tokens = 1000, output_tokens = 20000 } }]
[[models]]
name = "cheap"
provider = "scripted"
ability = 0.4
price = { input = 0.1, output = 0.1 }
script = [{ text = "The answer is 391.", usage = { input_tokens = 30, output_tokens = 20 } }]
[[fusions]]
name = "inner"
members = ["dear", "dear", "cheap"]
[[fusions]]
name = "fusion"
members = ["cheap"]
depth = 2
[[fusions]]
name = "outer"
members = ["inner", "cheap"]
depth = 3
max_usd = 0.001
"""


@pytest.mark.parametrize(
    "how",
    [
        {"fusion": {"analysis_models": ["inner", "cheap"], "max_usd": 0.001}},
        {"fusion": {"analysis_models": ["auto", "auto", "cheap"], "max_usd": 0.001, "mode": "best-of"}},
        {"fusion": {"analysis_models": ["auto", "cheap"]}, "junctor": {"max_usd": 0.001}},
        {"fusion": {"analysis_models": ["dear", "cheap"], "max_usd": 0.001}, "max_tokens": 500},
        {"model": "outer"},
    ],
)
async def test_a_limit_on_the_cost_holds_for_those_whom_members_ask(
    tmp_path: Path, how: dict[str, Any]
) -> None:
    """Who may come to more is left out, and the block says why; without anybody else it is refused."""
    with running(DEAR, tmp_path) as server:
        client = Client(server, usd_per_day=5)
        replies = await asyncio.gather(
            *[client.ask(**{"model": "fusion", "text": PROMPT} | how) for _ in range(20)]
        )
        assert {reply.status for reply in replies} == {200}
        members = json.loads(replies[0].body)["fusion"]["members"]
        assert [(it["model"], it["status"]) for it in members][-1] == ("cheap", "answered")
        assert {it["status"] for it in members[:-1]} == {"left_out"}
        assert "max_usd (0.001)" in members[0]["reason"]
        assert 0 < client.spent <= 20 * DOLLAR // 1000
        alone = {"analysis_models": ["inner", "auto"], "max_usd": 0.001}
        refused = await client.ask("fusion", PROMPT, fusion=alone)
        assert (refused.status, refused.code) == (422, "no_model_fits")
        assert client.reserved == 0
