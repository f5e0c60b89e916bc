"""What a reply answers: every form that is recognised, and what must not be taken for an answer."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import Answer, FinishReason, ToolCall
from junctor.pool.answers import TAIL_CHARS, WHOLE_CHARS, answer_of, parse_answer, text_similarity


def reply(text: str = "", reason: FinishReason = "stop", *calls: tuple[str, str]) -> Answer:
    made = tuple(ToolCall(at, f"id{at}", name, arguments) for at, (name, arguments) in enumerate(calls))
    return Answer(model="m", text=text, tool_calls=made, reason=reason)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("42", "42"),
        ("  **42**. ", "42"),
        ("<think>is it 5? no, 6</think>7", "7"),
        ("\\boxed{4}... so \\boxed{\\frac{1}{2}}", "0.5"),
        ("so \\boxed{\\text{B}}.", "B"),
        ("so \\boxed{x^2 + \\sqrt{2}}", "x^2+\\sqrt{2}"),
        ("6√2", "6√2"),
        ("First 3.\n#### 42", "42"),
        ("We add them up.\n\nThe final answer is: $\\boxed{5}$", "5"),
        ("Add them. The answer is 18 dollars.", "18"),
        ("The answer to the question is 7, because 3 + 4 = 7.", "7"),
        ("Die Antwort ist 3,5.", "3.5"),
        ("La réponse est : 12", "12"),
        ("答案是 5", "5"),
        ("Cells need energy.\n**Answer: C**", "C"),
        ("Answer: C) Paris, since it is the capital", "C"),
        ("B", "B"),
        ("(b)", "B"),
        ("**B**", "B"),
        ("B) Paris", "B"),
        ("B. It is the capital.\nThat has been so for long.", "B"),
        ("Yes.", "yes"),
        ("TRUE", "true"),
        ("The Eiffel Tower!", "eiffel tower"),
        ('{"reasoning": "9 * 2", "answer": "18"}', "18"),
        ('```json\n{"reasoning": "9 * 2", "answer": 18.0}\n```', "18"),
        ('Here it is:\n```json\n{"reasoning": "\\( x \\)", "answer": "1,800"}\n```\nDone.', "1800"),
        ('{"b": 1.0, "a": [true, null]}', '{"a":[true,null],"b":1}'),
        ("```python\ndef f():\n    return 1  \n\n```", "def f():\n    return 1"),
        ("She has 9 eggs left.\nSo she makes **$18** a day.", "18"),
        ("Therefore, there are 12 eggs left.", "12"),
        ("٤٢", "42"),
        ("\uff12\uff10", "20"),
    ],
)  # fmt: skip
def test_each_form_of_an_answer_is_recognised(text: str, answer: str) -> None:
    assert parse_answer(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n ",
        "I don't know.",
        "Sorry!",
        '{"answer": null}',
        "Paris is the capital of France, and its largest city by far.",
        "Once upon a time there were 3 bears.\n\nThey had 2 chairs and 4 beds.",
        "Therefore, 3 of the 7 are left.",
        "A. First do this.\nB. Then do that.",
        "There are **3** ways, of which **2** are good.",
        "The answer is that it depends on what you want to do with it.",
        "a" * 5000,
    ],
)
def test_what_is_no_answer_is_not_compared(text: str) -> None:
    assert parse_answer(text) is None


@pytest.mark.parametrize(
    "same",
    [
        ("0.5", "1/2", "\\frac{1}{2}", "\\dfrac12", "½", ".5", "0,5", "5e-1", "$0.50"),
        ("1234.5", "1,234.50", "1.234,5", "1 234,50", "1'234.5", "$1,234.5", "€1.234,50", "1{,}234.5"),
        ("1000000", "1,000,000", "1.000.000", "1 million", "1 x 10^6", "1e6"),
        ("50", "50%", "50 %", "50 percent", "$50", "50 dollars", "about 50", "x = 50", "50°", "50.0"),
        ("-3", "\u22123", "- 3", "-3.0", "-6/2"),
        ("1.5", "1½", "1 1/2", "3/2"),
        ("B", "(B)", "B.", "**B**", "\\boxed{B}", "Answer: B", "(b)", "option B"),
        ("paris", "Paris.", '"Paris"', "the Paris", "PARIS!"),
    ],
)  # fmt: skip
def test_one_value_has_one_spelling(same: tuple[str, ...]) -> None:
    assert {text: parse_answer(text) for text in same} == dict.fromkeys(same, same[0])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0.5", "50%"),
        ("0.33", "1/3"),
        ("5²", "52"),
        ("6√2", "62"),
        ("10 am", "10 pm"),
        ("44 BC", "44 AD"),
        ("5 or 6", "5"),
        ("not 5", "5"),
        ("1.2.3", "123"),
        ("2:30", "230"),
        ("5x", "5"),
        ("x = 5", "x = -5"),
        ("(1, 2)", "(2, 1)"),
        ("yes", "no"),
        ("A", "B"),
        ("```\nif a:\n  b\n```", "```\nif a:\nb\n```"),
    ],
)
def test_different_answers_stay_different(one: str, other: str) -> None:
    assert parse_answer(one) is not None
    assert parse_answer(one) != parse_answer(other)


@given(st.integers(-(10**15), 10**15), st.integers(0, 999))
def test_a_number_is_read_in_both_conventions(whole: int, thousandths: int) -> None:
    """English and continental grouping give one value."""
    english = f"{whole:,}.{thousandths:03d}"
    continental = english.replace(",", " ").replace(".", ",").replace(" ", ".")
    assert parse_answer(english) == parse_answer(f"\\boxed{{{english}}}")
    if abs(whole) >= 1000:
        assert parse_answer(continental) == parse_answer(english)


@given(st.text(max_size=300))
def test_no_text_breaks_it(text: str) -> None:
    """And an answer can be stored."""
    for said in (text, f"\\boxed{{{text}}}", f"answer: {text}", f'{{"answer": "{text}', f"```\n{text}\n```"):
        answer = parse_answer(said)
        assert answer is None or answer.encode()


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), _json, min_size=1, max_size=3))
def test_json_is_equal_whatever_its_order_and_space(value: dict[str, object]) -> None:
    """Tool calls, too."""
    other = json.dumps(dict(reversed(value.items())), indent=2)
    one = json.dumps(value, ensure_ascii=False)
    assert answer_of(reply("", "tool_calls", ("f", one))) == answer_of(reply("", "tool_calls", ("f", other)))
    if not {"answer", "final_answer"} & {key.casefold().replace(" ", "_") for key in value}:
        assert parse_answer(one) == parse_answer(other) is not None


def test_tool_calls_are_equal_by_names_and_arguments() -> None:
    weather = ("weather", '{"city": "Rome", "days": 2}')
    again = ("weather", '{"days":2.0,"city":"Rome"}')
    assert answer_of(reply("", "tool_calls", weather)) == answer_of(reply("Let me see.", "tool_calls", again))
    assert answer_of(reply("", "tool_calls", weather, ("f", ""))) == answer_of(
        reply("", "tool_calls", ("f", "{}"), again)
    )
    assert answer_of(reply("", "tool_calls", weather)) != answer_of(reply("", "tool_calls", ("f", again[1])))
    assert answer_of(reply("", "tool_calls", weather)) != answer_of(reply('{"city": "Rome", "days": 2}'))
    assert answer_of(reply("42", "tool_calls", ("f", "{not json"))) is None


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_a_reply_that_was_cut_answers_nothing(reason: FinishReason) -> None:
    assert answer_of(reply("42")) == "42"
    assert answer_of(reply("42", reason)) is None


HOSTILE = {
    "letters": "a" * 10**6,
    "spaces": " " * 10**6,
    "boxes": "\\boxed{" * 150_000,
    "markers": "answer is " * 100_000,
    "markers of": "answer of " * (TAIL_CHARS // 10),
    "hashes": "####" * 250_000,
    "fields": '"answer": "' * 90_000,
    "backslashes": '"answer":"' + "\\" * (TAIL_CHARS - 20),
    "brackets": "[" * (WHOLE_CHARS - 1),
    "digits": "1" * (WHOLE_CHARS - 1),
    "groups": "1," * 15_000,
    "fences": "```\n" * 7_000,
    "stars": "*" * (WHOLE_CHARS - 1),
    "lines": "\n" * TAIL_CHARS,
    "thoughts": "</think>" * 100_000,
    "expanding": "\ufdfa" * (WHOLE_CHARS - 1),
    "macros": "\\text{" * 600,
    "fractions": "\\frac{" * 600,
    "power": "1e999999999",
    "power of ten": "10 x 10^99",
    "division by nothing": "1/0",
    "lone surrogate": "\ud800",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_reply_costs_next_to_nothing(kind: str) -> None:
    """A generous bound: each takes some 20 ms at most, and what grows with the square takes minutes."""
    began = time.process_time()
    answer = parse_answer(HOSTILE[kind])
    assert time.process_time() - began < 2
    assert answer is None or answer.encode()


def test_an_answer_at_the_end_of_a_long_reply_is_found() -> None:
    assert parse_answer("word " * 200_000 + "\n#### 42") == "42"


def test_similarity_is_a_share_of_common_words() -> None:
    assert text_similarity("", "") == 1
    assert text_similarity("Rome is old", "rome, is OLD!") == 1
    assert text_similarity("cats", "dogs") == 0
    assert (
        text_similarity("It costs 5 today", "It costs 6 today")
        < 0.5
        < text_similarity("It costs some money today", "It costs more money today")
    )


@given(st.text(max_size=50), st.text(max_size=50))
def test_similarity_is_symmetric_and_between_0_and_1(one: str, other: str) -> None:
    assert 0 <= text_similarity(one, other) <= 1
    assert text_similarity(one, other) == pytest.approx(text_similarity(other, one))
    assert text_similarity(one, one) == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("So it is 42.", "42"),
        ("It is 42.", "42"),
        ("That's 42", "42"),
        ("There are 42 legs.", "42"),
        ("Therefore, that is $42.", "42"),
        ("It's B", "B"),
        ("This is Paris.", "paris"),
        ("It is what it is, and nobody knows better", None),
    ],
)
def test_what_leads_up_to_a_short_answer_is_no_part_of_it(text: str, value: str | None) -> None:
    assert parse_answer(text) == value


@pytest.mark.parametrize(
    ("stated", "value"),
    [
        ("(3, 5)", "(3,5)"),
        ("[0, 2)", "[0,2)"),
        ("[1, 2, 'Ab']", "[1,2,'Ab']"),
        ("{'a': 1, 'b': 2}", "{'a':1,'b':2}"),
        ("(B), because", "B"),
        ("(3", "(3"),
    ],
)
def test_a_statement_does_not_end_within_brackets(stated: str, value: str) -> None:
    assert parse_answer(f"The answer is {stated}") == value
    assert parse_answer(f"The answer is {stated}.") == value


@pytest.mark.parametrize(
    "text",
    [
        "There is no single answer to this question.",
        "I cannot give one answer to this dilemma, and nobody else can.",
        "The best solution to this problem depends on taste.",
        "It goes on without an answer to compare. Roses are red.",
    ],
)
def test_the_end_of_a_word_is_no_verb(text: str) -> None:
    """`this` ends in `is`, and `compare` in `are`: what follows them is no answer."""
    assert parse_answer(text) is None
