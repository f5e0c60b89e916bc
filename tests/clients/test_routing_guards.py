"""Through a running server: a key's share of the strongest model, and a conversation that stays."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from plain_client import PlainReply, post
from running import Running, running

pytestmark = pytest.mark.anyio

USAGE = "usage = { input_tokens = 2000, output_tokens = 10 }"
POOL = f"""
[[models]]
name = "strong"
provider = "scripted"
price = {{ input = 30, output = 30 }}
ability = 0.9
window = 100000
skills = ["tools", "json"]
script = [{{ text = "Deep.", {USAGE} }}]
[[models]]
name = "weak"
provider = "scripted"
price = {{ input = 1, output = 1 }}
ability = 0.3
window = 100000
script = [{{ text = "Hi.", {USAGE} }}]
"""
PAIR = f"""
[[models]]
name = "first"
provider = "scripted"
price = {{ input = 10, output = 10, cached_input = 1 }}
ability = 0.8
window = 100000
script = [{{ text = "One.", {USAGE} }}]
[[models]]
name = "second"
provider = "scripted"
price = {{ input = 8, output = 8 }}
ability = 0.8
window = 100000
script = [{{ text = "Two.", {USAGE} }}]
"""


def call(server: Running, method: str, path: str, key: str = "", body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with urlopen(Request(server.url + path, data, headers, method=method)) as reply:
        return json.load(reply)


async def ask(server: Running, key: str, *messages: dict[str, str], **more: Any) -> PlainReply:
    turns = messages or ({"role": "user", "content": "Why?"},)
    body = json.dumps({"model": "auto", "messages": turns, **more}).encode()
    return await post(f"{server.api}/chat/completions", body, {"authorization": f"Bearer {key}"})


def keys_of(server: Running, **limits: Any) -> tuple[str, dict[str, Any]]:
    """An admin's key, and another with these limits."""
    boss = call(server, "POST", "/api/keys", body={"name": "boss", "admin": True})["key"]
    return boss, call(server, "POST", "/api/keys", boss, {"name": "ann", **limits})


async def test_a_key_has_its_share_and_no_more_also_after_a_restart(tmp_path: Path) -> None:
    """In a burst, one by one, and with another process that knows only the ledger."""
    with running(POOL, tmp_path) as server:
        boss, made = keys_of(server, strongest_share=0.05)
        assert made["strongest_share"] == 0.05
        burst = await asyncio.gather(*(ask(server, made["key"]) for _ in range(30)))
        assert Counter(reply.headers["x-junctor-model"] for reply in burst) == {"strong": 5, "weak": 25}
        assert server.database.exists()
    with running(POOL, tmp_path) as server:
        reply = await ask(server, made["key"])
        assert reply.headers["x-junctor-model"] == "weak"
        decision = call(server, "GET", f"/api/decisions/{reply.headers['x-junctor-decision']}", boss)
        (strong,) = [it for it in decision["candidates"] if it["name"] == "strong"]
        assert strong["ruled_out_by"] == "key.strongest_share"
        only = await ask(server, made["key"], response_format={"type": "json_object"})
        assert (only.status, only.code) == (429, "strongest_share_used")
        assert "only strong can answer" in only.json["error"]["message"]
        assert int(only.headers["retry-after"]) > 80_000
        named = await post(
            f"{server.api}/chat/completions",
            b'{"model": "strong", "messages": [{"role": "user", "content": "Hi"}]}',
            {"authorization": f"Bearer {made['key']}"},
        )
        assert named.status == 200
        changed = call(server, "PATCH", f"/api/keys/{made['id']}", boss, {"strongest_share": None})
        assert changed["strongest_share"] is None
        assert (await ask(server, made["key"])).headers["x-junctor-model"] == "strong"


async def test_a_conversation_stays_where_its_prompt_is_cached(tmp_path: Path) -> None:
    """The second turn would go elsewhere by itself; the cache of the first is worth more."""
    asked = {"role": "user", "content": "Sum up this long text. " + "It rains in Rome today. " * 300}
    with running(PAIR, tmp_path) as server:
        first = await ask(server, "", asked, junctor={"never": ["second"]})
        assert first.headers["x-junctor-model"] == "first"
        answered = {"role": "assistant", "content": "One."}
        again = {"role": "user", "content": "And in a word? " + "Really one. " * 40}
        other = {"role": "user", "content": "Another. " + "It snows in Oslo today. " * 300}
        assert (await ask(server, "", other, answered, again)).headers["x-junctor-model"] == "second"
        second = await ask(server, "", asked, answered, again)
        assert second.headers["x-junctor-model"] == "first"
        decision = call(server, "GET", f"/api/decisions/{second.headers['x-junctor-decision']}")
        assert "stays with first: its prompt cache saves" in decision["rule"]
        assert decision["candidates"][0]["cached_tokens"] > 1024
        server.reload(PAIR + "[routing]\nprompt_cache_s = 0\n")
        await ask(server, "", asked, junctor={"never": ["second"]})
        assert (await ask(server, "", asked, answered, again)).headers["x-junctor-model"] == "second"
