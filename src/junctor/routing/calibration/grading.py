"""Answers -> scores -> a `Study`. Pure.

An answer is right when it says the same as the right one (`pool/answers.py`). Where nobody has said what is
right, the strongest model's answer counts as right; a question that it did not answer comparably is left out.

What an answer cost is what the ledger would say. A model without a price, or of price 0, costs its seconds at
the price of this machine's time (`local.usd_per_hour`): a ladder weighs costs against each other, and a model
that runs on one's own machine is not free, only paid otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log

import msgspec

from junctor.chat import ChatRequest, ModelCard
from junctor.pool.answers import parse_answer
from junctor.pool.metered import count_prompt_tokens
from junctor.routing.abilities import Abilities, identity_of
from junctor.routing.calibration.answer_log import Key, Said, key_of
from junctor.routing.calibration.questions import Question
from junctor.routing.calibration.study import Studied, Study
from junctor.routing.features import Features, extract_features
from junctor.routing.predictor import Placed, Predictor

PRIOR_ERRORS = {"artefact": 0.4, "declared ability": 0.6, "estimated ability": 1.5}
"""How far off an ability may be that was not measured, by its source, logits. A model of the training may be
served or quantised otherwise; a price says little."""


class Graded(msgspec.Struct, frozen=True, kw_only=True):
    """Questions with what is right."""

    questions: tuple[Question, ...]
    right: tuple[str, ...]
    "For each, in comparable form."
    judged_by_strongest: int
    "Of how many the strongest model's answer counts as right."
    left_out: int
    "Questions whose right answer is not known, or cannot be compared."


def grade(questions: Sequence[Question], said: Mapping[Key, Said], strongest: ModelCard) -> Graded:
    """What is right. `strongest` decides where a question comes without an answer."""
    kept, right, judged = list[Question](), list[str](), 0
    for question in questions:
        if question.answer is not None:
            answer = parse_answer(f"Answer: {question.answer}", question.prompt)
        else:
            theirs = said.get((strongest.name, identity_of(strongest), key_of(question)))
            answer = theirs.answer if theirs else None
        if answer is not None:
            kept.append(question)
            right.append(answer)
            judged += question.answer is None
    return Graded(
        questions=tuple(kept),
        right=tuple(right),
        judged_by_strongest=judged,
        left_out=len(questions) - len(kept),
    )


def has_price(card: ModelCard) -> bool:
    """Whether its answers cost money, as far as we know."""
    return card.price is not None and (card.price.input > 0 or card.price.output > 0)


def make_study(
    graded: Graded,
    said: Mapping[Key, Said],
    cards: Sequence[ModelCard],
    predictor: Predictor,
    *,
    usd_per_hour: float,
    floor: float,
    confidence: float,
    strongest: str | None,
    fusions: Sequence[tuple[str, ...]] = (),
    most_members: int = 0,
    neighbours: bool = False,
) -> Study:
    """What the learner needs, but for what is in force. `fusions`, `most_members`: as in `Study`.

    `neighbours`: whether like prompts are to be found again, of the user's own.
    """
    features = [extract_features(question.prompt) for question in graded.questions]
    artefact = predictor.artefact
    study = Study(
        models=tuple(
            _study_model(card, placed, graded, said, predictor, features, usd_per_hour)
            for card, placed in zip(cards, predictor.place(cards), strict=True)
        ),
        kinds=tuple(question.kind for question in graded.questions),
        artefact=artefact.version,
        temperature=artefact.temperature,
        abilities_table=artefact.abilities,
        mean_ps_table=artefact.mean_ps,
        strongest=strongest,
        floor=floor,
        confidence=confidence,
        judged_by_strongest=graded.judged_by_strongest,
        fusions=tuple(fusions),
        most_members=most_members,
    )
    return (
        msgspec.structs.replace(study, named=tuple(it.named for it in features))
        if neighbours and study.is_own
        else study
    )


def _study_model(
    card: ModelCard,
    placed: Placed,
    graded: Graded,
    said: Mapping[Key, Said],
    predictor: Predictor,
    features: Sequence[Features],
    usd_per_hour: float,
) -> Studied:
    identity = identity_of(card)
    answers = [said.get((card.name, identity, key_of(question))) for question in graded.questions]
    usd_per_s = 0.0 if has_price(card) else usd_per_hour / 3600
    average = msgspec.structs.replace(placed, ability=0.0)
    return Studied(
        model=card.name,
        identity=identity,
        prior=placed.ability,
        prior_error=PRIOR_ERRORS[placed.source],
        ease=tuple(_logit(predictor.predict(each, [average])[0].p_good) for each in features),
        scores=tuple(
            None if it is None else float(it.answer == right)
            for it, right in zip(answers, graded.right, strict=True)
        ),
        usd=tuple(None if it is None else it.usd + it.seconds * usd_per_s for it in answers),
        tokens=tuple(None if it is None else it.tokens for it in answers),
        answers=tuple(None if it is None else it.answer for it in answers),
    )


def _logit(p: float) -> float:
    return log(p / (1 - p))


def place_strongest(
    cards: Sequence[ModelCard], predictor: Predictor, abilities: Abilities | None
) -> ModelCard:
    """The strongest by what was known before (`abilities`: measured earlier); of equals the dearest."""
    ranked = zip(predictor.place(cards, abilities), cards, strict=True)
    return max(ranked, key=lambda pair: (pair[0].ability, pair[1].price.output if pair[1].price else 0.0))[1]


def estimate_usd(
    cards: Sequence[ModelCard],
    calls: Sequence[tuple[str, Question, ChatRequest]],
    predictor: Predictor,
) -> float:
    """What calls will cost by the predicted lengths of their answers; a model without a price counts as 0."""
    placed = dict(zip([card.name for card in cards], predictor.place(cards), strict=True))
    prices = {card.name: card.price for card in cards}
    total = 0.0
    for name, question, request in calls:
        price = prices[name]
        if price is not None:
            said = predictor.predict(extract_features(question.prompt), [placed[name]])[0]
            length = min(said.output_tokens, request.max_tokens or said.output_tokens)
            total += price.usd(count_prompt_tokens(request), round(length))
    return total
