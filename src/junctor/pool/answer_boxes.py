r"""A text with LaTeX boxes -> what its last answer in a box states. Pure.

Mostly the inside of the last `\boxed{}`. Boxes with nothing but a comma, `and` or `or` between them are one
answer of several parts. What stands next to a box and would make it another value, as in `-\boxed{5}`,
`\boxed{5}\pi` and `\boxed{5}` million, belongs to it.
"""

from __future__ import annotations

import re
from collections import deque

from junctor.pool.answer_units import is_scale

MOST_BOXES = 4
"As many are read as one answer."

_BOXED = re.compile(r"\\(?:boxed|fbox)\s{0,3}\{")
_JOINT = re.compile(
    r"[\s$]{0,9}(?:\\text\s?\{)?\s{0,9}(?:,\s{0,9}(?:and|or|und|oder)?|and|or|und|oder)\s{0,9}\}?[\s$]{0,9}"
    r"(?:[A-Za-z]\s?=\s?)?"
)
_NEXT_WORD = re.compile(r"(?:[*_$\s]|\\[)\]]|\\text\s?\{){0,9}([^\W\d_]{4,10})\b")
_CONTINUED = re.compile(
    r"[A-Za-z]{1,2}(?![A-Za-z])|[\d(/]|\^(?!\s?\{?\s?\\circ)|\\(?:pi|sqrt|d?frac|cdot|times)(?![a-z])"
)
_NEGATED = re.compile(r"(?:^|[\s=$({*])-\Z")


def find_boxed(text: str) -> list[str] | None:
    """What the last boxes state, in order; nothing where the last is part of more. None: there is no box."""
    boxes = deque(_BOXED.finditer(text), maxlen=MOST_BOXES)
    said, reached = deque[str](), len(text)
    while boxes:
        box = boxes.pop()
        end = _closing(text, box.end())
        if said and (end is None or not _JOINT.fullmatch(text[end:reached])):
            break
        if end is None:
            return None
        inside = _with_surroundings(text, box.start(), end, text[box.end() : end - 1])
        if inside is None:
            return []
        said.appendleft(inside)
        reached = box.start()
    return list(said) or None


def _closing(text: str, inside: int) -> int | None:
    """Behind the bracket that closes the one before `inside`."""
    depth = 1
    for at in range(inside, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return at + 1
    return None


def _with_surroundings(text: str, start: int, end: int, inside: str) -> str | None:
    if _CONTINUED.match(text, end):
        return None
    if _NEGATED.search(text[max(0, start - 2) : start]):
        inside = f"-{inside}" if inside.strip()[:1].isalnum() else f"-({inside})"
    word = _NEXT_WORD.match(text, end)
    return f"{inside} {word[1]}" if word and is_scale(word[1]) else inside
