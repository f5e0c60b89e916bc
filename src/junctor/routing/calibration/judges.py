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
from junctor.routing.calibration.answer_log import key_of
from junctor.routing.calibration.questions import Question
from junctor.routing.calibration.study import Study

FORMAT = 1
"Layout of what is stored. Another one is not used."
MOST_PAIRS = 60
LEAST_PAIRS = 20
"Fewer prove nothing."
_RIGHT = 0.5


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
    study: Study,
    replies: Mapping[tuple[str, str], str],
    *,
    most: int = MOST_PAIRS,
    seed: int = 0,
) -> list[Pair]:
    """One pair for each question that somebody answered rightly and somebody wrongly; `most` of them.

    `questions`: those of the study. `replies`: what was said, by model and `key_of` the question.
    """
    drawn, pairs = random.Random(seed), list[Pair]()  # noqa: S311 - a draw, no secret
    for at, question in enumerate(questions):
        said: dict[bool, list[str]] = {True: [], False: []}
        for it in study.models:
            reply, score = replies.get((it.model, key_of(question))), it.scores[at]
            if reply and score is not None and it.answers[at] is not None:
                said[score > _RIGHT].append(reply)
        if said[True] and said[False]:
            pairs.append(Pair(question, drawn.choice(said[True]), drawn.choice(said[False])))
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
