"""Puzzles leave one answer."""

from __future__ import annotations

import re
from itertools import product
from random import Random

import pytest

from junctor.routing.calibration.questions_logic import ask_truth_tellers


@pytest.mark.parametrize("level", range(1, 6))
def test_knights_and_knaves_have_one_solution(level: int) -> None:
    """By reading the sentences and trying every world."""
    for seed in range(25):
        text, answer = ask_truth_tellers(Random(seed), level)
        said = re.findall(r'(\w+) says: "([^"]+)"', text)
        people = [name for name, _ in said]
        worlds = [
            world
            for values in product((True, False), repeat=len(people))
            for world in [dict(zip(people, values, strict=True))]
            if all(is_true(words, name, world) == world[name] for name, words in said)
        ]
        assert len(worlds) == 1, text
        if asked := re.search(r"Is (\w+) a knight\?", text):
            assert answer == ("yes" if worlds[0][asked[1]] else "no")
        else:
            assert answer == str(sum(worlds[0].values()))


def is_true(words: str, speaker: str, world: dict[str, bool]) -> bool:
    if found := re.fullmatch(r"(\w+) is a (knight|knave)\.", words):
        return world[found[1]] == (found[2] == "knight")
    if found := re.fullmatch(r"(\w+) and I are of the same kind\.", words):
        return world[found[1]] == world[speaker]
    if found := re.match(r"Exactly (\d)", words):
        return sum(world.values()) == int(found[1])
    found = re.fullmatch(r"(\w+) or (\w+) is a knight, or both are\.", words)
    assert found, words
    return world[found[1]] or world[found[2]]
