"""All SQL of the report on savings, and how it is put together. Days are UTC."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from junctor.chat import Mode, Price
from junctor.pool.ledger_store import render_usd_nano
from junctor.routing.ladder import Ladder, parse_ladder
from junctor.routing.measuring.expectation import OnItsPrompts, on_its_prompts
from junctor.routing.measuring.promise import PromiseReport, promise_of, watch
from junctor.routing.measuring.savings import (
    MOST_REQUESTS,
    Alternative,
    Money,
    Paid,
    Quality,
    Slice,
    compare_money,
    compare_quality,
    find_alternatives,
    make_slice,
    predict_quality,
)
from junctor.routing.measuring.store import SHADOW_ROUTE, MeasureStore
from junctor.store.database import Database

# A routed request that a model was asked for, and that can be compared: prices were known. Fused requests are
# compared with nobody, so that they are none of these.
_ROUTED = """
    ledger.created_at >= :since AND ledger.decision_id IS NOT NULL AND ledger.strongest_model IS NOT NULL
    AND ledger.attempts > 0 AND (:key IS NULL OR ledger.caller = :key)
"""
_SUMS = f"""
SELECT substr(created_at, 1, 10) AS day, caller, count(*) AS requests,
       sum(CASE WHEN model <> strongest_model THEN 1 ELSE 0 END) AS elsewhere,
       sum(usd_nano) AS usd_nano, sum(strongest_usd_nano) AS strongest_usd_nano,
       max(created_at) AS latest, strongest_model
FROM ledger WHERE {_ROUTED} GROUP BY day, caller, strongest_model ORDER BY latest
"""  # noqa: S608 - of constants
_DRAWN = f"""
SELECT ledger.model, input_tokens, output_tokens, cached_tokens, attempts, usd_nano, strongest_usd_nano,
       strongest_model, decisions.document
FROM ledger LEFT JOIN decisions ON decisions.id = ledger.decision_id
WHERE {_ROUTED} AND ledger.model IS NOT NULL AND substr(ledger.request_id, -6) < :edge
ORDER BY ledger.request_id LIMIT :most
"""  # noqa: S608
# What is left out of the comparison. Who asks a fusion has named it, as others name a model.
_IS_NAMED = "(decision_id IS NULL OR coalesce(json_extract(decisions.document, '$.path'), '') = 'fusion')"
_OTHERS = f"""
SELECT sum(CASE WHEN {_IS_NAMED} THEN 1 ELSE 0 END) AS named,
       sum(CASE WHEN {_IS_NAMED} THEN usd_nano ELSE 0 END) AS named_nano,
       sum(CASE WHEN {_IS_NAMED} THEN 0 ELSE 1 END) AS unpriced,
       sum(CASE WHEN {_IS_NAMED} THEN 0 ELSE usd_nano END) AS unpriced_nano
FROM ledger LEFT JOIN decisions ON decisions.id = ledger.decision_id
WHERE ledger.created_at >= :since AND attempts > 0 AND route <> :shadow AND (:key IS NULL OR caller = :key)
      AND (decision_id IS NULL OR strongest_model IS NULL)
"""  # noqa: S608
_SHADOWS = """
SELECT shadows.verdict, shadows.difference, shadows.usd_nano
FROM shadows LEFT JOIN ledger ON ledger.request_id = shadows.request_id
WHERE shadows.created_at >= :since AND (:key IS NULL OR ledger.caller = :key)
ORDER BY shadows.created_at, shadows.request_id
"""
_LADDERS = "SELECT id, document FROM calibrations WHERE kind = 'ladder' ORDER BY id DESC"
# A calibration keeps its outcomes, and then the ladder that it has learnt from them. Ids sort by time.
_OUTCOMES = """
SELECT document FROM calibrations WHERE kind = 'outcomes' AND id < :id ORDER BY id DESC LIMIT 1
"""
_MEASURING = """
SELECT coalesce(sum(usd_nano), 0) AS usd_nano FROM ledger WHERE route = :shadow AND created_at >= :since
"""
_SCORES = """
SELECT feedback.model = ledger.strongest_model AS is_strongest, feedback.score
FROM feedback JOIN ledger ON ledger.request_id = feedback.request_id
LEFT JOIN decisions ON decisions.id = ledger.decision_id
WHERE feedback.created_at >= :since AND ledger.decision_id IS NOT NULL
      AND coalesce(json_extract(decisions.document, '$.path'), '') <> 'fusion'
      AND (:key IS NULL OR ledger.caller = :key)
ORDER BY feedback.created_at, feedback.id
"""
_HEX = 16**6
"Request ids end in random hexadecimal digits: an edge among the last six draws a share of them."


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings say that the report needs."""

    prices: Mapping[str, Price]
    "Of the chat models of the pool, by name; those without a price are left out."
    mode: Mode | None
    ladder: Ladder | None = None
    "The one in force."
    falls_back: bool
    "Whether the strongest model answers once the promise is broken."
    share: float
    "Of the requests that are sampled."
    judge: str | None


class Savings(msgspec.Struct, frozen=True, kw_only=True):
    """What routing saved, and what that did to quality."""

    days: int
    since: str
    "The first day, UTC; the last one is today."
    key: str | None
    "Of this key alone; None: of all."
    money: Money
    always_cheapest: Alternative | None
    "An estimate: the ledger's tokens at the cheapest model's price. None: nothing to estimate from."
    static_mix: Alternative | None
    "An estimate: the cheapest random mix of two models that is predicted to be as good."
    predicted_quality: float | None
    "What was to be expected of the answers that were given, mean, 0..1."
    strongest_predicted_quality: float | None
    "The same of the strongest model's, to the same requests."
    predicted_share: float
    "Of the requests, those that this is known of, 0..1."
    predicted_by_ladder: float
    "Of these, those that climbed a ladder: what is expected there is what its calibration found."
    predicted_agreement: bool
    "Whether, in such a calibration, what the strongest model said counted as right."
    quality: Quality
    promise: PromiseReport
    "Of all keys, whatever `key` says."
    by_day: tuple[Slice, ...]
    by_key: tuple[Slice, ...]
    measuring_usd: float
    "What measuring cost; not part of what was spent on answers."
    named_requests: int
    "Requests that named a model, or a fusion: routing saved nothing there."
    named_usd: float
    unpriced_requests: int
    "Routed requests that cannot be compared: a price was unknown."
    unpriced_usd: float
    sampling: float
    "Share of the requests that are sampled now, 0..1; 0: nothing is measured."
    judge: str | None
    "Who compares answers without a final answer; None: nobody."


class SavingsStore:
    """Puts the report together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._measured = MeasureStore(database)

    async def report(self, terms: Terms, days: int, key: str | None, now: datetime | None = None) -> Savings:
        """Of the last so many days, today included; `key` is a name, as the ledger has it."""
        now = now or datetime.now(UTC)
        first = (now.astimezone(UTC) - timedelta(days=days - 1)).date().isoformat()
        asked: dict[str, Any] = {"since": first, "key": key}
        sums = await self._database.read(_SUMS, asked)
        total = _slice("total", sums)
        sample, agreement = await self._draw(asked, total.requests)
        shadow_rows = await self._database.read(_SHADOWS, asked)
        scores = await self._database.read(_SCORES, asked)
        others = (await self._database.read(_OTHERS, {**asked, "shadow": SHADOW_ROUTE}))[0]
        money, (cheapest, mix), predicted, quality = await asyncio.to_thread(
            lambda: (
                compare_money(total, sample),
                find_alternatives(total, sample, terms.prices),
                predict_quality(sample),
                compare_quality(
                    [(row["verdict"], row["difference"]) for row in shadow_rows],
                    [(bool(row["is_strongest"]), row["score"]) for row in scores],
                    total.elsewhere / total.requests if total.requests else 0.0,
                ),
            )
        )
        return Savings(
            days=days,
            since=first,
            key=key,
            money=money,
            always_cheapest=cheapest,
            static_mix=mix,
            predicted_quality=predicted.quality,
            strongest_predicted_quality=predicted.strongest_quality,
            predicted_share=predicted.share,
            predicted_by_ladder=predicted.by_ladder,
            predicted_agreement=agreement,
            quality=quality,
            promise=await self.promise(terms, sums[-1]["strongest_model"] if sums else ""),
            by_day=_slices(sums, "day"),
            by_key=_slices(sums, "caller"),
            measuring_usd=await self._measuring_usd(shadow_rows, first, key),
            named_requests=others["named"] or 0,
            named_usd=render_usd_nano(others["named_nano"] or 0),
            unpriced_requests=others["unpriced"] or 0,
            unpriced_usd=render_usd_nano(others["unpriced_nano"] or 0),
            sampling=terms.share,
            judge=terms.judge,
        )

    async def promise(self, terms: Terms, strongest: str) -> PromiseReport:
        """How the promise stands, by all that was compared since it was made."""
        promise = promise_of(terms.ladder, await self._measured.calibrated_at(), terms.mode, strongest)
        watched = watch(
            promise,
            await self._measured.shadows(promise.strongest, promise.since),
            await self._measured.scores(promise.strongest, promise.since),
        )
        return watched.report(fallback=terms.falls_back)

    async def _draw(self, asked: Mapping[str, Any], requests: int) -> tuple[list[Paid], bool]:
        """All routed requests, or `MOST_REQUESTS` of them, drawn by the random end of their ids.

        And whether what is expected of some is who agrees with the strongest model.
        """
        share = min(1.0, MOST_REQUESTS / requests) if requests else 1.0
        edge = "g" if share == 1.0 else f"{int(share * _HEX):06x}"
        rows = await self._database.read(_DRAWN, {**asked, "edge": edge, "most": 2 * MOST_REQUESTS})
        documents = [row["document"] for row in rows]
        decisions = await asyncio.to_thread(lambda: [*map(_parse_decision, documents)])
        climbed = {it.escalation.ladder for it in decisions if it and it.escalation}
        found = await self._find_ladders(climbed)
        sample = [_paid(row, it, found) for row, it in zip(rows, decisions, strict=True)]
        return sample, any(it.judged_by_strongest for it in found.values())

    async def _find_ladders(self, versions: Collection[str]) -> Mapping[str, OnItsPrompts]:
        """What the calibrations of these ladders found, by version; what cannot be read is left out."""
        found = dict[str, OnItsPrompts]()
        if not versions:
            return found
        for row in await self._database.read(_LADDERS):
            with suppress(msgspec.DecodeError):
                stored = msgspec.json.decode(row["document"], type=_StoredLadder)
                ladder = parse_ladder(bytes(stored.ladder))
                if ladder is None or ladder.version not in versions or ladder.version in found:
                    continue
                for outcomes in await self._database.read(_OUTCOMES, {"id": row["id"]}):
                    figures = _figures(ladder, msgspec.json.decode(outcomes["document"], type=_Outcomes))
                    if figures is not None:
                        found[ladder.version] = figures
        return found

    async def _measuring_usd(self, rows: list[dict[str, Any]], since: str, key: str | None) -> float:
        """By the ledger, which has those that were cut, too; of one key, by its comparisons."""
        if key is not None:
            return render_usd_nano(sum(row["usd_nano"] for row in rows))
        found = await self._database.read(_MEASURING, {"since": since, "shadow": SHADOW_ROUTE})
        return render_usd_nano(found[0]["usd_nano"])


class _Expected(msgspec.Struct, frozen=True):
    name: str
    p_good: float


class _Climbed(msgspec.Struct, frozen=True):
    ladder: str
    degraded: bool = False


class _Decision(msgspec.Struct, frozen=True):
    candidates: tuple[_Expected, ...]
    mode: str
    escalation: _Climbed | None = None


class _StoredLadder(msgspec.Struct, frozen=True):
    ladder: msgspec.Raw


class _Asked(msgspec.Struct, frozen=True):
    model: str
    scores: tuple[float | None, ...]


class _Outcomes(msgspec.Struct, frozen=True):
    """Of a stored study (`calibration/study.py`), as much as is read."""

    models: tuple[_Asked, ...]
    judged_by_strongest: int = 0


_decision = msgspec.json.Decoder(_Decision)


def _parse_decision(document: str | None) -> _Decision | None:
    return _decision.decode(document) if document else None


def _figures(ladder: Ladder, outcomes: _Outcomes) -> OnItsPrompts | None:
    scores = {it.model: it.scores for it in outcomes.models}
    return on_its_prompts(ladder, scores, judged_by_strongest=outcomes.judged_by_strongest > 0)


def _paid(row: dict[str, Any], decision: _Decision | None, ladders: Mapping[str, OnItsPrompts]) -> Paid:
    p_good, p_answer = _expect(decision, ladders)
    return Paid(
        model=row["model"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cached_tokens=row["cached_tokens"],
        attempts=row["attempts"],
        usd=render_usd_nano(row["usd_nano"]),
        strongest_usd=render_usd_nano(row["strongest_usd_nano"]),
        strongest=row["strongest_model"],
        p_good=p_good,
        p_answer=p_answer,
    )


def _expect(
    decision: _Decision | None, ladders: Mapping[str, OnItsPrompts]
) -> tuple[Mapping[str, float], float | None]:
    """What to expect of each model, and of the answer of a ladder. Of one that broke its rule: nothing."""
    if decision is None:
        return {}, None
    climbed = decision.escalation
    if climbed is None:
        return {it.name: it.p_good for it in decision.candidates}, None
    found = ladders.get(climbed.ladder)
    if found is None or climbed.degraded or decision.mode not in found.quality:
        return {}, None
    return found.models, found.quality[decision.mode]


def _slices(rows: list[dict[str, Any]], column: str) -> tuple[Slice, ...]:
    groups = dict[str, list[dict[str, Any]]]()
    for row in rows:
        groups.setdefault(row[column], []).append(row)
    return tuple(_slice(name, groups[name]) for name in sorted(groups))


def _slice(name: str, rows: list[dict[str, Any]]) -> Slice:
    return make_slice(
        name,
        sum(row["requests"] for row in rows),
        sum(row["elsewhere"] or 0 for row in rows),
        render_usd_nano(sum(row["usd_nano"] for row in rows)),
        render_usd_nano(sum(row["strongest_usd_nano"] for row in rows)),
    )
