"""Like prompts of a calibration are found, and move predictions as far as they may."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from junctor.routing.abilities import Abilities, Ability, Neighbourhood, parse_abilities
from junctor.routing.features import NAMES, extract_features
from junctor.routing.neighbours import (
    FARTHEST,
    HIGHEST,
    LEAST_LIKENESS,
    LOWEST,
    MOST_PROMPTS,
    MOVED,
    NEAREST,
    SHRINKAGE,
    STEPS,
    Neighbours,
    describe_prompts,
    find_neighbours,
    move,
)
from junctor.routing.predictor import Prediction

TEXTS = [
    *(f"What is {at} + {at * 7}? Give the number {at * 3} % {at}." for at in range(30)),
    *(f"def f{at}(x):\n    return [x == {at}]\n```\nFix this function; it returns None." for at in range(30)),
]
SUMS, CODE = range(30), range(30, 60)
NAMED = [extract_features(text).named for text in TEXTS]
ITS = describe_prompts(NAMED)
SUM, FIX = (extract_features(text).named for text in ("What is 77 + 5? Give the number 12 % 7.", TEXTS[33]))

values = st.floats(-100, 100) | st.sampled_from([0.0, 1.0, 1e9])
prompts = st.lists(st.tuples(*[values] * len(NAMES)), min_size=1, max_size=40)


def cosines(its: Neighbourhood, named: Sequence[float]) -> np.ndarray:
    """As the docstring of the module says it, in floating point."""
    stored = np.array([list(prompt) for prompt in its.prompts], float) / STEPS - FARTHEST
    value = np.clip((np.array(named) - its.means) / its.deviations, -FARTHEST, FARTHEST)
    lengths = np.linalg.norm(stored, axis=1) * np.linalg.norm(value)
    return np.divide(stored @ value, lengths, out=np.zeros(len(stored)), where=lengths > 0)


def test_like_prompts_are_the_nearest_and_unlike_ones_are_none() -> None:
    near = Neighbours(ITS, ())
    assert 0 < len(near.nearest(SUM)) <= NEAREST
    assert set(near.nearest(SUM)) <= set(SUMS)
    assert set(near.nearest(FIX)) <= set(CODE)


def test_of_many_like_prompts_the_most_alike_count_and_come_first() -> None:
    """60 on a way from one prompt to another, less and less alike; in no order."""
    rng = np.random.default_rng(1)
    one, step = rng.normal(0, 1, len(NAMES)) * 6, rng.normal(0, 1, len(NAMES)) / 10
    order = rng.permutation(60)
    named = [tuple(one + step * at) for at in order]
    its = describe_prompts([*named, *(tuple(-np.array(each)) for each in named)])
    likeness = cosines(its, named[int(np.argmin(order))])
    assert (likeness > LEAST_LIKENESS).sum() > NEAREST + 5
    near = Neighbours(its, ()).nearest(named[int(np.argmin(order))])
    assert len(near) == NEAREST
    assert likeness[near].min() >= np.sort(likeness)[-NEAREST] - 0.01
    assert (np.diff(likeness[near]) <= 0.01).all()
    assert likeness[near[0]] > likeness[near[-1]] > likeness[:60].min()


@settings(max_examples=150, deadline=None)
@given(prompts, st.tuples(*[values] * len(NAMES)))
def test_the_nearest_are_those_of_the_largest_cosines(
    named: list[tuple[float, ...]], asked: tuple[float, ...]
) -> None:
    """Whatever the values, up to rounding; whole lanes of the large integer never run over into others."""
    its = describe_prompts(named)
    near = Neighbours(its, ()).nearest(asked)
    likeness = cosines(its, asked)
    assert len(near) == len(set(near)) <= NEAREST
    assert all(likeness[each] >= LEAST_LIKENESS - 0.05 for each in near)
    least = min(likeness[near], default=0) if len(near) == NEAREST else LEAST_LIKENESS
    others = np.delete(likeness, near)
    assert max(others, default=-1) <= least + 0.05
    assert all(likeness[one] >= likeness[two] - 0.05 for one, two in pairwise(near))


def test_a_full_neighbourhood_of_the_same_prompt_does_not_run_over() -> None:
    """Cosines of 1 and of -1, 300 times."""
    one = [1.0] * 15 + [-1.0] * 15
    its = describe_prompts([one, [-each for each in one]] * (MOST_PROMPTS // 2))
    near = Neighbours(its, ()).nearest([1e9 * each for each in one])
    assert near == [2 * at for at in range(NEAREST)]


@settings(max_examples=60, deadline=None)
@given(prompts, st.tuples(*[values] * len(NAMES)), st.floats(0, 1), st.sampled_from([-1.0, 1.0]))
def test_a_shift_is_a_shrunken_mean_of_residuals(
    named: list[tuple[float, ...]], asked: tuple[float, ...], p: float, residual: float
) -> None:
    near = Neighbours(describe_prompts(named), [[residual] * len(named)])
    shifts, count = near.shifts(asked), len(near.nearest(asked))
    if not count:
        assert shifts == []
        return
    assert shifts == [pytest.approx(residual * count / (count + SHRINKAGE))]
    moved = move(p, shifts[0])
    assert 0 <= moved <= 1
    assert (moved - p) * residual >= 0


@given(st.floats(0, 1), st.floats(-1, 1))
def test_nobody_is_made_sure_nor_unsure_by_neighbours(p: float, shift: float) -> None:
    assert min(p, LOWEST) <= move(p, shift) <= max(p, HIGHEST)
    assert move(0.995, 0.3) == 0.995


def test_prompts_without_any_difference_tell_nothing() -> None:
    """All alike, and one alone: no feature has a deviation."""
    for named in ([NAMED[0]] * 20, [NAMED[0]]):
        near = Neighbours(describe_prompts(named), [[1.0] * len(named)])
        assert near.shifts(NAMED[0]) == []
        assert near.shifts(NAMED[40]) == []


def test_answers_that_are_missing_count_for_nothing_and_unasked_models_move_as_the_others_do() -> None:
    all_wrong, half = [-0.9] * 60, [None if at % 2 else -0.9 for at in range(60)]
    shifts = Neighbours(ITS, [all_wrong, (), half]).shifts(SUM)
    assert shifts[0] < shifts[2] < 0
    assert shifts[1] == pytest.approx((shifts[0] + shifts[2]) / 2)


def test_a_prediction_that_was_moved_says_so_and_keeps_the_rest() -> None:
    near = Neighbours(ITS, [[0.6 if at in SUMS else -0.6 for at in range(60)]])
    said = [Prediction("a", 0.5, "measured ability", 80.0, 0.02)]
    (up,), (down,) = near.correct(SUM, said), near.correct(FIX, said)
    assert up.p_good > 0.8
    assert down.p_good < 0.2
    assert (up.name, up.source, up.output_tokens, up.p_error) == ("a", f"measured ability{MOVED}", 80.0, 0.02)
    unlike = extract_features("路由器选择模型。" * 9).named
    assert near.correct(unlike, said) is said


def ability_of(model: str, residuals: tuple[float | None, ...]) -> Ability:
    return Ability(
        model=model,
        identity=f"x/{model}",
        logits=0,
        error=0.1,
        p=0.5,
        p_error=0.1,
        score=0.5,
        prompts=60,
        level=0.0,
        residuals=residuals,
    )


LEARNT = Abilities(artefact="router-1", models=(ability_of("a", (0.5,) * 60),), neighbourhood=ITS)


def found_in(abilities: Abilities | None, artefact: str = "router-1") -> Neighbours | None:
    told = {each.model: each for each in abilities.models} if abilities else {}
    return find_neighbours(abilities, told, ["b", "a"], artefact)


def test_what_was_stored_is_found_again() -> None:
    read = parse_abilities(msgspec.json.encode(LEARNT))
    assert read == LEARNT
    near = found_in(read)
    assert near is not None
    assert near.shifts(SUM) == found_in(LEARNT).shifts(SUM)  # pyright: ignore[reportOptionalMemberAccess]
    assert len(near.shifts(SUM)) == 2


def test_what_does_not_fit_is_not_used() -> None:
    """Another predictor or other features, no neighbourhood, and whatever a damaged document may say."""
    change = msgspec.structs.replace
    assert found_in(None) is None
    assert found_in(LEARNT, "router-2") is None
    assert found_in(change(LEARNT, neighbourhood=None)) is None
    assert found_in(change(LEARNT, models=(ability_of("a", ()),))) is None
    for its in (
        change(ITS, features_version=0),
        change(ITS, prompts=()),
        change(ITS, prompts=(*ITS.prompts, ITS.prompts[0])),
        change(ITS, prompts=(b"", *ITS.prompts[1:])),
        change(ITS, prompts=(b"\xff" * len(NAMES), *ITS.prompts[1:])),
        change(ITS, means=ITS.means[1:]),
        change(ITS, deviations=(0.0, *ITS.deviations[1:])),
    ):
        assert found_in(change(LEARNT, neighbourhood=its)) is None, its
    for residuals in ((0.5,) * 59, (0.5,) * 61, (*(0.5,) * 59, 1.5), (*(0.5,) * 59, float("nan"))):
        assert found_in(change(LEARNT, models=(ability_of("a", residuals),))) is None


def test_nothing_of_a_prompt_is_kept_but_a_few_coarse_numbers() -> None:
    """No word changes anything that is kept, as long as it has as many letters and is of no listed kind."""
    one, two = "The secret of Anna Berger is 1234.", "The salary of Otto Krause is 9876."
    assert describe_prompts([*NAMED, extract_features(one).named]) == describe_prompts(
        [*NAMED, extract_features(two).named]
    )
    assert {len(prompt) for prompt in ITS.prompts} == {len(NAMES)}
    assert max(max(prompt) for prompt in ITS.prompts) <= 2 * STEPS * FARTHEST
