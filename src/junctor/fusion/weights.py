"""How much each member's answer counts, as far as that is known.

A calibration knows it best: weights learnt for these very members, else for more models than these. Without
one, it comes from what is known of each model's ability.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from junctor.pool.vote import Vote
from junctor.pool.vote_prior import prior_weights

PRIOR = "prior"
"Where weights come from that nobody has learnt."
UNKNOWN_ABILITY = 0.5


class Weights:
    """What is known of models as members and as judges."""

    def __init__(
        self,
        abilities: Mapping[str, float] | None = None,
        votes: Mapping[tuple[str, ...], Vote] | None = None,
        judges: Mapping[str, float] | None = None,
    ) -> None:
        """`abilities`: probability of a good answer, by model. `votes`: learnt, by members, in the order of
        their weights. `judges`: how often a model preferred the right one of two answers, 0..1."""
        self._abilities = abilities or {}
        self._votes = votes or {}
        self._judges = judges or {}

    def ability(self, name: str) -> float:
        """Probability of a good answer, 0..1."""
        return self._abilities.get(name, UNKNOWN_ABILITY)

    def vote_for(self, members: Sequence[str]) -> tuple[Vote, str]:
        """The vote of these members, in their order, and where it comes from."""
        return self._learnt_for(members) or (prior_weights(list(map(self.ability, members))), PRIOR)

    def best(self, members: Sequence[str]) -> int:
        """The place of the best member; of equals, the first."""
        learnt = self._learnt_for(members)
        worth = learnt[0].weights if learnt else list(map(self.ability, members))
        return max(range(len(members)), key=worth.__getitem__)

    def _learnt_for(self, members: Sequence[str]) -> tuple[Vote, str] | None:
        """As `vote_for`, where a calibration knows these members."""
        wanted = Counter(members)
        known = [names for names in self._votes if not wanted - Counter(names)]
        if not known:
            return None
        names = min(known, key=len)
        vote = self._votes[names]
        left = dict[str, list[float]]()
        for name, weight in zip(names, vote.weights, strict=True):
            left.setdefault(name, []).append(weight)
        weights = tuple(left[name].pop(0) for name in members)
        source = f"calibrated for {len(names)} models" if len(names) > len(members) else "calibrated"
        return msgspec.structs.replace(vote, weights=weights), source

    def judge_accuracy(self, name: str, stated: float) -> float:
        """How often it prefers the right one of two answers: as measured, else as stated."""
        return self._judges.get(name, stated)
