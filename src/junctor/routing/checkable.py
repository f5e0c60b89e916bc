"""Which requests may climb a cascade: those whose answers are likely to be comparable, and no other. Pure.

A cascade asks several models and compares what they answer. For a poem, an essay or an explanation there is
nothing to compare: its drafts would be paid for, and waited for, in vain. So this is careful, about the words
of the prompt (wording.py) and about all that the request says beside them.

What a promise was learnt on were single prompts, answered once: a conversation that a model has already taken
part in is not cascaded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from junctor.chat import Candidate, ChatRequest, Constraints, Skill
from junctor.routing.ladder import Ladder, models_of
from junctor.routing.wording import is_checkable

_ALONE = ("logprobs", "top_logprobs", "functions", "modalities", "prediction", "web_search_options")
"Fields whose replies are more, or other, than an answer."
_NOTHING = frozenset({b"null", b"false", b"0", b"[]"})


class Case(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request, as far as it is known when it is decided whether to cascade it."""

    request: ChatRequest
    needs: Collection[Skill]
    begun: bool
    "Whether a model has spoken in the conversation."
    text: str
    "The text that was judged."
    named: tuple[float, ...]
    "Its features, `features.NAMES`."
    floor: float | None
    "The quality floor in force."


def objection_to(
    ladder: Ladder,
    case: Case,
    candidates: Collection[Candidate],
    away: Mapping[str, str],
    *,
    asks_in_turn: bool = False,
) -> str | None:
    """Why the request must not climb the ladder, in words; None: it may.

    `away`: the models that are set aside, and why. `asks_in_turn`: whether no two are asked at once.
    """
    if case.floor is not None and case.floor > ladder.floor:
        return f"its quality floor of {case.floor:.0%} is above the promised {ladder.floor:.0%}"
    if (form := _objection_to_form(case)) is not None:
        return form
    by_name = {candidate.name: candidate for candidate in candidates}
    for name in models_of(ladder):
        candidate = by_name.get(name)
        if candidate is None:
            return f"{name} is not in the pool any more"
        if candidate.ruled_out_by is not None:
            return f"{name} is ruled out by {candidate.ruled_out_by}"
    for name in (ladder.strongest, *ladder.rungs[0].models):
        if name in away:
            return f"{name} is {away[name]}"
    return _objection_to_limits(ladder, case.request.constraints, by_name, asks_in_turn=asks_in_turn)


def _objection_to_form(case: Case) -> str | None:
    """What the request itself says against it."""
    request, passed = case.request, case.request.passthrough
    if request.constraints.max_first_token_ms is not None:
        return "max_first_token_ms leaves no time to compare answers"
    if "n" in passed and bytes(passed["n"]) not in (b"1", b"null"):
        return "it asks for several answers"
    for field in _ALONE:
        if field in passed and bytes(passed[field]) not in _NOTHING:
            return f"`{field}` is asked for"
    if request.refused_elsewhere or request.lost_elsewhere:
        return f"`{(*request.refused_elsewhere, *request.lost_elsewhere)[0]}` is not the same for all models"
    if case.begun:
        return "a conversation stays with one model"
    if "audio" in case.needs:
        return "sound cannot be compared"
    if not is_checkable(case.text, case.named, case.needs):
        return "its answers are not likely to be comparable"
    return None


def _objection_to_limits(
    ladder: Ladder, limits: Constraints, candidates: Mapping[str, Candidate], *, asks_in_turn: bool
) -> str | None:
    """Its limits on cost and time hold for all calls together."""
    if limits.max_usd is not None:
        usd = sum(candidates[name].usd for name in models_of(ladder))
        if usd > limits.max_usd:
            return f"all calls together may cost {usd:.3g} USD > max_usd of {limits.max_usd:g} USD"
    if limits.max_total_ms is not None:
        total = 0.0
        for models in (*(rung.models for rung in ladder.rungs), (ladder.strongest,)):
            slowest = [candidates[name].total_ms for name in models]
            if any(each is None for each in slowest):
                return "max_total_ms is stated, and not all latencies are known"
            total += (sum if asks_in_turn else max)(each or 0.0 for each in slowest)
        if total > limits.max_total_ms:
            limit = f"max_total_ms of {limits.max_total_ms:g} ms"
            return f"one answer after the other may take {total:.3g} ms > {limit}"
    return None
