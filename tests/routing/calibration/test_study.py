"""When what was learnt takes the place of what is in force."""

from __future__ import annotations

import msgspec
import pytest

from junctor.routing.abilities import Abilities
from junctor.routing.calibration.study import Comparison, Learnt, Studied, Study, mean_of


@pytest.mark.parametrize(
    ("new", "is_broken", "switches"),
    [(0.53, False, True), (0.51, False, False), (0.4, False, False), (0.4, True, True)],
)
def test_it_switches_when_the_new_one_is_clearly_better_or_the_old_one_broken(
    new: float, is_broken: bool, switches: bool
) -> None:
    comparison = Comparison(prompts=100, old=0.5, new=new, error=0.02, is_broken=is_broken)
    assert comparison.switches is switches


def study_of(*scores: tuple[float | None, ...]) -> Study:
    models = tuple(
        Studied(
            model=f"m{at}",
            identity=f"x/m{at}",
            prior=0,
            prior_error=1,
            ease=(0.0,) * len(each),
            scores=each,
            usd=(0.1,) * len(each),
            tokens=(3,) * len(each),
            answers=("4",) * len(each),
        )
        for at, each in enumerate(scores)
    )
    return Study(
        models=models,
        kinds=("own",) * len(scores[0]),
        artefact="x",
        temperature=1,
        abilities_table=(),
        mean_ps_table=(),
        strongest=None,
        floor=0.98,
        confidence=0.95,
    )


def share(right: int, count: int) -> tuple[float, ...]:
    return (1.0,) * right + (0.0,) * (count - right)


@pytest.mark.parametrize(
    ("right", "said"),
    [
        ((2, 2, 2), "no model got more than 0.7% of the answers right"),
        ((0, 0), "no model got more than 0.0% of the answers right"),
        ((300, 300), ""),
        ((2, 2, 60), ""),
        ((0, 300), ""),
    ],
)
def test_where_nobody_is_right_nobody_is_ranked(right: tuple[int, ...], said: str) -> None:
    study = study_of(*(share(each, 300) for each in right))
    assert study.why_useless == said
    assert study.ranks == (right in ((2, 2, 60), (0, 300)))


def test_who_gave_no_answer_counts_neither_way() -> None:
    nothing = (None,) * 300
    assert study_of(share(2, 300), nothing).why_useless == "no model got more than 0.7% of the answers right"
    assert study_of(nothing).why_useless == ""
    assert (mean_of((1.0, None, 0.0)), mean_of((None,))) == (0.5, None)


def test_what_was_learnt_travels_as_json() -> None:
    learnt = Learnt(
        strongest="a",
        prompts=0,
        left_out=("b",),
        ladder=None,
        no_ladder="0 prompts prove nothing",
        abilities=Abilities(artefact="x", models=()),
    )
    assert msgspec.json.decode(msgspec.json.encode(learnt), type=Learnt) == learnt
