"""Numbers, counted another way."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from fractions import Fraction
from itertools import combinations, product
from random import Random

import pytest

from junctor.routing.calibration.questions_numbers import ask_chance, ask_dates, ask_sequence, ask_units

TRIES = range(40)
DAY = r"\d{1,2} [A-Z][a-z]+ \d{4}"


def days_of(text: str) -> list[date]:
    return [datetime.strptime(found, "%d %B %Y").date() for found in re.findall(DAY, text)]  # noqa: DTZ007


@pytest.mark.parametrize("seed", TRIES)
def test_dates_are_right_day_by_day(seed: int) -> None:
    """Counted by going from day to day."""
    text, answer = ask_dates(Random(seed), 2)
    first, last = days_of(text)
    count = 0
    while first < last:
        first, count = first + timedelta(1), count + 1
    assert str(count) == answer
    text, answer = ask_dates(Random(seed), 3)
    assert f"{days_of(text)[0]:%A}" in text
    assert f"{days_of(text)[1]:%A}" == answer
    text, answer = ask_dates(Random(seed), 5)
    at, last, hits = *days_of(text)[1:3], 0
    while at <= last:
        hits += at.day == 13 and f"{at:%A}" == "Friday"
        at += timedelta(1)
    assert str(hits) == answer


@pytest.mark.parametrize("seed", TRIES)
def test_chances_are_right_case_by_case(seed: int) -> None:
    text, answer = ask_chance(Random(seed), 3)
    red, blue = (int(number) for number in re.findall(r"\d+", text)[:2])
    pairs = list(combinations([True] * red + [False] * blue, 2))
    p = Fraction(sum(a and b for a, b in pairs), len(pairs))
    assert answer == str(p.numerator + p.denominator)
    text, answer = ask_chance(Random(seed), 5)
    dice, tosses, wanted = (int(number) for number in re.findall(r"\d+", text)[:3])
    rolls = list(product(range(1, 7), repeat=dice))
    p = Fraction(sum(sum(roll) == wanted for roll in rolls), len(rolls)) * Fraction(1, 2) ** tosses
    assert answer == str(p.numerator + p.denominator)


@pytest.mark.parametrize("level", range(1, 6))
def test_sequences_go_on_as_they_began(level: int) -> None:
    """Never constant: there would be nothing to find out."""
    for seed in TRIES:
        text, answer = ask_sequence(Random(seed), level)
        terms = [int(term) for term in re.findall(r"-?\d+", text)]
        assert len(set(terms)) > 1
        if level == 1:
            assert int(answer) == 2 * terms[-1] - terms[-2]
        if level == 3:
            assert int(answer) == 3 * terms[-1] - 3 * terms[-2] + terms[-3]


def test_units_come_out_whole() -> None:
    for seed in TRIES:
        for level in range(1, 6):
            assert re.fullmatch(r"\d+", ask_units(Random(seed), level)[1])
    text, answer = ask_units(Random(3), 4)
    assert (int(answer) * 5 == int(re.findall(r"\d+", text)[0]) * 18) or "litres" in text
