"""The letter of a choice, and what only looks like one."""

from __future__ import annotations

import pytest

from junctor.pool.answer_choices import QUESTION_CHARS, lists_choices, offered_choices, parse_choice

NONE = frozenset[str]()


@pytest.mark.parametrize(
    "text", ["C", "(C)", "(c)", "c)", "option C", "C)", "C) Oslo", "(C) Oslo", "C. The last one"]
)
def test_these_are_a_choice_whatever_was_asked(text: str) -> None:
    assert parse_choice(text, NONE) == "C"


@pytest.mark.parametrize("text", ["C. Oslo", "C: Oslo", "C. elegans", "C. Darwin"])
def test_these_are_one_where_the_question_offers_it(text: str) -> None:
    assert parse_choice(text, frozenset("ABCD")) == "C"
    assert parse_choice(text, frozenset("AB")) is None
    assert parse_choice(text, NONE) is None


@pytest.mark.parametrize(
    "text",
    [
        "c",
        "CO",
        "K",
        "(A) and (C)",
        "(A) or C",
        "A) Rome, B) Paris",
        "A, C",
        "A) is wrong",
        "A) not B",
        "A. Rome\nB. Oslo",
    ],
)
def test_these_are_none_even_there(text: str) -> None:
    assert parse_choice(text, frozenset("ABCD")) is None


@pytest.mark.parametrize(
    ("question", "letters"),
    [
        ("Which?\nA. Rome\nB. Paris", "AB"),
        ("Which?\n(A) Rome\n(B) Paris\n(C) Oslo", "ABC"),
        ("Which?\n- **A)** Rome\n- **B)** Paris", "AB"),
        ("Which? A) Rome B) Paris C) Oslo D) Bern", "ABCD"),
        ("Was it A. Einstein or B. Russell?", ""),
        ("Vitamin A. Or B. What is it?", ""),
        ("B. Russell\nA. Einstein", ""),
        ("", ""),
    ],
)
def test_the_letters_that_a_question_offers_are_found(question: str, letters: str) -> None:
    assert offered_choices(question) == frozenset(letters)
    assert offered_choices("x" * QUESTION_CHARS + question) == frozenset(letters)


def test_a_list_of_choices_is_seen() -> None:
    assert lists_choices("That is it.\nB) Paris")
    assert not lists_choices("That has been so for long.")
