"""How much each member's answer counts, as far as that is known.

A calibration knows it best: weights learnt for these very members, else for more models than these. Without
one, callers' ratings of answers may have taught it; else it comes from what is known of each model's ability.
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
        rated: Mapping[tuple[str, ...], Vote] | None = None,
    ) -> None:
        """`abilities`: probability of a good answer, by model. `votes`: as calibrated, by members, in the
        order of their weights; `rated`: as learnt from ratings. `judges`: how often a model preferred the
        right one of two answers, 0..1."""
        self._abilities = abilities or {}
        self._learnt = {"calibrated": votes or {}, "rated": rated or {}}
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
        """As `vote_for`, where more is known of these members together than how able each is."""
        wanted = Counter(members)
        for source, votes in self._learnt.items():
            if known := [names for names in votes if not wanted - Counter(names)]:
                names = min(known, key=len)
                more = f" for {len(names)} models" if len(names) > len(members) else ""
                return _pick(votes[names], names, members), source + more
        return None

    def judge_accuracy(self, name: str, stated: float) -> float:
        """How often it prefers the right one of two answers: as measured, else as stated."""
        return self._judges.get(name, stated)


def _pick(vote: Vote, names: Sequence[str], members: Sequence[str]) -> Vote:
    """Of `names`' vote that of some, in another order perhaps."""
    left = dict[str, list[float]]()
    for name, weight in zip(names, vote.weights, strict=True):
        left.setdefault(name, []).append(weight)
    return msgspec.structs.replace(vote, weights=tuple(left[name].pop(0) for name in members))
