"""The models, health, readiness, metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from starlette.testclient import TestClient

from junctor.chat import ModelCard
from junctor.gateway.keys import ANYBODY
from junctor.gateway.menu import Menu
from junctor.gateway.metrics import Metrics
from junctor.gateway.models_api import routes
from junctor.gateway.rest import Rest
from junctor.pool.scripted import ScriptedModel, parse_script
from running import Running, running
from tables import key_table, model_table


def client(**parts: str) -> TestClient:
    pool = {
        name: ScriptedModel(ModelCard(name=name, provider="test"), parse_script([{"text": "Hi"}]))
        for name in ("org/small", "claude-big")
    }
    menu = Menu({name: [model.card] for name, model in pool.items()}, {})
    return TestClient(Rest(routes(pool, menu, Metrics(), lambda: parts), lambda _: ANYBODY))


def test_models_are_listed_and_found_by_names_with_slashes() -> None:
    assert client().get("/v1/models").json()["data"][0]["id"] == "org/small"
    assert client().get("/v1/models/org/small").json()["owned_by"] == "test"


def test_anthropics_clients_get_names_that_claude_code_lists() -> None:
    """It takes only those that begin with `claude` or `anthropic`; each name finds its model."""
    listed = client().get("/v1/models", headers={"anthropic-version": "2023-06-01"}).json()["data"]
    assert [model["id"] for model in listed] == ["claude-junctor-org/small", "claude-big"]
    assert [model["display_name"] for model in listed] == ["org/small", "claude-big"]
    found = client().get("/v1/models/claude-junctor-org/small").json()
    assert (found["id"], found["display_name"]) == ("claude-junctor-org/small", "org/small")


def test_health_does_not_depend_on_the_parts() -> None:
    assert client(store="broken").get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ({"store": "ok"}, 200),
        ({"store": "ok", "model a": "ready"}, 200),
        ({"store": "ok", "model a": "starting"}, 503),
        ({"store": "failed"}, 503),
    ],
)
def test_readiness_is_that_of_every_part(parts: dict[str, str], status: int) -> None:
    answer = client(**parts).get("/readyz")
    assert answer.status_code == status
    assert answer.json()["parts"] == parts


def test_metrics_are_what_prometheus_reads() -> None:
    answer = client().get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"# TYPE junctor_requests_total counter" in answer.content


CONFIG = model_table("small") + model_table("large") + model_table("vectors", kind="embeddings")
MODELS = {
    "all": None,
    "one": ["small"],
    "router": ["auto"],
    "mixed": ["auto", "large"],
    "vectors": ["vectors"],
    "gone": ["was-here"],
}
KEYED = CONFIG + "".join(key_table(name, models=models) for name, models in MODELS.items())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(KEYED, tmp_path_factory.mktemp("server")) as it:
        yield it


def get(server: Running, path: str, key: str) -> tuple[int, Any]:
    try:
        with urlopen(Request(server.api + path, headers={"authorization": f"Bearer {key}"})) as reply:
            return reply.status, json.load(reply)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)["error"]


@pytest.mark.parametrize(
    ("key", "seen"),
    [
        ("all", ["small", "large", "vectors", "auto", "fusion"]),
        ("one", ["small", "auto", "fusion"]),
        ("router", ["auto"]),
        ("mixed", ["large", "auto", "fusion"]),
        ("vectors", ["vectors"]),
        ("gone", []),
    ],
)
def test_a_key_sees_the_models_that_it_may_use_and_no_others(
    server: Running, key: str, seen: list[str]
) -> None:
    """`auto` where it would have something to choose from."""
    assert [model["id"] for model in get(server, "/models", key)[1]["data"]] == seen
    for name in ("small", "large", "vectors", "auto"):
        status, body = get(server, f"/models/{name}", key)
        assert (status, body.get("code")) == ((200, None) if name in seen else (403, "model_not_allowed"))


def test_what_does_not_exist_is_told_without_the_names_of_others(server: Running) -> None:
    status, error = get(server, "/models/larg", "one")
    assert (status, error["code"]) == (404, "model_not_found")
    assert "small" in error["message"]
    assert "large" not in error["message"]
    assert get(server, "/models/claude-junctor-large", "one")[0] == 403
    assert get(server, "/models/claude-junctor-small", "one")[0] == 200
