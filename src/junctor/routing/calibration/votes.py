"""Votes that a calibration has learnt: how much each member's answer counts, for pools of members. Pure.

A pool is the members of a fusion, or all models that were measured. A vote holds for what stood behind its
members' names then, and for nothing that has taken their names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from junctor.chat import ModelCard
from junctor.pool.vote import Vote
from junctor.routing.abilities import unchanged

FORMAT = 1
"Layout of stored votes. Another one is not used."


class PoolVote(msgspec.Struct, frozen=True, kw_only=True):
    """Of one pool. Shares are of prompts held back while it was learnt, 0..1."""

    members: tuple[str, ...]
    "Names in the pool, in the order of `vote.weights`."
    vote: Vote
    best: str
    "The member that was right most often."
    prompts: int
    "Those that all members answered."
    score: float
    "Share of right answers, as the vote takes them."
    best_score: float
    "As the best member gives them."
    majority_score: float
    "As a plain vote takes them."


class Votes(msgspec.Struct, frozen=True, kw_only=True):
    """Of all pools, as stored."""

    format: int = FORMAT
    pools: tuple[PoolVote, ...]
    identities: dict[str, str]
    "Of each member, what answered under that name (`abilities.identity_of`)."


def parse_votes(data: bytes | str) -> Votes | None:
    """Stored votes; None when they are of another layout. Raises `msgspec.DecodeError` when damaged."""
    votes = msgspec.json.decode(data, type=Votes)
    return votes if votes.format == FORMAT else None


def fit_to(votes: Votes | None, cards: Sequence[ModelCard]) -> Votes | None:
    """Those whose members are all among these models, and are what they were; None: there are none."""
    if votes is None:
        return None
    there = unchanged(votes.identities, cards)
    pools = tuple(pool for pool in votes.pools if there.issuperset(pool.members))
    names = {name for pool in pools for name in pool.members}
    kept = {name: identity for name, identity in votes.identities.items() if name in names}
    return Votes(pools=pools, identities=kept) if pools else None


def by_members(votes: Votes | None) -> Mapping[tuple[str, ...], Vote]:
    """As a fusion takes them."""
    return {pool.members: pool.vote for pool in votes.pools} if votes else {}
