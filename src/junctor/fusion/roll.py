"""The members of one fusion as they answer: what became of each, and what all calls took. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from junctor.chat import Answer, Decision, Draft, MemberReply, ModelCard, Ruling, Usage
from junctor.fusion.ballot import Standpoint
from junctor.fusion.panel import Seat
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


class Roll:
    """Who was asked, and what they said."""

    def __init__(
        self,
        seats: Sequence[Seat],
        cards: Mapping[str, ModelCard],
        weights: Weights,
        *,
        prompt_tokens: int,
        verbatim: bool,
    ) -> None:
        """`cards`: of members and judge. `prompt_tokens`: as the ledger counts them. `verbatim`: keep answers
        as they are, not only who agreed."""
        self.best = best_of(seats, weights)
        "The place of the best member that is asked."
        self.spent = Bill()
        "All calls so far; those that were called off are estimated."
        self._cards = cards
        self._tokens = prompt_tokens
        self._verbatim = verbatim
        self._members = [_seated(seat) for seat in seats]
        self._estimates = [seat.usd for seat in seats]

    @property
    def members(self) -> tuple[MemberReply, ...]:
        """As they stand."""
        return tuple(self._members)

    @property
    def has_best(self) -> bool:
        """Whether the best member has answered."""
        return self._members[self.best].status == "answered"

    @property
    def best_usd(self) -> float:
        """What the best member alone costs: as it did, else for an answer as long as the others' are."""
        best, heard = self._members[self.best], [it for it in self._members if it.status == "answered"]
        if done := [it for it in heard if it.model == best.model]:
            return done[0].usd
        price = self._cards[best.model].price
        if price is None or not heard:
            return self._estimates[self.best]
        return price.usd(self._tokens, round(sum(it.output_tokens for it in heard) / len(heard)))

    def hear(self, at: int, answer: Answer, compared: str | None, took_s: float) -> Draft:
        """A member's whole answer. `compared`: its value; None: not comparable."""
        member, took_ms = self._members[at], round(took_s * 1e3, 3)
        usage = answer.usage or self._guess(answer.text)
        bill = self._pay_answer(member.model, answer, usage)
        shown = self.show(compared)
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
        why = shorten(reply.error.message) if reply.error else None
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
        self.spent += bill
        return bill

    def _pay_answer(self, name: str, answer: Answer, usage: Usage) -> Bill:
        """A member that has others answer for it (`auto`, a fusion) costs what they cost."""
        usd = cost_within(answer.decision)
        if usd is None:
            return self.pay(answer.model if answer.model in self._cards else name, usage)
        bill = Bill(usage, usd)
        self.spent += bill
        return bill

    def pay_ruling(self, ruling: Ruling) -> None:
        """Note what a question to a judge took."""
        self.spent += Bill(Usage(ruling.input_tokens, ruling.output_tokens), ruling.usd)

    def mark(self, standpoints: Sequence[Standpoint], weights: Sequence[float]) -> None:
        """Note who voted for what, and with which weight."""
        place = {at: rank for rank, it in enumerate(standpoints) for at in it.members}
        for at, weight in enumerate(weights):
            self._members[at] = replace(self._members[at], weight=weight, cluster=place.get(at))

    def show(self, answer: str | None) -> str | None:
        """An answer as it is kept."""
        return shorten(answer, SHOWN_CHARS) if answer is not None and self._verbatim else None

    def _count_prompt(self, at: int) -> None:
        member = self._members[at]
        bill = self.pay(member.model, Usage(self._tokens, 0, estimated=True))
        read = member.input_tokens + self._tokens
        self._members[at] = replace(member, input_tokens=read, usd=member.usd + bill.usd)

    def _guess(self, text: str) -> Usage:
        return Usage(self._tokens, -(-len(text) // _BYTES_PER_TOKEN), estimated=True)


def cost_within(decision: Decision | None) -> float | None:
    """What all calls behind an answer cost together, USD; None: it was a single one."""
    if decision is None:
        return None
    if decision.fusion is not None:
        return decision.fusion.usd
    return None if decision.escalation is None else decision.escalation.usd


def best_of(seats: Sequence[Seat], weights: Weights) -> int:
    """The place of the best member that is asked."""
    asked = [at for at, seat in enumerate(seats) if seat.left_out is None]
    return asked[weights.best([seats[at].name for at in asked])]


def shorten(text: str, most_chars: int = REASON_CHARS) -> str:
    """One line, and no more than so many characters."""
    text = " ".join(text.split())
    return text if len(text) <= most_chars else text[: most_chars - 1] + "\u2026"


def _seated(seat: Seat) -> MemberReply:
    if seat.left_out is not None:
        return MemberReply(model=seat.name, status="left_out", reason=seat.left_out)
    return MemberReply(model=seat.name, status="spared")
