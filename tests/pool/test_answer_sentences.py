"""Where a statement ends, and which sentence states its number."""

from __future__ import annotations

import pytest

from junctor.pool.answer_sentences import changes, cut_statement, find_stated, leads_to_number


@pytest.mark.parametrize(
    ("said", "statement"),
    [
        ("7, because 3 + 4 = 7.", "7"),
        ("7 because of it", "7 because of it"),
        ("(3, 5) because so it is", "(3, 5)"),
        ("[0, 2), since it is open", "[0, 2)"),
        ("Paris. It is the capital", "Paris"),
        ("Paris, because it is big", "Paris"),
        ("x^2 + 1, which is plain", "x^2 + 1"),
        ("Yes, it is.", "Yes"),
        ("No, it isn't", "No"),
        ("5! That is a lot", "5!"),
        ("x. That is all", "x"),
        ("A, B. That is all", "A, B"),
        ("A, B and D. That is all", "A, B and D"),
        ("3.5 km. That is all", "3.5 km"),
    ],
)
def test_what_cannot_change_a_statement_is_left_off(said: str, statement: str) -> None:
    assert cut_statement(said) == statement


@pytest.mark.parametrize(
    "said",
    [
        "2x - 3",
        "July 4, 1776",
        "A, C",
        "yes, if x > 0",
        "5 for x > 0",
        "5 - 3i",
        "5, which is a loss",
        "5. Or 6",
        "the sum, which is plain",
        "Dr. No",
        "Mt. Everest",
        "J. Chadwick",
        "U.S. Navy",
        "it fell because so it did",
        "CEO, since 2001",
        "5, because a > 0, otherwise 6",
        "Yes, it isn't",
        "Yes, France",
        "5. not 6",
        "x = 1; y = 2",
        "(3. Then",
        "3. 5",
        "e.g. Paris",
        "a, since b or c",
    ],
)
def test_what_may_change_it_stays(said: str) -> None:
    assert cut_statement(said) == said


@pytest.mark.parametrize(
    ("sentence", "stated"),
    [
        ("Thus, the value of k is 11", "11"),
        ("The total cost of the research is approximately 1,000,000.", "1,000,000"),
        ("Therefore, there are 12 eggs left.", "12 eggs left"),
        ("So the total is 5 million dollars", "5 million dollars"),
        ("So it is -5", "-5"),
        ("So x = 5", "5"),
        ("Total: 5", "5"),
        ("So it has a total of 5 legs", "5 legs"),
    ],
)
def test_a_plain_sentence_states_its_number(sentence: str, stated: str) -> None:
    assert find_stated(sentence) == stated


@pytest.mark.parametrize(
    "sentence",
    [
        "So it is O(n^2)",
        "So it is 36\\pi",
        "So it is at least 5",
        "So the loss is 5",
        "So it is not 5",
        "So 3x = 6",
        "So xy = 6",
        "So it falls by 5",
        "So it is 5 or 6",
        "So it may be 5",
        "So he lost 5",
        "So it isn't 5",
        "So it is x-5",
        "So it is 5 below zero",
        "So half is 5",
        "So it is 5x",
        "So he spends 5",
        "So it is nearly 5",
        "There is no number",
        "It is 2:30",
        "So he runs after 5",
        "So x + y = 5",
        "The answer is {5}",
        "So it is a 5",
    ],
)
def test_a_sentence_in_doubt_states_none(sentence: str) -> None:
    assert find_stated(sentence) is None


def test_words_that_change_a_number_are_known_by_their_stems() -> None:
    for word in ("losing", "losses", "Decreased", "gained", "shrunk", "don't", "million", "Least", "owes"):
        assert changes(f"the {word} of it"), word
    for word in ("total", "eggs", "value", "owner", "roses", "day"):
        assert not changes(f"the {word} of it"), word


def test_sums_and_verbs_lead_to_a_number() -> None:
    for before in ("So she makes ", "So 3 + 2 = ", "Total: ", "", "The area is about "):
        assert leads_to_number(before), before
    for before in ("3x = ", "So he runs ", "So it is at least ", "So x + 2 = ", "So it is x"):
        assert not leads_to_number(before), before
