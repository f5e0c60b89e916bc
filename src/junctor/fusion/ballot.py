"""The votes of one fusion: which answers are equal, who leads, and whether that can still change. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import fsum, inf, log

import msgspec

from junctor.pool.vote import Vote, is_settled, stand

_LEAST_P = 1e-300


class Standpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Equal answers, and who gave them."""

    answer: str
    members: tuple[int, ...]
    "Places; the one whose words stand for all comes first: of the highest weight."
    p: float
    "Probability that it is right, 0..1."


class Ballot:
    """Answers as they come; who has failed, or said nothing that can be compared, votes for nobody."""

    def __init__(self, vote: Vote, lead: float = 0.0, *, may_be_open: bool = True) -> None:
        """`lead`: how far ahead the first has to be for nobody else to have a say, logits. `may_be_open`:
        whether answers that cannot be compared speak against counting the others."""
        self.vote = vote
        self._lead = lead
        self._may_be_open = may_be_open
        self._answers = dict[int, str | None]()
        "Of those that have answered, or failed."
        self._failed = set[int]()

    def put(self, at: int, answer: str | None) -> None:
        """A member's answer; None: it cannot be compared. A later one takes its place."""
        self._answers[at] = answer

    def fail(self, at: int) -> None:
        """A member will not answer, or is not asked."""
        self._answers[at] = None
        self._failed.add(at)

    @property
    def answers(self) -> Sequence[str | None]:
        """By member; None for who has not answered, too."""
        return [self._answers.get(at) for at in range(len(self.vote.weights))]

    @property
    def is_open(self) -> bool:
        """Whether nothing, or less than half by weight, of what was answered can be compared."""
        others = self._weigh(self._told(comparable=False)) if self._may_be_open else 0.0
        return self._weigh(self._told(comparable=True)) < max(others, _LEAST_P)

    @property
    def is_settled(self) -> bool:
        """Whether no answer that may still come can change who wins, or that the votes are counted at all."""
        pending = [at for at in range(len(self.vote.weights)) if at not in self._answers]
        comparable = self._weigh(self._told(comparable=True))
        others = self._weigh([*self._told(comparable=False), *pending]) if self._may_be_open else 0.0
        if comparable == 0 or comparable < others:
            return False
        return is_settled(self.vote, self._answers, self._lead)

    def count(self) -> tuple[Standpoint, ...]:
        """The distinct answers, likeliest first."""
        answers = self.answers
        shares = stand(self.vote, answers).shares
        groups = dict[str, list[int]]()
        for at, answer in enumerate(answers):
            if answer is not None:
                groups.setdefault(answer, []).append(at)
        found = [
            Standpoint(
                answer=answer,
                members=tuple(sorted(members, key=lambda at: -self.vote.weights[at])),
                p=shares[members[0]],
            )
            for answer, members in groups.items()
        ]
        return tuple(sorted(found, key=lambda it: -it.p))

    def _told(self, *, comparable: bool) -> list[int]:
        """Whose answers are of that kind."""
        return [
            at
            for at, answer in self._answers.items()
            if at not in self._failed and (answer is not None) == comparable
        ]

    def _weigh(self, members: Iterable[int]) -> float:
        """Their weight; each counts a little. Exactly rounded: it does not hang on who came first."""
        return fsum(max(self.vote.weights[at], _LEAST_P) for at in members)


def margin(standpoints: Sequence[Standpoint]) -> float:
    """How far the first leads the second: logits; infinite without a second."""
    if len(standpoints) < 2:
        return inf
    return log(max(standpoints[0].p, _LEAST_P)) - log(max(standpoints[1].p, _LEAST_P))


def weigh_ruling(accuracy: float) -> float:
    """What a judge's verdict is worth, logits: who is right as often as not is worth nothing."""
    p = min(max(accuracy, 0.5), 0.99)
    return log(p / (1 - p))
