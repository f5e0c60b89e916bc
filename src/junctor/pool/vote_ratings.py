"""What callers said of fused answers -> what each member's vote is worth.

Pure, with numpy, which the server does not need: imported by the learner's process and the lab alone.

A rating says whether the answer that was given is right. Where it is not, one of the others may be, or none:
nobody says. So weights are learnt by expectation and maximisation (Dempster, Laird and Rubin 1977): how
probable each of the others is to be right by the weights so far, then the weights that make that likeliest.
A ridge draws them to the vote that gave the answers, so that a few ratings hardly move it.

Members that were not awaited are missing. Whether one was depends only on answers that are there (a vote was
settled), so what the others' answers tell is not skewed by it; but a member who is always last is learnt of
from contested prompts alone, and slowly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from junctor.pool.vote import Rated, Vote
from junctor.pool.vote_fit import Ballots, Floats, Rights, fit_logit, read_ballots, share_out

WEIGHT_PENALTY, BONUS_PENALTY, SCALE_PENALTY, NONE_PENALTY = 1.0, 10.0, 3.0, 1.0
"""Ridge penalties: of what a member's weight and the bonuses are beyond the old ones, of the scale of these,
and of `none`: how hard the prompts are."""
FIXED = 1e6
"The penalty of what is not to be learnt."
_ROUNDS = 50
_SURE = 1e-6
"No rating is certain."


def learn_from_ratings(vote: Vote, rated: Sequence[Rated], *, weigh: bool = True) -> Vote:
    """The vote that gave these answers (1 or more), as far as ratings have moved it.

    Without `weigh` only `none` and the scale of all weights are learnt, which say nothing of members.
    """
    ballots, given, scores = _read(rated)
    told = [*vote.weights, vote.two, vote.three]
    features = np.concatenate([ballots.agreement, ballots.agreement @ np.array(told)[:, None]], axis=2)
    own = np.array([WEIGHT_PENALTY] * len(vote.weights) + [BONUS_PENALTY] * 2)
    centre = np.array([*np.zeros_like(own), 1.0, vote.none])
    penalties = np.array([*(own if weigh else np.full_like(own, FIXED)), SCALE_PENALTY, NONE_PENALTY])
    weights = centre
    for _ in range(_ROUNDS):
        rights = _expect(share_out(ballots.counts, features, weights), given, scores)
        before = weights
        weights = fit_logit(ballots.counts, rights, features, centre=centre, penalties=penalties)
        if np.abs(weights - before).max() < 1e-4:
            break
    *own_ones, scale, none = weights.tolist()
    *members, two, three = (
        max(0.0, round(scale * of_all + its, 6)) for of_all, its in zip(told, own_ones, strict=True)
    )
    return Vote(tuple(members), two=two, three=three, none=round(none, 6))


def log_likelihoods(vote: Vote, rated: Sequence[Rated]) -> Floats:
    """(n,): of each rating, as the vote foretells it."""
    ballots, given, scores = _read(rated)
    weights = np.array([*vote.weights, vote.two, vote.three, vote.none])
    shares, _ = share_out(ballots.counts, ballots.agreement, weights)
    p = np.clip((shares * given).sum(axis=1), _SURE, 1 - _SURE)
    return scores * np.log(p) + (1 - scores) * np.log(1 - p)


def _read(rated: Sequence[Rated]) -> tuple[Ballots, Floats, Floats]:
    """The ballots; (n, k): 1 where a member gave the answer that was given; (n,) scores."""
    answers = list(zip(*(each.answers for each in rated), strict=True))
    ballots = read_ballots(answers, np.zeros((len(answers), len(rated)), bool))
    given = ballots.same[np.arange(len(rated)), [each.given for each in rated]]
    return ballots, given, np.array([each.score for each in rated])


def _expect(shares: tuple[Floats, Floats], given: Floats, scores: Floats) -> Rights:
    """What is right, where the answer given is so with the probability of its score."""
    answers, none = shares
    others = np.where(given > 0, 0.0, answers)
    left = others.sum(axis=1) + none
    good = given / given.sum(axis=1, keepdims=True)
    bad = (1 - scores) / left
    return Rights(scores[:, None] * good + bad[:, None] * others, bad * none)
