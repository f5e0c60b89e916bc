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
    model = ScriptedModel(ModelCard(name="org/small", provider="test"), parse_script([{"text": "Hi"}]))
    return TestClient(Starlette(routes=routes({"org/small": model}, Metrics(), lambda: parts)))


def test_models_are_listed_and_found_by_names_with_slashes() -> None:
    assert client().get("/v1/models").json()["data"][0]["id"] == "org/small"
    assert client().get("/v1/models/org/small").json()["owned_by"] == "test"


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
