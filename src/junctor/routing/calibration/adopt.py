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

Verdict = Literal["first", "better", "broken", "kept", "untested", "own", "nothing"]
"""Why a new one is in force (`first`: none that fits the pool was; `better` than the old one; the old one is
`broken`), or is not (`kept`: the old one is as good; `untested`: they could not be compared; `own`: neither
could they, because the old one was measured on the user's own prompts and this one was not; `nothing` was
learnt)."""
IN_FORCE: frozenset[Verdict] = frozenset({"first", "better", "broken"})


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
        has_old = current.ladder is not None and not current.misfits(pool)
        ladder = judge(has_old=has_old, comparison=learnt.ladder_comparison)
        ladder_id = await store.save_ladder(learnt.ladder, identities, use=ladder in IN_FORCE)
    abilities = judge(has_old=study.abilities is not None, comparison=learnt.abilities_comparison)
    if current.abilities is not None and not study.can_judge(current.abilities):
        abilities = "own" if match_abilities(current.abilities, pool) else abilities
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


async def _adopt_votes(
    store: CalibrationStore, study: Study, learnt: Learnt, current: Calibrated, pool: Sequence[ModelCard]
) -> tuple[Verdict, str | None]:
    """Votes in force are replaced where they are worse, or not there for every pool that was learnt."""
    if learnt.votes is None:
        return "nothing", None
    known = {frozenset(each.members) for each in study.votes.pools} if study.votes else set[frozenset[str]]()
    has_old = known.issuperset(frozenset(each.members) for each in learnt.votes.pools)
    verdict = judge(has_old=has_old, comparison=learnt.votes_comparison)
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
