"""Questions about strings, lists, small programs and small tables. Pure.

Each function takes a source of chance and a level, 1..5, and gives a question and its answer. What a program
prints is computed by code of the same meaning here; no text is ever executed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from random import Random

from junctor.routing.calibration.questions_words import NAMES, WORDS

_ALPHABET = "abcdefghijklmnopqrstuvwxyz"
_VOWELS = "aeiou"


def ask_string(rng: Random, level: int) -> tuple[str, str]:
    """Letters counted, moved, replaced: as many operations as the level."""
    text = "".join(rng.sample(WORDS, 1 + (level > 2)))
    if level == 1 and rng.random() < 0.5:
        phrase = " ".join(rng.sample(WORDS, 3))
        letter = rng.choice(sorted(set(phrase) - {" "}))
        return f'How many times does the letter "{letter}" occur in "{phrase}"?', str(phrase.count(letter))
    said, now = [f'Take the word "{text}".'], text
    names = rng.sample(list(_EDITS), min(level, len(_EDITS)))
    for name in names:
        said.append(name)
        now = _EDITS[name](now)
    said.append(rng.choice(("What is the result?", "Write the resulting string.")))
    return " ".join(said), now


def _shift(text: str) -> str:
    return "".join(_ALPHABET[(_ALPHABET.index(letter) + 1) % 26] for letter in text)


def _without_repeats(text: str) -> str:
    return "".join(dict.fromkeys(text))


_EDITS: dict[str, Callable[[str], str]] = {
    "Reverse it.": lambda text: text[::-1],
    "Remove every vowel (a, e, i, o, u).": lambda text: "".join(each for each in text if each not in _VOWELS),
    "Move its first two letters to the end, in their order.": lambda text: text[2:] + text[:2],
    "Replace every letter by the next one of the alphabet (z becomes a).": _shift,
    "Keep only the first occurrence of each letter.": _without_repeats,
    "Sort its letters alphabetically.": lambda text: "".join(sorted(text)),
    "Keep the letters at odd positions (first, third, ...) only.": lambda text: text[::2],
}


def ask_list(rng: Random, level: int) -> tuple[str, str]:
    """Numbers filtered, sorted and added up."""
    numbers = [rng.randint(1, 60) for _ in range(4 + 2 * level)]
    shown = ", ".join(map(str, numbers))
    if level == 1:
        asked, answer = rng.choice((("largest", max(numbers)), ("smallest", min(numbers))))
        return f"What is the {asked} of these numbers: {shown}?", str(answer)
    if level == 2:
        at = rng.randint(2, 4)
        return f"Sort these numbers from small to large: {shown}. Which is number {at}?", str(
            sorted(numbers)[at - 1]
        )
    divisor = rng.choice((3, 4, 5, 7))
    if level == 3:
        total = sum(number for number in numbers if number % divisor)
        return f"Add up those of the following that are not divisible by {divisor}: {shown}.", str(total)
    distinct = sorted(set(numbers), reverse=True)
    if level == 4:
        return (
            (
                f"From the list {shown} drop repeated values, sort what is left from large to small, and add "
                "every second one, beginning with the first. What is the sum?"
            ),
            str(sum(distinct[::2])),
        )
    pairs = [(a, b) for a, b in itertools.pairwise(numbers) if a < b]
    return (
        (
            f"In the list {shown} look at each pair of neighbours in which the second is larger than the "
            "first. What is the sum of (second minus first) over these pairs, times the number of such pairs?"
        ),
        str(sum(b - a for a, b in pairs) * len(pairs)),
    )


def ask_program(rng: Random, level: int) -> tuple[str, str]:
    """What does a small Python program print?"""
    lines, printed = _PROGRAMS[level - 1](rng)
    code = "\n".join(lines)
    asked = rng.choice(("What does this Python program print?", "Predict the output of this program."))
    return f"{asked}\n\n```python\n{code}\n```", str(printed)


_Program = tuple[list[str], object]


def _loop(rng: Random) -> _Program:
    start, stop, step, by = rng.randint(0, 9), rng.randint(12, 30), rng.randint(1, 4), rng.randint(2, 6)
    total = 0
    for number in range(start, stop, step):
        total += number * by
    lines = ["total = 0", f"for number in range({start}, {stop}, {step}):", f"    total += number * {by}"]
    return [*lines, "print(total)"], total


def _filter(rng: Random) -> _Program:
    size, modulus, rest = rng.randint(10, 30), rng.randint(3, 6), rng.randint(0, 2)
    kept = [number * number for number in range(size) if number % modulus == rest]
    return [
        f"kept = [number * number for number in range({size}) if number % {modulus} == {rest}]",
        "print(sum(kept) - len(kept))",
    ], sum(kept) - len(kept)


def _words(rng: Random) -> _Program:
    words = rng.sample(WORDS, 5)
    at, cut = rng.randint(0, 4), rng.randint(2, 4)
    ranked = sorted(words, key=lambda word: (len(word), word))
    return [
        f"words = {words!r}",
        "ranked = sorted(words, key=lambda word: (len(word), word))",
        f"print(ranked[{at}][:{cut}] + ranked[-1][-{cut}:])",
    ], ranked[at][:cut] + ranked[-1][-cut:]


def _recursion(rng: Random) -> _Program:
    first, add, times = rng.randint(9, 40), rng.randint(1, 5), rng.randint(2, 3)

    def walk(number: int) -> int:
        if number < 3:
            return add
        return walk(number // 2) + times if number % 2 == 0 else walk(number - 3) * times

    lines = ["def walk(number):", "    if number < 3:", f"        return {add}", "    if number % 2 == 0:"]
    lines += [f"        return walk(number // 2) + {times}", f"    return walk(number - 3) * {times}", ""]
    return [*lines, f"print(walk({first}))"], walk(first)


def _machine(rng: Random) -> _Program:
    a, b, rounds, modulus = rng.randint(1, 9), rng.randint(1, 9), rng.randint(6, 11), rng.randint(11, 37)
    seen = dict[int, int]()
    one, two = a, b
    for at in range(rounds):
        one, two = two, (3 * one + two + at) % modulus
        seen[two % 5] = seen.get(two % 5, 0) + two
    best = max(seen, key=lambda key: (seen[key], key))
    lines = [f"one, two, seen = {a}, {b}, {{}}", f"for at in range({rounds}):"]
    lines += [f"    one, two = two, (3 * one + two + at) % {modulus}"]
    lines += ["    seen[two % 5] = seen.get(two % 5, 0) + two"]
    lines += ["best = max(seen, key=lambda key: (seen[key], key))", "print(100 * best + seen[best])"]
    return lines, 100 * best + seen[best]


_PROGRAMS: tuple[Callable[[Random], _Program], ...] = (_loop, _filter, _words, _recursion, _machine)
_COLUMNS = ("pieces", "price", "weight")


def ask_table(rng: Random, level: int) -> tuple[str, str]:
    """A small table to read, with five choices."""
    rows = {name: [rng.randint(2, 90) for _ in _COLUMNS] for name in rng.sample(NAMES, 5)}
    column = rng.randrange(len(_COLUMNS))
    asked, score = _TABLE_QUESTIONS[level - 1](column)
    scores = {name: score(values) for name, values in rows.items()}
    best = max(scores.values())
    if list(scores.values()).count(best) > 1:
        return ask_table(rng, level)
    names = rng.sample(list(rows), len(rows))
    table = [f"| seller | {' | '.join(_COLUMNS)} |", "|---|---|---|---|"]
    table += [f"| {name} | {' | '.join(map(str, values))} |" for name, values in rows.items()]
    choices = [f"{letter}) {name}" for letter, name in zip("ABCDE", names, strict=True)]
    right = "ABCDE"[names.index(max(scores, key=lambda name: scores[name]))]
    return "\n".join([*table, "", asked, *choices, "Answer with the letter."]), right


_Score = Callable[[list[int]], float]


def _by_most(column: int) -> tuple[str, _Score]:
    return f"Who has the largest value in the column `{_COLUMNS[column]}`?", lambda row: row[column]


def _by_least(column: int) -> tuple[str, _Score]:
    return f"Who has the smallest value in the column `{_COLUMNS[column]}`?", lambda row: -row[column]


def _by_product(column: int) -> tuple[str, _Score]:
    return "Whose pieces times price is the largest?", lambda row: row[0] * row[1]


def _by_ratio(column: int) -> tuple[str, _Score]:
    return "Who has the highest price per unit of weight?", lambda row: row[1] / row[2]


def _by_both(column: int) -> tuple[str, _Score]:
    asked = (
        "Each piece beyond the 30th counts twice (so 40 pieces count as 50). With the pieces counted like "
        "that, whose pieces times price, less ten times the weight, is the largest?"
    )
    return asked, lambda row: (row[0] + max(0, row[0] - 30)) * row[1] - 10 * row[2]


_TABLE_QUESTIONS = (_by_most, _by_least, _by_product, _by_ratio, _by_both)
