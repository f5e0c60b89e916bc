"""The record of a cascade: what was asked, what was answered, and why one answer was taken. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest

import msgspec
from msgspec.structs import replace

from junctor.chat import (
    Answer,
    Candidate,
    Decision,
    Draft,
    Escalation,
    JunctorError,
    Mode,
    Price,
    Step,
    Usage,
)
from junctor.pool.as_text import shorten
from junctor.pool.metered import cost_of
from junctor.pool.vote import Standing, stand
from junctor.routing.ladder import Ladder, Rung, conclude, expect_gain, models_of, read_signals

SHOWN_CHARS = 80
"Of an answer, as much is kept."
_BYTES_PER_TOKEN = 4
_ANOTHER = object()
"An answer that nobody has given yet."


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What a model said, or why it did not."""

    model: str
    answer: str | None = None
    "What is compared, whole."
    usage: Usage | None = None
    usd: float = 0.0
    "What all its calls cost, whether they failed or not."
    took_ms: float = 0.0
    error: JunctorError | None = None


def hear(model: str, answer: Answer, compared: str | None, usd: float, took_s: float) -> Heard:
    """An answer that came whole."""
    usage = answer.usage or Usage(0, -(-len(answer.text) // _BYTES_PER_TOKEN), estimated=True)
    return Heard(model=model, answer=compared, usage=usage, usd=usd, took_ms=took_s * 1e3)


def render_draft(heard: Heard, shown: str | None) -> Draft:
    """As it is told; `shown` stands for its answer."""
    return Draft(
        model=heard.model,
        answer=None if shown is None else shorten(shown, SHOWN_CHARS),
        failed=None if heard.error is None else shorten(heard.error.message, SHOWN_CHARS),
        output_tokens=heard.usage.output_tokens if heard.usage else 0,
        usd=heard.usd,
        took_ms=heard.took_ms,
    )


class Record:
    """What one request has come to on its way up a ladder."""

    def __init__(
        self,
        decision: Decision,
        ladder: Ladder,
        mode: Mode,
        prices: Mapping[str, Price | None],
        *,
        verbatim: bool = True,
    ) -> None:
        """`decision`: before anybody is asked. `verbatim`: keep answers as they are, not only numbered."""
        self.heard = list[Heard]()
        "In the order of the ladder."
        self.standing: Standing | None = None
        "The vote as it was last counted before the strongest model was asked."
        self._ladder = ladder
        self._mode: Mode = mode
        self._prices = prices
        self._verbatim = verbatim
        self._usd = 0.0
        self._rungs = list[Sequence[Heard]]()
        self._counts = list[tuple[Standing, float | None]]()
        self._settled: tuple[str, bool] | None = None
        "Why, and whether degraded."
        usd = {candidate.name: candidate.usd for candidate in decision.candidates}
        self._estimate = usd.get(ladder.strongest, 0.0)
        self.decision = _begin(decision, ladder, mode, sum(usd.get(name, 0.0) for name in models_of(ladder)))

    @property
    def answers(self) -> list[str | None]:
        """Those that can be compared, and None for the others; in the order of the ladder."""
        return [heard.answer for heard in self.heard]

    def pay(self, usd: float) -> None:
        """Note what a call cost; every call, as the ledger does."""
        self._usd += usd

    def add(self, rung: Sequence[Heard]) -> None:
        """All of a rung have answered, or failed."""
        self._rungs.append(rung)
        self.heard.extend(rung)

    def count(self, rung: Rung) -> str | None:
        """Count the votes. The model whose answer is taken; None: go on."""
        standing, gain = stand(rung.vote, self.answers), None
        if standing.top is not None:
            # Who failed has written nothing, which says nothing about the prompt.
            tokens = [heard.usage.output_tokens for heard in self.heard if heard.usage is not None]
            gain = expect_gain(rung.gains[self._mode], read_signals(standing, tokens))
        self.standing = standing
        self._counts.append((standing, gain))
        if standing.top is None or gain is None or gain > 0:
            return None
        return self._take(standing.top, _explain_stop(standing, len(self.heard)))

    def conclude(self) -> str:
        """The model whose answer is taken after all were asked, the strongest last."""
        taken, standing = self._conclude(self.answers)
        self._counts.append((standing, None))
        return self._take(taken, _explain_end(standing, taken, len(self.heard), self._ladder.strongest))

    @property
    def can_compare(self) -> bool:
        """Whether any answer so far can be compared."""
        return any(answer is not None for answer in self.answers)

    @property
    def is_certain(self) -> bool:
        """Whether the strongest model's answer will be taken, whatever it is."""
        if not self.can_compare:
            return True
        answers, last = self.answers, len(self.heard)
        possible = [None, _ANOTHER, *{answer for answer in answers if answer is not None}]
        return all(self._conclude([*answers, answer])[0] == last for answer in possible)

    def settle(self, chosen: str, because: str, *, degraded: bool = False, estimate: float = 0.0) -> None:
        """Whose answer is taken. `estimate`: what it will cost, where it is only beginning, USD."""
        usd = self._usd + estimate
        assert self.decision.escalation is not None
        steps = self._render_steps()
        escalation = replace(
            self.decision.escalation, steps=steps, because=because, degraded=degraded, usd=usd
        )
        self.decision = replace(
            self.decision,
            chosen=chosen,
            rule=f"{self._mode}, a cascade: {because}",
            candidates=_render_candidates(self.decision.candidates, steps, chosen),
            saved_usd=self._saved(chosen, usd),
            escalation=escalation,
        )
        self._settled = because, degraded

    def settle_live(self, because: str) -> None:
        """The strongest model's answer is taken, as it comes."""
        self.settle(self._ladder.strongest, because, estimate=self._estimate)

    def finish(self, live: Heard | None) -> Decision:
        """The decision as it is kept. `live`: an answer that was passed on as it came, if there was one."""
        if live is not None:
            self.add([live])
        if self._settled is None:
            self.settle(self._ladder.strongest, "nobody answered, or the caller left before")
        elif live is not None:
            because, degraded = self._settled
            self.settle(live.model, because, degraded=degraded)
        return self.decision

    def _conclude(self, answers: Sequence[object]) -> tuple[int, Standing]:
        return conclude(self._ladder.last, answers, self._ladder.caution)

    def _take(self, at: int, because: str) -> str:
        name = self.heard[at].model
        self.settle(name, because)
        return name

    def _saved(self, chosen: str, usd: float) -> float:
        """What the strongest model would have taken for the answer, less what was spent; 0: not known."""
        price = self._prices.get(self._ladder.strongest)
        usage = next((it.usage for it in self.heard if it.model == chosen), None)
        if price is None or any(self._prices.get(heard.model) is None for heard in self.heard):
            return 0.0
        if usage is None:
            return self._estimate - usd if chosen == self._ladder.strongest else 0.0
        return cost_of(usage, price) - usd

    def _render_steps(self) -> tuple[Step, ...]:
        steps, numbers = list[Step](), dict[str, str]()
        for rung, count in zip_longest(self._rungs, self._counts):
            drafts = tuple(render_draft(heard, self._shown(heard.answer, numbers)) for heard in rung)
            if count is None:
                steps.append(Step(drafts=drafts))
                continue
            standing, gain = count
            leads = None if standing.top is None else self.heard[standing.top].model
            steps.append(Step(drafts=drafts, leads=leads, p_top=standing.p_top, gain=gain))
        return tuple(steps)

    def _shown(self, answer: str | None, numbers: dict[str, str]) -> str | None:
        if answer is None or self._verbatim:
            return answer
        return numbers.setdefault(answer, f"answer {len(numbers) + 1}")


def _begin(decision: Decision, ladder: Ladder, mode: Mode, usd: float) -> Decision:
    """The decision to climb. `usd`: what all of it may cost."""
    return replace(
        decision,
        path="cascade",
        chosen=ladder.strongest,
        rule=f"{mode}, a cascade: cheap models first, then {ladder.strongest}",
        saved_usd=0.0,
        escalation=Escalation(
            ladder=ladder.version,
            floor=ladder.floor,
            confidence=ladder.confidence,
            prompts=ladder.prompts,
            usd=usd,
        ),
    )


def _render_candidates(
    candidates: Sequence[Candidate], steps: Sequence[Step], chosen: str
) -> tuple[Candidate, ...]:
    """The taken one first, then those that were asked, then the others."""
    drafts = {draft.model: draft for step in steps for draft in step.drafts}
    taken = drafts.get(chosen)
    told = dict[str, Candidate]()
    for candidate in candidates:
        if candidate.name == chosen:
            why = None
        elif (draft := drafts.get(candidate.name)) is None:
            why = candidate.refused_because if candidate.ruled_out_by else "not asked"
        elif draft.failed is not None:
            why = f"asked, and failed: {draft.failed}"
        elif taken is not None and draft.answer is not None and draft.answer == taken.answer:
            why = "asked too: the same answer"
        else:
            why = "asked too: another answer" if draft.answer else "asked too: nothing to compare"
        told[candidate.name] = replace(candidate, refused_because=why)
    order = dict.fromkeys([chosen, *drafts, *told])
    return tuple(told[name] for name in order if name in told)


def _explain_stop(standing: Standing, asked: int) -> str:
    """Why it ended before the strongest model."""
    agreeing = round(standing.agreeing * asked)
    said = f"{agreeing} of {asked} answers agree" if agreeing > 1 else f"the likeliest of {asked} answers"
    return f"{said}, right with a probability of {standing.p_top:.0%}; asking on is not worth its price"


def _explain_end(standing: Standing, taken: int, asked: int, strongest: str) -> str:
    """Why an answer was taken after all were asked, `strongest` last."""
    if taken == asked - 1:
        return f"the answers before it did not settle it, so {strongest} was asked, and its answer stands"
    agreeing = round(standing.agreeing * asked)
    return (
        f"{agreeing} of {asked} gave an answer that is right with a probability of {standing.p_top:.0%}, and "
        f"that of {strongest} with {standing.shares[asked - 1]:.0%}"
    )
