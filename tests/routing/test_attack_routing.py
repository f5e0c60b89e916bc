"""The lab's attacks: what they make, and that they would be noticed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "lab"))


def test_greedy_search_finds_the_words_that_raise_the_gain() -> None:
    """Each gadget begins as the one before it, and has the length it should."""
    from attack_texts import LENGTHS, gadgets  # noqa: PLC0415 - a script of the lab

    def gain(texts: Sequence[str]) -> np.ndarray:
        return np.array([text.count("theorem") - text.count("cat") for text in texts], float)

    words = ["theorem", *(f"word{at}" for at in range(80)), "cat"]
    found = gadgets(gain, ["one two", "three four"], words, random.Random(1))
    assert [len(gadget.split()) for gadget in found] == list(LENGTHS)
    assert all(long.startswith(short) for short, long in pairwise(found))
    assert found[-1].count("theorem") > 5
    assert "cat" not in found[-1]


def test_texts_stand_before_into_and_after_a_prompt() -> None:
    """And the handmade ones are as many as the documentation says."""
    from attack_texts import handmade, place  # noqa: PLC0415

    assert place("X", "a b c d", "prefix") == "X a b c d"
    assert place("X", "a b c d", "middle") == "a b X c d"
    assert place("X", "a b c d", "suffix") == "a b c d X"
    assert sum(map(len, handmade(random.Random(1)).values())) == 88


def test_the_arrays_choose_as_the_router_does() -> None:
    """A cheaper verdict of any view holds; of the whole alone without a second look."""
    from attack_routing import Sight, choose  # noqa: PLC0415

    whole, half, quarter = [[0.5, 0.9], [0.5, 0.9]], [[0.8, 0.8], [0.5, 0.9]], [[0.5, 0.9], [0.5, 0.9]]
    seen = Sight(np.array([whole, half, quarter]), np.array([[1.0, 9.0], [1.0, 9.0]]))
    pool = np.array([0, 1])
    assert choose(seen, pool, 0.02, second_look=False).tolist() == [1, 1]
    assert choose(seen, pool, 0.02, second_look=True).tolist() == [0, 1]
