"""Several models have answered: which answer is likeliest to be right?

Pure. The votes are a conditional logit over the distinct answers (McFadden 1974): one weight for each model,
a bonus for agreement, and one alternative that says `none of them is right`. The weights are learnt from
outcomes (routing/calibration/fit.py).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import exp

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


def stand(vote: Vote, answers: Sequence[Answer | None]) -> Standing:
    """Count the answers, one for each model asked so far; None: not comparable."""
    groups = dict[Answer, list[int]]()
    for at, answer in enumerate(answers):
        if answer is not None:
            groups.setdefault(answer, []).append(at)
    logits = [_worth(vote, members) for members in groups.values()]
    highest = max([*logits, vote.none])
    odds = [exp(logit - highest) for logit in logits]
    total = sum(odds) + exp(vote.none - highest)
    shares, asked = [0.0] * len(answers), len(answers)
    for members, odd in zip(groups.values(), odds, strict=True):
        for at in members:
            shares[at] = odd / total
    ranked = sorted(zip(odds, groups.values(), strict=True), key=lambda pair: -pair[0])
    return Standing(
        top=ranked[0][1][0] if ranked else None,
        p_top=ranked[0][0] / total if ranked else 0.0,
        p_second=ranked[1][0] / total if len(ranked) > 1 else 0.0,
        agreeing=len(ranked[0][1]) / asked if ranked else 0.0,
        distinct=len(ranked) / asked,
        parsed=sum(map(len, groups.values())) / asked,
        shares=tuple(shares),
    )


def _worth(vote: Vote, members: list[int]) -> float:
    bonus = (vote.two if len(members) > 1 else 0.0) + (vote.three if len(members) > 2 else 0.0)
    return sum(vote.weights[at] for at in members) + bonus
