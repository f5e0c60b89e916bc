"""`/api/keys` of a running server: who may, what it answers, and that it counts at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from starlette.requests import Request as Asked

from junctor.gateway.admit import CallerKey, Doorkeeper
from junctor.gateway.key_registry import KeyRegistry
from junctor.gateway.key_store import KeyStore
from junctor.gateway.keys import ANYBODY, Grant
from junctor.gateway.keys_api import KeysApi
from junctor.gateway.pepper import Pepper
from junctor.gateway.rest import CALLER
from junctor.store.database import Database
from running import Running, running
from tables import key_table, model_table

SMALL = '[{ text = "Hi." , usage = { input_tokens = 10, output_tokens = 10 } }]'
MODELS = model_table("small", script=SMALL, usd=1) + model_table("large", "Hello.", ability=0.9, usd=10)
BOSS, WORKER = "boss-key", "worker-key"


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


CONFIG = (
    MODELS
    + key_table("boss", BOSS, admin=True)
    + key_table("worker", WORKER, models=["small"], usd_per_day=2.5)
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(CONFIG, tmp_path) as it:
        yield it


@pytest.fixture
def open_server(tmp_path: Path) -> Iterator[Running]:
    with running(MODELS, tmp_path / "open") as it:
        yield it


class Answer:
    def __init__(self, status: int, kind: str, body: bytes, headers: Any) -> None:
        self.status = status
        self.kind = kind
        self.text = body.decode()
        self.headers = headers

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def call(server: Running, method: str, path: str, key: str = "", body: Any = None) -> Answer:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(server.url + path, data, headers, method=method)) as reply:
            return Answer(reply.status, reply.headers["content-type"], reply.read(), reply.headers)
    except HTTPError as error:
        with error:
            return Answer(error.code, error.headers["content-type"], error.read(), error.headers)


def chat(server: Running, key: str, model: str = "small") -> Answer:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    return call(server, "POST", "/v1/chat/completions", key, body)


def test_the_life_of_a_key(server: Running) -> None:
    """Made, used, changed, rotated, revoked: each counts for the very next request."""
    made = call(server, "POST", "/api/keys", BOSS, {"name": "ann", "models": ["small"]})
    assert (made.status, made.kind) == (201, "application/json")
    assert made.headers["cache-control"] == "no-store"
    key, key_id = made.json["key"], made.json["id"]
    assert key.startswith(f"jct_live_{key_id}")
    assert chat(server, key).status == 200
    assert chat(server, key, "large").json["error"]["code"] == "model_not_allowed"

    changed = call(server, "PATCH", f"/api/keys/{key_id}", BOSS, {"models": ["large"]})
    assert (changed.status, changed.json["models"]) == (200, ["large"])
    assert chat(server, key).status == 403
    assert chat(server, key, "large").status == 200

    rotated = call(server, "POST", f"/api/keys/{key_id}/rotate", BOSS)
    assert (rotated.status, rotated.json["id"], rotated.json["models"]) == (200, key_id, ["large"])
    assert chat(server, key, "large").status == 401
    assert chat(server, rotated.json["key"], "large").status == 200

    revoked = call(server, "DELETE", f"/api/keys/{key_id}", BOSS)
    assert (revoked.status, revoked.json["state"]) == (200, "revoked")
    said = chat(server, rotated.json["key"], "large")
    assert (said.status, said.json["error"]["code"]) == (401, "invalid_api_key")
    assert "revoked" in said.json["error"]["message"]


def test_an_unknown_model_does_not_list_models_of_other_keys(server: Running) -> None:
    key = call(server, "POST", "/api/keys", BOSS, {"name": "ann", "models": ["small"]}).json["key"]
    said = chat(server, key, "smal")
    assert (said.status, said.json["error"]["code"]) == (404, "model_not_found")
    assert "small" in said.json["error"]["message"]
    assert "large" not in said.json["error"]["message"]


def test_a_rotation_with_grace_lets_both_in(server: Running) -> None:
    made = call(server, "POST", "/api/keys", BOSS, {"name": "ann"}).json
    rotated = call(server, "POST", f"/api/keys/{made['id']}/rotate", BOSS, {"grace_hours": 1}).json
    assert rotated["old_key_until"] is not None
    assert chat(server, made["key"]).status == chat(server, rotated["key"]).status == 200


def test_the_list_says_what_was_spent_and_never_a_key(server: Running) -> None:
    made = call(server, "POST", "/api/keys", BOSS, {"name": "ann", "usd_per_month": 3}).json
    assert chat(server, made["key"]).status == 200
    assert chat(server, WORKER).status == 200
    listed = call(server, "GET", "/api/keys", BOSS)
    keys = {key["id"]: key for key in listed.json["keys"]}
    assert set(keys) == {"config:boss", "config:worker", made["id"]}
    assert keys[made["id"]]["usd_today"] == keys["config:worker"]["usd_this_month"] == 0.00002
    assert keys["config:worker"]["usd_per_day"] == 2.5
    assert keys["config:boss"]["last_used_at"] is None, "it asked no model"
    for secret in (made["key"], made["key"][15:47], digest(BOSS), digest(WORKER)):
        assert secret not in listed.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/keys"),
        ("POST", "/api/keys"),
        ("PATCH", "/api/keys/abc123"),
        ("DELETE", "/api/keys/abc123"),
        ("POST", "/api/keys/abc123/rotate"),
    ],
)
def test_only_admins_may(server: Running, method: str, path: str) -> None:
    """Without a key 401, with any other key 403, whatever the body and whether or not the key exists."""
    assert call(server, method, path, body={}).status == 401
    said = call(server, method, path, WORKER, {"name": "x", "admin": True})
    assert (said.status, said.kind) == (403, "application/problem+json")
    assert said.json["code"] == "admin_only"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": "ann", "usd_per_dya": 1}, "usd_per_dya"),
        ({"name": "ann", "usd_per_day": -1}, "usd_per_day"),
        ({"name": "ann", "usd_per_day": 1e300}, "usd_per_day"),
        ({"name": "ann", "requests_per_minute": 0}, "requests_per_minute"),
        ({"name": ""}, "name"),
        ({"name": "ann", "expires": "2020-01-01"}, "expires"),
        (b"not json", None),
    ],
)
def test_a_mistake_is_a_problem_that_names_it(server: Running, body: Any, param: str | None) -> None:
    said = call(server, "POST", "/api/keys", BOSS, body)
    assert (said.status, said.kind) == (400, "application/problem+json")
    assert said.json.get("param") == param


def test_a_name_that_nothing_has_is_told_in_the_reply(server: Running) -> None:
    """No mistake, since a model may be added later; but nobody should find out by a 403."""
    made = call(server, "POST", "/api/keys", BOSS, {"name": "a", "models": ["smal", "large", "general-high"]})
    assert made.status == 201
    (warning,) = made.json["warnings"]
    assert "`smal` so far: nothing here is called so; did you mean `small`?" in warning
    changed = call(server, "PATCH", f"/api/keys/{made.json['id']}", BOSS, {"models": ["fusion", "auto"]})
    assert changed.json["warnings"] == []
    listed = {it["name"]: it["warnings"] for it in call(server, "GET", "/api/keys", BOSS).json["keys"]}
    assert listed == {"boss": [], "worker": [], "a": []}


def test_an_unknown_key_is_a_404(server: Running) -> None:
    for method, path in (("DELETE", "/api/keys/nobody"), ("POST", "/api/keys/config:boss/rotate")):
        said = call(server, method, path, BOSS, {} if method == "POST" else None)
        assert (said.status, said.json["code"]) == (404, "key_not_found")


def test_a_body_that_is_too_large_is_refused(server: Running) -> None:
    said = call(server, "POST", "/api/keys", BOSS, b'{"name":"' + b"x" * 70_000 + b'"}')
    assert said.status == 413


def test_the_first_key_locks_an_open_server(open_server: Running) -> None:
    """At once, and for whoever made it too: the key was no admin's."""
    assert chat(open_server, "").status == 200
    key = call(open_server, "POST", "/api/keys", body={"name": "ann"}).json["key"]
    assert chat(open_server, "").status == 401
    assert chat(open_server, "made-up").status == 401
    assert chat(open_server, key).status == 200
    assert call(open_server, "GET", "/metrics").status == 401
    assert call(open_server, "GET", "/metrics", key).status == 200
    assert call(open_server, "GET", "/api/keys", key).status == 403
    assert call(open_server, "GET", "/healthz").status == 200


def test_to_revoke_the_last_key_does_not_open_the_door(open_server: Running) -> None:
    made = call(open_server, "POST", "/api/keys", body={"name": "ann", "admin": True}).json
    assert call(open_server, "DELETE", f"/api/keys/{made['id']}", made["key"]).status == 200
    assert chat(open_server, "").status == chat(open_server, made["key"]).status == 401


def test_an_admin_with_limits_gives_no_more_than_those(server: Running) -> None:
    """No chain of keys leads from a small key to a large one."""
    made = call(server, "POST", "/api/keys", BOSS, {"name": "ann", "admin": True, "usd_per_day": 1}).json
    ann = made["key"]
    wider = call(server, "POST", "/api/keys", ann, {"name": "eve", "admin": True})
    assert (wider.status, wider.json["param"]) == (403, "usd_per_day")
    wider = call(server, "PATCH", f"/api/keys/{made['id']}", ann, {"usd_per_day": None})
    assert wider.status == 403
    assert call(server, "POST", "/api/keys", ann, {"name": "eve", "usd_per_day": 1}).status == 201


class CountingDatabase(Database):
    """Counts what is read."""

    reads = 0

    async def read(self, *query: Any) -> list[dict[str, Any]]:
        self.reads += 1
        return await super().read(*query)


@pytest.mark.anyio
async def test_a_list_of_many_keys_asks_the_database_as_often_as_one_of_few(tmp_path: Path) -> None:
    reads = dict[int, int]()
    async with CountingDatabase(tmp_path / "junctor.db") as database:
        store = KeyStore(database)
        registry = KeyRegistry(store, Pepper(tmp_path, None))
        configured = [CallerKey(name=f"team {number}", sha256="0" * 64) for number in range(5)]
        api = KeysApi(registry, store, Doorkeeper(configured), store.keys, ())
        for many in (1, 20):
            for number in range(many):
                await registry.create(ANYBODY, f"key {number}", Grant())
            database.reads = 0
            reply = await api.list_keys(Asked({"type": "http", CALLER: ANYBODY}))
            reads[len(json.loads(bytes(reply.body))["keys"])] = database.reads
    assert reads == {6: 2, 26: 2}
