"""Answers become scores and costs."""

from __future__ import annotations

import msgspec
import pytest

from junctor.chat import ChatRequest, ModelCard, Price
from junctor.lasting import ARTEFACT
from junctor.routing.abilities import Abilities, Ability
from junctor.routing.calibration.answer_log import Key, Said, key_of
from junctor.routing.calibration.grading import (
    Graded,
    estimate_usd,
    grade,
    has_price,
    make_study,
    place_strongest,
)
from junctor.routing.calibration.questions import Question
from junctor.routing.calibration.study import Study
from junctor.routing.features import extract_features
from junctor.routing.predictor import Predictor, parse_artefact

PREDICTOR = Predictor(parse_artefact(ARTEFACT.read_bytes()))


def card(name: str, usd: float | None = 1.0, *, ability: float | None = None) -> ModelCard:
    price = None if usd is None else Price(input=usd, output=usd, source="test")
    return ModelCard(name=name, provider="test", price=price, ability=ability)


def question(prompt: str, answer: str | None = None) -> Question:
    return Question(prompt=prompt, answer=answer, kind="own")


def log_of(*entries: tuple[str, Question, str | None]) -> dict[Key, Said]:
    said = [
        Said(
            model=name,
            identity=f"test/{name}",
            question=key_of(asked),
            answer=answer,
            usd=0.01,
            tokens=7,
            seconds=2.0,
        )
        for name, asked, answer in entries
    ]
    return {(each.model, each.identity, each.question): each for each in said}


def study_of(graded: Graded, said: dict[Key, Said], *cards: ModelCard) -> Study:
    return make_study(
        graded,
        said,
        cards,
        PREDICTOR,
        usd_per_hour=3.6,
        floor=0.98,
        confidence=0.95,
        strongest=None,
    )


SUM, WHY = (
    question("12 * 100?", "1,200.0"),
    question("Why?", "the sky scatters blue light far more than red light"),
)


def test_features_are_kept_of_the_users_own_prompts_where_neighbours_are_wanted() -> None:
    """And of no others, and nowhere else."""
    said = log_of(("a", SUM, "1200"))
    ours = Question(prompt=SUM.prompt, answer=SUM.answer, kind="dates")

    def named(asked: Question, *, neighbours: bool) -> int:
        graded = grade([asked], said, card("a"))
        study = make_study(
            graded,
            said,
            [card("a")],
            PREDICTOR,
            usd_per_hour=3.6,
            floor=0.98,
            confidence=0.95,
            strongest=None,
            neighbours=neighbours,
        )
        return len(study.named)

    assert (named(SUM, neighbours=True), named(SUM, neighbours=False), named(ours, neighbours=True)) == (
        1,
        0,
        0,
    )


def test_an_answer_is_right_when_it_says_the_same() -> None:
    said = log_of(("a", SUM, "1200"), ("b", SUM, "12"), ("c", SUM, None))
    study = study_of(grade([SUM], said, card("a")), said, card("a"), card("b"), card("c"), card("d"))
    assert [it.scores for it in study.models] == [(1.0,), (0.0,), (0.0,), (None,)]
    assert [it.answers for it in study.models] == [("1200",), ("12",), (None,), (None,)]
    assert study.models[3].usd == (None,)


def test_a_right_answer_in_free_text_leaves_its_question_out() -> None:
    graded = grade([SUM, WHY], {}, card("a"))
    assert (graded.questions, graded.left_out) == ((SUM,), 1)


def test_without_answers_the_strongest_is_right() -> None:
    open_one, dumb_one, asked = question("Capital?"), question("Poem?"), question("1 + 1?", "2")
    said = log_of(("top", open_one, "lima"), ("low", open_one, "quito"), ("top", dumb_one, None))
    said |= log_of(("top", asked, "3"), ("low", asked, "2"))
    graded = grade([open_one, dumb_one, asked], said, card("top"))
    assert (graded.judged_by_strongest, graded.left_out) == (1, 1)
    study = study_of(graded, said, card("top"), card("low"))
    assert [it.scores for it in study.models] == [(1.0, 0.0), (0.0, 1.0)]


@pytest.mark.parametrize(("usd", "costs"), [(1.0, 0.01), (None, 0.01 + 2 * 0.001), (0.0, 0.01 + 2 * 0.001)])
def test_a_model_without_a_price_costs_its_seconds(usd: float | None, costs: float) -> None:
    """At 3.6 USD an hour: 0.001 a second."""
    said = log_of(("a", SUM, "1200"))
    study = study_of(grade([SUM], said, card("a", usd)), said, card("a", usd))
    assert study.models[0].usd == (pytest.approx(costs),)
    assert has_price(card("a", usd)) is (usd == 1.0)


def test_priors_are_as_wide_as_their_source_is_vague() -> None:
    models = card("gpt-4o-mini"), card("own", ability=0.6), card("unheard-of")
    said = log_of(*((model.name, SUM, "1") for model in models))
    study = study_of(grade([SUM], said, models[0]), said, *models)
    errors = [it.prior_error for it in study.models]
    assert errors == sorted(errors)
    assert errors[0] < errors[2]
    placed = PREDICTOR.place(models)
    assert [it.prior for it in study.models] == [place.ability for place in placed]


def test_ease_and_ability_give_the_predictors_own_probability() -> None:
    said = log_of(("own", SUM, "1"))
    own = card("own", ability=0.6)
    it = study_of(grade([SUM], said, own), said, own).models[0]
    logit = it.ease[0] + PREDICTOR.artefact.temperature * it.prior
    (placed,) = PREDICTOR.place([own])
    (predicted,) = PREDICTOR.predict(extract_features(SUM.prompt), [placed])
    assert 1 / (1 + 2.718281828459045**-logit) == pytest.approx(predicted.p_good)


def test_the_strongest_before_is_the_one_of_the_highest_ability() -> None:
    low, high = card("low", ability=0.4), card("high", ability=0.8)
    assert place_strongest([low, high], PREDICTOR, None) == high
    measured = Ability(
        model="low", identity="test/low", logits=3.0, error=0.1, p=0.9, p_error=0.01, score=1, prompts=9
    )
    abilities = Abilities(artefact=PREDICTOR.version, models=(measured,))
    assert place_strongest([low, high], PREDICTOR, abilities) == low
    assert place_strongest([card("a", 1), card("b", 2)], PREDICTOR, None).name == "b"


def test_an_estimate_counts_what_has_a_price_and_no_more_tokens_than_are_allowed() -> None:
    request = ChatRequest(model="a", messages=msgspec.Raw(b'[{"role": "user", "content": "12 * 100?"}]'))
    cards = [card("a", 1000.0), card("free", None)]
    whole = estimate_usd(cards, [("a", SUM, request), ("free", SUM, request)], PREDICTOR)
    short = estimate_usd(cards, [("a", SUM, msgspec.structs.replace(request, max_tokens=1))], PREDICTOR)
    assert 0 < short < whole
    assert estimate_usd(cards, [("free", SUM, request)], PREDICTOR) == 0
