"""The letter of a choice: `B`, `(B)`, `B) Paris`, and `B. Paris` where the question offers a B. Pure.

`A. Einstein` looks like `B. Paris`: only the question tells an initial from a choice. Where it is not known,
a letter with a point and a text is a choice only before words that follow no initial: `B. It is the capital`.
"""

from __future__ import annotations

import re

QUESTION_CHARS = 32_000
"Choices stand at the end of a question."

_BARE = re.compile(r"(?:[Oo]ption\s|[Cc]hoice\s|[Aa]nswer\s)?(?:([A-J])|\(([A-Ja-j])\)|([b-j])\))[.):]{0,2}")
_WITH_TEXT = re.compile(
    r"[*_\s]{0,4}(?P<named>(?:[Oo]ption|[Cc]hoice)\s)?[*_]{0,3}"
    r"(?P<mark>\((?P<inside>[A-J])\)|(?P<letter>[A-J])[).:])[*_]{0,3}[.:]?\s{1,3}[*_]{0,3}(?P<text>\S.*)",
    re.DOTALL,
)
_ANOTHER = re.compile(
    r"(?<!\w)(?:\([A-J]\)|[A-J]\)|[A-J][.:][\s*_])|\b(?:and|or|und|oder|et|ou|y|o)\s\(?[A-J](?!\w)|[,/&]\s?[A-J](?!\w)"
)
_JOINS = re.compile(
    r"(?:and|or|nor|but|not|if|unless|except|plus|is|are|was|isn|aren|then|und|oder|et|ou)\b|[,/&+=<>-]",
    re.IGNORECASE,
)
"What goes on with the letter itself, as in `(A) and (C)`."
_VERDICT = re.compile(r"(?:yes|no|true|false)\b", re.IGNORECASE)
_NO_NAME = re.compile(
    r"(?:the|it|its|this|that|these|those|they|he|she|we|you|there|because|since|both|all|none|neither|either"
    r"|only|every|each|some|any|in|on|at|by|to|for|from|with|when|where|as|a|an)\s\S|[\d$\\(\"'`\u201c]",
    re.IGNORECASE,
)
_OFFERED_LINE = re.compile(r"^[ \t>*_-]{0,6}\(?([A-J])(?:[).:]|[*_]{1,3}[).:]?)(?=[\s*_])", re.MULTILINE)
_OFFERED_INSIDE = re.compile(r"(?<!\S)\(?([A-J])[).:](?=[\s*_])")


def parse_choice(text: str, offered: frozenset[str]) -> str | None:
    """The letter, if the statement is one, alone or with a text. `offered`: the letters of the question."""
    if bare := _BARE.fullmatch(text):
        return (bare[1] or bare[2] or bare[3]).upper()
    match = _WITH_TEXT.fullmatch(text)
    if match is None or _ANOTHER.search(match["text"]) or _JOINS.match(match["text"]):
        return None
    letter = match["inside"] or match["letter"]
    is_plain = match["mark"].endswith(")") or match["named"] or letter in offered
    if is_plain or (match["mark"].endswith(".") and _cannot_be_a_name(match["text"])):
        return letter
    return None


def lists_choices(text: str) -> bool:
    """Whether a line of it begins with a choice, or names one with its mark."""
    return _OFFERED_LINE.search(text) is not None or _OFFERED_INSIDE.search(text) is not None


def offered_choices(question: str) -> frozenset[str]:
    """The letters that a question offers: two lines from A on, or three inside a line; else none."""
    question = question[-QUESTION_CHARS:]
    for pattern, fewest in ((_OFFERED_LINE, 2), (_OFFERED_INSIDE, 3)):
        letters = ""
        for match in pattern.finditer(question):
            if match[1] == "A":
                letters = "A"
            elif letters and ord(match[1]) == ord(letters[-1]) + 1:
                letters += match[1]
        if len(letters) >= fewest:
            return frozenset(letters)
    return frozenset()


def _cannot_be_a_name(text: str) -> bool:
    return bool(_NO_NAME.match(text) or _VERDICT.match(text))
