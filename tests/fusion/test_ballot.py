"""Ballots: pure functions of answers."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.fusion.ballot import Ballot, margin, weigh_ruling
from junctor.pool.vote import Vote

EVEN = Vote((1.0,) * 5, two=0.3, three=0.1, none=0.0)
UNEVEN = Vote((3.0, 0.5, 0.5, 0.5), two=0.3, three=0.1, none=0.0)
answers = st.lists(st.sampled_from(["1", "2", "3", None, "failed"]), min_size=5, max_size=5)


def ballot_of(vote: Vote, *given_answers: str | None) -> Ballot:
    ballot = Ballot(vote)
    for at, answer in enumerate(given_answers):
        if answer == "failed":
            ballot.fail(at)
        else:
            ballot.put(at, answer)
    return ballot


def test_three_of_five_settle_it() -> None:
    assert not ballot_of(EVEN, "1", "1").is_settled
    assert ballot_of(EVEN, "1", "1", "1").is_settled
    assert not ballot_of(EVEN, "1", "1", "2").is_settled


def test_a_lead_that_a_judge_could_turn_settles_nothing() -> None:
    ballot = Ballot(EVEN, lead=2.0)
    for at in range(4):
        ballot.put(at, "1")
        assert ballot.is_settled == (at == 3)


def test_a_strong_member_alone_may_settle_it() -> None:
    assert ballot_of(UNEVEN, "1").is_settled
    assert ballot_of(UNEVEN, "1").count()[0].members == (0,)


def test_the_first_of_a_standpoint_is_its_weightiest_member() -> None:
    counted = ballot_of(Vote((0.5, 1.0, 0.2), 0.3, 0.1, 0.0), "7", "7", "8").count()
    assert [(it.answer, it.members) for it in counted] == [("7", (1, 0)), ("8", (2,))]


def test_where_most_cannot_be_compared_there_is_nothing_to_count() -> None:
    assert ballot_of(EVEN, None, None, None).is_open
    assert ballot_of(EVEN, "1", None, None).is_open
    assert not ballot_of(EVEN, "1", None).is_open
    assert not ballot_of(EVEN, "1", "failed", "failed").is_open
    assert not ballot_of(UNEVEN, "1", None, None, None).is_open


def test_where_only_votes_count_one_answer_is_enough_to_count() -> None:
    ballot = Ballot(EVEN, may_be_open=False)
    assert ballot.is_open
    for at, answer in enumerate((None, None, "1", "1", "1")):
        ballot.put(at, answer)
    assert not ballot.is_open
    assert ballot.is_settled


def test_answers_that_might_make_the_question_an_open_one_are_waited_for() -> None:
    """Nobody can catch up with the leader, and yet two essays would show that there is nothing to count."""
    ballot = ballot_of(Vote((1.0, 0.6, 0.6), 0.0, 0.0, 0.0), "1")
    assert not ballot.is_settled


@given(answers, st.integers(1, 5))
def test_what_is_settled_stays_so(given_answers: list[str | None], seen: int) -> None:
    """For every vote: stopping early gives the answer that waiting for all would have given."""
    early = ballot_of(EVEN, *given_answers[:seen])
    if early.is_settled:
        whole = ballot_of(EVEN, *given_answers)
        assert whole.count()[0].answer == early.count()[0].answer
        assert not whole.is_open


@given(answers)
def test_a_margin_is_the_logarithm_of_the_odds(given_answers: list[str | None]) -> None:
    counted = ballot_of(EVEN, *given_answers).count()
    assert margin(counted) >= 0
    assert (margin(counted) == inf) == (len(counted) < 2)
    assert [it.p for it in counted] == sorted((it.p for it in counted), reverse=True)


def test_a_judge_that_guesses_weighs_nothing() -> None:
    assert weigh_ruling(0.5) == weigh_ruling(0.2) == 0
    assert weigh_ruling(0.75) == pytest.approx(1.0986, abs=1e-4)
    assert weigh_ruling(1.0) < 5


def test_whether_a_question_is_open_does_not_hang_on_who_came_first() -> None:
    vote = Vote((0.1, 0.2, 0.3, 0.6), two=0.3, three=0.1, none=0.0)
    said = {0: "1", 1: "1", 2: "1", 3: None}
    found = set[bool]()
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)):
        ballot = Ballot(vote)
        for at in order:
            ballot.put(at, said[at])
        found.add(ballot.is_open)
    assert found == {False}


def test_members_whose_votes_weigh_nothing_may_still_make_a_question_an_open_one() -> None:
    ballot = Ballot(Vote((0.0, 0.0, 0.0), two=0.0, three=0.0, none=0.0))
    ballot.put(0, "1")
    assert not ballot.is_settled
    ballot.put(1, None)
    ballot.put(2, None)
    assert ballot.is_open
