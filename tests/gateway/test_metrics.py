"""What Prometheus scrapes."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from junctor.gateway.metrics import Metrics
from junctor.pool.ledger import Receipt


def receipt(**changes: Any) -> Receipt:
    fields: dict[str, Any] = {
        "request_id": "req_1",
        "model": "small",
        "decision_id": None,
        "input_tokens": 3,
        "output_tokens": 4,
        "cached_tokens": 0,
        "usd": 0.25,
        "price_source": "test",
        "strongest_model": None,
        "strongest_usd": 0.0,
        "saved_usd": 0.5,
        "first_token_ms": 5.0,
        "total_ms": 70.0,
        "attempts": 1,
    }
    return Receipt(**(fields | changes))


def samples(metrics: Metrics) -> dict[str, float]:
    """Every figure by its name and labels, as Prometheus reads them."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        f"{sample.name} {' '.join(sorted(sample.labels.values()))}".strip(): sample.value
        for family in families
        for sample in family.samples
    }


def test_two_servers_in_a_process_count_apart() -> None:
    one, two = Metrics(), Metrics()
    one.observe(receipt(), route="chat", outcome="ok")
    assert b'junctor_requests_total{model="small",outcome="ok",route="chat"} 1.0' in one.render()
    assert b"small" not in two.render()


def test_figures_add_up_over_the_labels_that_a_family_does_not_have() -> None:
    metrics = Metrics()
    metrics.observe(receipt(), route="chat", outcome="ok")
    metrics.observe(receipt(total_ms=5.0, first_token_ms=None), route="chat", outcome="client_gone")
    metrics.observe(receipt(model="large", usd=1.0, saved_usd=-3.0), route="messages", outcome="ok")
    found = samples(metrics)
    assert found["junctor_requests_total chat ok small"] == 1
    assert found["junctor_tokens_total input small"] == 6
    assert found["junctor_tokens_total large output"] == 4
    assert found["junctor_cost_usd_total small"] == pytest.approx(0.5)
    assert found["junctor_saved_usd_total"] == pytest.approx(1.0), "a loss does not take back a saving"
    assert found["junctor_request_duration_seconds_count chat"] == 2
    assert found["junctor_request_duration_seconds_sum chat"] == pytest.approx(0.075)
    assert found["junctor_first_token_seconds_count small"] == 1


def test_a_bucket_holds_what_is_at_most_its_bound() -> None:
    metrics = Metrics()
    for ms in (5.0, 5.1, 400_000.0):
        metrics.observe(receipt(total_ms=ms), route="chat", outcome="ok")
    found = samples(metrics)
    bucket = "junctor_request_duration_seconds_bucket"
    assert (found[f"{bucket} 0.005 chat"], found[f"{bucket} 0.01 chat"]) == (1, 2)
    assert (found[f"{bucket} 300 chat"], found[f"{bucket} +Inf chat"]) == (2, 3)


def test_a_request_that_nobody_answered_has_no_model() -> None:
    metrics = Metrics()
    metrics.observe(receipt(model=None, first_token_ms=None), route="chat", outcome="invalid_request")
    assert samples(metrics)["junctor_requests_total chat invalid_request none"] == 1


def test_requests_in_flight_are_read_at_the_scrape() -> None:
    metrics = Metrics()
    metrics.in_flight += 2
    assert samples(metrics)["junctor_requests_in_flight"] == 2
