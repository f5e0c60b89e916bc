"""What ratings of fused answers are worth, on stored answers. Imported by lab/derive_votes.py.

A fusion whose vote is given answers prompts as the product does: members answer in an order that is the same
each time, and it stops once the vote is settled. The caller rates the answer by whether it is right. From
that a vote is learnt, and taken if it foretells held-back ratings better: `junctor calibrate --feedback-days`
does so.
"""

from __future__ import annotations

import numpy as np

from fusion_data import Table
from junctor.pool.vote import Answer, Rated, Vote, is_settled, stand
from junctor.routing.calibration.learn_ratings import learn_pool
from junctor.routing.calibration.ratings import RatedPool


def rate(table: Table, vote: Vote, rng: np.random.Generator) -> list[Rated]:
    """Each prompt whose answer can be compared, as it was answered, and rated."""
    order = rng.permutation(len(table.members)).tolist()
    found = []
    for at, answers in enumerate(zip(*table.answers, strict=True)):
        heard: dict[int, Answer | None] = {}
        for member in order:
            heard[member] = answers[member]
            if is_settled(vote, heard):
                break
        row = [heard.get(member) for member in range(len(answers))]
        if (top := stand(vote, row).top) is not None:
            numbers = {answer: number for number, answer in enumerate(dict.fromkeys(row))}
            told = tuple(None if answer is None else numbers[answer] for answer in row)
            found.append(Rated(told, top, float(table.right[top, at])))
    return found


def learn_from(table: Table, vote: Vote, rng: np.random.Generator) -> Vote:
    """What is in force once these prompts are rated."""
    rated = tuple(rate(table, vote, rng))
    learnt = learn_pool(RatedPool(members=tuple(table.members), start=vote, in_force=vote, rated=rated))
    return learnt.vote if learnt.comparison.switches else vote
