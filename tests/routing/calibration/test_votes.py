"""Votes as they are kept: for which members, and whether these are still what they were."""

from __future__ import annotations

import msgspec
import pytest

from junctor.chat import ModelCard
from junctor.pool.vote import Vote
from junctor.routing.calibration.votes import FORMAT, PoolVote, Votes, by_members, fit_to, parse_votes

VOTE = Vote((1.0, 2.0), 0.3, 0.1, 1.8)
CARDS = [ModelCard(name=name, provider="x") for name in ("a", "b", "c")]


def pool_of(*members: str) -> PoolVote:
    return PoolVote(
        members=members,
        vote=VOTE,
        best=members[-1],
        prompts=200,
        score=0.9,
        best_score=0.88,
        majority_score=0.87,
    )


VOTES = Votes(pools=(pool_of("a", "b"), pool_of("b", "c")), identities={"a": "x/a", "b": "x/b", "c": "x/c"})


def test_they_come_back_as_they_were_kept() -> None:
    assert parse_votes(msgspec.json.encode(VOTES)) == VOTES


def test_those_of_another_layout_are_not_read() -> None:
    assert parse_votes(msgspec.json.encode(msgspec.structs.replace(VOTES, format=FORMAT + 1))) is None
    with pytest.raises(msgspec.DecodeError):
        parse_votes(b'{"pools": 3}')


def test_a_changed_member_takes_its_pools_with_it() -> None:
    """And only those."""
    changed = [msgspec.structs.replace(CARDS[0], upstream="a-v2"), *CARDS[1:]]
    kept = fit_to(VOTES, changed)
    assert kept == Votes(pools=(pool_of("b", "c"),), identities={"b": "x/b", "c": "x/c"})
    assert fit_to(VOTES, CARDS[:1]) is None
    assert fit_to(None, CARDS) is None


def test_a_fusion_takes_them_by_members() -> None:
    assert by_members(VOTES) == {("a", "b"): VOTE, ("b", "c"): VOTE}
    assert by_members(None) == {}
