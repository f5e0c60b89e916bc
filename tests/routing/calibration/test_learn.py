"""A whole study, in the learner's own process too."""

from __future__ import annotations

import random
import subprocess
import sys

import msgspec
import numpy as np
import pytest

from junctor.chat import ModelCard
from junctor.lasting import ARTEFACT
from junctor.pool.answers import parse_answer
from junctor.routing.abilities import Abilities, Ability
from junctor.routing.calibration.answer_log import Said, key_of
from junctor.routing.calibration.grading import grade, make_study
from junctor.routing.calibration.learn import choose_strongest, learn
from junctor.routing.calibration.questions import make_questions
from junctor.routing.calibration.study import Learnt, Studied, Study
from junctor.routing.features import extract_features
from junctor.routing.predictor import Predictor, parse_artefact

PREDICTOR = Predictor(parse_artefact(ARTEFACT.read_bytes()))
NAMES = ("cheap-a", "cheap-b", "strong")
ABILITIES = (0.9, 0.7, 2.0)


def studied(
    name: str, right: np.ndarray, wrong: np.ndarray, usd: float, *, seed: int, missing: int = 0
) -> Studied:
    answers = [str(0 if ok else other) for ok, other in zip(right, wrong, strict=True)]
    gone = set(np.random.default_rng(seed).choice(len(right), missing, replace=False).tolist())
    there = [at not in gone for at in range(len(right))]
    return Studied(
        model=name,
        identity=f"scripted/{name}",
        prior=0.5,
        prior_error=1.5,
        ease=(0.2,) * len(right),
        scores=tuple(float(ok) if here else None for ok, here in zip(right, there, strict=True)),
        usd=tuple(usd if here else None for here in there),
        tokens=tuple(100 if here else None for here in there),
        answers=tuple(said if here else None for said, here in zip(answers, there, strict=True)),
    )


def study_of(
    prompts: int = 400,
    *,
    seed: int = 0,
    abilities: tuple[float, ...] = ABILITIES,
    usd: tuple[float, ...] = (0.01, 0.01, 1.0),
    missing: tuple[int, ...] = (0, 0, 0),
    wrong_answers: int = 9,
) -> Study:
    rng = np.random.default_rng(seed)
    ease = 0.2 + rng.normal(0, 1, prompts)
    right = rng.random((3, prompts)) < 1 / (1 + np.exp(-(ease + np.array(abilities)[:, None])))
    wrong = rng.integers(1, wrong_answers + 1, right.shape)
    return Study(
        models=tuple(
            studied(name, right[at], wrong[at], usd[at], seed=at, missing=missing[at])
            for at, name in enumerate(NAMES)
        ),
        kinds=tuple("ab"[at % 2] for at in range(prompts)),
        artefact="router-1",
        temperature=1.0,
        abilities_table=tuple(np.linspace(-5, 5, 51).tolist()),
        mean_ps_table=tuple((1 / (1 + np.exp(-np.linspace(-5, 5, 51)))).tolist()),
        strongest=None,
        floor=0.97,
        confidence=0.95,
    )


def test_a_study_gives_a_ladder_and_abilities() -> None:
    learnt = learn(study_of())
    assert learnt.strongest == "strong"
    assert learnt.ladder is not None
    assert learnt.ladder.promises["balanced"].saved > 0.2
    assert [each.model for each in learnt.abilities.models] == list(NAMES)
    logits = [each.logits for each in learnt.abilities.models]
    assert logits[2] > logits[0]
    assert all(0 < each.p_error < 0.3 and each.prompts == 400 for each in learnt.abilities.models)
    assert learnt.ladder_comparison is None


def test_the_process_reads_a_study_and_writes_what_it_learnt() -> None:
    study = study_of(150)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "junctor.routing.calibration.learn"],
        input=msgspec.json.encode(study),
        capture_output=True,
        check=True,
    )
    assert msgspec.json.decode(done.stdout, type=Learnt) == learn(study)


def test_of_equally_good_models_the_cheaper_is_the_strongest() -> None:
    study = study_of(100)
    twins = [msgspec.structs.replace(study.models[2], model=name) for name in ("dear", "cheap")]
    cheap = msgspec.structs.replace(twins[1], usd=(0.5,) * 100)
    assert choose_strongest(msgspec.structs.replace(study, models=(twins[0], cheap))) == "cheap"


def test_a_user_may_name_the_strongest() -> None:
    learnt = learn(msgspec.structs.replace(study_of(), strongest="cheap-a"))
    assert learnt.strongest == "cheap-a"
    assert learnt.ladder is None
    assert "nothing to try first" in learnt.no_ladder


def test_a_model_that_often_gave_no_answer_is_not_on_the_ladder_but_measured() -> None:
    """Few gaps only cost these prompts."""
    learnt = learn(study_of(missing=(0, 150, 0)))
    assert learnt.left_out == ("cheap-b",)
    assert learnt.prompts == 400
    assert learnt.abilities.models[1].prompts == 250
    learnt = learn(study_of(missing=(20, 30, 0)))
    assert learnt.left_out == ()
    assert 350 <= learnt.prompts < 380


def test_too_few_prompts_give_abilities_alone() -> None:
    learnt = learn(study_of(40))
    assert learnt.ladder is None
    assert "100 are the least" in learnt.no_ladder
    assert len(learnt.abilities.models) == 3


def test_a_strongest_model_that_costs_nothing_leaves_nothing_to_save() -> None:
    assert "nothing to save" in learn(study_of(usd=(0.0, 0.0, 0.0))).no_ladder


def test_a_ladder_of_a_pool_that_has_not_changed_is_not_replaced() -> None:
    """Both are as good, within the noise."""
    old = learn(study_of(seed=1)).ladder
    learnt = learn(msgspec.structs.replace(study_of(seed=2), ladder=old))
    assert learnt.ladder_comparison is not None
    assert learnt.ladder_comparison.prompts == 400
    assert abs(learnt.ladder_comparison.new - learnt.ladder_comparison.old) < 0.05
    assert not learnt.ladder_comparison.is_broken


def test_a_ladder_that_no_longer_holds_its_promise_is_replaced() -> None:
    """The cheap models have become bad, and agree on wrong answers."""
    old = learn(study_of(600, seed=1, abilities=(1.8, 1.8, 2.0))).ladder
    assert old is not None
    fresh = study_of(400, seed=2, abilities=(-1.0, -1.0, 2.5), wrong_answers=1)
    learnt = learn(msgspec.structs.replace(fresh, ladder=old))
    assert learnt.ladder_comparison is not None
    assert learnt.ladder_comparison.is_broken
    assert learnt.ladder_comparison.switches


def stored(*logits: float) -> Abilities:
    return Abilities(
        artefact="router-1",
        models=tuple(
            Ability(
                model=name,
                identity=f"scripted/{name}",
                logits=each,
                error=0.2,
                p=0.5,
                p_error=0.05,
                score=0.5,
                prompts=300,
            )
            for name, each in zip(NAMES, logits, strict=True)
        ),
    )


@pytest.mark.parametrize(("old", "switches"), [(ABILITIES, False), ((2.0, -2.0, 0.0), True)])
def test_abilities_are_replaced_when_they_predict_worse(old: tuple[float, ...], switches: bool) -> None:
    learnt = learn(msgspec.structs.replace(study_of(seed=3), abilities=stored(*old)))
    assert learnt.abilities_comparison is not None
    assert learnt.abilities_comparison.switches is switches


def test_abilities_of_models_that_behave_as_predicted_are_recovered() -> None:
    """Models of known ability answer our own questions as the shipped artefact says they would."""
    questions, truth = make_questions(300, 1), {"a": 0.4, "b": 0.6, "c": 0.8}
    features = [extract_features(question.prompt) for question in questions]
    known = PREDICTOR.place([ModelCard(name=name, provider="x", ability=p) for name, p in truth.items()])
    cards = [ModelCard(name=name, provider="x") for name in truth]
    hits = list[bool]()
    for seed in range(8):
        rng = random.Random(seed)
        said = {
            (place.name, f"x/{place.name}", key_of(question)): Said(
                model=place.name,
                identity=f"x/{place.name}",
                question=key_of(question),
                answer=parse_answer(f"Answer: {question.answer}")
                if rng.random() < PREDICTOR.predict(its, [place])[0].p_good
                else None,
                usd=0.01,
                tokens=10,
                seconds=1,
            )
            for place in known
            for question, its in zip(questions, features, strict=True)
        }
        graded = grade(questions, said, cards[0])
        study = make_study(
            graded, said, cards, PREDICTOR, usd_per_hour=0, floor=0.98, confidence=0.95, strongest=None
        )
        measured = learn(study).abilities.models
        assert [each.p for each in measured] == sorted(each.p for each in measured)
        hits.extend(abs(each.p - truth[each.model]) <= 2 * each.p_error for each in measured)
    assert sum(hits) >= 0.9 * len(hits)
