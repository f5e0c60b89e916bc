"""A stated answer's value."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.pool.answer_values import find_only_number, parse_phrase, parse_value, render_number


@given(st.fractions(max_denominator=10**6))
def test_a_fraction_keeps_its_value_and_has_one_spelling(value: Fraction) -> None:
    said = render_number(f"{value.numerator}/{value.denominator}")
    assert said is not None
    assert Fraction(said) == value
    assert render_number(said) == said


@pytest.mark.parametrize("text", ["", "x", "1.2.3", "1,2,3", "5 or 6", "1/0", "1e99", "5x", "7" * 50])
def test_what_is_no_number_has_no_value(text: str) -> None:
    assert render_number(text) is None


def test_a_sentence_around_one_number_is_that_number() -> None:
    assert parse_value("The total cost of the research is approximately $1,000,000") == "1000000"
    assert parse_value("Jeff has 86 glasses and 42 plates now") == "jeff has 86 glasses and 42 plates now"
    assert find_only_number("from 3 to 4") is None
    assert find_only_number("3 and once more 3.0") == "3"


def test_words_are_compared_without_case_articles_and_punctuation() -> None:
    assert parse_phrase("The Well-Known (Old) Man!", 5) == "well known old man"
    assert parse_phrase("one two three", 2) is None
    assert parse_phrase("I don't know", 5) == ""
    assert parse_value("x" * 201) is None


@pytest.mark.parametrize(
    ("stated", "value"),
    [
        ("'x y.'", "'x y.'"),
        ("'  pad '", "'  pad '"),
        ('"aB-c"', "'aB-c'"),
        ("''", "''"),
        (r"'it\'s'", "'it's'"),
        ("`'A1b'`", "'A1b'"),
        ("'18'", "18"),
        ('"The Great Gatsby"', "great gatsby"),
        ("'k' and 'v'", "k and v"),
    ],
)
def test_a_string_of_a_program_counts_letter_by_letter_and_a_title_does_not(stated: str, value: str) -> None:
    assert parse_value(stated) == value
