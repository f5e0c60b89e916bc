"""Words do not occur twice, so that no puzzle has two people of one name."""

from __future__ import annotations

from random import Random

from junctor.routing.calibration.questions_words import NAMES, THINGS, WORDS, tell_stock


def test_every_word_occurs_once() -> None:
    for words in (NAMES, THINGS, WORDS):
        assert len(set(words)) == len(words) > 10


def test_nobody_ends_with_less_than_nothing() -> None:
    for seed in range(200):
        assert int(tell_stock(Random(seed), 5)[1]) > 0
