"""What measuring needs for as long as the process lasts: the queue, the allowance, the promise, the figures.

measuring = Measuring(database, ledger, is_busy)
await measuring.refresh(ladder, mode, strongest, falls_back=...)   # with each new generation
pool["auto"] = measuring.shadow(router, models, plan)      # where shadows are configured
measuring.promise_holds()                                  # what the router asks
await measuring.stop()
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from junctor.chat import Mode, Model, ModelCard
from junctor.pool.ledger import Ledger
from junctor.routing.ladder import Ladder
from junctor.routing.measuring.examiner import Allowance, Examiner
from junctor.routing.measuring.judge import Judge
from junctor.routing.measuring.promise import Promise, PromiseWatch, promise_of, watch
from junctor.routing.measuring.shadow import Shadowed, ShadowQueue
from junctor.routing.measuring.store import MeasureStore, Shadow
from junctor.store.database import Database
from junctor.store.failure import StoreFailed

log = logging.getLogger(__name__)

_NOTHING = Promise(version="", margin=0.0)
_GAUGE = {"kept": 1.0, "broken": 0.0, "unproven": float("nan")}


class Plan(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """How one generation of the settings samples."""

    share: float
    max_usd_per_day: float
    judge: str | None
    "A model of the pool."
    judge_prompt: str
    strongest: str
    "What the others' answers are compared with."
    away: Callable[[], Collection[str]]
    "The models that are set aside."


class Measuring(Collector):
    """One a process. Prometheus reads its figures."""

    def __init__(
        self, database: Database, ledger: Ledger, is_busy: Callable[[], bool] = lambda: False
    ) -> None:
        """`is_busy`: whether the server has too much to do for its callers already."""
        self.queue = ShadowQueue(is_busy)
        self.verdicts: Counter[str] = Counter()
        "Samples that were examined, by their verdict."
        self.usd = 0.0
        "What they cost."
        self._store = MeasureStore(database)
        self._ledger = ledger
        self._allowance = Allowance(self._store)
        self._watch = PromiseWatch(_NOTHING)
        self._falls_back = False
        self._is_broken = False

    async def refresh(
        self, ladder: Ladder | None, mode: Mode | None, strongest: ModelCard | None, *, falls_back: bool
    ) -> None:
        """Watch what is promised now, by all that was compared since. `ladder`: the one in force."""
        name = strongest.name if strongest else ""
        try:
            promise = promise_of(ladder, await self._store.calibrated_at(), mode, name)
            watched = watch(promise, await self._store.shadows(promise.strongest, promise.since), ())
        except StoreFailed as error:
            log.warning("the promise is watched as before: %s", error)
            self._falls_back = falls_back
            return
        was, self._watch, self._falls_back = self._watch.promise.version, watched, falls_back
        if was != promise.version:
            self._is_broken = False
        self._look()

    def promise_holds(self) -> bool:
        """False: `auto` is to give everything to the strongest model, until it is calibrated again."""
        return not (self._is_broken and self._falls_back)

    def shadow(self, router: Model, models: Mapping[str, Model], plan: Plan) -> Shadowed:
        """The router, with a share of its replies compared. `models`: metered, by name."""
        judge = models.get(plan.judge) if plan.judge else None
        if plan.judge and judge is None:
            log.warning("routing.shadow.judge: the pool holds no model `%s`; nobody judges", plan.judge)
        examiner = Examiner(
            models,
            ledger=self._ledger,
            store=self._store,
            allowance=self._allowance,
            max_usd_per_day=plan.max_usd_per_day,
            judge=Judge(judge, plan.judge_prompt) if judge else None,
            away=plan.away,
            tell=self._hear,
            drop=self.queue.drop,
        )
        return Shadowed(
            router,
            share=plan.share,
            strongest=plan.strongest,
            examine=examiner.examine,
            queue=self.queue,
            draw=random.random,
        )

    async def stop(self) -> None:
        """Within a second."""
        await self.queue.stop()

    def _hear(self, shadow: Shadow) -> None:
        self.verdicts[shadow.verdict] += 1
        self.usd += shadow.usd
        if shadow.strongest == self._watch.promise.strongest:
            self._watch.see(shadow.verdict, shadow.difference)
            self._look()

    def _look(self) -> None:
        if self._is_broken or self._watch.status != "broken":
            return
        self._is_broken = True
        said = self._watch.report(fallback=self._falls_back)
        log.warning(
            "the promise of %s is broken: over %d comparisons answers are %+.1f points from the strongest "
            "model's, where no more than %.1f below were promised at %.0f %%; %s; see `junctor savings`",
            said.version,
            said.compared,
            said.mean_points or 0.0,
            said.margin_points,
            100 * said.confidence,
            "the strongest model answers from now on" if said.fallback else "routing goes on as it is",
        )

    def collect(self) -> Iterator[Metric]:
        """The families, as `prometheus_client` asks for them."""
        kept = "1 while comparisons prove the promise, 0 once they refute it, NaN while they do neither."
        yield GaugeMetricFamily("junctor_promise_kept", kept, value=_GAUGE[self._watch.status])
        examined = CounterMetricFamily(
            "junctor_shadows", "Answers compared with the strongest model's.", labels=("verdict",)
        )
        for verdict, times in sorted(self.verdicts.items()):
            examined.add_metric((verdict,), times)
        dropped = CounterMetricFamily(
            "junctor_shadows_dropped", "Samples that were not compared.", labels=("why",)
        )
        for why, times in sorted(self.queue.dropped.items()):
            dropped.add_metric((why,), times)
        cost = CounterMetricFamily("junctor_shadows_usd", "What comparing cost, USD.", value=self.usd)
        yield from (examined, dropped, cost)
