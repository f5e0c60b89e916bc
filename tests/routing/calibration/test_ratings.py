"""Ratings as votes are learnt from them, and what was learnt as it is kept."""

from __future__ import annotations

import msgspec
import pytest

from junctor.chat import Cluster, FusionMode, MemberReply, ModelCard, Verdict
from junctor.pool.vote import Rated, Vote
from junctor.routing.calibration.ratings import (
    FORMAT,
    RatedVote,
    RatedVotes,
    group_by_members,
    parse_rated_votes,
    rated_of,
    votes_among,
)

CARDS = [ModelCard(name=name, provider="x") for name in ("a", "b", "c")]
AB = RatedVote(members=("a", "b"), vote=Vote((1.0, 2.0), 0.3, 0.1, 1.8), ratings=60, score=0.75)
BC = msgspec.structs.replace(AB, members=("b", "c"))
VOTES = RatedVotes(pools=(AB, BC), identities={"a": "x/a", "b": "x/b", "c": "x/c"})


def verdict_of(
    *members: MemberReply, chosen: int | None = 0, mode: FusionMode = "auto", clusters: int = 2
) -> Verdict:
    told = tuple(Cluster(answer=None, members=(at,), p=0.5) for at in range(clusters))
    return Verdict(fusion="f", mode=mode, members=members, clusters=told, chosen=chosen)


def member(model: str, cluster: int | None, status: str = "answered") -> MemberReply:
    return MemberReply(model=model, status=status, cluster=cluster)  # pyright: ignore[reportArgumentType]


A, B = member("a", 0), member("b", 1)


def test_who_said_what_and_what_was_said_of_it() -> None:
    """Who was not waited for has said nothing; nor has one whose answer cannot be compared."""
    late, silent = member("c", None, "spared"), member("d", None)
    assert rated_of(verdict_of(A, B, late, silent, chosen=1), 0.25) == Rated((0, 1, None, None), 1, 0.25)


@pytest.mark.parametrize(
    "verdict",
    [
        pytest.param(verdict_of(A, B, chosen=None), id="a new answer was written"),
        pytest.param(verdict_of(A, B, mode="debate"), id="they had seen each other's answers"),
        pytest.param(verdict_of(member("a", None), B), id="the answer cannot be compared"),
        pytest.param(verdict_of(member("a", 0, "cut"), B), id="it was not heard to its end"),
    ],
)
def test_what_tells_nothing_of_votes(verdict: Verdict) -> None:
    assert rated_of(verdict, 1.0) is None
    assert group_by_members([(verdict, 1.0)]) == {}


def test_ratings_are_grouped_by_members() -> None:
    """In their order; of one model asked twice, and of a single one, nothing is learnt."""
    told = [(verdict_of(A, B), 1.0), (verdict_of(B, A), 0.0), (verdict_of(A, B, chosen=1), 0.0)]
    alone = [(verdict_of(A), 1.0), (verdict_of(A, A), 1.0)]
    assert group_by_members([*told, *alone]) == {
        ("a", "b"): [Rated((0, 1), 0, 1.0), Rated((0, 1), 1, 0.0)],
        ("b", "a"): [Rated((1, 0), 0, 0.0)],
    }


def test_they_come_back_as_they_were_kept() -> None:
    assert parse_rated_votes(msgspec.json.encode(VOTES)) == VOTES
    assert parse_rated_votes(msgspec.json.encode(msgspec.structs.replace(VOTES, format=FORMAT + 1))) is None
    with pytest.raises(msgspec.DecodeError):
        parse_rated_votes(b'{"pools": 3}')


def test_a_changed_member_takes_its_pools_with_it() -> None:
    changed = [msgspec.structs.replace(CARDS[0], upstream="a-v2"), *CARDS[1:]]
    assert votes_among(VOTES, CARDS) == {("a", "b"): AB, ("b", "c"): BC}
    assert votes_among(VOTES, changed) == {("b", "c"): BC}
    assert votes_among(VOTES, CARDS[:1]) == votes_among(None, CARDS) == {}
