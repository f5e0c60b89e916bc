"""What Prometheus is told of the pool: which models are set aside, and how hard had to be tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from junctor.pool.resilient import Resilience


class PoolCollector(Collector):
    """Reads the pool's health and counts at each scrape."""

    def __init__(self, current: Callable[[], Resilience | None]) -> None:
        """`current`: that of the pool in force; None before there is one."""
        self._current = current

    def collect(self) -> Iterator[Metric]:
        """The families, as `prometheus_client` asks for them."""
        resilience = self._current()
        if resilience is None:
            return
        yield from _health(resilience)
        counts = resilience.counts
        for name, what, figure in (
            ("retries", "Calls of a model that had failed for the same request.", counts.retries),
            ("retries_denied", "Retries that the budget for them did not allow.", counts.retries_denied),
            ("fallbacks", "Calls of another model after one had failed.", counts.fallbacks),
            ("hedges", "Calls of a second model beside a late one.", counts.hedges),
            ("hedges_won", "Hedges whose text came first.", counts.hedges_won),
            ("requests_unasked", "Requests for which every model was set aside.", counts.refused),
        ):
            yield CounterMetricFamily(f"junctor_{name}", what, value=figure)
        aside = CounterMetricFamily(
            "junctor_set_aside", "How often a model was set aside.", labels=("model", "why")
        )
        for (model, why), times in sorted(counts.set_aside.items()):
            aside.add_metric((model, why), times)
        yield aside


def _health(resilience: Resilience) -> Iterator[Metric]:
    states = GaugeMetricFamily(
        "junctor_model_state", "1 for the state that a model is in: ok or why not.", labels=("model", "state")
    )
    again = GaugeMetricFamily(
        "junctor_model_again_seconds", "Until a model that is set aside is asked again.", labels=("model",)
    )
    for name, health in sorted(resilience.health().items()):
        states.add_metric((name, health.state), 1)
        again.add_metric((name,), health.again_in_s)
    yield from (states, again)
