"""What was learnt is kept, and takes the place of what is in force where it should."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from junctor.chat import ModelCard
from junctor.routing.abilities import Abilities, match_abilities
from junctor.routing.calibration.store import Calibrated, CalibrationStore
from junctor.routing.calibration.study import Comparison, Learnt, Study
from junctor.routing.calibration.votes import Votes, fit_to
from junctor.routing.ladder import Ladder

Verdict = Literal[
    "first",
    "better",
    "broken",
    "stricter",
    "kept",
    "untested",
    "own",
    "agreement",
    "useless",
    "nothing",
]
"""Why a new one is in force (`first`: none that fits the pool was; `better` than the old one; the old one is
`broken`; `stricter`: it promises more than the old one, as it was told to), or is not (`kept`: the old one is
as good; `untested`: they could not be compared; `own`: neither could they, because the old one was measured
on the user's own prompts and this one was not; `agreement`: the old one was measured by right answers, and
this one by who agrees with the strongest model; `useless`: the answers cannot rank models; `nothing` was
learnt)."""
IN_FORCE: frozenset[Verdict] = frozenset({"first", "better", "broken", "stricter"})


class Adopted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one calibration."""

    ladder: Verdict
    ladder_id: str | None
    abilities: Verdict
    abilities_id: str
    votes: Verdict = "nothing"
    votes_id: str | None = None


def with_in_force(study: Study, current: Calibrated, cards: Sequence[ModelCard]) -> Study:
    """The study with what is in force, as far as it fits the models."""
    return msgspec.structs.replace(
        study,
        ladder=None if current.misfits(cards) else current.ladder,
        abilities=current.abilities_for(cards),
        votes=fit_to(current.votes, cards),
    )


async def adopt(
    store: CalibrationStore, study: Study, learnt: Learnt, current: Calibrated, pool: Sequence[ModelCard]
) -> Adopted:
    """Save what was learnt, and what from; put in force what is to be.

    `current` is in force, and `pool` are all models, those that were not asked included: a ladder that fits
    them is not replaced by one of some of them, and abilities of the others stay as they were measured.
    """
    outcomes = msgspec.structs.replace(study, named=(), ladder=None, abilities=None, votes=None)
    await store.save_outcomes(msgspec.json.encode(outcomes))
    identities = {it.model: it.identity for it in study.models}
    ladder, ladder_id = "nothing", None
    if learnt.ladder is not None:
        old = None if current.misfits(pool) else current.ladder
        ladder = _judge_ladder(study, learnt.ladder, learnt.ladder_comparison, old)
        ladder_id = await store.save_ladder(learnt.ladder, identities, use=ladder in IN_FORCE)
    abilities = _judge_abilities(study, learnt.abilities_comparison, current.abilities, pool)
    votes, votes_id = await _adopt_votes(store, study, learnt, current, pool)
    return Adopted(
        ladder=ladder,
        ladder_id=ladder_id,
        abilities=abilities,
        abilities_id=await store.save_abilities(
            _with_others(learnt.abilities, current.abilities), use=abilities in IN_FORCE
        ),
        votes=votes,
        votes_id=votes_id,
    )


def _judge_ladder(study: Study, new: Ladder, comparison: Comparison | None, old: Ladder | None) -> Verdict:
    """`old`: in force, and fitting the pool."""
    if study.why_useless:
        return "useless"
    if old is not None and study.only_agrees(old):
        return "agreement"
    verdict = judge(has_old=old is not None, comparison=comparison)
    # Of some models of the pool it says too little to take the place of one of all: `study.ladder` is None.
    if verdict not in IN_FORCE and study.ladder is not None and _is_stricter(new, study.ladder):
        return "stricter"
    return verdict


def _is_stricter(new: Ladder, old: Ladder) -> bool:
    """Whether it promises more of the same model's quality, or the same more surely."""
    terms, before = (new.floor, new.confidence), (old.floor, old.confidence)
    at_least = new.floor >= old.floor and new.confidence >= old.confidence
    return new.strongest == old.strongest and at_least and terms != before


def _judge_abilities(
    study: Study, comparison: Comparison | None, old: Abilities | None, pool: Sequence[ModelCard]
) -> Verdict:
    if study.why_useless:
        return "useless"
    if old is not None and match_abilities(old, pool):
        if study.only_agrees(old):
            return "agreement"
        if not study.can_judge(old):
            return "own"
    return judge(has_old=study.abilities is not None, comparison=comparison)


async def _adopt_votes(
    store: CalibrationStore, study: Study, learnt: Learnt, current: Calibrated, pool: Sequence[ModelCard]
) -> tuple[Verdict, str | None]:
    """Votes in force are replaced where they are worse, or not there for every pool that was learnt."""
    if learnt.votes is None:
        return "nothing", None
    known = {frozenset(each.members) for each in study.votes.pools} if study.votes else set[frozenset[str]]()
    has_old = known.issuperset(frozenset(each.members) for each in learnt.votes.pools)
    verdict = "useless" if study.why_useless else judge(has_old=has_old, comparison=learnt.votes_comparison)
    votes = _with_other_pools(learnt.votes, fit_to(current.votes, pool))
    return verdict, await store.save_votes(votes, use=verdict in IN_FORCE)


def _with_other_pools(new: Votes, old: Votes | None) -> Votes:
    """The new votes, and the old ones of other pools."""
    if old is None:
        return new
    known = {frozenset(each.members) for each in new.pools}
    others = [each for each in old.pools if frozenset(each.members) not in known]
    return Votes(pools=(*new.pools, *others), identities={**old.identities, **new.identities})


def _with_others(new: Abilities, old: Abilities | None) -> Abilities:
    """The new abilities, and the old ones of models that were not asked, without their levels.

    Nor have those residuals: theirs are of other prompts.
    """
    if old is None or old.artefact != new.artefact:
        return new
    asked = {each.model for each in new.models}
    others = [
        msgspec.structs.replace(each, level=None, level_error=0.0, residuals=())
        for each in old.models
        if each.model not in asked
    ]
    return msgspec.structs.replace(new, models=(*new.models, *others))


def judge(*, has_old: bool, comparison: Comparison | None) -> Verdict:
    """Whether the new one comes into force, and why."""
    if not has_old:
        return "first"
    if comparison is None:
        return "untested"
    if comparison.is_broken:
        return "broken"
    return "better" if comparison.switches else "kept"
