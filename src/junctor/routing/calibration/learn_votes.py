"""Answers of a calibration -> the votes of its pools, and whether they are better than those in force.

Pure, with numpy. `score` and its like are of prompts held back, each fifth in turn; the vote that is told is
then learnt from all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from junctor.pool.vote import Vote, stand
from junctor.pool.vote_fit import FittedVote, fit_weights
from junctor.pool.vote_prior import TIE
from junctor.routing.calibration.held_out import compare, error_of, make_folds
from junctor.routing.calibration.outcomes import Floats
from junctor.routing.calibration.study import Comparison, Studied, Study
from junctor.routing.calibration.votes import PoolVote, Votes

LEAST_PROMPTS = 50
"""Fewer are not learnt from: with 50 a vote is within half a point of its best member, or better, in 87 % of
random pools, with 200 in 97 % (docs/fusion.md)."""
CONFIDENCE = 0.95
"That a vote in force is worse than its best member."


@dataclass(frozen=True)
class _Answers:
    """Of k members to the n prompts that all of them answered."""

    members: tuple[str, ...]
    prompts: NDArray[np.int64]
    "Places in the study."
    answers: tuple[tuple[str | None, ...], ...]
    "k rows of n."
    right: NDArray[np.bool_]
    "(k, n)"

    def pick(self, which: NDArray[np.int64]) -> _Answers:
        places: list[int] = which.tolist()
        answers = tuple(tuple(row[at] for at in places) for row in self.answers)
        return _Answers(self.members, self.prompts[which], answers, self.right[:, which])


_Taking = tuple[Vote | None, int]
"A vote, or none, and the place of the member whose answer is taken where it takes none."


def learn_votes(study: Study, measured: Sequence[str]) -> Votes | None:
    """Of the study's fusions, and of all models that answered enough (`measured`); None: there are none."""
    if study.judged_by_strongest:
        return None
    pools = [*study.fusions, _choose_ablest(study, measured), tuple(measured)]
    wanted = [pool for pool in dict.fromkeys(pools) if len(pool) > 1 and set(pool).issubset(measured)]
    found = [answers for pool in wanted if len((answers := _read(study, pool)).prompts) >= LEAST_PROMPTS]
    if not found:
        return None
    names = {name for answers in found for name in answers.members}
    return Votes(
        pools=tuple(map(_learn, found)),
        identities={it.model: it.identity for it in study.models if it.model in names},
    )


def _choose_ablest(study: Study, measured: Sequence[str]) -> tuple[str, ...]:
    """As many as a fusion that names none asks, in the order of the pool."""

    def score(it: Studied) -> float:
        scores = [score for score in it.scores if score is not None]
        return sum(scores) / max(1, len(scores))

    ranked = sorted((it for it in study.models if it.model in measured), key=score, reverse=True)
    best = {it.model for it in ranked[: study.most_members]}
    return tuple(name for name in measured if name in best)


def explain_none(study: Study, learnt: Votes | None) -> str:
    """Why there are no votes; empty where there are."""
    if learnt is not None:
        return ""
    if study.judged_by_strongest:
        return "what one of the models said counts as right, so the others' votes would count for nothing"
    return f"it takes two models or more, and {LEAST_PROMPTS} prompts that all of them answered"


def compare_votes(study: Study, learnt: Votes | None) -> Comparison | None:
    """By right answers of the pools that both have a vote for. None: there is no such pool."""
    if study.votes is None or learnt is None:
        return None
    old, new, best = (np.full((len(learnt.pools), len(study.kinds)), np.nan) for _ in range(3))
    in_force = {frozenset(pool.members): pool for pool in study.votes.pools}
    for row, pool in enumerate(learnt.pools):
        before = in_force.get(frozenset(pool.members))
        if before is None:
            continue
        answers = _read(study, before.members)
        at = before.members.index(before.best)
        old[row, answers.prompts] = _score(answers, (before.vote, at))
        best[row, answers.prompts] = answers.right[at]
        new[row, answers.prompts] = _hold_out(answers, _by_vote)
    asked = ~np.isnan(old).all(axis=0)
    if not asked.any():
        return None
    old, new, best = (np.nanmean(each[:, asked], axis=0) for each in (old, new, best))
    bound = (old - best).mean() + NormalDist().inv_cdf(CONFIDENCE) * error_of(old - best)
    return compare(old, new, is_broken=bool(bound < 0))


def _read(study: Study, members: Sequence[str]) -> _Answers:
    named = {it.model: it for it in study.models}
    pool = [named[name] for name in members]
    which = [at for at in range(len(study.kinds)) if all(it.scores[at] is not None for it in pool)]
    right = [[(it.scores[at] or 0.0) > 0.5 for at in which] for it in pool]
    return _Answers(
        members=tuple(members),
        prompts=np.array(which, np.int64),
        answers=tuple(tuple(it.answers[at] for at in which) for it in pool),
        right=np.array(right, bool),
    )


def _learn(answers: _Answers) -> PoolVote:
    fitted = _fit(answers)
    return PoolVote(
        members=answers.members,
        vote=fitted.vote,
        best=answers.members[fitted.best],
        prompts=len(answers.prompts),
        score=_mean(_hold_out(answers, _by_vote)),
        best_score=_mean(_hold_out(answers, _by_best)),
        majority_score=_mean(_hold_out(answers, _by_majority)),
    )


def _fit(answers: _Answers) -> FittedVote:
    return fit_weights(answers.answers, answers.right)


def _by_vote(fitted: FittedVote) -> _Taking:
    return fitted.vote, fitted.best


def _by_best(fitted: FittedVote) -> _Taking:
    return None, fitted.best


def _by_majority(fitted: FittedVote) -> _Taking:
    """Of equal numbers, the best member's."""
    even = [1 + TIE * (at == fitted.best) for at in range(len(fitted.vote.weights))]
    return Vote(tuple(even), two=0.0, three=0.0, none=0.0), fitted.best


def _hold_out(answers: _Answers, way: Callable[[FittedVote], _Taking]) -> Floats:
    """(n,): what is learnt from the other prompts comes to."""
    scores = np.zeros(len(answers.prompts))
    for train, test in make_folds(len(answers.prompts)):
        scores[test] = _score(answers.pick(test), way(_fit(answers.pick(train))))
    return scores


def _score(answers: _Answers, taking: _Taking) -> Floats:
    """(n,): 1 where the answer that is taken is right."""
    vote, otherwise = taking
    tops = [None if vote is None else stand(vote, row).top for row in zip(*answers.answers, strict=True)]
    taken = [otherwise if top is None else top for top in tops]
    return answers.right[taken, np.arange(len(taken))].astype(float)


def _mean(scores: Floats) -> float:
    return round(float(scores.mean()), 4)
