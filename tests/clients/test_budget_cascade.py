"""A budget of one dollar against 500 requests at the same time, each of which climbs a ladder to its top.

Four models are asked for each, and all four count. Nothing is spent beyond the dollar, nothing is left of it
that would have paid for one more, and nothing stays reserved.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from budget_client import DOLLAR, MANY, Client
from running import Running, running
from served_ladder import ALL_DIFFER, ALL_DIFFER_NANO, CONFIG, store_ladder

pytestmark = pytest.mark.anyio

CLIMBS = DOLLAR // ALL_DIFFER_NANO
"As many does a dollar buy."
SLOWLY = CONFIG.replace('  { text = "\\\\boxed', '  { delay_s = 0.01 }, { text = "\\\\boxed')
"Each answer takes its time, so that there is an amid."


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    store_ladder(SLOWLY, tmp_path)
    with running(SLOWLY, tmp_path) as it:
        yield it


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({}, id="whole"),
        pytest.param({"stream": True}, id="streamed"),
        pytest.param({"max_tokens": 100}, id="with a limit on the answer"),
        pytest.param({"path": "/messages", "max_tokens": 100}, id="Messages"),
    ],
)
async def test_a_dollar_buys_as_many_climbs_as_all_their_calls_cost(
    server: Running, how: dict[str, Any]
) -> None:
    client = Client(server, usd_per_day=1)
    assert await client.burst(model="auto", text=ALL_DIFFER, **how) == {200: CLIMBS, 429: MANY - CLIMBS}
    assert (client.spent, client.reserved) == (CLIMBS * ALL_DIFFER_NANO, 0)


async def test_requests_that_stop_at_the_first_rung_do_not_hide_what_others_cost(server: Running) -> None:
    """Half of them climb to the top, the other half cost next to nothing."""
    client = Client(server, usd_per_day=0.2)
    texts = [ALL_DIFFER if number % 2 else "What is 17 * 23?" for number in range(100)]
    replies = await asyncio.gather(*[client.ask("auto", text) for text in texts])
    assert set(Counter(reply.status for reply in replies)) == {200, 429}
    assert DOLLAR // 5 - ALL_DIFFER_NANO < client.spent <= DOLLAR // 5
    assert client.reserved == 0


async def test_clients_that_leave_on_the_way_up_pay_for_what_was_asked_and_no_more(server: Running) -> None:
    """They leave at every rung: what they used is counted, and the others can have all of the rest."""
    client = Client(server, usd_per_day=1)

    leaving = [client.ask_and_leave(0.005 + 0.3 * number / 300, "auto", ALL_DIFFER) for number in range(300)]
    staying = [client.ask("auto", ALL_DIFFER) for _ in range(100)]
    replies = (await asyncio.gather(*staying, *leaving))[:100]
    assert {reply.status for reply in replies if reply} <= {200, 429}
    while (await client.ask("auto", ALL_DIFFER)).status == 200:
        pass
    assert DOLLAR - ALL_DIFFER_NANO < client.spent <= DOLLAR
    assert client.reserved == 0
