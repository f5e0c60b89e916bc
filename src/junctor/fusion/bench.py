"""The judge's side of one fusion: who judges, what that may cost, and what becomes of it when it fails."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from junctor.chat import Analysis, ChatRequest, UpstreamBroken
from junctor.fusion.ballot import weigh_ruling
from junctor.fusion.billing import Books
from junctor.fusion.judge import Judge
from junctor.fusion.panel import TYPICAL_TOKENS, Seat, estimate_usd
from junctor.fusion.plan import Plan
from junctor.fusion.record import Record
from junctor.fusion.roll import REASON_CHARS
from junctor.fusion.weights import Weights
from junctor.pool.as_text import shorten
from junctor.pool.metered import count_prompt_tokens
from junctor.pool.prompt import estimate_tokens

JUDGE_S = 60.0
"A judge that takes longer has failed."
VERDICT_TOKENS = 500
"Of a verdict or an analysis, for estimates."
Role = Literal["judge", "writer"]
"What somebody is asked for who may be a member, too."
_GAVE_NOTHING: dict[Role, str] = {"judge": "gave no verdict", "writer": "wrote nothing"}


class Opinion(msgspec.Struct, frozen=True, kw_only=True):
    """What a judge came to."""

    preferred: int | None = None
    "The seat whose answer it prefers; None: a tie, or a failure."
    failed: str | None = None
    "Why there is no verdict, in words."


class Bench:
    """Asks judges, and notes what they say."""

    def __init__(
        self,
        plan: Plan,
        seats: Sequence[Seat],
        books: Books,
        record: Record,
        weights: Weights,
        prompt_tokens: int,
    ) -> None:
        self._plan = plan
        self._seats = seats
        self._books = books
        self._record = record
        self._weights = weights
        self._tokens = prompt_tokens

    def writer_of(self, heard: Collection[int]) -> str:
        """Who writes what is merged: the judge that is named, else the best member that has answered."""
        return self._plan.judge or self._best_of([self._seats[at].name for at in heard])

    def judge_of(self, sides: Collection[int], heard: Collection[int]) -> str | None:
        """Who judges between the seats `sides`, all that gave one of the answers; None: there is nobody.

        The judge that is named; else the best member of those that have answered (`heard`) and take no side:
        nobody judges an answer of its own unasked.
        """
        if self._plan.judge is not None:
            return self._plan.judge
        names = {self._seats[at].name for at in sides}
        others = [self._seats[at].name for at in heard if self._seats[at].name not in names]
        return self._best_of(others) if others else None

    def _best_of(self, names: Sequence[str]) -> str:
        return names[self._weights.best(names)]

    def weigh(self, judge: str) -> float:
        """What its verdict is worth in the vote, logits."""
        return weigh_ruling(self._weights.judge_accuracy(judge, self._plan.judge_accuracy))

    @property
    def least_lead(self) -> float:
        """How far ahead an answer has to be for no judge to be asked."""
        if self._plan.mode != "auto":
            return 0.0
        asked = [seat.name for seat in self._seats if seat.left_out is None]
        judges = [self._plan.judge] if self._plan.judge else asked if len(asked) > 2 else []
        return max((self.weigh(judge) for judge in judges), default=0.0)

    async def compare(
        self, judge: str, shown: Mapping[int, str], request: ChatRequest, left_s: float
    ) -> Opinion:
        """Which answer the judge prefers in both orders. `shown`: by seat."""
        if not self.can_pay(judge, 2, shown.values()):
            return Opinion(failed="max_usd leaves nothing for it")
        places = list(shown)
        judgement = await self._ask(judge).compare(
            request, list(shown.values()), within_s=min(JUDGE_S, left_s)
        )
        self._record.judged(judge, judgement.rulings, places)
        preferred = None if judgement.preferred is None else places[judgement.preferred]
        return Opinion(preferred=preferred, failed=judgement.failed)

    async def analyse(
        self, writer: str, told: Sequence[tuple[str, str]], request: ChatRequest, left_s: float
    ) -> tuple[Analysis | None, str | None]:
        """The answers compared, by whoever writes; or why there is no such comparison."""
        if not self.can_pay(writer, 2, [text for _, text in told]):
            return None, "max_usd leaves nothing for it"
        analysed = await self._ask(writer).analyse(request, told, within_s=min(JUDGE_S, left_s))
        self._record.analysed(writer, analysed.analysis)
        return analysed.analysis, analysed.failed

    def _ask(self, judge: str) -> Judge:
        return Judge(self._books.open(judge, self._record.roll.pay))

    def do_without(self, role: Role, name: str, failure: str, *, leader: int) -> tuple[int, str]:
        """Whose answer is given without a judge or a writer, and why. `leader`: the seat whose answer leads.

        Raises `UpstreamBroken` where the fusion is to fail then.
        """
        if self._plan.on_judge_failure == "error":
            raise UpstreamBroken(f"the {role} `{name}` {_GAVE_NOTHING[role]}: {failure}", model=name)
        self._record.degrade(f"the {role} {name} failed: {failure}")
        so = f"the {role} {name} failed ({shorten(failure, REASON_CHARS)}), so"
        if self._plan.on_judge_failure == "best" and self._record.roll.has_best:
            return self._record.roll.best, f"{so} the best member's answer is given"
        return leader, f"{so} the leading answer is given"

    def can_pay(self, judge: str, calls: int, texts: Iterable[str]) -> bool:
        """Whether what is left of `max_usd` is enough for so many questions about these texts."""
        tokens = self._tokens + sum(estimate_tokens(text) for text in texts)
        cost = calls * estimate_usd(self._books.cards[judge], tokens, VERDICT_TOKENS)
        return self._is_within(cost)

    def can_argue(self, seats: Iterable[Seat]) -> bool:
        """Whether it is enough for one more round of these."""
        return self._is_within(
            sum(
                estimate_usd(
                    self._books.cards[seat.name],
                    count_prompt_tokens(seat.request),
                    seat.request.max_tokens or TYPICAL_TOKENS,
                )
                for seat in seats
                if seat.left_out is None
            )
        )

    def _is_within(self, usd: float) -> bool:
        limit = self._plan.max_usd
        return limit is None or self._record.roll.spent.usd + usd <= limit
