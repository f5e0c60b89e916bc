"""What Prometheus scrapes."""

from __future__ import annotations

from junctor.gateway.metrics import Metrics


def test_two_servers_in_a_process_count_apart() -> None:
    one, two = Metrics(), Metrics()
    one.requests.labels("chat", "small", "ok").inc()
    assert b'junctor_requests_total{model="small",outcome="ok",route="chat"} 1.0' in one.render()
    assert b"small" not in two.render()
