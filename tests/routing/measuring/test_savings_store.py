"""The report from a real database: what is summed, what is left out, days, keys, and the sample."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from measured import decide

import junctor.routing.measuring.savings_store as savings_store
from junctor.chat import Escalation, Price
from junctor.pool.ledger_store import LedgerRow, LedgerStore
from junctor.routing.calibration.store import CalibrationStore
from junctor.routing.ladder import Ladder, Promise
from junctor.routing.measuring.savings_store import Savings, SavingsStore, Terms
from junctor.routing.measuring.store import Feedback, MeasureStore, Shadow
from junctor.routing.store import DecisionStore
from junctor.store.database import Database
from junctor.store.ids import new_id
from ladders import a_ladder

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 21, 0, 30, tzinfo=UTC)
TERMS = Terms(
    prices={"small": Price(input=1, output=1, source="t"), "large": Price(input=10, output=10, source="t")},
    mode=None,
    falls_back=True,
    share=0.02,
    judge=None,
)


class Books:
    """A database to write what happened into."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.ledger = LedgerStore(database)
        self.measured = MeasureStore(database)
        self.decisions = DecisionStore(database)

    def routed(self, *, at: datetime = NOW, model: str = "small", **more: object) -> str:
        """One request of `auto`: 1,000 tokens, 0.001 USD where 0.01 would be the strongest's price."""
        request_id = new_id("req_")
        fields = {
            "request_id": request_id,
            "created_at": at,
            "caller": "team",
            "route": "/v1/chat/completions",
            "asked_model": "auto",
            "model": model,
            "decision_id": f"dec_{request_id}",
            "stream": False,
            "input_tokens": 500,
            "output_tokens": 500,
            "usd": 0.001 if model == "small" else 0.01,
            "strongest_model": "large",
            "strongest_usd": 0.01,
            "attempts": 1,
            "outcome": "ok",
        }
        self.ledger.add(LedgerRow(**fields | more))  # pyright: ignore[reportArgumentType]
        return request_id

    async def compared(
        self, request_id: str, verdict: str, difference: float | None, at: datetime = NOW
    ) -> None:
        await self.measured.save_shadow(
            Shadow(
                request_id=request_id,
                created_at=at,
                model="small",
                strongest="large",
                verdict=verdict,
                difference=difference,
                usd=0.01,
            )
        )

    async def report(self, days: int = 30, key: str | None = None) -> Savings:
        return await SavingsStore(self.database).report(TERMS, days, key, NOW)


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[Books]:
    async with Database(tmp_path / "x.db") as database:
        yield Books(database)


async def test_an_empty_ledger_gives_a_report_of_nothing(books: Books) -> None:
    report = await books.report()
    assert (report.money.requests, report.money.saved_percent) == (0, None)
    assert (report.quality.points, report.promise.status) == (None, "unproven")
    assert report.by_day == report.by_key == ()
    assert (report.always_cheapest, report.static_mix) == (None, None)


async def test_sums_are_those_of_the_ledger(books: Books) -> None:
    for _ in range(3):
        books.routed()
    books.routed(model="large")
    money = (await books.report()).money
    assert (money.requests, money.elsewhere) == (4, 3)
    assert (money.spent_usd, money.strongest_usd, money.saved_usd) == pytest.approx((0.013, 0.04, 0.027))


async def test_what_routing_had_no_hand_in_is_left_out_and_said(books: Books) -> None:
    books.routed()
    books.routed(decision_id=None, asked_model="large", model="large")
    books.routed(strongest_model=None, strongest_usd=0.0)
    books.routed(attempts=0, model=None, usd=0.0, outcome="no_model_fits")
    books.routed(route="shadow", decision_id=None, usd=0.5)
    report = await books.report()
    assert report.money.requests == 1
    assert (report.named_requests, report.named_usd) == (1, 0.01)
    assert (report.unpriced_requests, report.unpriced_usd) == (1, 0.001)
    assert report.measuring_usd == 0.5


def fuse(books: Books) -> str:
    """A request to a fusion, as the ledger has it: with a decision, compared with nobody."""
    request_id = books.routed(asked_model="fusion", strongest_model=None, strongest_usd=0.0, usd=0.02)
    decision = msgspec.structs.replace(
        decide("small", "large"), id=f"dec_{request_id}", request_id=request_id, path="fusion"
    )
    books.decisions.save(decision)
    return request_id


async def test_fused_requests_are_no_traffic_of_auto(books: Books) -> None:
    """They were named, as others name a model: neither routed, nor unpriced, nor predicted."""
    books.routed()
    fuse(books)
    report = await books.report()
    assert (report.money.requests, report.money.spent_usd) == (1, 0.001)
    assert (report.named_requests, report.named_usd) == (1, 0.02)
    assert (report.unpriced_requests, report.unpriced_usd) == (0, 0.0)
    assert report.predicted_quality is None
    assert [it.requests for it in report.by_key] == [1]


async def test_what_callers_say_of_fused_answers_is_not_said_of_auto(books: Books) -> None:
    """Neither in the report nor to the watch of the promise."""
    request_id = fuse(books)
    feedback = Feedback(
        id="fbk_1", created_at=NOW, request_id=request_id, key_id="k", model="small", score=0.0
    )
    await books.measured.save_feedback(feedback)
    said = (await books.report()).quality.feedback
    assert (said.others, said.strongest) == (0, 0)
    assert await books.measured.scores("large", "2026") == []


async def test_days_are_utc_and_begin_at_midnight(books: Books) -> None:
    """At half past midnight, `days = 1` is half an hour."""
    books.routed(at=NOW - timedelta(minutes=20))
    books.routed(at=NOW - timedelta(minutes=40))
    assert (await books.report(days=1)).money.requests == 1
    report = await books.report(days=2)
    assert (report.since, report.money.requests) == ("2026-11-20", 2)
    assert [(it.name, it.requests) for it in report.by_day] == [("2026-11-20", 1), ("2026-11-21", 1)]


async def test_one_key_is_seen_alone_with_its_own_measuring(books: Books) -> None:
    mine, other = books.routed(caller="a"), books.routed(caller="b")
    books.routed(route="shadow", decision_id=None, caller="", usd=0.02)
    await books.compared(mine, "worse", -1.0)
    await books.compared(other, "equal", 0.0)
    report = await books.report(key="a")
    assert [(it.name, it.requests) for it in report.by_key] == [("a", 1)]
    assert (report.quality.compared, report.quality.elsewhere_points) == (1, -100.0)
    assert report.measuring_usd == 0.01
    assert [it.name for it in (await books.report()).by_key] == ["a", "b"]


async def test_predictions_come_from_the_decisions(books: Books) -> None:
    request_id = books.routed()
    decision = msgspec.structs.replace(
        decide("small", "large"), id=f"dec_{request_id}", request_id=request_id
    )
    books.decisions.save(decision)
    books.routed()
    report = await books.report()
    assert (report.predicted_quality, report.strongest_predicted_quality) == (0.5, 0.5)
    assert report.static_mix is not None
    assert report.static_mix.models == {"small": 1.0}


LADDER = msgspec.structs.replace(
    a_ladder(rungs=(("small",),), strongest="large"),
    promises={"balanced": Promise(price=0.1, saved=0.5, quality=0.98, strongest_quality=0.94, low=0.0)},
)


async def calibrate(books: Books, ladder: Ladder = LADDER, *, judged: int = 0, small: float = 0.0) -> None:
    """As a calibration leaves it: outcomes, then the ladder. `small` is as much better than `large`."""
    scores = {"small": [max(0.0, small)] * 4, "large": [max(0.0, -small)] * 4}
    models = [{"model": name, "scores": each} for name, each in scores.items()]
    kept = CalibrationStore(books.database)
    await kept.save_outcomes(msgspec.json.encode({"models": models, "judged_by_strongest": judged}))
    await kept.save_ladder(ladder, {"small": "x/small", "large": "x/large"}, use=True)


def climb(
    books: Books, *, version: str = LADDER.version, degraded: bool = False, p_good: float = 0.5
) -> None:
    """A request that climbed a ladder, and its decision."""
    request_id = books.routed()
    escalation = Escalation(ladder=version, floor=0.98, confidence=0.95, prompts=300, degraded=degraded)
    decision = decide("small", "large", request_id=request_id)
    books.decisions.save(
        msgspec.structs.replace(
            decision,
            id=f"dec_{request_id}",
            path="cascade",
            escalation=escalation,
            candidates=tuple(msgspec.structs.replace(it, p_good=p_good) for it in decision.candidates),
        )
    )


async def test_what_climbed_a_ladder_is_expected_to_be_as_good_as_its_calibration_found(books: Books) -> None:
    """By the outcomes that it was learnt from, not by those of a later calibration, nor of one model."""
    await calibrate(books, small=-0.1)
    later = msgspec.structs.replace(LADDER, version="ladder-1-later")
    await calibrate(books, later, small=0.04)
    for _ in range(3):
        climb(books)
    report = await books.report()
    assert (report.predicted_quality, report.strongest_predicted_quality) == pytest.approx((0.98, 0.94))
    assert (report.predicted_share, report.predicted_by_ladder, report.predicted_agreement) == (1, 1, False)
    assert report.always_cheapest is not None
    assert report.always_cheapest.predicted_quality == pytest.approx(0.84)
    assert report.static_mix is None, "no mix of two is as good"


async def test_what_cannot_be_compared_is_in_none_of_the_predictions(books: Books) -> None:
    """A ladder that nobody knows any more; one that could not follow its rule."""
    await calibrate(books, judged=4)
    climb(books)
    climb(books, degraded=True)
    climb(books, version="ladder-1-gone")
    books.routed()
    report = await books.report()
    assert (report.predicted_quality, report.predicted_share) == (pytest.approx(0.98), 0.25)
    assert report.predicted_agreement, "right was what the strongest said"


async def test_a_damaged_calibration_is_passed_over(books: Books) -> None:
    await calibrate(books)
    await books.database.write("UPDATE calibrations SET document = '{' WHERE kind = 'outcomes'")
    climb(books)
    report = await books.report()
    assert (report.money.requests, report.predicted_quality, report.predicted_share) == (1, None, 0.0)


async def test_feedback_is_of_routed_requests(books: Books) -> None:
    for request_id, model in ((books.routed(), "small"), (books.routed(model="large"), "large")):
        await books.measured.save_feedback(
            Feedback(
                id=f"fbk_{request_id}",
                created_at=NOW,
                request_id=request_id,
                key_id="k",
                model=model,
                score=1.0,
            )
        )
    said = (await books.report()).quality.feedback
    assert (said.others, said.strongest) == (1, 1)


async def test_the_promise_is_of_all_keys_and_all_time(books: Books) -> None:
    books.routed()
    for _ in range(40):
        await books.compared(books.routed(caller="b"), "worse", -1.0, at=NOW - timedelta(days=90))
    report = await books.report(key="team")
    assert (report.promise.status, report.promise.compared, report.promise.fallback) == ("broken", 40, True)
    assert report.quality.compared == 0


async def test_many_requests_are_drawn_from_and_sums_stay_exact(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here 400 of 2,000; the estimate is scaled up to all."""
    monkeypatch.setattr(savings_store, "MOST_REQUESTS", 400)
    for at in range(2000):
        books.routed(model="small" if at % 4 else "large")
    store = SavingsStore(books.database)
    drawn, _ = await store._draw({"since": "2026-01-01", "key": None}, 2000)
    assert 300 < len(drawn) < 500
    report = await books.report()
    assert (report.money.requests, report.money.spent_usd) == (2000, pytest.approx(1500 * 0.001 + 500 * 0.01))
    assert report.always_cheapest is not None
    assert report.always_cheapest.usd == pytest.approx(2.0, rel=1e-6)
    assert report.money.saved_usd_interval is not None
    low, high = report.money.saved_usd_interval
    assert low < 13.5 * 1.1
    assert high > 13.5 * 0.9
