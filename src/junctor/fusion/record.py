"""The record of a fusion: who was asked, what came, who judged, and why this answer was given. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from junctor.chat import (
    Analysis,
    Answer,
    Candidate,
    Cluster,
    Decision,
    Draft,
    MemberReply,
    ModelCard,
    Ruling,
    Usage,
    Verdict,
)
from junctor.fusion.ballot import Standpoint
from junctor.fusion.panel import Seat
from junctor.fusion.plan import Plan
from junctor.fusion.weights import Weights
from junctor.pool.fan_out import Reply
from junctor.pool.metered import cost_of

SHOWN_CHARS = 80
"Of an answer, as much is kept."
REASON_CHARS = 240
"Of a reason."
_BYTES_PER_TOKEN = 4


class Bill(msgspec.Struct, frozen=True):
    """What calls came to."""

    usage: Usage = Usage(0, 0)
    usd: float = 0.0

    def __add__(self, other: Bill) -> Bill:
        one, two = self.usage, other.usage
        return Bill(
            Usage(
                one.input_tokens + two.input_tokens,
                one.output_tokens + two.output_tokens,
                one.cached_tokens + two.cached_tokens,
                estimated=one.estimated or two.estimated,
                cache_written_tokens=one.cache_written_tokens + two.cache_written_tokens,
                reasoning_tokens=one.reasoning_tokens + two.reasoning_tokens,
            ),
            self.usd + other.usd,
        )


class Record:
    """What one request's fusion has come to so far."""

    def __init__(
        self,
        plan: Plan,
        seats: Sequence[Seat],
        cards: Mapping[str, ModelCard],
        weights: Weights,
        *,
        prompt_tokens: int,
        verbatim: bool,
    ) -> None:
        """`cards`: of members and judge. `prompt_tokens`: as the ledger counts them. `verbatim`: keep answers
        as they are, not only who agreed."""
        self.plan = plan
        self.best = _best_of(seats, weights)
        "The place of the best member that is asked."
        self._cards = cards
        self._weights = weights
        self._tokens = prompt_tokens
        self._verbatim = verbatim
        self._members = [_seated(seat) for seat in seats]
        self._estimates = [seat.usd for seat in seats]
        self._spent = Bill()
        self._verdict = Verdict(
            fusion=plan.name,
            mode=plan.mode,
            best_member=seats[self.best].name,
            asked=sum(seat.left_out is None for seat in seats),
        )

    @property
    def has_best(self) -> bool:
        """Whether the best member has answered."""
        return self._members[self.best].status == "answered"

    @property
    def spent(self) -> Bill:
        """All calls so far; those that were called off are estimated."""
        return self._spent

    @property
    def verdict(self) -> Verdict:
        """As it stands."""
        best = next((it.usd for it in self._members if it.model == self._verdict.best_member and it.usd), 0.0)
        best = best or self._estimates[self.best]
        usd = self._spent.usd
        return replace(
            self._verdict,
            members=tuple(self._members),
            awaited=sum(it.status in ("answered", "failed", "cut") for it in self._members),
            saved_answers=sum(it.status == "spared" for it in self._members),
            usd=usd,
            cost_multiple=usd / best if best > 0 else None,
        )

    def hear(self, at: int, answer: Answer, compared: str | None, took_s: float) -> Draft:
        """A member's whole answer. `compared`: its value; None: not comparable."""
        member, took_ms = self._members[at], round(took_s * 1e3, 3)
        usage = answer.usage or self._guess(answer.text)
        bill = self._pay_answer(member.model, answer, usage)
        shown = self._shown(compared)
        self._members[at] = replace(
            member,
            status="answered",
            answer=shown,
            input_tokens=member.input_tokens + usage.input_tokens,
            output_tokens=member.output_tokens + usage.output_tokens,
            usd=member.usd + bill.usd,
            took_ms=member.took_ms + took_ms,
        )
        return Draft(
            model=member.model, answer=shown, output_tokens=usage.output_tokens, usd=bill.usd, took_ms=took_ms
        )

    def fail(self, at: int, reply: Reply) -> Draft:
        """A member that failed, or was too late. One that had answered before keeps that answer."""
        member, took_ms = self._members[at], round(reply.took_s * 1e3, 3)
        why = _shorten(reply.error.message) if reply.error else None
        if member.status != "answered":
            status = "cut" if reply.is_late else "failed"
            self._members[at] = replace(member, status=status, reason=why, took_ms=took_ms)
        if reply.is_late:
            self._count_prompt(at)
        return Draft(model=member.model, failed=why, took_ms=took_ms)

    def spare(self, at: int, took_s: float) -> None:
        """A member that was called off: it has most likely read the prompt."""
        self._members[at] = replace(self._members[at], status="spared", took_ms=round(took_s * 1e3, 3))
        self._count_prompt(at)

    def pay(self, name: str, usage: Usage) -> Bill:
        """Note what a call took."""
        bill = Bill(usage, cost_of(usage, self._cards[name].price))
        self._spent += bill
        return bill

    def _pay_answer(self, name: str, answer: Answer, usage: Usage) -> Bill:
        """A member that has others answer for it (`auto`, a fusion) costs what they cost."""
        usd = cost_within(answer.decision)
        if usd is None:
            return self.pay(answer.model if answer.model in self._cards else name, usage)
        bill = Bill(usage, usd)
        self._spent += bill
        return bill

    def count(self, standpoints: Sequence[Standpoint], weights: Sequence[float], votes: str) -> None:
        """Note how the answers stand."""
        place = {at: rank for rank, it in enumerate(standpoints) for at in it.members}
        for at, weight in enumerate(weights):
            self._members[at] = replace(self._members[at], weight=weight, cluster=place.get(at))
        clusters = tuple(
            Cluster(answer=self._shown(it.answer), members=it.members, p=it.p) for it in standpoints
        )
        self._verdict = replace(self._verdict, clusters=clusters, votes=votes)

    def judged(self, judge: str, rulings: Sequence[Ruling], places: Sequence[int]) -> None:
        """Note what a judge said. `places`: the members whose answers it was shown, as it counts them."""
        for ruling in rulings:
            self._pay_ruling(ruling)
        told = [
            replace(
                ruling,
                order=tuple(places[at] for at in ruling.order),
                preferred=None if ruling.preferred is None else places[ruling.preferred],
            )
            for ruling in rulings
        ]
        self._verdict = replace(self._verdict, judge=judge, rulings=(*self._verdict.rulings, *told))

    def analysed(self, judge: str, analysis: Analysis | None, ruling: Ruling) -> None:
        """Note a judge's comparison of the answers, and what it took."""
        self._pay_ruling(ruling)
        self._verdict = replace(self._verdict, judge=judge, analysis=analysis)

    def degrade(self, why: str) -> None:
        """Note what did not go as it should."""
        so_far = f"{self._verdict.degraded}; " if self._verdict.degraded else ""
        self._verdict = replace(self._verdict, degraded=so_far + _shorten(why))

    def settle(self, path: str, because: str, chosen: int) -> None:
        """Note whose answer is given, and why."""
        self._verdict = replace(self._verdict, path=path, because=because, chosen=chosen)

    def rename(self, path: str) -> None:
        """Name what was done."""
        self._verdict = replace(self._verdict, path=path)

    def write(self, writer: str, because: str) -> None:
        """Note that a new answer is written, and by whom."""
        self._verdict = replace(self._verdict, path="merge", because=because, chosen=None, judge=writer)

    def decide(self, decision: Decision) -> Decision:
        """The decision as it stands."""
        verdict = self.verdict
        rule = f"{verdict.mode}: {verdict.because}" if verdict.because else decision.rule
        chosen = decision.chosen
        if verdict.chosen is not None:
            chosen = verdict.members[verdict.chosen].model
        elif verdict.path:
            chosen = verdict.judge or chosen
        return replace(decision, chosen=chosen, rule=rule, fusion=verdict)

    def _pay_ruling(self, ruling: Ruling) -> None:
        usage = Usage(ruling.input_tokens, ruling.output_tokens, estimated=False)
        self._spent += Bill(usage, ruling.usd)

    def _count_prompt(self, at: int) -> None:
        usage = Usage(self._tokens, 0, estimated=True)
        member = self._members[at]
        bill = self.pay(member.model, usage)
        self._members[at] = replace(member, input_tokens=self._tokens, usd=bill.usd)

    def _guess(self, text: str) -> Usage:
        return Usage(self._tokens, -(-len(text) // _BYTES_PER_TOKEN), estimated=True)

    def _shown(self, answer: str | None) -> str | None:
        return _shorten(answer, SHOWN_CHARS) if answer is not None and self._verbatim else None


def begin(
    plan: Plan,
    seats: Sequence[Seat],
    weights: Weights,
    *,
    decision_id: str,
    request_id: str,
    prompt_tokens: int,
    took_us: float,
) -> Decision:
    """The decision before anybody has answered."""
    told = dict[str, Candidate]()
    for seat in seats:
        told[seat.name] = Candidate(
            name=seat.name,
            p_good=weights.ability(seat.name),
            p_source="ability",
            usd=seat.usd,
            refused_because=seat.left_out,
        )
    asked = [seat.name for seat in seats if seat.left_out is None]
    return Decision(
        id=decision_id,
        request_id=request_id,
        candidates=tuple(told.values()),
        chosen=seats[_best_of(seats, weights)].name,
        rule=f"{plan.mode}: {len(asked)} members are asked",
        mode=plan.mode,
        floor=None,
        features={"prompt_tokens": float(prompt_tokens)},
        path="fusion",
        took_us=took_us,
        saved_usd=0.0,
        artefact="",
    )


def cost_within(decision: Decision | None) -> float | None:
    """What all calls behind an answer cost together, USD; None: it was a single one."""
    if decision is None:
        return None
    if decision.fusion is not None:
        return decision.fusion.usd
    return None if decision.escalation is None else decision.escalation.usd


def _best_of(seats: Sequence[Seat], weights: Weights) -> int:
    asked = [at for at, seat in enumerate(seats) if seat.left_out is None]
    return asked[weights.best([seats[at].name for at in asked])]


def _seated(seat: Seat) -> MemberReply:
    if seat.left_out is not None:
        return MemberReply(model=seat.name, status="left_out", reason=seat.left_out)
    return MemberReply(model=seat.name, status="spared")


def _shorten(text: str, most_chars: int = REASON_CHARS) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most_chars else text[: most_chars - 1] + "\u2026"
