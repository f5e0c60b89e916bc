"""Several models have answered: which answer is likeliest to be right?

Pure. The votes are a conditional logit over the distinct answers (McFadden 1974): one weight for each model,
a bonus for agreement, and one alternative that says `none of them is right`. The weights are learnt from
outcomes (vote_fit.py), or come from abilities alone (vote_prior.py).

Of answers that are worth the same, the one is likelier that the first of the models gave. Worth is summed
exactly rounded, so that this does not hang on the order of a sum.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from math import exp, fsum

import msgspec

Answer = Hashable
"What makes two answers equal (see pool/answers.py): a number, a letter, a tool call."


class Vote(msgspec.Struct, frozen=True):
    """How much the answers of the models asked so far are worth."""

    weights: tuple[float, ...]
    "One for each model, in the order they are asked; logits."
    two: float
    "Added to an answer that two or more gave."
    three: float
    "Added again to an answer that three or more gave."
    none: float
    "The logit of `none of these answers is right`."


class Standing(msgspec.Struct, frozen=True):
    """The state of a vote."""

    top: int | None
    "The first of the models that gave the likeliest answer; None when no answer can be compared."
    p_top: float
    "Probability that it is right, 0..1."
    p_second: float
    agreeing: float
    "Share of those asked that gave it."
    distinct: float
    "Distinct answers over models asked."
    parsed: float
    "Share of those asked whose answer can be compared."
    shares: tuple[float, ...]
    "For each model, the probability that its answer is right; 0 where it cannot be compared."


class Rated(msgspec.Struct, frozen=True):
    """An answer that was taken of several, and what was said of it."""

    answers: tuple[int | None, ...]
    "Of each model: equal numbers are equal answers; None: none that was heard, or that can be compared."
    given: int
    "The place of a model that gave the answer which was taken."
    score: float
    "0 (bad) to 1 (good)."


def stand(vote: Vote, answers: Sequence[Answer | None]) -> Standing:
    """Count the answers, one for each model asked so far; None: not comparable."""
    groups = _group(enumerate(answers))
    logits = [_worth(vote, members) for members in groups]
    highest = max([*logits, vote.none])
    odds = [exp(logit - highest) for logit in logits]
    total = sum(odds) + exp(vote.none - highest)
    shares, asked = [0.0] * len(answers), len(answers)
    for members, odd in zip(groups, odds, strict=True):
        for at in members:
            shares[at] = odd / total
    ranked = sorted(range(len(groups)), key=lambda group: -logits[group])
    return Standing(
        top=groups[ranked[0]][0] if ranked else None,
        p_top=odds[ranked[0]] / total if ranked else 0.0,
        p_second=odds[ranked[1]] / total if len(ranked) > 1 else 0.0,
        agreeing=len(groups[ranked[0]]) / asked if ranked else 0.0,
        distinct=len(ranked) / asked,
        parsed=sum(map(len, groups)) / asked,
        shares=tuple(shares),
    )


def is_settled(vote: Vote, answers: Mapping[int, Answer | None], lead: float = 0.0) -> bool:
    """Whether the answer that is likeliest now stays so, whatever the others say.

    `lead`: by how much it has to stay ahead of any other, logits.

    `answers`: by place in `vote.weights`, of those that have answered or never will (None, as in `stand`);
    all others are open. Exact: False means that some answers of theirs would change it. Where a weight or a
    bonus is below zero, more votes may make an answer less likely: then all are waited for.
    """
    places = range(len(vote.weights))
    still_open = [at for at in places if at not in answers]
    if not still_open:
        return True
    if min(*vote.weights, vote.two, vote.three) < 0:
        return False
    groups = _group((at, answers[at]) for at in places if at in answers)
    if not groups:
        return False
    top = min(groups, key=lambda members: (-_worth(vote, members), members[0]))
    leads = (lead - _worth(vote, top), top[0])
    # The worst that can happen: nobody joins the leader, and all join one other, or agree on a new answer.
    others = [members for members in groups if members is not top]
    rivals = (sorted([*members, *still_open]) for members in ([], *others))
    return all(leads < (-_worth(vote, rival), rival[0]) for rival in rivals)


def _group(answers: Iterable[tuple[int, Answer | None]]) -> list[list[int]]:
    """The places that gave equal answers, by the first of each."""
    groups = dict[Answer, list[int]]()
    for at, answer in answers:
        if answer is not None:
            groups.setdefault(answer, []).append(at)
    return list(groups.values())


def _worth(vote: Vote, members: Sequence[int]) -> float:
    bonuses = (vote.two, vote.three)[: len(members) - 1]
    return fsum([*bonuses, *(vote.weights[at] for at in members)])
