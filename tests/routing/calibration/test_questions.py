"""Questions are right by construction: programs are run, equations solved, dates counted anew."""

from __future__ import annotations

import contextlib
import io
import re
from collections import Counter

import pytest

from junctor.routing.calibration.questions import KINDS, LEVELS, Question, make_questions

EQUATION = r"(?<![a-z])-?(?:\d+\*)?[xyz][-+*\dxyz ]*=[-+*\dxyz ]*\d"
MANY = make_questions(900, seed=7)


def of_kind(kind: str) -> list[Question]:
    found = [question for question in MANY if question.kind == kind]
    assert len(found) > 50
    return found


def test_the_same_seed_gives_the_same_questions_and_another_one_others() -> None:
    assert make_questions(300, 1) == make_questions(300, 1)
    shared = {each.prompt for each in make_questions(300, 1)} & {
        each.prompt for each in make_questions(300, 2)
    }
    assert len(shared) < 30


def test_no_two_are_alike() -> None:
    """Not even but for the request to end with `Answer:`."""
    bodies = Counter(question.prompt.rsplit("\n\n", 1)[0] for question in MANY)
    assert max(bodies.values()) == 1


@pytest.mark.parametrize("count", [60, 120, 300])
def test_any_beginning_is_a_fair_sample_of_kinds_and_levels(count: int) -> None:
    made = make_questions(count, 5)
    assert len(made) == count
    for tally in (Counter(each.kind for each in made), Counter(each.difficulty for each in made)):
        assert max(tally.values()) - min(tally.values()) <= count / 20 + 2
    assert {each.kind for each in made} == set(KINDS)
    assert {each.difficulty for each in made} == set(range(1, LEVELS + 1))


def test_each_asks_for_its_answer_on_the_last_line() -> None:
    for question in MANY:
        assert "`Answer: ...`" in question.prompt.splitlines()[-1]
        assert question.answer


def test_programs_print_what_is_said() -> None:
    """By running them, which only a test does."""
    for question in of_kind("program"):
        code = question.prompt.split("```python\n")[1].split("\n```")[0]
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, {})
        assert printed.getvalue().strip() == question.answer


def test_equations_hold() -> None:
    """Solved by trying whole numbers."""
    small = range(-12, 18)
    for question in of_kind("algebra"):
        text = question.prompt.split("\n\n")[0].replace("^", "**")
        equations = re.findall(EQUATION, re.sub(r"(\d)([xyz])", r"\1*\2", text))
        assert equations, text
        checks = [compile(each.strip().replace("=", "=="), "", "eval") for each in equations]
        unknowns = [name for name in "xyz" if any(name in each for each in equations)]
        solutions = [
            values
            for values in _tuples(small, len(unknowns))
            if all(eval(check, dict(zip(unknowns, values, strict=True))) for check in checks)
        ]
        assert question.answer in {str(said) for said in _asked_of(text, solutions)}, text


def _tuples(values: range, size: int) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = [()]
    for _ in range(size):
        found = [(*head, value) for head in found for value in values]
    return found


def _asked_of(text: str, solutions: list[tuple[int, ...]]) -> list[int]:
    if "larger" in text or "smaller" in text:
        return [(max if "larger" in text else min)(solutions)[0]]
    assert len(solutions) == 1, text
    (values,) = solutions
    if "product" in text:
        return [values[0] * values[1] * values[2]]
    return [values[0] + 2 * values[1]] if "x + 2y" in text or "x + 2*y" in text else [values[0]]


def test_queues_have_the_order_that_the_clues_leave() -> None:
    """By putting each clue into words of its own and trying every order."""
    for question in [each for each in of_kind("order") if each.difficulty < 5]:
        text = question.prompt.split("\n\n")[0]
        people = re.split(r" stand in| ran a", text)[0].split(", ")
        clues = re.findall(
            r"(\w+) (stands directly ahead of|stands somewhere ahead of|finished before|"
            r"finished immediately before) (\w+)\.",
            text,
        )
        at = int(re.search(r"number (\d+)", text)[1]) - 1  # type: ignore[index]
        fitting = {order[at] for order in _orders(people) if all(_follows(order, *clue) for clue in clues)}
        assert fitting == {question.answer}, text


def _orders(people: list[str]) -> list[list[str]]:
    if len(people) < 2:
        return [people]
    return [[one, *rest] for one in people for rest in _orders([each for each in people if each != one])]


def _follows(order: list[str], one: str, how: str, other: str) -> bool:
    gap = order.index(other) - order.index(one)
    return gap == 1 if "directly" in how or "immediately" in how else gap > 0


def test_stock_is_counted_by_its_sentences() -> None:
    for question in of_kind("word problem"):
        text = question.prompt.split("\n\n")[0]
        if " heaps" not in text and "recipe" not in text and "many as before" in text:
            have = int(re.search(r"\d+", text)[0])  # type: ignore[index]
            for sentence in text.split(". ")[1:-1]:
                numbers = [int(number) for number in re.findall(r"\d+", sentence)]
                if "as many" in sentence:
                    have *= 2 if "twice" in sentence else 3
                else:
                    have += numbers[0] * numbers[1] if len(numbers) == 2 else -numbers[0]
            assert str(have) == question.answer, text


def test_table_answers_are_a_letter_that_is_offered() -> None:
    for question in of_kind("table"):
        assert question.answer in "ABCDE"
        if "largest value" in question.prompt:
            rows = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \| (\d+) \|$", question.prompt, re.MULTILINE)
            column = ("pieces", "price", "weight").index(question.prompt.split("column `")[1].split("`")[0])
            best = max(rows, key=lambda row: int(row[1 + column]))[0]
            assert f"{question.answer}) {best}" in question.prompt


def test_asking_for_more_than_there_are_is_an_error_and_not_an_endless_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "junctor.routing.calibration.questions._KINDS", {"one": lambda _rng, _level: ("1 + 1?", "2")}
    )
    monkeypatch.setattr("junctor.routing.calibration.questions.KINDS", ("one",))
    with pytest.raises(ValueError, match="no more than 1"):
        make_questions(2, 0)
