"""What a calibration learns from, and what it has learnt: the JSON between the command and its learner.

Pure, and without numpy: the command asks models and reports; `learn.py`, a process of its own, computes.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from junctor.routing.abilities import Abilities
from junctor.routing.calibration.prompt_file import OWN
from junctor.routing.calibration.votes import Votes
from junctor.routing.ladder import Ladder

NOBODY, EVERYBODY = 0.05, 0.99
"""Where no score is above the one, or none below the other, scores do not say who is strongest. Near the top
less is little: a ladder's floor is a matter of one or two per cent."""


class Studied(msgspec.Struct, frozen=True, kw_only=True):
    """One model, and what became of each prompt at it; None: it gave no answer there."""

    model: str
    "Its name in the pool."
    identity: str
    "What answers under that name (`abilities.identity_of`)."
    prior: float
    "Its ability before anything was measured, logits."
    prior_error: float
    "How far off that may be: one standard deviation, logits."
    ease: tuple[float, ...]
    "Predicted log odds of a good answer of a model of ability 0."
    scores: tuple[float | None, ...]
    "0..1"
    usd: tuple[float | None, ...]
    tokens: tuple[int | None, ...]
    "Output tokens."
    answers: tuple[str | None, ...]
    "Final answers in comparable form; None also where a reply has none."

    @property
    def score(self) -> float | None:
        """The mean, over the prompts that it answered; None: it answered none."""
        return mean_of(self.scores)


class Study(msgspec.Struct, frozen=True, kw_only=True):
    """The outcomes of a calibration, and what is in force before it."""

    models: tuple[Studied, ...]
    kinds: tuple[str, ...]
    "Of each prompt. Prompts of one kind may be harder or easier than predicted, all alike."
    artefact: str
    "Version of the predictor that `prior` and `ease` come from."
    temperature: float
    abilities_table: tuple[float, ...]
    mean_ps_table: tuple[float, ...]
    "The artefact's table from ability to the mean probability on its reference prompts."
    strongest: str | None
    "As the user named it; None: the highest score, of equals the cheapest."
    floor: float
    confidence: float
    named: tuple[tuple[float, ...], ...] = ()
    "Named features of each prompt (`features.NAMES`): of the user's own, where neighbours are wanted."
    judged_by_strongest: int = 0
    "Of how many prompts what the strongest said counts as right."
    fusions: tuple[tuple[str, ...], ...] = ()
    "The members of each pool that votes are to be learnt for, besides all models together."
    most_members: int = 0
    "Votes are learnt for so many of the ablest, too: they are the members of a fusion that names none."
    ladder: Ladder | None = None
    "In force, and still fitting the pool."
    abilities: Abilities | None = None
    "In force, and still fitting the pool."
    votes: Votes | None = None
    "In force, and still fitting the pool."

    @property
    def is_own(self) -> bool:
        """Whether all prompts are the user's own: then they are what the traffic is like."""
        return set(self.kinds) == {OWN}

    def can_judge(self, abilities: Abilities) -> bool:
        """Whether it asked what they speak of: not where they are levels on prompts of the user's own."""
        are_levels = any(each.level is not None for each in abilities.models)
        return self.is_own or not are_levels or abilities.artefact != self.artefact

    def only_agrees(self, measured: Abilities | Ladder) -> bool:
        """Whether it knows who agrees with the strongest, where `measured` was learnt from who is right."""
        return self.judged_by_strongest > 0 and not measured.judged_by_strongest

    @property
    def ranks(self) -> bool:
        """Whether scores say who is strongest: not where nobody is right, nor where all are."""
        scores = [it.score for it in self.models if it.score is not None]
        return not scores or (max(scores) > NOBODY and min(scores) < EVERYBODY)

    @property
    def why_useless(self) -> str:
        """Why nothing can be learnt from it; empty where something can: where all are right, a ladder."""
        scores = [it.score for it in self.models if it.score is not None]
        if scores and max(scores) <= NOBODY:
            return f"no model got more than {max(scores):.1%} of the answers right"
        return ""


def mean_of(values: Sequence[float | None]) -> float | None:
    """Of those that are there; None: there are none."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force against what was learnt, on prompts that neither was learnt from, paired."""

    prompts: int
    old: float
    new: float
    "More is better; the unit is the kind's own."
    error: float
    "Standard error of the difference."
    is_broken: bool = False
    "The old one does not hold its promise on these prompts."

    @property
    def switches(self) -> bool:
        """The new one is better by more than one standard error, or the old one is broken."""
        return self.is_broken or self.new - self.old > self.error


class Learnt(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a study."""

    strongest: str
    prompts: int
    "Those that the ladder is learnt from: every model on it answered them."
    left_out: tuple[str, ...]
    "Models that answered too few of the prompts to be on the ladder."
    ladder: Ladder | None
    no_ladder: str
    "Why there is none; empty when there is one."
    abilities: Abilities
    ladder_comparison: Comparison | None = None
    "None: there was none in force, or too few prompts to hold any back."
    abilities_comparison: Comparison | None = None
    """None, too, where the ones in force were measured on the user's own prompts, and the new ones were not;
    or by right answers, and the new ones by agreement with the strongest model."""
    neighbours_comparison: Comparison | None = None
    "Old: abilities alone; new: with neighbours. None: too few prompts, or not the user's own."
    votes: Votes | None = None
    no_votes: str = ""
    "Why there are none; empty when there are some."
    votes_comparison: Comparison | None = None
    "None: there was none in force of the same members."
