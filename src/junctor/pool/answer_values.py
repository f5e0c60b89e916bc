"""A stated answer -> its value: a number, the letter of a choice, an expression, or a few words. Pure.

`answers.py` finds where in a reply the answer stands; here it is read.
"""

from __future__ import annotations

import re
from fractions import Fraction

from junctor.pool.answer_choices import parse_choice
from junctor.pool.answer_refusals import abstains
from junctor.pool.answer_sentences import find_stated
from junctor.pool.answer_units import unit_factor

MOST_CHARS = 200
"A stated answer that is longer is not one."
MOST_DIGITS = 40
_MOST_POWER = 40

_SYMBOLS = re.compile(r"\\[,!;: ]|\\(?:left|right|displaystyle|quad)\b|\\[$%]|[$€£¥₹]|\\\(|\\\)|\\\[|\\\]")
_THOUSANDS = re.compile(r"(?<=\d)\{,\}(?=\d)|(?<=\d)\\,(?=\d{3})")
_TEXT = re.compile(r"\\(?:text|mathrm|mathbf|textbf|mbox)\s?\{([^{}]*)\}")
_FRACTION = re.compile(r"\\[dt]?frac\s?(?:\{([^{}]*)\}\s?\{([^{}]*)\}|(\d)\s?(\d))")
_DEGREES = re.compile(r"(?:\^\s?\{?\s?\\circ\s?\}?|°)(?!\s?\d)")
"Not those before minutes, as in `5°30`."
_EDGES = " \t\n.,;:!?*_`\"'\u201c\u201d\u2018\u2019\u3002\uff01"
_LEADING = _EDGES.replace(".", "").replace("!", "")
_LASTING = re.compile(r"(?:[\d)\]}]|(?<!\w)[A-Za-z])(?:!|(?<=[A-Za-z)])'|(?P<dots>\.{3}))")
"At the end: a factorial, a prime, digits that go on."
_DECIMAL = re.compile(r"\S{0,40}\d\.\d+|\.\d+")
_VARIABLE = re.compile(r"(?:[A-Za-z]|\\[a-z]{2,8})\s?=\s?(?=[^=]*\Z)")
"Of one equation: `x = 1, y = 2` is no value of x."
_ABOUT = re.compile(
    r"(?:(?:about|approximately|approx\.?|around|roughly|exactly)\b|~|≈|\\approx(?![a-z]))\s?", re.IGNORECASE
)
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
_GROUPED = {
    ",": re.compile(r"[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}"),
    ".": re.compile(r"[1-9]\d{0,2}(?:\.\d{3}){2,}"),
}
_QUOTED = re.compile(r"""[`*_\s]*(?:'((?:[^'\\\n]|\\.)*)'|"((?:[^"\\\n]|\\.)*)")[`*_\s.,;!?]*""")
_NAME = re.compile(r"[A-Z]?[a-z]+(?: [A-Z]?[a-z]+)*")
"Words as they are written in prose: quotes are put around titles, too."
_ARTICLES = frozenset({"a", "an", "the"})
_PUNCTUATION = re.compile(
    r"[;?'\"\u201c\u201d\u2018\u2019\u3002`]|(?<![\d)])(?<!\b\w)!(?!\w)|[.,:](?!\w)|(?<!\w)[.,:]|(?<![^\W_])[*_]+|[*_]+(?![^\W_])"
)
_HYPHENS = re.compile(r"(?<=\w\w)-(?=[^\W\d])|(?<=\w)-(?=[^\W\d]{2})")
_BRACKETS = re.compile(r"[()\[\]{}]")
_OPERATORS = re.compile(r"[\\^=<>|√≤≥±]|[+*/]\s?[\w(]")
"Brackets next to them count."
_EXPRESSION = re.compile(
    r"[\\^=<>{}\[\](),|√π∞±≤≥≠\u222a∩]|\d[a-zA-Z(]|[+*/]|\d\s?-|_\d|\b[A-Za-z]\s?-\s?\w\b|[A-Za-z)]'(?!\w)"
    r"|\d\.{3}"
)
_SPACES = re.compile(r"(?<!\d) | (?!\d)")
_PAIRED = re.compile(r"\*\*|__")
_FUNCTIONS = r"(?:arc)?(?:sin|cos|tan)|log|sqrt|exp|mod"
_PROSE = re.compile(rf"(?<![\\a-zA-Z])(?!(?:{_FUNCTIONS})(?![a-z]))[^\W\d_]{{3,}}")
_NUMBERS = re.compile(r"(?<![\w.,:])[-+]?[$€£]?\d[\d.,]{0,40}(?:/\d{1,12})?%?(?![\w:])")
FEW = 5
"Words; a stated answer of more is a sentence around it."


def parse_value(text: str, *, words: int = 30, offered: frozenset[str] = frozenset()) -> str | None:
    """The value of a stated answer. None: there is none, it abstains, or it is more than so many words.

    `offered` are the letters of the question's choices, where it has some and it is known.
    """
    if (literal := _parse_literal(text[: MOST_CHARS + 1])) is not None:
        return literal
    text = _trim(text[: MOST_CHARS + 1])
    if not text or len(text) > MOST_CHARS:
        return None
    plain = strip_markup(text)
    if choice := parse_choice(plain, offered):
        return choice
    if (number := render_number(plain)) is not None:
        return number
    if _EXPRESSION.search(text) and not _PROSE.search(plain):
        return None if abstains(plain) else _render_expression(plain) or None
    phrase = parse_phrase(plain, words)
    if phrase and phrase.count(" ") >= FEW and (number := parse_sentence(plain)) is not None:
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


def parse_sentence(text: str) -> str | None:
    """The number that a sentence states, by its value; None where it may be another, or one of several."""
    stated = find_stated(_PAIRED.sub("", strip_markup(text)))
    return render_number(stated) if stated is not None else None


def render_number(text: str) -> str | None:
    """A number by its value, whatever its form: `1234.5`, `1/3`; None for what is no number."""
    if len(text) > MOST_CHARS:
        return None
    match = _NUMBER.fullmatch(_without_prefix(_ABOUT, _without_prefix(_VARIABLE, strip_markup(text))).strip())
    if match is None:
        return None
    factor = unit_factor(match["rest"].removesuffix("."))
    value = _value_of(match)
    if factor is None or value is None:
        return None
    power = int(match["power"] or match["exponent"] or 0)
    if abs(power) > _MOST_POWER:
        return None
    value *= factor * Fraction(10) ** power
    return _render_fraction(-value if match["sign"] == "-" else value)


def parse_phrase(text: str, words: int) -> str | None:
    """Words without case, articles and punctuation; None when there are more; empty when they abstain.

    Single letters keep their case: they are names of something.
    """
    if abstains(text):
        return ""
    spaced = _HYPHENS.sub(" ", text if _OPERATORS.search(text) else _BRACKETS.sub(" ", text))
    said = _PUNCTUATION.sub("", spaced).split()
    if len(said) > words:
        return None
    kept = (word for at, word in enumerate(said) if not _is_article(said, at))
    return " ".join(word.casefold() if len(word) > 1 else word for word in kept)


def strip_markup(text: str) -> str:
    """Without signs and commands that change how an answer looks and not what it says."""
    text = _THOUSANDS.sub("", text)
    if "\\" in text:
        text = _TEXT.sub(r" \1 ", text)
        text = _FRACTION.sub(lambda m: f" ({m[1] or m[3]})/({m[2] or m[4]})", text)
    text = _SYMBOLS.sub(_without_symbol, _DEGREES.sub("", text))
    return _trim(" ".join(text.split()))


def _without_symbol(match: re.Match[str]) -> str:
    """Numbers on both sides of it stay two."""
    if match[0] == r"\%":
        return "%"
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    return " " if before.isdecimal() and after.isdecimal() else ""


def _is_article(words: list[str], at: int) -> bool:
    """Not the A of `vitamin A` and of `A and B`."""
    if words[at].casefold() not in _ARTICLES or at + 1 == len(words):
        return False
    following = words[at + 1].casefold()
    return (words[at] != "A" or at == 0) and following not in {"and", "or"} and len(following) > 1


def _without_prefix(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.match(text)
    return text[match.end() :] if match else text


def _trim(text: str) -> str:
    """Without punctuation around it. Those of `.5`, `5!`, `!p`, `f'` and `0.999...` stay."""
    inside = text.lstrip(_LEADING)
    trimmed = inside.rstrip(_EDGES)
    mark = _LASTING.match(inside, max(0, len(trimmed) - 1)) if inside == text.lstrip() else None
    if mark and mark["dots"] and not _DECIMAL.fullmatch(trimmed):
        return trimmed
    return inside[: mark.end()] if mark else trimmed


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
    """Without spaces: `x + 1` is `x+1`; those between two digits stay. Case counts."""
    return _without_prefix(_VARIABLE, _SPACES.sub("", " ".join(text.split())))
