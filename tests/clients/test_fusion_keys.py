"""Fusions through a running server, for keys that name what they may use; and what `auto` is told of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plain_client import PlainReply, chat_body, post
from running import Running, running
from tables import key_table, model_table

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("calm")]

PROMPT = "What is 17 * 23? Answer with the number only."
KEYS = {
    "all": None,
    "fused": ["fusion"],
    "pair": ["small", "large"],
    "one": ["small"],
    "auto": ["auto"],
    "vectors": ["vectors"],
}
CONFIG = (
    model_table("small", "The answer is 391.", usd=1, ability=0.3)
    + model_table("large", "The answer is 391.", usd=9, ability=0.9)
    + model_table("secret", "The answer is 7.", usd=5, ability=0.5)
    + model_table("vectors", kind="embeddings")
    + '[[fusions]]\nname = "panel"\nmembers = ["secret", "auto", "small"]\njudge = "secret"\nmode = "vote"\n'
    + "[routing]\nquality = 0.001\n[routing.shadow]\nshare = 1.0\n"
    + "".join(key_table(name, models=models) for name, models in KEYS.items())
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(CONFIG, tmp_path_factory.mktemp("server")) as it:
        yield it


async def ask(server: Running, key: str, name: str = "fusion", **fusion: Any) -> PlainReply:
    body = chat_body(name, PROMPT, **({"fusion": fusion} if fusion else {}))
    return await post(f"{server.api}/chat/completions", body, {"authorization": f"Bearer {key}"})


def members_of(reply: PlainReply) -> dict[str, str]:
    assert reply.status == 200, reply.body
    return {it["model"]: it["status"] for it in reply.json["fusion"]["members"]}


@pytest.mark.parametrize(
    ("key", "model", "asked"),
    [
        ("all", "fusion", {"small", "large", "secret"}),
        ("fused", "fusion", {"small", "large", "secret"}),
        ("fused", "openrouter/fusion", {"small", "large", "secret"}),
        ("pair", "fusion", {"small", "large"}),
        ("one", "fusion", {"small"}),
        ("one", "panel", {"small"}),
        ("all", "panel", {"secret", "auto", "small"}),
    ],
)
async def test_a_key_has_a_fusion_with_those_members_that_it_may_use(
    server: Running, key: str, model: str, asked: set[str]
) -> None:
    members = members_of(await ask(server, key, model, mode="best-of"))
    assert {name for name, status in members.items() if status != "left_out"} == asked


@pytest.mark.parametrize("key", ["auto", "vectors"])
async def test_a_key_that_names_none_of_them_has_no_fusion(server: Running, key: str) -> None:
    reply = await ask(server, key)
    assert (reply.status, reply.code) == (403, "model_not_allowed")
    assert b"secret" not in reply.body


@pytest.mark.parametrize(
    ("key", "fusion", "status", "words"),
    [
        ("pair", {"analysis_models": ["small", "secret"]}, 403, "may not use the model `secret`"),
        ("pair", {"model": "secret"}, 403, "may not use the model `secret`"),
        ("fused", {"analysis_models": ["small"]}, 403, "may not use the model `small`"),
        ("pair", {"analysis_models": ["smal"]}, 400, "did you mean `small`"),
        ("pair", {"analysis_models": ["secrte"]}, 400, "cannot take part"),
        ("pair", {"preset": "panle"}, 400, "no preset `panle`; did you mean `panel`"),
        ("one", {"analysis_models": ["vectors"]}, 403, "may not use the model `vectors`"),
        ("all", {"analysis_models": ["vectors"]}, 400, "cannot take part"),
        ("all", {"analysis_models": ["panel"]}, 400, "cannot take part"),
    ],
)
async def test_whom_a_request_names_the_key_must_name(
    server: Running, key: str, fusion: dict[str, Any], status: int, words: str
) -> None:
    """And a slip is told no name that the key may not know, unless it said it."""
    reply = await ask(server, key, **fusion)
    error = reply.json["error"]
    assert (reply.status, words in error["message"]) == (status, True), reply.body
    assert error["param"].startswith("fusion.")
    if key == "pair" and "secret" not in str(fusion):
        assert b"secret" not in reply.body


async def test_members_of_ones_own_and_a_preset_go_by_the_key(server: Running) -> None:
    own = await ask(server, "pair", analysis_models=["small", "large", "small"], mode="vote")
    assert [it["model"] for it in own.json["fusion"]["members"]] == ["small", "large", "small"]
    budget = members_of(await ask(server, "pair", preset="general-budget"))
    assert {name for name, status in budget.items() if status != "left_out"} == {"small", "large"}
    judged = await ask(server, "one", "panel", analysis_models=["small", "small"], mode="merge")
    assert judged.json["fusion"]["judge"] == "small", "not the fusion's own, which the key may not use"


async def test_fused_requests_are_neither_shadowed_nor_counted_as_those_of_auto(tmp_path: Path) -> None:
    """Though `auto` is a member, and every request of `auto` would be shadowed."""
    with running(CONFIG, tmp_path) as server:
        for _ in range(3):
            assert "auto" in members_of(await ask(server, "all", "panel"))
        routed = await post(
            f"{server.api}/chat/completions", chat_body("auto", PROMPT), {"authorization": "Bearer all"}
        )
        assert routed.headers["x-junctor-model"] == "small"
        server.run(server.app.lasting.measuring.queue.emptied())
        assert [request_id for (request_id,) in shadowed(server)] == [routed.headers["x-request-id"]]
        with sqlite3.connect(server.database) as database:
            asked = database.execute(
                "SELECT asked_model, strongest_model FROM ledger WHERE decision_id IS NOT NULL"
            ).fetchall()
    assert sorted(asked, key=str) == [("auto", "large"), *[("panel", None)] * 3]


def shadowed(server: Running) -> list[Any]:
    with sqlite3.connect(server.database) as database:
        return database.execute("SELECT request_id FROM shadows").fetchall()
