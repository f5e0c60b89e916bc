"""A stated answer -> its value: a number, the letter of a choice, an expression, or a few words. Pure.

`answers.py` finds where in a reply the answer stands; here it is read.
"""

from __future__ import annotations

import re
from fractions import Fraction

MOST_CHARS = 200
"A stated answer that is longer is not one."
MOST_DIGITS = 40
_MOST_POWER = 40

_SYMBOLS = re.compile(r"\\[,!;: ]|\\(?:left|right|displaystyle|quad)\b|\\[$%]|[$€£¥₹]|\\\(|\\\)|\\\[|\\\]")
_THOUSANDS = re.compile(r"(?<=\d)\{,\}(?=\d)|(?<=\d)\\,(?=\d{3})")
_TEXT = re.compile(r"\\(?:text|mathrm|mathbf|textbf|mbox)\s?\{([^{}]*)\}")
_FRACTION = re.compile(r"\\[dt]?frac\s?(?:\{([^{}]*)\}\s?\{([^{}]*)\}|(\d)\s?(\d))")
_DEGREES = re.compile(r"\^\s?\{?\s?\\circ\s?\}?|°")
_EDGES = " \t\n.,;:!?*_`\"'\u201c\u201d\u2018\u2019\u3002\uff01"
_VARIABLE = re.compile(r"(?:[A-Za-z]|\\[a-z]{2,8})\s?=\s?")
_ABOUT = re.compile(
    r"(?:about|approximately|approx\.?|around|roughly|exactly|~|≈|\\approx)\s?", re.IGNORECASE
)
_CHOICE = re.compile(
    r"(?:[Oo]ption\s|[Cc]hoice\s|[Aa]nswer\s)?(?:([A-J])|\(([A-Ja-j])\)|([b-j])\))[.):]{0,2}"
)
_CHOICE_WITH_TEXT = re.compile(r"\(?([A-J])\)?[).:]\s\S.*|\(([A-J])\)\s\S.*", re.DOTALL)

_PLAIN = r"(?:\d+(?:[.,]\d+)*|\.\d+)"
_RATIO = rf"(?:(?P<mixed>\d{{1,12}})\s)?\(?(?P<over>{_PLAIN})\)?\s?/\s?\(?(?P<under>{_PLAIN})\)?"
_POWER = (
    r"\s?(?:\\times|\\cdot|[x\u00d7*·])\s?10\s?(?:\^|\*\*)\s?\{?(?P<power>[-+]?\d{1,2})\}?"
    r"|[eE](?P<exponent>[-+]?\d{1,2})"
)
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)\s?(?:{_RATIO}|(?P<plain>\d{{1,3}}(?:[ '\u2019]\d{{3}})+(?:[.,]\d+)?|{_PLAIN}))"
    rf"(?:{_POWER})?(?P<rest>.*)",
    re.DOTALL,
)
_UNIT = re.compile(r"\s?%|(?:\s?%)?(?:\s(?:[^\W\d_]{2,24}|per|/)){1,4}")
_NO_UNITS = frozenset(["or", "and", "to", "not", "am", "pm", "bc", "bce", "ad", "ce", "than", "if"])
_SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_GROUPED = {
    ",": re.compile(r"[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}"),
    ".": re.compile(r"[1-9]\d{0,2}(?:\.\d{3}){2,}"),
}
_QUOTED = re.compile(r"""[`*_\s]*(?:'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)")[`*_\s.,;!?]*""")
_NAME = re.compile(r"[A-Z]?[a-z]+(?: [A-Z]?[a-z]+)*")
"Words as they are written in prose: quotes are put around titles, too."
_ARTICLES = frozenset({"a", "an", "the"})
_ABSTAINS = frozenset(
    {
        "i dont know",
        "i do not know",
        "i am not sure",
        "im not sure",
        "i cant answer",
        "i cannot answer",
        "i cant help with that",
        "i cannot help with that",
        "unknown",
        "unclear",
        "not sure",
        "na",
        "n a",
        "no answer",
        "sorry",
        "im sorry",
        "cannot be determined",
    }
)
"Words that answer nothing: two models that both do not know have not agreed on an answer."
_PUNCTUATION = re.compile(r"[;!?'\"\u201c\u201d\u2018\u2019\u3002*_`~]|[.,:](?!\w)|(?<!\w)[.,:]")
_GAPS = re.compile(r"(?<=\w)-(?=[^\W\d])|[()\[\]{}]")
_EXPRESSION = re.compile(r"[\\^=<>{}\[\](),|√π∞±≤≥≠\u222a∩]|\d[a-zA-Z(]|[+*/]|\d\s?-|_\d")
_FUNCTIONS = r"(?:arc)?(?:sin|cos|tan)|log|sqrt|exp|mod"
_PROSE = re.compile(rf"(?<![\\a-zA-Z])(?!(?:{_FUNCTIONS})(?![a-z]))[^\W\d_]{{3,}}")
_NUMBERS = re.compile(r"(?<![\w.,:])[-+]?[$€£]?\d[\d.,]{0,40}(?:/\d{1,12})?%?(?![\w:])")
FEW = 5
"Words; a stated answer of more is a sentence around it."


def parse_value(text: str, *, words: int = 30) -> str | None:
    """The value of a stated answer. None: there is none, it abstains, or it is more than so many words."""
    if (literal := _parse_literal(text[: MOST_CHARS + 1])) is not None:
        return literal
    text = _trim(text[: MOST_CHARS + 1])
    if not text or len(text) > MOST_CHARS:
        return None
    plain = _strip_latex(text)
    if choice := _CHOICE.fullmatch(plain):
        return (choice[1] or choice[2] or choice[3]).upper()
    if choice := _CHOICE_WITH_TEXT.fullmatch(plain):
        return choice[1] or choice[2]
    if (number := render_number(plain)) is not None:
        return number
    if _EXPRESSION.search(text) and not _PROSE.search(plain):
        return _render_expression(plain) or None
    phrase = parse_phrase(plain, words)
    if phrase and phrase.count(" ") >= FEW and (number := find_only_number(plain)) is not None:
        return number
    return phrase or None


def _parse_literal(text: str) -> str | None:
    """A string of a program, letter by letter; None for what is none, and for numbers and names in quotes."""
    quoted = _QUOTED.fullmatch(text)
    if quoted is None or len(text) > MOST_CHARS:
        return None
    inside = quoted[1] if quoted[1] is not None else quoted[2]
    if _NAME.fullmatch(inside) or render_number(_trim(inside)) is not None:
        return None
    return "'" + inside.replace("\\'", "'").replace('\\"', '"') + "'"


def find_only_number(text: str) -> str | None:
    """The one number of a sentence; None where there are several, or none."""
    numbers = {render_number(number.rstrip(".,")) for number in _NUMBERS.findall(text)}
    return numbers.pop() if len(numbers) == 1 else None


def render_number(text: str) -> str | None:
    """A number by its value, whatever its form: `1234.5`, `1/3`; None for what is no number."""
    if len(text) > MOST_CHARS:
        return None
    plain = _ABOUT.sub("", _VARIABLE.sub("", _strip_latex(text), count=1), count=1)
    match = _NUMBER.fullmatch(plain.strip())
    if match is None:
        return None
    scale = _scale_of(match["rest"].rstrip("."))
    value = _value_of(match)
    if scale is None or value is None:
        return None
    power = int(match["power"] or match["exponent"] or 0) + scale
    if abs(power) > _MOST_POWER:
        return None
    value *= Fraction(10) ** power
    return _render_fraction(-value if match["sign"] == "-" else value)


def parse_phrase(text: str, words: int) -> str | None:
    """Words without case, articles and punctuation; None when there are more; empty when they abstain."""
    said = _PUNCTUATION.sub("", _GAPS.sub(" ", text).casefold()).split()
    if len(said) > words:
        return None
    kept = [word for word in said if word not in _ARTICLES] or said
    phrase = " ".join(kept)
    return "" if phrase in _ABSTAINS else phrase


def _strip_latex(text: str) -> str:
    """Without signs and commands that change how an answer looks and not what it says."""
    text = _THOUSANDS.sub("", text)
    if "\\" in text:
        text = _TEXT.sub(r" \1 ", text)
        text = _FRACTION.sub(lambda m: f" ({m[1] or m[3]})/({m[2] or m[4]})", text)
    text = _SYMBOLS.sub(lambda m: "%" if m[0] == r"\%" else "", _DEGREES.sub("", text))
    return _trim(" ".join(text.split()))


def _trim(text: str) -> str:
    """Without punctuation around it; the point of `.5` stays."""
    return text.lstrip(_EDGES.replace(".", "")).rstrip(_EDGES)


def _value_of(match: re.Match[str]) -> Fraction | None:
    if match["plain"] is not None:
        return _parse_plain(re.sub(r"[ '\u2019]", "", match["plain"]))
    over, under = _parse_plain(match["over"]), _parse_plain(match["under"])
    if over is None or not under:
        return None
    return int(match["mixed"] or 0) + over / under


def _parse_plain(text: str) -> Fraction | None:
    """A number in English or continental form. A lone comma is decimal, unless three digits follow it."""
    if len(text) > MOST_DIGITS:
        return None
    marks = {mark for mark in ".," if mark in text}
    if len(marks) == 2:
        decimal = max(".,", key=text.rfind)
        thousands = "," if decimal == "." else "."
        if text.count(decimal) > 1:
            return None
        return Fraction(text.replace(thousands, "").replace(decimal, "."))
    for mark in marks:
        if _GROUPED[mark].fullmatch(text):
            return Fraction(text.replace(mark, ""))
        if text.count(mark) > 1:
            return None
    return Fraction(text.replace(",", "."))


def _scale_of(rest: str) -> int | None:
    """Of what follows a number: the power of ten that it stands for. None: this is more than a unit."""
    if not rest:
        return 0
    if not _UNIT.fullmatch(rest):
        return None
    words = rest.casefold().split()
    if not _NO_UNITS.isdisjoint(words):
        return None
    return sum(_SCALES.get(word, 0) for word in words)


def _render_fraction(value: Fraction) -> str:
    """As a decimal where it has an end, else as a fraction."""
    under = value.denominator
    for prime in (2, 5):
        while under % prime == 0:
            under //= prime
    if under != 1:
        return f"{value.numerator}/{value.denominator}"
    places = 0
    while (value * 10**places).denominator != 1:
        places += 1
    digits = str(abs(int(value * 10**places))).rjust(places + 1, "0")
    sign = "-" if value < 0 else ""
    return sign + (f"{digits[:-places]}.{digits[-places:]}" if places else digits)


def _render_expression(text: str) -> str:
    """Without spaces: `x + 1` is `x+1`. Case counts."""
    return _VARIABLE.sub("", "".join(text.split()), count=1)
