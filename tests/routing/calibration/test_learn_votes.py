"""Votes learnt from a study, and compared with those in force."""

from __future__ import annotations

import msgspec
import numpy as np

from junctor.pool.vote import Vote
from junctor.routing.calibration.learn import learn
from junctor.routing.calibration.learn_votes import LEAST_PROMPTS, compare_votes, explain_none, learn_votes
from junctor.routing.calibration.study import Studied, Study
from junctor.routing.calibration.votes import PoolVote, Votes

NAMES = ("weak-a", "weak-b", "weak-c", "strong")
ACCURACIES = (0.3, 0.3, 0.3, 0.9)


def study_of(
    prompts: int = 300, accuracies: tuple[float, ...] = ACCURACIES, *, seed: int = 0, gaps: int = 0
) -> Study:
    """Wrong models choose among two wrong answers; the first one skipped the first `gaps` prompts."""
    rng = np.random.default_rng(seed)
    models = list[Studied]()
    for name, accuracy in zip(NAMES, accuracies, strict=False):
        right, lures = rng.random(prompts) < accuracy, rng.integers(1, 3, prompts)
        gone = gaps if name == NAMES[0] else 0
        there = [at >= gone for at in range(prompts)]
        models.append(
            Studied(
                model=name,
                identity=f"x/{name}",
                prior=0.5,
                prior_error=1.5,
                ease=(0.2,) * prompts,
                scores=tuple(float(ok) if here else None for ok, here in zip(right, there, strict=True)),
                usd=tuple(0.1 if here else None for here in there),
                tokens=tuple(50 if here else None for here in there),
                answers=tuple(
                    (str(0 if ok else lure) if here else None)
                    for ok, lure, here in zip(right, lures, there, strict=True)
                ),
            )
        )
    return Study(
        models=tuple(models),
        kinds=("own",) * prompts,
        artefact="router-1",
        temperature=1.0,
        abilities_table=(-5.0, 5.0),
        mean_ps_table=(0.01, 0.99),
        strongest=None,
        floor=0.97,
        confidence=0.95,
    )


def with_vote(study: Study, vote: Vote, best: str, members: tuple[str, ...] = NAMES) -> Study:
    """In force."""
    pool = PoolVote(members=members, vote=vote, best=best, prompts=9, score=0, best_score=0, majority_score=0)
    identities = {name: f"x/{name}" for name in members}
    return msgspec.structs.replace(study, votes=Votes(pools=(pool,), identities=identities))


def test_a_strong_member_is_not_outvoted_on_prompts_held_back() -> None:
    votes = learn_votes(study_of(), NAMES)
    assert votes is not None
    (pool,) = votes.pools
    assert (pool.members, pool.best, pool.prompts) == (NAMES, "strong", 300)
    assert pool.score >= pool.best_score - 0.005
    assert pool.majority_score < pool.best_score - 0.1
    assert votes.identities == {name: f"x/{name}" for name in NAMES}


def test_votes_are_learnt_for_fusions_for_the_ablest_and_for_all() -> None:
    """Not for members that were not measured, nor for one alone; none twice."""
    fusions = (("strong", "weak-b"), ("strong", "unknown"), ("strong",), NAMES)
    study = msgspec.structs.replace(study_of(), fusions=fusions, most_members=2)
    votes = learn_votes(study, NAMES)
    assert votes is not None
    pools = [pool.members for pool in votes.pools]
    assert pools[0] == ("strong", "weak-b")
    assert NAMES in pools
    assert len(pools) == len(set(pools)) == 3
    assert "strong" in pools[2]
    assert len(pools[2]) == 2


def test_only_prompts_that_all_members_answered_count() -> None:
    study = msgspec.structs.replace(study_of(gaps=60), fusions=(("weak-b", "strong"),))
    votes = learn_votes(study, NAMES)
    assert votes is not None
    assert [pool.prompts for pool in votes.pools] == [300, 240]


def test_too_few_prompts_or_models_teach_nothing() -> None:
    few = study_of(LEAST_PROMPTS - 1)
    assert learn_votes(few, NAMES) is None
    assert "two models" in explain_none(few, None)
    assert learn_votes(study_of(), NAMES[:1]) is None


def test_answers_that_one_of_the_models_judged_teach_no_vote() -> None:
    """Its own would always be right."""
    study = msgspec.structs.replace(study_of(), judged_by_strongest=1)
    assert learn_votes(study, NAMES) is None
    assert "counts as right" in explain_none(study, None)


def test_votes_are_part_of_what_is_learnt() -> None:
    learnt = learn(study_of())
    assert learnt.votes == learn_votes(study_of(), NAMES)
    assert (learnt.no_votes, learnt.votes_comparison) == ("", None)
    assert learn(study_of(LEAST_PROMPTS - 1)).no_votes


def test_a_vote_that_breaks_the_floor_is_broken() -> None:
    """Plain counting, in force, is worse than the strong member alone."""
    study = with_vote(study_of(), Vote((1.0,) * 4, 0, 0, 0), "strong")
    told = compare_votes(study, learn_votes(study, NAMES))
    assert told is not None
    assert told.is_broken
    assert told.switches
    assert told.new > told.old + 0.1


def test_an_equal_vote_is_kept() -> None:
    learnt = learn_votes(study_of(seed=1), NAMES)
    assert learnt is not None
    study = with_vote(study_of(), learnt.pools[0].vote, "strong")
    told = compare_votes(study, learn_votes(study, NAMES))
    assert told is not None
    assert not told.switches
    assert told.prompts == 300


def test_the_order_of_members_does_not_matter_to_the_comparison() -> None:
    order = ("strong", "weak-b", "weak-c", "weak-a")
    study = with_vote(study_of(), Vote((9.0, 1.0, 1.0, 1.0), 0, 0, 0), "strong", order)
    told = compare_votes(study, learn_votes(study, NAMES))
    assert told is not None
    assert told.old > 0.8


def test_votes_of_other_members_are_not_compared() -> None:
    study = with_vote(study_of(), Vote((1.0, 1.0), 0, 0, 0), "strong", ("weak-a", "strong"))
    assert compare_votes(study, learn_votes(study, NAMES)) is None
    assert compare_votes(study_of(), learn_votes(study_of(), NAMES)) is None
