"""How good judges are, measured: which of two answers they prefer where it is known which is right. Pure.

The pairs come of a calibration's own answers: one that is right and one that is wrong, to the same question,
by different models.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import msgspec

from junctor.chat import ModelCard
from junctor.routing.abilities import identity_of
from junctor.routing.calibration.questions import Question

FORMAT = 1
"Layout of what is stored. Another one is not used."
MOST_PAIRS = 60
LEAST_PAIRS = 20
"Fewer prove nothing."


class Pair(msgspec.Struct, frozen=True):
    """Two replies to one question."""

    question: Question
    right: str
    "The whole reply whose answer is right."
    wrong: str


class JudgeSkill(msgspec.Struct, frozen=True, kw_only=True):
    """Of one judge."""

    model: str
    "Its name in the pool."
    identity: str
    "What answers under that name (`abilities.identity_of`)."
    accuracy: float
    """How often it prefers the right one, 0..1; a tie, as where its two orders disagree, is half. Drawn to
    0.5 by one pair won and one lost (Laplace): nobody is always right."""
    pairs: int
    "Those that it gave a verdict on."
    failed: int
    "Those that it gave none on."


class Judges(msgspec.Struct, frozen=True, kw_only=True):
    """As stored."""

    format: int = FORMAT
    judges: tuple[JudgeSkill, ...]


def parse_judges(data: bytes | str) -> Judges | None:
    """As stored; None when it is of another layout. Raises `msgspec.DecodeError` when damaged."""
    judges = msgspec.json.decode(data, type=Judges)
    return judges if judges.format == FORMAT else None


def match_judges(judges: Judges | None, cards: Sequence[ModelCard]) -> Mapping[str, JudgeSkill]:
    """Those of models that are still what they were, by name."""
    there = {card.name: identity_of(card) for card in cards}
    return {it.model: it for it in judges.judges if there.get(it.model) == it.identity} if judges else {}


def add_judges(new: Sequence[JudgeSkill], old: Judges | None) -> Judges:
    """What was measured now, and what is known of others."""
    names = {each.model for each in new}
    others = [each for each in old.judges if each.model not in names] if old else []
    return Judges(judges=(*new, *others))


def make_pairs(
    questions: Sequence[Question],
    replies: Sequence[Mapping[str, tuple[str, bool]]],
    *,
    most: int = MOST_PAIRS,
    seed: int = 0,
) -> list[Pair]:
    """One pair for each question that somebody answered rightly and somebody wrongly; `most` of them.

    `replies`: for each question what each model said, and whether that is right.
    """
    drawn, pairs = random.Random(seed), list[Pair]()  # noqa: S311 - a draw, no secret
    for question, said in zip(questions, replies, strict=True):
        right, wrong = ([text for text, ok in said.values() if ok is wanted] for wanted in (True, False))
        if right and wrong:
            pairs.append(Pair(question, drawn.choice(right), drawn.choice(wrong)))
    return drawn.sample(pairs, min(most, len(pairs)))


def rate_judge(card: ModelCard, verdicts: Sequence[float | None]) -> JudgeSkill | None:
    """`verdicts`: 1 for the right one, 0 for the wrong one, 0.5 for a tie, None for none. None: too few."""
    given = [verdict for verdict in verdicts if verdict is not None]
    if len(given) < LEAST_PAIRS:
        return None
    return JudgeSkill(
        model=card.name,
        identity=identity_of(card),
        accuracy=round((sum(given) + 1) / (len(given) + 2), 4),
        pairs=len(given),
        failed=len(verdicts) - len(given),
    )
