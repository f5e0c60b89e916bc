"""One sample examined: the strongest model answers the same request, and the two answers are compared.

By their final answers or tool calls, where these are equal; else by the judge, where there is one. All calls
that are made here for one sample are one row of the ledger, with the route `shadow`, and nobody's budget is
charged for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import aclosing
from datetime import UTC, datetime

import msgspec

from junctor.chat import Answer, Constraints, InternalError, JunctorError, Model, Price, ServerStopping
from junctor.pool.answers import answer_of
from junctor.pool.as_text import render_answer
from junctor.pool.ledger import Entry, Ledger
from junctor.pool.metered import OK, count_prompt_tokens
from junctor.pool.prompt import parse_prompt
from junctor.routing.measuring.judge import Judge, Preference
from junctor.routing.measuring.shadow import Sample, may_see
from junctor.routing.measuring.store import SHADOW_ROUTE, MeasureStore, Shadow
from junctor.routing.measuring.transcript import Transcript

PATIENCE_S = 300.0
"For the strongest model's answer."
LONG_ANSWER_TOKENS = 4000
"What an answer without a limit may have, for the allowance: few are longer."
JUDGE_TOKENS = 200
"What a verdict comes to."
_BYTES_PER_TOKEN = 4
_UNSEEN = frozenset({"vision", "audio"})
"A judge is shown text."

DIFFERENCE: Mapping[Preference, float] = {"ours": 1.0, "theirs": -1.0, "tie": 0.0}
_VERDICT: Mapping[Preference, str] = {"ours": "better", "theirs": "worse", "tie": "tie"}


class Allowance:
    """What measuring may cost a day (UTC)."""

    def __init__(self, store: MeasureStore, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store = store
        self._now = now
        self._day: str | None = None
        self.spent = 0.0
        "Of the day, USD; what may still be spent by those under way included."

    async def reserve(self, usd: float, most: float) -> bool:
        """Take so much of what is left of `most`; False: there is not so much."""
        if (day := self._now().astimezone(UTC).date().isoformat()) != self._day:
            spent = await self._store.spent_today()
            if self._day != day:  # somebody else may have come first
                self._day, self.spent = day, spent
        if self.spent + usd > most:
            return False
        self.spent += usd
        return True

    def settle(self, reserved: float, usd: float) -> None:
        """It came to `usd`."""
        self.spent += usd - reserved


class Examiner:
    """Compares samples. One a generation of the settings."""

    def __init__(
        self,
        models: Mapping[str, Model],
        *,
        ledger: Ledger,
        store: MeasureStore,
        allowance: Allowance,
        max_usd_per_day: float,
        judge: Judge | None,
        away: Callable[[], Collection[str]],
        tell: Callable[[Shadow], None],
        drop: Callable[[str], None],
    ) -> None:
        """`models`: metered, by name. `away`: those that are set aside. `tell` hears of each outcome."""
        self._models = models
        self._ledger = ledger
        self._store = store
        self._allowance = allowance
        self._max_usd = max_usd_per_day
        self._judge = judge
        self._away = away
        self._tell = tell
        self._drop = drop

    async def examine(self, sample: Sample) -> None:
        """Compare, and keep the outcome."""
        judge = self._judge_for(sample)
        if judge is None and answer_of(sample.answer, parse_prompt(sample.request).text) is None:
            # Whatever the strongest said, nothing could be made of it: it is not asked.
            await self._keep(sample, "incomparable", None, "", 0.0)
            return
        if sample.strongest in self._away():
            self._drop("strongest_away")
            return
        estimate = self._estimate(sample, judge)
        if not await self._allowance.reserve(estimate, self._max_usd):
            self._drop("max_usd_per_day")
            return
        entry = self._open(sample)
        outcome, status = InternalError.code, InternalError.status
        try:
            verdict, difference, decided_by = await self._compare(sample, entry.request_id, judge)
            outcome, status = OK, 200
        except JunctorError as error:
            verdict, difference, decided_by = "failed", None, ""
            outcome, status = type(error).code, error.status
        except asyncio.CancelledError:
            outcome, status = ServerStopping.code, ServerStopping.status
            raise
        finally:
            # The row is queued before anything waits: a cancelled examination is in the ledger, too.
            spent = entry.receipt().usd
            self._allowance.settle(estimate, spent)
            await self._ledger.close(entry, outcome, status)
        await self._keep(sample, verdict, difference, decided_by, spent)

    def _open(self, sample: Sample) -> Entry:
        return self._ledger.open(
            "shadow_" + sample.request.id.partition("_")[2],
            caller="",
            route=SHADOW_ROUTE,
            asked_model=sample.strongest,
            stream=False,
            compares=False,
        )

    async def _compare(
        self, sample: Sample, request_id: str, judge: Judge | None
    ) -> tuple[str, float | None, str]:
        """Verdict, difference, and the judge where it decided. Raises what the strongest model raises."""
        theirs = await self._ask(sample, request_id)
        if theirs is None:
            return "failed", None, ""
        question = parse_prompt(sample.request).text
        ours_said, theirs_said = answer_of(sample.answer, question), answer_of(theirs, question)
        if ours_said is not None and ours_said == theirs_said:
            return "equal", 0.0, ""
        if judge is None:
            comparable = ours_said is not None and theirs_said is not None
            return "differs" if comparable else "incomparable", None, ""
        name = judge.model.card.name
        shown = render_answer(sample.answer), render_answer(theirs)
        preferred = await judge.compare(request_id, question, *shown)
        if preferred is None:
            return "undecided", None, name
        return _VERDICT[preferred], DIFFERENCE[preferred], name

    async def _ask(self, sample: Sample, request_id: str) -> Answer | None:
        request = msgspec.structs.replace(
            sample.request,
            model=sample.strongest,
            id=request_id,
            caller="",
            constraints=Constraints(),
            within_s=PATIENCE_S,
        )
        transcript = Transcript(request)
        async with aclosing(self._models[sample.strongest].answer(request)) as events:
            async for event in events:
                transcript.see(event)
        return transcript.read()

    def _judge_for(self, sample: Sample) -> Judge | None:
        """The judge, where it may see the request and can."""
        judge = self._judge
        if judge is None or not may_see(sample.decision, judge.model.card.name):
            return None
        return None if parse_prompt(sample.request).needs & _UNSEEN else judge

    def _estimate(self, sample: Sample, judge: Judge | None) -> float:
        """What it may cost at most, or nearly so, USD."""
        read = count_prompt_tokens(sample.request)
        limit = sample.request.max_tokens or LONG_ANSWER_TOKENS
        usd = _usd(self._models[sample.strongest].card.price, read, limit)
        if judge is not None:
            shown = read + limit + len(render_answer(sample.answer)) // _BYTES_PER_TOKEN
            usd += 2 * _usd(judge.model.card.price, shown, JUDGE_TOKENS)
        return usd

    async def _keep(
        self, sample: Sample, verdict: str, difference: float | None, judge: str, usd: float
    ) -> None:
        shadow = Shadow(
            request_id=sample.request.id,
            created_at=self._store.now(),
            key_id=sample.request.caller,
            model=sample.answer.model,
            strongest=sample.strongest,
            verdict=verdict,
            difference=difference,
            judge=judge,
            usd=usd,
        )
        self._tell(shadow)
        await self._store.save_shadow(shadow)


def _usd(price: Price | None, read: int, written: int) -> float:
    return price.usd(read, written) if price else 0.0
