"""Counting tokens: by the upstream where it can, else by our own estimate."""

from __future__ import annotations

import http.client
import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from junctor.chat import ChatRequest, ModelCard
from junctor.gateway.count_tokens import PATH, CountTokens
from junctor.gateway.keys import ANYBODY
from junctor.gateway.menu import Menu
from junctor.gateway.rest import Rest
from junctor.pool.scripted import ScriptedModel, parse_script
from running import Running, running
from tables import key_table, model_table

USER = [{"role": "user", "content": "How many?"}]


class Asked:
    """An upstream that counts."""

    def __init__(self) -> None:
        self.requests: list[ChatRequest] = []

    async def __call__(self, request: ChatRequest) -> bytes:
        self.requests.append(request)
        return b'{"input_tokens":14}'


def client(asked: Asked, max_body_bytes: int = 10_000) -> TestClient:
    pool = {
        name: ScriptedModel(ModelCard(name=name), parse_script([{"text": "a"}]))
        for name in ("small", "claude")
    }
    menu = Menu({name: [model.card] for name, model in pool.items()}, {})
    app = CountTokens(pool, menu, {"claude": asked}, max_body_bytes=max_body_bytes, body_timeout_s=5)
    return TestClient(Rest([Route(PATH, app, methods=["POST"])], lambda _: ANYBODY))


def count(client: TestClient, **fields: Any) -> Any:
    return client.post(PATH, content=json.dumps({"messages": USER} | fields).encode())


def test_an_upstream_that_can_count_is_asked() -> None:
    asked = Asked()
    for name in ("claude", "claude-junctor-claude"):
        answer = count(client(asked), model=name, system="S")
        assert answer.json() == {"input_tokens": 14}
        assert "x-junctor-warning" not in answer.headers
    assert json.loads(bytes(asked.requests[0].body or b""))["system"] == "S"


def test_for_others_it_is_an_estimate_that_says_so() -> None:
    asked = Asked()
    short = count(client(asked), model="small")
    long = count(client(asked), model="small", system="word " * 100)
    assert 0 < short.json()["input_tokens"] < long.json()["input_tokens"]
    assert "estimated" in short.headers["x-junctor-warning"]
    assert asked.requests == []


def test_bad_requests_are_refused() -> None:
    for fields, status in (({"model": "none"}, 404), ({"model": "small", "messages": 5}, 400), ({}, 400)):
        assert count(client(Asked()), **fields).status_code == status
    assert count(client(Asked(), max_body_bytes=5), model="small").status_code == 413


CONFIG = (
    model_table("small")
    + model_table("large")
    + key_table("team", "junctor_test")
    + key_table("narrow", models=["small"])
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(CONFIG, tmp_path_factory.mktemp("server")) as it:
        yield it


def ask(server: Running, body: Any, key: str = "", method: str = "POST") -> tuple[int, Any, str]:
    """Status, body, the request's id."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, PATH, json.dumps(body).encode(), {"x-api-key": key} if key else {})
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read()), reply.headers["request-id"]
    finally:
        connection.close()


def test_it_wants_a_key_and_answers_in_anthropics_envelope(server: Running) -> None:
    fine, key = {"model": "auto", "messages": USER}, "junctor_test"
    assert ask(server, fine, key)[1]["input_tokens"] > 0
    for (status, body, request_id), wanted, kind in (
        (ask(server, fine), 401, "authentication_error"),
        (ask(server, fine | {"model": "none"}, key), 404, "not_found_error"),
        (ask(server, {}, key), 400, "invalid_request_error"),
        (ask(server, {}, key, "GET"), 405, "invalid_request_error"),
    ):
        assert (status, body["type"], body["error"]["type"]) == (wanted, "error", kind)
        assert request_id.startswith("req_")


def test_it_leaves_no_row_in_the_ledger(server: Running) -> None:
    ask(server, {"model": "small", "messages": USER}, "junctor_test")
    with sqlite3.connect(server.database) as connection:
        assert connection.execute("SELECT count(*) FROM ledger").fetchone() == (0,)


def test_a_key_counts_for_the_models_that_it_may_use(server: Running) -> None:
    """As it may chat with them, limits of the request included."""
    for fields, status in (
        ({"model": "small"}, 200),
        ({"model": "auto"}, 200),
        ({"model": "large"}, 403),
        ({"model": "claude-junctor-large"}, 403),
        ({"model": "auto", "junctor": {"only": ["large"]}}, 403),
    ):
        assert ask(server, {"messages": USER} | fields, "narrow")[0] == status, fields
    status, body, _ = ask(server, {"messages": USER, "model": "large"}, "narrow")
    assert body["error"]["type"] == "permission_error"
    assert ask(server, {"messages": USER, "model": "large"}, "junctor_test")[0] == 200
