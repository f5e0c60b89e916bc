"""What votes are worth where nothing has been learnt of them: from the members' abilities, where known.

Pure, and without numpy. The weights are means of fits on random pools of 3 to 5 models on GSM8K, MATH (level
5) and MMLU-Pro, rounded; `lab/derive_votes.py` derives them, and says what they are worth on a data set that
they were not derived from.

A vote that is learnt (vote_fit.py) starts from here, and ends in the same fold: what each answer counts, more
with its member's ability, and a handicap for the best member: an answer that differs from its has to earn it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import msgspec

from junctor.pool.vote import Vote

CAUTION = 0.6
"The best member's handicap, logits, where it is certain who is best."
DOUBT = 0.3
"Standard error of an ability that comes without one, logits."
_EDGE = 0.01
"Nobody is always right, or never."
TIE = 0.01
"What being best is worth where abilities are too uncertain to weigh: it decides between equal numbers."


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What all members' votes have in common; logits."""

    two: float
    "Added to an answer that two or more gave."
    three: float
    "Added again to an answer that three or more gave."
    count: float
    "Of each vote."
    slope: float
    "Of each vote, for one logit of its member's ability above the mean."
    none: float
    "Of `none of these answers is right`."


PRIOR = Terms(two=0.36, three=0.1, count=1.17, slope=1.25, none=1.81)


class Shrunk(msgspec.Struct, frozen=True):
    """Abilities, drawn to their mean as far as their differences may be noise."""

    abilities: tuple[float, ...]
    "Logits; their mean before they were drawn to it is 0."
    certainty: float
    "How much of them is left: 0 (all may be noise) to 1."


def prior_weights(abilities: Sequence[float], errors: Sequence[float] = ()) -> Vote:
    """A vote of members about whom nothing else is known.

    `abilities`: probabilities of a right answer, 0..1, on prompts of the same kind. Where they are all equal
    it is a plain vote, and of equal numbers the first member's win. `errors`: their standard errors.
    """
    size = len(abilities)
    known = [min(max(ability, _EDGE), 1 - _EDGE) for ability in abilities]
    steep = [1 / (p * (1 - p)) for p in known]
    doubts = [error * each for error, each in zip(errors, steep, strict=True)] if errors else [DOUBT] * size
    shrunk = shrink([log(p / (1 - p)) for p in known], [doubt * doubt for doubt in doubts])
    best = max(range(size), key=lambda at: abilities[at])
    own = [TIE if at == best and abilities[at] > min(abilities) else 0.0 for at in range(size)]
    return fold(PRIOR, own, shrunk, best)


def shrink(abilities: Sequence[float], noise: Sequence[float]) -> Shrunk:
    """Empirical Bayes (Efron and Morris 1973): the spread that is left when the noise is taken off is real.

    `noise`: variances.
    """
    size = len(abilities)
    mean = sum(abilities) / size
    centred = [ability - mean for ability in abilities]
    spread = sum(ability * ability for ability in centred) / max(1, size - 1)
    real = max(0.0, spread - sum(noise) / size)
    kept = [real / (real + each) if real else 0.0 for each in noise]
    return Shrunk(
        tuple(ability * share for ability, share in zip(centred, kept, strict=True)), sum(kept) / size
    )


def fold(terms: Terms, own: Sequence[float], shrunk: Shrunk, best: int) -> Vote:
    """One weight for each member, none below zero, so that a vote can be settled before all have answered.

    `own`: what a member's vote is worth beyond `terms`.
    """
    weights = [
        max(0.0, terms.count + terms.slope * ability + each)
        for ability, each in zip(shrunk.abilities, own, strict=True)
    ]
    weights[best] += CAUTION * shrunk.certainty**2
    return Vote(
        tuple(round(weight, 6) for weight in weights),
        two=max(0.0, terms.two),
        three=max(0.0, terms.three),
        none=terms.none,
    )
