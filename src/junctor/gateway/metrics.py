"""What Prometheus scrapes. Label sets are bounded: model names and outcomes, never keys, ids or prompts."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from junctor.gateway.front import Front
from junctor.pool.ledger import Receipt

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The counters of one server; a registry of its own, so that two servers in a process do not mix."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "junctor_requests",
            "Requests by the model that answered and how they ended.",
            ("route", "model", "outcome"),
            registry=self._registry,
        )
        self.duration = Histogram(
            "junctor_request_duration_seconds",
            "From the request's first byte to the reply's last.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.first_token = Histogram(
            "junctor_first_token_seconds",
            "From the request to the model's first text.",
            ("model",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.tokens = Counter(
            "junctor_tokens", "Tokens read and written.", ("model", "direction"), registry=self._registry
        )
        self.cost = Counter("junctor_cost_usd", "What answers cost.", ("model",), registry=self._registry)
        self.saved = Counter(
            "junctor_saved_usd",
            "What answers would have cost more, had the strongest model given them. Never decreases: see the "
            "ledger for the net figure.",
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "junctor_requests_in_flight", "Requests being answered.", registry=self._registry
        )

    def watch_store(self, failed: Callable[[], float], waiting: Callable[[], float]) -> None:
        """Rows that could not be written, and rows that wait: read at each scrape."""
        lost = Gauge("junctor_rows_lost", "Rows that could not be written.", registry=self._registry)
        lost.set_function(failed)
        queued = Gauge("junctor_rows_waiting", "Rows that wait to be written.", registry=self._registry)
        queued.set_function(waiting)

    def watch_front(self, front: Front) -> None:
        """Connections, load, and what was refused before it was a request: read at each scrape."""
        figures: tuple[tuple[str, str, Callable[[], float]], ...] = (
            ("connections", "Open connections of callers.", lambda: len(front.connections)),
            ("loop_lag_seconds", "The queue that stays in the event loop.", lambda: front.shedder.lag_s),
            ("requests_shed", "Requests turned away by load shedding.", lambda: front.shedder.shed),
            ("requests_refused", "Requests refused as HTTP, too slow or shed.", front.refused.total),
        )
        for name, what, figure in figures:
            Gauge(f"junctor_{name}", what, registry=self._registry).set_function(figure)

    def observe(self, receipt: Receipt, *, route: str, outcome: str) -> None:
        """Count a request that has ended."""
        model = receipt.model or "none"
        self.requests.labels(route, model, outcome).inc()
        self.duration.labels(route).observe(receipt.total_ms / 1e3)
        if receipt.first_token_ms is not None:
            self.first_token.labels(model).observe(receipt.first_token_ms / 1e3)
        self.tokens.labels(model, "input").inc(receipt.input_tokens)
        self.tokens.labels(model, "output").inc(receipt.output_tokens)
        self.cost.labels(model).inc(max(0.0, receipt.usd))
        self.saved.inc(max(0.0, receipt.saved_usd))

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self._registry)
