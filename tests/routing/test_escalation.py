"""The record of a cascade. `test_cascade.py` sees it from outside; here are its edges."""

from __future__ import annotations

from climbing import decision_over
from junctor.chat import Answer, Price, UpstreamBroken, Usage
from junctor.routing.escalation import Heard, Record, hear, render_draft
from ladders import CHEAP, STRONG, a_ladder

PRICES: dict[str, Price | None] = dict.fromkeys((*CHEAP, STRONG), Price(input=1, output=1, source="test"))


def record(**more: object) -> Record:
    decision = decision_over((*CHEAP, STRONG), usd=0.5)
    return Record(decision, a_ladder(), "balanced", PRICES, **more)  # pyright: ignore[reportArgumentType]


def said(model: str, answer: str | None, tokens: int = 10) -> Heard:
    return Heard(model=model, answer=answer, usage=Usage(0, tokens), usd=tokens * 1e-6)


def test_before_anybody_is_asked_it_may_cost_all_of_it() -> None:
    begun = record()
    assert begun.decision.escalation is not None
    assert (begun.decision.path, begun.decision.escalation.usd) == ("cascade", 2.0)
    finished = begun.finish(None)
    assert finished.escalation is not None
    assert (finished.escalation.steps, finished.escalation.usd) == ((), 0)
    assert "nobody answered" in finished.rule


def test_usage_that_nobody_stated_is_counted() -> None:
    heard = hear("m", Answer(model="m", text="x" * 41, reason="stop"), None, 11e-6, 0.5)
    assert heard.usage == Usage(0, 11, estimated=True)
    assert (heard.usd, heard.took_ms) == (11e-6, 500)


def test_the_strongest_is_certain_to_win_only_where_no_answer_of_its_own_loses() -> None:
    three = [said(name, "42") for name in CHEAP]
    agreeing, none, alone = record(), record(), record()
    agreeing.add(three)
    assert not agreeing.is_certain
    none.add([said(name, None) for name in CHEAP])
    assert none.is_certain
    assert not none.can_compare
    alone.add([said("cheap-a", "1"), said("cheap-b", None), said("cheap-c", None)])
    assert not alone.is_certain, "if the strongest says nothing that can be compared, 1 is taken"
    differing = record()
    differing.add([said(name, name) for name in CHEAP])
    assert not differing.is_certain, "as above"
    cautious = record()
    cautious._ladder = a_ladder(caution=0.99)
    cautious.add(three)
    assert cautious.is_certain


def test_what_is_not_known_is_not_saved() -> None:
    unknown = record()
    unknown._prices = {**PRICES, "cheap-a": None}
    unknown.add([said("cheap-a", "42"), said("cheap-b", "42")])
    unknown.settle("cheap-a", "why")
    assert unknown.decision.saved_usd == 0


def test_an_answer_that_is_passed_on_as_it_comes_is_estimated_and_then_known() -> None:
    live = record()
    live.add([said("cheap-a", None), said("cheap-b", None)])
    live.pay(20e-6)
    live.settle_live("why")
    assert live.decision.escalation is not None
    assert live.decision.escalation.usd == 0.5 + 20e-6
    assert live.decision.saved_usd == -20e-6 or abs(live.decision.saved_usd + 20e-6) < 1e-12
    live.pay(1000e-6)
    kept = live.finish(said(STRONG, None, 1000))
    assert kept.escalation is not None
    assert abs(kept.escalation.usd - 1020e-6) < 1e-12
    assert [draft.model for draft in kept.escalation.steps[-1].drafts] == [STRONG]
    assert kept.escalation.because == "why"


def test_a_failure_is_told_in_short() -> None:
    error = UpstreamBroken("it broke\n" * 50, model="m")
    draft = render_draft(Heard(model="m", error=error), None)
    assert draft.failed is not None
    assert len(draft.failed) == 80
    assert "\n" not in draft.failed
