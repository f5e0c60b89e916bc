"""The record of a fusion: how the answers stood, who judged, and why this answer was given. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from junctor.chat import Analysis, Candidate, Cluster, Decision, Ruling, Verdict
from junctor.fusion.ballot import Standpoint
from junctor.fusion.panel import Seat
from junctor.fusion.plan import Plan
from junctor.fusion.roll import REASON_CHARS, Roll, best_of
from junctor.fusion.weights import Weights
from junctor.pool.as_text import shorten


class Record:
    """What one request's fusion has come to so far."""

    def __init__(self, plan: Plan, roll: Roll) -> None:
        self.roll = roll
        members = roll.members
        self._verdict = Verdict(
            fusion=plan.name,
            mode=plan.mode,
            best_member=members[roll.best].model,
            asked=sum(it.status != "left_out" for it in members),
        )

    @property
    def verdict(self) -> Verdict:
        """As it stands."""
        members, usd, best_usd = self.roll.members, self.roll.spent.usd, self.roll.best_usd
        return replace(
            self._verdict,
            members=members,
            awaited=sum(it.status in ("answered", "failed", "cut") for it in members),
            saved_answers=sum(it.status == "spared" for it in members),
            usd=usd,
            cost_multiple=usd / best_usd if best_usd > 0 else None,
        )

    def count(self, standpoints: Sequence[Standpoint], weights: Sequence[float], votes: str) -> None:
        """Note how the answers stand."""
        self.roll.mark(standpoints, weights)
        clusters = tuple(
            Cluster(answer=self.roll.show(it.answer), members=it.members, p=it.p) for it in standpoints
        )
        self._verdict = replace(self._verdict, clusters=clusters, votes=votes)

    def judged(self, judge: str, rulings: Sequence[Ruling], places: Sequence[int]) -> None:
        """Note what a judge said. `places`: the members whose answers it was shown, as it counts them."""
        told = [
            replace(
                ruling,
                order=tuple(places[at] for at in ruling.order),
                preferred=None if ruling.preferred is None else places[ruling.preferred],
            )
            for ruling in rulings
        ]
        self._verdict = replace(self._verdict, judge=judge, rulings=(*self._verdict.rulings, *told))

    def analysed(self, judge: str, analysis: Analysis | None) -> None:
        """Note a judge's comparison of the answers."""
        shown = analysis if self.roll.verbatim else None
        self._verdict = replace(self._verdict, judge=judge, analysis=shown)

    def degrade(self, why: str) -> None:
        """Note what did not go as it should."""
        so_far = f"{self._verdict.degraded}; " if self._verdict.degraded else ""
        self._verdict = replace(self._verdict, degraded=so_far + shorten(why, REASON_CHARS))

    def settle(self, path: str, because: str, chosen: int) -> None:
        """Note whose answer is given, and why."""
        self._verdict = replace(self._verdict, path=path, because=because, chosen=chosen)

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
        chosen=seats[best_of(seats, weights)].name,
        rule=f"{plan.mode}: {len(asked)} members are asked",
        mode=plan.mode,
        floor=None,
        features={"prompt_tokens": float(prompt_tokens)},
        path="fusion",
        took_us=took_us,
        saved_usd=0.0,
        artefact="",
    )
