"""The learner's process for ratings: `RatedPool`s come in on stdin as JSON, a `LearntPool` for each goes out.

    python -P -m junctor.routing.calibration.learn_ratings  started by `learner.py`; needs numpy

What is learnt is compared with the vote in force by how well both foretell ratings that neither was learnt
from. How often ratings are good, whoever agrees with whom, is learnt for both: that says nothing of members.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import msgspec
import numpy as np

from junctor.pool.vote import Rated
from junctor.pool.vote_ratings import learn_from_ratings, log_likelihoods
from junctor.routing.calibration.held_out import compare, make_folds
from junctor.routing.calibration.ratings import LearntPool, RatedPool


def main() -> None:
    """Read, learn, write."""
    pools = msgspec.json.decode(sys.stdin.buffer.read(), type=list[RatedPool])
    sys.stdout.buffer.write(msgspec.json.encode([learn_pool(pool) for pool in pools]))


def learn_pool(pool: RatedPool) -> LearntPool:
    """What its ratings teach: 10 or more."""
    old, new = np.zeros(len(pool.rated)), np.zeros(len(pool.rated))
    for train, test in make_folds(len(pool.rated)):
        seen, held = _pick(pool.rated, train.tolist()), _pick(pool.rated, test.tolist())
        old[test] = log_likelihoods(learn_from_ratings(pool.in_force, seen, weigh=False), held)
        new[test] = log_likelihoods(learn_from_ratings(pool.start, seen), held)
    return LearntPool(
        vote=learn_from_ratings(pool.start, pool.rated), comparison=compare(old, new, is_broken=False)
    )


def _pick(rated: Sequence[Rated], which: Sequence[int]) -> list[Rated]:
    return [rated[at] for at in which]


if __name__ == "__main__":
    main()
