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
from junctor.routing.calibration.prompt_file import OWN
from junctor.routing.calibration.questions import Question, make_questions
from junctor.routing.calibration.study import Learnt, Studied, Study
from junctor.routing.features import NAMES as NAMED_FEATURES
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


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_where_scores_rank_nobody_the_strongest_is_who_was_known_as_such(score: float) -> None:
    """And not the cheapest, or the one that was lucky twice."""
    study, lucky = study_of(100), (1.0,) * 2 + (score,) * 98
    models = [
        msgspec.structs.replace(
            each, scores=lucky if each.model == "cheap-a" else (score,) * 100, prior=prior
        )
        for each, prior in zip(study.models, (0.1, 0.3, 0.9), strict=True)
    ]
    assert choose_strongest(msgspec.structs.replace(study, models=tuple(models))) == "strong"
    equals = tuple(msgspec.structs.replace(each, prior=0.5) for each in models)
    assert choose_strongest(msgspec.structs.replace(study, models=equals)) == "strong", "the dearest"
    before = Abilities(
        artefact="router-1",
        models=tuple(
            msgspec.structs.replace(each, p=0.8 if each.model == "cheap-b" else 0.5)
            for each in stored(0.0, 0.0, 0.0).models
        ),
    )
    known = msgspec.structs.replace(study, models=tuple(models), abilities=before)
    assert choose_strongest(known) == "cheap-b", "as measured before"


def test_agreement_is_not_compared_with_what_right_answers_taught() -> None:
    """A ladder that beats the strongest model agrees with it less: that does not break its promise."""
    old = learn(study_of(seed=1))
    agreed = msgspec.structs.replace(
        study_of(seed=2), judged_by_strongest=400, ladder=old.ladder, abilities=old.abilities
    )
    learnt = learn(agreed)
    assert learnt.ladder is not None
    assert (learnt.ladder.judged_by_strongest, learnt.abilities.judged_by_strongest) == (400, 400)
    assert (learnt.ladder_comparison, learnt.abilities_comparison) == (None, None)
    again = learn(msgspec.structs.replace(agreed, ladder=learnt.ladder, abilities=learnt.abilities))
    assert again.ladder_comparison is not None
    assert again.abilities_comparison is not None


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


def own(study: Study) -> Study:
    """The same, as prompts of the user's own."""
    return msgspec.structs.replace(study, kinds=(OWN,) * len(study.kinds))


def test_levels_are_told_of_the_users_own_prompts_alone() -> None:
    """Ours say nothing of how hard traffic is."""
    ours = learn(study_of()).abilities
    assert {each.level for each in ours.models} == {None}
    assert (ours.shift, ours.shift_error) == (0.0, 0.0)
    theirs = learn(own(study_of())).abilities
    for each in theirs.models:
        assert each.level is not None
        assert 1 / (1 + np.exp(-(0.2 + each.level))) == pytest.approx(each.score, abs=0.03)
        assert each.level_error < 0.5 * each.error
        assert each.level == pytest.approx(each.logits - theirs.shift, abs=0.5)
    assert theirs.shift_error > 0.3


def test_after_a_calibration_on_own_prompts_the_router_expects_what_was_seen() -> None:
    """On prompts far harder than the predictor thinks: mean p is the share that was right, on others too."""
    texts = [f"Prove lemma {at} of the {at * 7919 % 1000}th chapter." for at in range(400)]
    features = [extract_features(text) for text in texts]
    cards = [ModelCard(name=name, provider="x") for name in ("a", "b", "new")]
    rng = np.random.default_rng(0)
    right = rng.random((2, 400)) < np.array([[0.25], [0.4]])
    questions = [Question(prompt=text, answer="0", kind=OWN) for text in texts]
    said = {
        (card.name, f"x/{card.name}", key_of(question)): Said(
            model=card.name,
            identity=f"x/{card.name}",
            question=key_of(question),
            answer=parse_answer(f"Answer: {0 if right[at, number] else 1}"),
            usd=0.01,
            tokens=10,
            seconds=1,
        )
        for at, card in enumerate(cards[:2])
        for number, question in enumerate(questions)
    }
    graded = grade(questions[:300], said, cards[0])
    study = make_study(
        graded, said, cards[:2], PREDICTOR, usd_per_hour=0, floor=0.98, confidence=0.95, strongest=None
    )
    assert study.named == ()
    measured = learn(study).abilities
    placed = PREDICTOR.place(cards, measured)
    p = np.array([[it.p_good for it in PREDICTOR.predict(each, placed)] for each in features[300:]]).mean(0)
    assert p[:2] == pytest.approx(right[:, 300:].mean(1), abs=0.1)
    before = PREDICTOR.predict(features[300], PREDICTOR.place(cards))[2].p_good
    after = PREDICTOR.predict(features[300], placed)[2]
    assert (after.source, after.p_error) == ("estimated ability", 0.0)
    assert (after.p_good < before) is (measured.shift > 0)


def local(seed: int, *, tells: bool = True, prompts: int = 300) -> Study:
    """Own prompts of two sorts that look different; the first model is good at one sort and bad at the other.

    Without `tells` looks say nothing.
    """
    study = own(study_of(prompts, seed=seed))
    rng = np.random.default_rng(seed)
    sort = rng.random(prompts) < 0.5
    looks = sort if tells else rng.random(prompts) < 0.5
    named = rng.normal(0, 0.4, (prompts, len(NAMED_FEATURES))) + np.where(looks[:, None], 1.0, -1.0)
    scores = (rng.random(prompts) < np.where(sort, 0.95, 0.2)).astype(float)
    first = msgspec.structs.replace(study.models[0], scores=tuple(scores.tolist()))
    return msgspec.structs.replace(
        study,
        models=(first, *study.models[1:]),
        named=tuple(tuple(each) for each in named.tolist()),
    )


def test_like_prompts_are_kept_where_they_help_and_only_there() -> None:
    """As they do on prompts held back; of fewer than 50 nothing is learnt."""
    learnt = learn(local(1))
    assert learnt.neighbours_comparison is not None
    assert learnt.neighbours_comparison.switches
    assert learnt.abilities.neighbourhood is not None
    assert [len(each.residuals) for each in learnt.abilities.models] == [300] * 3
    for useless in (local(2, tells=False), local(3, prompts=49), own(study_of())):
        abilities = learn(useless).abilities
        assert abilities.neighbourhood is None
        assert {each.residuals for each in abilities.models} == {()}


def test_abilities_with_like_prompts_replace_those_without_and_not_the_other_way_round() -> None:
    plain = msgspec.structs.replace(learn(local(1)).abilities, neighbourhood=None)
    compared = learn(msgspec.structs.replace(local(2), abilities=plain)).abilities_comparison
    assert compared is not None
    assert compared.switches
    whole = learn(local(1)).abilities
    compared = learn(msgspec.structs.replace(local(2), abilities=whole)).abilities_comparison
    assert compared is not None
    assert not compared.switches
    assert abs(compared.new - compared.old) < 0.02


def test_abilities_that_are_no_levels_are_replaced_where_own_prompts_are_harder() -> None:
    """They are tried as the router would use them: on these prompts they expect too much."""
    hard = own(study_of(seed=3, abilities=tuple(each - 2 for each in ABILITIES)))
    learnt = learn(msgspec.structs.replace(hard, abilities=stored(*ABILITIES)))
    assert learnt.abilities_comparison is not None
    assert learnt.abilities_comparison.switches
    again = own(study_of(seed=4, abilities=tuple(each - 2 for each in ABILITIES)))
    learnt = learn(msgspec.structs.replace(again, abilities=learnt.abilities))
    assert learnt.abilities_comparison is not None
    assert not learnt.abilities_comparison.switches


def test_questions_of_ours_cannot_judge_levels_on_the_users_own() -> None:
    levels = learn(own(study_of(seed=1))).abilities
    assert learn(msgspec.structs.replace(study_of(seed=2), abilities=levels)).abilities_comparison is None
    another_scale = msgspec.structs.replace(levels, artefact="router-0")
    compared = learn(msgspec.structs.replace(study_of(seed=2), abilities=another_scale)).abilities_comparison
    assert compared is not None


def test_abilities_on_another_predictors_scale_are_compared_by_what_the_router_makes_of_them() -> None:
    """By their mean p: all three the same, whatever their logits there."""
    old = msgspec.structs.replace(stored(9.0, 9.0, 9.0), artefact="router-0")
    same = stored(0.0, 0.0, 0.0)
    one, other = (
        learn(msgspec.structs.replace(study_of(seed=3), abilities=each)).abilities_comparison
        for each in (old, same)
    )
    assert one is not None
    assert other is not None
    assert one.old == pytest.approx(other.old, abs=1e-6)


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
