"""What callers said of fused answers, as votes are learnt from it, and what was learnt.

Pure, and without numpy; the learner's side is `learn_ratings.py`. A calibration knows better: what it has
learnt of a fusion's members goes before what ratings say of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from junctor.chat import ModelCard, Verdict
from junctor.pool.vote import Rated, Vote
from junctor.routing.abilities import unchanged
from junctor.routing.calibration.study import Comparison

FORMAT = 1
"Layout of stored votes. Another one is not used."
LEAST_RATINGS = 50
"Fewer are not learnt from."


class RatedPool(msgspec.Struct, frozen=True, kw_only=True):
    """Rated answers of one fusion's members."""

    members: tuple[str, ...]
    start: Vote
    "Theirs before anything was said of them."
    in_force: Vote
    "Learnt from ratings before; `start` where nothing was."
    rated: tuple[Rated, ...]


class LearntPool(msgspec.Struct, frozen=True, kw_only=True):
    """What the ratings of one pool have taught."""

    vote: Vote
    comparison: Comparison
    "Of the vote in force with it, by the log likelihood of ratings held back."


class RatedVote(msgspec.Struct, frozen=True, kw_only=True):
    """Of one pool, as stored."""

    members: tuple[str, ...]
    "Names in the pool, in the order of `vote.weights`."
    vote: Vote
    ratings: int
    score: float
    "Their mean, 0..1."


class RatedVotes(msgspec.Struct, frozen=True, kw_only=True):
    """Of all pools, as stored."""

    format: int = FORMAT
    pools: tuple[RatedVote, ...]
    identities: dict[str, str]
    "Of each member, what answered under that name (`abilities.identity_of`)."


def rated_of(verdict: Verdict, score: float) -> Rated | None:
    """One fused answer, and what was said of it. None: it tells nothing of its members' votes.

    So it is where a new answer was written, where the one given could not be compared, and after a debate:
    its answers are not the members' own.
    """
    given = verdict.chosen
    if given is None or verdict.mode == "debate" or verdict.members[given].cluster is None:
        return None
    heard = [it.cluster if it.status == "answered" else None for it in verdict.members]
    return Rated(answers=tuple(heard), given=given, score=score) if heard[given] is not None else None


def group_by_members(told: Sequence[tuple[Verdict, float]]) -> Mapping[tuple[str, ...], list[Rated]]:
    """What can be learnt from, by members: models of different names, two or more."""
    groups = dict[tuple[str, ...], list[Rated]]()
    for verdict, score in told:
        members = tuple(it.model for it in verdict.members)
        rated = rated_of(verdict, score)
        if rated is not None and 1 < len(members) == len(set(members)):
            groups.setdefault(members, []).append(rated)
    return groups


def parse_rated_votes(data: bytes | str) -> RatedVotes | None:
    """Stored ones; None when they are of another layout. Raises `msgspec.DecodeError` when damaged."""
    votes = msgspec.json.decode(data, type=RatedVotes)
    return votes if votes.format == FORMAT else None


def votes_among(votes: RatedVotes | None, cards: Sequence[ModelCard]) -> Mapping[tuple[str, ...], RatedVote]:
    """By members: those that are all among these models, and are what they were."""
    if votes is None:
        return {}
    there = unchanged(votes.identities, cards)
    return {pool.members: pool for pool in votes.pools if there.issuperset(pool.members)}
