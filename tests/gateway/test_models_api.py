"""The models, health, readiness, metrics."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from junctor.chat import ModelCard
from junctor.gateway.metrics import Metrics
from junctor.gateway.models_api import routes
from junctor.pool.scripted import ScriptedModel, parse_script


def client(**parts: str) -> TestClient:
    pool = {
        name: ScriptedModel(ModelCard(name=name, provider="test"), parse_script([{"text": "Hi"}]))
        for name in ("org/small", "claude-big")
    }
    return TestClient(Starlette(routes=routes(pool, Metrics(), lambda: parts)))


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
