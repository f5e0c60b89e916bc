"""`junctor calibrate --feedback-days`: votes of fusions, from what callers said of their answers.

No model is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.markup import escape

from junctor.assemble import Member, choose_members, database_path
from junctor.chat import ModelCard
from junctor.cli.models import describe_fusions
from junctor.cli.terminal import RELOAD, console
from junctor.fusion.weights import PRIOR, Weights
from junctor.lasting import ARTEFACT
from junctor.pool.vote import Rated
from junctor.routing.abilities import identity_of
from junctor.routing.calibration.learner import check_learner, learn_ratings
from junctor.routing.calibration.ratings import (
    LEAST_RATINGS,
    LearntPool,
    RatedPool,
    RatedVote,
    RatedVotes,
    group_by_members,
    votes_among,
)
from junctor.routing.calibration.store import Calibrated, CalibrationStore
from junctor.routing.measuring.store import MeasureStore
from junctor.routing.predictor import Predictor, parse_artefact
from junctor.settings import Environment, Settings
from junctor.store.database import Database

NEWEST = 5000
"So many ratings are read, the newest."
Groups = Mapping[tuple[str, ...], Sequence[Rated]]


async def learn_from_feedback(days: int, settings: Settings, environment: Environment) -> None:
    """Learn, compare with what is in force, and put in force what foretells ratings better."""
    await check_learner()
    members = await choose_members(settings, environment)
    async with Database(database_path(settings, environment)) as database:
        told = await MeasureStore(database).rated_fusions(days, NEWEST)
        groups = group_by_members([(each.verdict, each.score) for each in told])
        console.print(
            f"{len(told)} fused answers were rated in the last {days} days, by "
            f"{len({each.key_id for each in told})} keys; {sum(map(len, groups.values()))} tell of votes.",
            soft_wrap=True,
        )
        store = CalibrationStore(database)
        current = await store.current()
        cards = [member.card for member in members if member.settings.kind == "chat"]
        pools = _choose(groups, settings, members, cards, current)
        learnt = list(zip(pools, await learn_ratings(pools) if pools else [], strict=True))
        for pool, each in learnt:
            _print(pool, each)
        better = [_keep(pool, each) for pool, each in learnt if each.comparison.switches]
        if better:
            await store.save_rated_votes(_with_others(better, current, cards))
            console.print(RELOAD, soft_wrap=True)


def _choose(
    groups: Groups,
    settings: Settings,
    members: Sequence[Member],
    cards: Sequence[ModelCard],
    current: Calibrated,
) -> list[RatedPool]:
    """Those that can be learnt; of the others it is said why not."""
    fusions = describe_fusions(settings, members, current, Predictor(parse_artefact(ARTEFACT.read_bytes())))
    weights = Weights(fusions.abilities, fusions.votes)
    in_force, names = votes_among(current.rated, cards), {card.name for card in cards}
    pools = list[RatedPool]()
    for group, rated in groups.items():
        start, source = weights.vote_for(group)
        if not names.issuperset(group):
            why = "not all of them are models of the pool"
        elif source != PRIOR:
            why = f"left as {source}: prompts with known answers say more"
        elif len(rated) < LEAST_RATINGS:
            why = f"{len(rated)} ratings, {LEAST_RATINGS} are the least"
        else:
            before = in_force[group].vote if group in in_force else start
            pools.append(RatedPool(members=group, start=start, in_force=before, rated=tuple(rated)))
            continue
        console.print(f"[bold]Vote[/] of {_spell(group)}: {why}.", soft_wrap=True)
    return pools


def _print(pool: RatedPool, learnt: LearntPool) -> None:
    its = learnt.comparison
    verdict = (
        "[green]in force from now on[/]: it foretells ratings better than the one before"
        if its.switches
        else "[yellow]not in force[/]: the one before foretells ratings as well, or better"
    )
    console.print(
        f"[bold]Vote[/] of {_spell(pool.members)}: {len(pool.rated)} ratings, {_mean(pool):.0%} good; "
        f"{verdict} (log likelihood a rating: {its.new:.4f}, before {its.old:.4f}, ± {its.error:.4f} between "
        "them, on ratings that neither was learnt from).",
        soft_wrap=True,
    )


def _keep(pool: RatedPool, learnt: LearntPool) -> RatedVote:
    return RatedVote(
        members=pool.members, vote=learnt.vote, ratings=len(pool.rated), score=round(_mean(pool), 4)
    )


def _with_others(better: Sequence[RatedVote], current: Calibrated, cards: Sequence[ModelCard]) -> RatedVotes:
    """The new ones, and those in force of other members."""
    kept = dict(votes_among(current.rated, cards)) | {pool.members: pool for pool in better}
    names = {name for members in kept for name in members}
    identities = {card.name: identity_of(card) for card in cards if card.name in names}
    return RatedVotes(pools=tuple(kept.values()), identities=identities)


def _mean(pool: RatedPool) -> float:
    return sum(each.score for each in pool.rated) / len(pool.rated)


def _spell(members: Sequence[str]) -> str:
    return escape(", ".join(members))
