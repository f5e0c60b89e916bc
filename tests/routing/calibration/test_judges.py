"""Pairs of answers to try judges on, and what comes of it."""

from __future__ import annotations

import msgspec

from junctor.chat import ModelCard
from junctor.routing.calibration.answer_log import key_of
from junctor.routing.calibration.judges import (
    FORMAT,
    LEAST_PAIRS,
    Judges,
    JudgeSkill,
    add_judges,
    make_pairs,
    match_judges,
    parse_judges,
    rate_judge,
)
from junctor.routing.calibration.questions import Question
from junctor.routing.calibration.study import Studied, Study

CARD = ModelCard(name="umpire", provider="x")
QUESTIONS = [Question(prompt=f"What is {at} + 1?", answer=str(at + 1), kind="own") for at in range(4)]


def studied(name: str, scores: tuple[float | None, ...], answers: tuple[str | None, ...]) -> Studied:
    empty = (0.0,) * 4
    return Studied(
        model=name,
        identity=f"x/{name}",
        prior=0,
        prior_error=1,
        ease=empty,
        scores=scores,
        usd=empty,
        tokens=(1,) * 4,
        answers=answers,
    )


STUDY = Study(
    models=(
        studied("one", (1.0, 1.0, 0.0, None), ("1", "2", "9", None)),
        studied("two", (0.0, 1.0, 0.0, 1.0), ("8", "2", "8", "4")),
        studied("mute", (0.0, 0.0, 0.0, 0.0), (None, None, None, None)),
    ),
    kinds=("own",) * 4,
    artefact="router-1",
    temperature=1.0,
    abilities_table=(0.0, 1.0),
    mean_ps_table=(0.4, 0.6),
    strongest=None,
    floor=0.98,
    confidence=0.95,
)
REPLIES = {
    (name, key_of(question)): f"{name} on {question.prompt}"
    for name in ("one", "two", "mute")
    for question in QUESTIONS
}


def test_a_pair_is_a_right_and_a_wrong_answer_to_one_question() -> None:
    """Where all were right, or all wrong, or the other one has no answer, there is none."""
    (pair,) = make_pairs(QUESTIONS, STUDY, REPLIES)
    assert pair.question == QUESTIONS[0]
    assert (pair.right, pair.wrong) == ("one on What is 0 + 1?", "two on What is 0 + 1?")


def test_answers_of_an_earlier_run_are_not_here_to_be_shown() -> None:
    gone = {key: reply for key, reply in REPLIES.items() if key[0] != "two"}
    assert make_pairs(QUESTIONS, STUDY, gone) == []


def test_there_are_no_more_than_asked_for_and_the_draw_repeats() -> None:
    many = [QUESTIONS[0]] * 30
    wide = msgspec.structs.replace(
        STUDY,
        models=(studied("one", (1.0,) * 30, ("1",) * 30), studied("two", (0.0,) * 30, ("8",) * 30)),
        kinds=("own",) * 30,
    )
    assert len(make_pairs(many, wide, REPLIES, most=7)) == 7
    assert make_pairs(many, wide, REPLIES, seed=3) == make_pairs(many, wide, REPLIES, seed=3)


def test_a_tie_is_half_and_failures_do_not_count() -> None:
    skill = rate_judge(CARD, [1.0] * 20 + [0.5] * 10 + [0.0] * 8 + [None] * 3)
    assert skill is not None
    assert skill.accuracy == (20 + 5 + 1) / 40
    assert (skill.model, skill.identity, skill.pairs, skill.failed) == ("umpire", "x/umpire", 38, 3)


def test_too_few_verdicts_prove_nothing() -> None:
    assert rate_judge(CARD, [1.0] * (LEAST_PAIRS - 1) + [None] * 50) is None


def test_nobody_is_always_right() -> None:
    skill = rate_judge(CARD, [1.0] * 60)
    assert skill is not None
    assert 0.95 < skill.accuracy < 1


def skill_of(name: str, accuracy: float = 0.7) -> JudgeSkill:
    return JudgeSkill(model=name, identity=f"x/{name}", accuracy=accuracy, pairs=60, failed=0)


def test_what_is_known_of_other_judges_stays() -> None:
    old = Judges(judges=(skill_of("umpire", 0.6), skill_of("other")))
    assert add_judges([skill_of("umpire", 0.8)], old).judges == (skill_of("umpire", 0.8), skill_of("other"))
    assert add_judges([skill_of("umpire")], None).judges == (skill_of("umpire"),)


def test_it_holds_for_what_stood_behind_the_name() -> None:
    judges = Judges(judges=(skill_of("umpire"),))
    assert match_judges(judges, [CARD]) == {"umpire": skill_of("umpire")}
    assert match_judges(judges, [msgspec.structs.replace(CARD, upstream="v2")]) == {}
    assert match_judges(None, [CARD]) == {}
    assert parse_judges(msgspec.json.encode(judges)) == judges
    assert parse_judges(msgspec.json.encode(msgspec.structs.replace(judges, format=FORMAT + 1))) is None
