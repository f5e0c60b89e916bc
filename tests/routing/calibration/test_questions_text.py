"""Strings and lists, done by hand."""

from __future__ import annotations

import itertools
import re
from random import Random

from junctor.routing.calibration.questions_text import ask_list, ask_string


def test_lists_are_summed_as_they_are_told() -> None:
    for seed in range(40):
        text, answer = ask_list(Random(seed), 3)
        divisor, *numbers = (int(number) for number in re.findall(r"\d+", text))
        assert answer == str(sum(number for number in numbers if number % divisor != 0))
        text, answer = ask_list(Random(seed), 5)
        numbers = [int(number) for number in re.findall(r"\d+", text)]
        rises = [max(0, after - before) for before, after in itertools.pairwise(numbers)]
        assert answer == str(sum(rises) * sum(rise > 0 for rise in rises))


def test_strings_are_edited_in_the_order_that_is_told() -> None:
    """A second reading of each sentence."""
    readings = {
        "Reverse": lambda text: "".join(reversed(text)),
        "Remove": lambda text: re.sub("[aeiou]", "", text),
        "Move": lambda text: re.sub(r"^(..)(.*)$", r"\2\1", text),
        "Replace": lambda text: text.translate({97 + at: 97 + (at + 1) % 26 for at in range(26)}),
        "Keep only": lambda text: re.sub(r"(.)", r"\1", "".join(sorted(set(text), key=text.index))),
        "Sort": lambda text: "".join(sorted(text)),
        "Keep the": lambda text: "".join(letter for at, letter in enumerate(text, 1) if at % 2),
    }
    checked = 0
    for seed in range(60):
        text, answer = ask_string(Random(seed), 1 + seed % 5)
        if not text.startswith("Take"):
            continue
        now = text.split('"')[1]
        for sentence in text.split('".')[1].strip().split(". "):
            for beginning, edit in readings.items():
                if sentence.startswith(beginning):
                    now = edit(now)
        assert now == answer, text
        checked += 1
    assert checked > 40
