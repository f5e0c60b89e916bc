"""The members of one fusion as they answer: what became of each, and what all calls took. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from junctor.chat import Draft, MemberReply, ModelCard
from junctor.fusion.ballot import Standpoint
from junctor.fusion.billing import Bill
from junctor.fusion.panel import Seat
from junctor.fusion.weights import Weights
from junctor.pool.as_text import shorten
from junctor.pool.fan_out import Reply

SHOWN_CHARS = 80
"Of an answer, as much is kept."
REASON_CHARS = 240
"Of a reason."
_OPEN = "the request ended before it had answered"
"Why a member has given no answer of which nothing else becomes known."


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
        "All calls so far; those that failed or were called off as far as they had come."
        self._unheard = [Bill()] * len(seats)
        self._cards = cards
        self._tokens = prompt_tokens
        self.verbatim = verbatim
        "Whether what members say may be kept."
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

    def hear(self, at: int, compared: str | None, took_s: float) -> Draft:
        """A member's answer is whole. `compared`: its value; None: not comparable."""
        member, took_ms, bill = self._members[at], round(took_s * 1e3, 3), self._take_bill(at)
        shown = self.show(compared)
        self._members[at] = replace(
            member, status="answered", reason=None, answer=shown, took_ms=member.took_ms + took_ms
        )
        return Draft(
            model=member.model,
            answer=shown,
            output_tokens=bill.usage.output_tokens,
            usd=bill.usd,
            took_ms=took_ms,
        )

    def fail(self, at: int, reply: Reply) -> Draft:
        """A member that failed, or was too late. One that had answered before keeps that answer."""
        member, took_ms, bill = self._members[at], round(reply.took_s * 1e3, 3), self._take_bill(at)
        why = shorten(reply.error.message, REASON_CHARS) if reply.error else None
        if member.status != "answered":
            status = "cut" if reply.is_late else "failed"
            self._members[at] = replace(member, status=status, reason=why, took_ms=took_ms)
        return Draft(
            model=member.model,
            failed=why,
            output_tokens=bill.usage.output_tokens,
            usd=bill.usd,
            took_ms=took_ms,
        )

    def spare(self, at: int, took_s: float) -> None:
        """A member that was called off."""
        self._members[at] = replace(
            self._members[at], status="spared", reason=None, took_ms=round(took_s * 1e3, 3)
        )

    def pay(self, bill: Bill, at: int | None = None) -> None:
        """Note what a call took. `at`: of this member; None: of who judges or writes."""
        self.spent += bill
        if at is None:
            return
        self._unheard[at] += bill
        member = self._members[at]
        self._members[at] = replace(
            member,
            input_tokens=member.input_tokens + bill.usage.input_tokens,
            output_tokens=member.output_tokens + bill.usage.output_tokens,
            usd=member.usd + bill.usd,
        )

    def mark(self, standpoints: Sequence[Standpoint], weights: Sequence[float]) -> None:
        """Note who voted for what, and with which weight."""
        place = {at: rank for rank, it in enumerate(standpoints) for at in it.members}
        for at, weight in enumerate(weights):
            self._members[at] = replace(self._members[at], weight=weight, cluster=place.get(at))

    def show(self, answer: str | None) -> str | None:
        """An answer as it is kept."""
        return shorten(answer, SHOWN_CHARS) if answer is not None and self.verbatim else None

    def _take_bill(self, at: int) -> Bill:
        """What a member has come to since it was last heard."""
        bill, self._unheard[at] = self._unheard[at], Bill()
        return bill


def best_of(seats: Sequence[Seat], weights: Weights) -> int:
    """The place of the best member that is asked."""
    asked = [at for at, seat in enumerate(seats) if seat.left_out is None]
    return asked[weights.best([seats[at].name for at in asked])]


def _seated(seat: Seat) -> MemberReply:
    if seat.left_out is not None:
        return MemberReply(model=seat.name, status="left_out", reason=seat.left_out)
    return MemberReply(model=seat.name, status="cut", reason=_OPEN)
