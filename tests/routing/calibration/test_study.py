"""When what was learnt takes the place of what is in force."""

from __future__ import annotations

import msgspec
import pytest

from junctor.routing.abilities import Abilities
from junctor.routing.calibration.study import Comparison, Learnt


@pytest.mark.parametrize(
    ("new", "is_broken", "switches"),
    [(0.53, False, True), (0.51, False, False), (0.4, False, False), (0.4, True, True)],
)
def test_it_switches_when_the_new_one_is_clearly_better_or_the_old_one_broken(
    new: float, is_broken: bool, switches: bool
) -> None:
    comparison = Comparison(prompts=100, old=0.5, new=new, error=0.02, is_broken=is_broken)
    assert comparison.switches is switches


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
