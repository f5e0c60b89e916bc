"""What Prometheus scrapes. Label sets are bounded: model names and outcomes, never keys, ids or prompts.

A request costs additions to one tally, not a look-up of a labelled counter for each figure (12 us); the
families are put together when somebody scrapes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from junctor.gateway.front import Front
from junctor.gateway.pool_metrics import PoolCollector
from junctor.pool.ledger import Receipt
from junctor.pool.resilient import Resilience

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_MILLISECONDS = [seconds * 1e3 for seconds in _SECONDS]
_BOUNDS = [*(f"{seconds:g}" for seconds in _SECONDS), "+Inf"]

_Labels = tuple[str, ...]


class _Times:
    """Observations by the bucket they fall in."""

    __slots__ = ("buckets", "sum_ms")

    def __init__(self) -> None:
        self.buckets = [0] * len(_BOUNDS)
        self.sum_ms = 0.0

    def add(self, ms: float) -> None:
        self.buckets[bisect_left(_MILLISECONDS, ms)] += 1
        self.sum_ms += ms

    def merge(self, other: _Times) -> None:
        self.buckets = [mine + theirs for mine, theirs in zip(self.buckets, other.buckets, strict=True)]
        self.sum_ms += other.sum_ms


class _Tally:
    """All requests of one route, model and outcome."""

    __slots__ = ("durations", "first_tokens", "input_tokens", "output_tokens", "requests", "saved_usd", "usd")

    def __init__(self) -> None:
        self.requests = 0
        self.durations = _Times()
        self.first_tokens = _Times()
        self.input_tokens = 0
        self.output_tokens = 0
        self.usd = 0.0
        self.saved_usd = 0.0

    def add(self, receipt: Receipt) -> None:
        self.requests += 1
        self.durations.add(receipt.total_ms)
        if receipt.first_token_ms is not None:
            self.first_tokens.add(receipt.first_token_ms)
        self.input_tokens += receipt.input_tokens
        self.output_tokens += receipt.output_tokens
        if receipt.usd > 0:
            self.usd += receipt.usd
        if receipt.saved_usd > 0:
            self.saved_usd += receipt.saved_usd


class _Tallies(Collector):
    """By route, model and outcome."""

    def __init__(self) -> None:
        self.by_key: dict[tuple[str, str, str], _Tally] = {}

    def collect(self) -> Iterator[Metric]:
        """The families, as `prometheus_client` asks for them."""
        tallies = self.by_key.items()
        yield _counter(
            "junctor_requests",
            "Requests by the model that answered and how they ended.",
            ("route", "model", "outcome"),
            ((key, tally.requests) for key, tally in tallies),
        )
        yield _histogram(
            "junctor_request_duration_seconds",
            "From the request's first byte to the reply's last.",
            "route",
            ((route, tally.durations) for (route, _, _), tally in tallies),
        )
        yield _histogram(
            "junctor_first_token_seconds",
            "From the request to the model's first text.",
            "model",
            ((model, tally.first_tokens) for (_, model, _), tally in tallies),
        )
        yield _counter(
            "junctor_tokens",
            "Tokens read and written.",
            ("model", "direction"),
            (
                ((model, direction), count)
                for (_, model, _), tally in tallies
                for direction, count in (("input", tally.input_tokens), ("output", tally.output_tokens))
            ),
        )
        yield _counter(
            "junctor_cost_usd",
            "What answers cost.",
            ("model",),
            (((model,), tally.usd) for (_, model, _), tally in tallies),
        )
        yield _counter(
            "junctor_saved_usd",
            "What answers would have cost more, had the strongest model given them. Never decreases: see the "
            "ledger for the net figure.",
            (),
            (((), tally.saved_usd) for _, tally in tallies),
        )


def _counter(
    name: str, what: str, labels: _Labels, figures: Iterable[tuple[_Labels, float]]
) -> CounterMetricFamily:
    sums: defaultdict[_Labels, float] = defaultdict(float)
    for values, figure in figures:
        sums[values] += figure
    family = CounterMetricFamily(name, what, labels=labels)
    for values, total in sums.items():
        family.add_metric(values, total)
    return family


def _histogram(
    name: str, what: str, label: str, observed: Iterable[tuple[str, _Times]]
) -> HistogramMetricFamily:
    merged: Mapping[str, _Times] = defaultdict(_Times)
    for value, times in observed:
        merged[value].merge(times)
    family = HistogramMetricFamily(name, what, labels=(label,))
    for value, times in merged.items():
        so_far, buckets = 0, list[tuple[str, float]]()
        for bound, count in zip(_BOUNDS, times.buckets, strict=True):
            so_far += count
            buckets.append((bound, so_far))
        if so_far:
            family.add_metric((value,), buckets, times.sum_ms / 1e3)
    return family


class Metrics:
    """The counters of one server; a registry of its own, so that two servers in a process do not mix."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._tallies = _Tallies()
        self._registry.register(self._tallies)
        self.in_flight = 0
        "Requests being answered."
        in_flight = Gauge("junctor_requests_in_flight", "Requests being answered.", registry=self._registry)
        in_flight.set_function(lambda: self.in_flight)

    def watch_store(
        self, failed: Callable[[], float], waiting: Callable[[], float], failing: Callable[[], float]
    ) -> None:
        """Rows that could not be written, rows that wait, and whether they have to: read at each scrape."""
        down = Gauge("junctor_store_failing", "1 while the database takes nothing.", registry=self._registry)
        down.set_function(failing)
        lost = Gauge("junctor_rows_lost", "Rows that could not be written.", registry=self._registry)
        lost.set_function(failed)
        queued = Gauge("junctor_rows_waiting", "Rows that wait to be written.", registry=self._registry)
        queued.set_function(waiting)

    def watch(self, figures: Collector) -> None:
        """Figures of a room: read at each scrape."""
        self._registry.register(figures)

    def watch_pool(self, current: Callable[[], Resilience | None]) -> None:
        """Health and counts of the pool in force: read at each scrape."""
        self._registry.register(PoolCollector(current))

    def watch_config(self, refused: Callable[[], float], reloads: Callable[[], float]) -> None:
        """Whether the newest configuration is in force: read at each scrape."""
        figures: tuple[tuple[str, str, Callable[[], float]], ...] = (
            ("config_refused", "1 while the newest configuration is refused for its mistakes.", refused),
            ("config_reloads", "How often a new configuration came into force since the start.", reloads),
        )
        for name, what, figure in figures:
            Gauge(f"junctor_{name}", what, registry=self._registry).set_function(figure)

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
        key = (route, receipt.model or "none", outcome)
        tally = self._tallies.by_key.get(key)
        if tally is None:
            tally = self._tallies.by_key[key] = _Tally()
        tally.add(receipt)

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self._registry)
