"""Where a statement ends, and which sentences state the number that stands in them. Pure.

What follows a statement is left off only where it cannot change it: a further sentence, a reason (`because
...`), a relative clause after a definite value. `2x - 3`, `July 4, 1776` and `yes, if x > 0` stay whole.

A sentence around one number states it only in a plain form (`the total is 5 dollars`, `there are 12 eggs
left`) and without a word that turns it round, bounds it or makes it another: `at least`, `a loss of`, `not`.
"""

from __future__ import annotations

import re

from junctor.pool.answer_units import is_scale, unit_factor

# Where a statement ends.

_END = re.compile(
    r"(?P<stop>(?P<mark>[.!?])[\"'\u201d\u2019)*_]{0,4}\s{1,9})(?=\S)"
    r"|(?P<wide>[\u3002\uff01\uff1f])"
    r"|(?P<apart>\s?[,;]|\s[-\u2013\u2014]|\s?\u2014)?\s(?P<why>because|since|which|weil|denn|porque|parce)\b",
    re.IGNORECASE,
)
_TITLES_WORDS = (
    "Mr Mrs Ms Dr St Ste Mt Ft Nos Prof Rev Gen Col Capt Cpt Sgt Lt Gov Sen Rep Hon Pres Jr Sr Inc Corp "
    "Co Ltd Fig Eq Vol Ch Ed Dept Univ Ave Blvd Sec Art Nr Hr Fr Dra Sta Mme Mlle vs etc al approx cf ca "
    "op bzw usw"
)
_TITLES = frozenset(_TITLES_WORDS.split())
"Words with a point that ends no sentence, as they are written."
_GOES_ON_WORDS = (
    "and or but plus minus not no if unless except actually wait however otherwise although else "
    "correction sorry und oder aber et ou mais y o pero"
)
_GOES_ON = frozenset(_GOES_ON_WORDS.split())
_TURNS = re.compile(
    r"\b(?:otherwise|else|unless|or|but|except|however|although|if|while|whereas)\b", re.IGNORECASE
)
_DEFINITE = re.compile(
    r"\S*[\d\\^\u221a=]\S*(?:\s.*)?|[A-Za-z]\s=\s.*|\W{0,4}(?:[A-Za-z]|yes|no|true|false)\W{0,4}",
    re.IGNORECASE | re.DOTALL,
)
"A number, an expression, a letter, yes or no."
_FEW_WORDS = re.compile(
    r"(?!(?:i|it|he|she|they|we|you|this|that|there|not)\b)\S+(?:\s\S+){0,2}", re.IGNORECASE
)
_LETTERS = re.compile(r"\(?[A-J]\)?(?:(?:,?\s(?:and|or|&)|,)\s?\(?[A-J]\)?)+")
"Of several choices."
_VOWEL = re.compile(r"[aeiouy]", re.IGNORECASE)
_FACTORIAL = re.compile(r".*[\d)\]}]", re.DOTALL)
_RESTATED = re.compile(
    r"(?:(?P<yes>yes|true)|no|false),\s(?:it|they|he|she|that|this|there|you|we|i)\s"
    r"(?:is|are|was|were|do|does|did|can|could|will|would|has|have)(?P<not>n?['\u2019]t|\snot)?[.!]?",
    re.IGNORECASE,
)


def cut_statement(said: str) -> str:
    """The statement that a line begins with; all of the line, unless the rest cannot change it."""
    for end in _END.finditer(said):
        before, after = said[: end.start()], said[end.end() :]
        if _is_open(before) or not _ends(end, before, after):
            continue
        if end["mark"] == "!" and _FACTORIAL.fullmatch(before):
            before += "!"
        return _without_echo(before)
    return _without_echo(said)


def _is_open(before: str) -> bool:
    """Within brackets, as in `(3, 5)`."""
    return sum(map(before.count, "([{")) > sum(map(before.count, ")]}"))


def _ends(end: re.Match[str], before: str, after: str) -> bool:
    if end["wide"]:
        return True
    if end["mark"]:
        return _is_sentence_end(end["mark"], before, after)
    return not _TURNS.search(after) and _is_aside(end, before, after)


def _is_sentence_end(mark: str, before: str, after: str) -> bool:
    """Not the point of `Dr. No`, `J. Chadwick` and `U.S. Navy`, and not before what goes on with it."""
    opening = after.lstrip("*_(\"'\u201c\u2018")
    first = re.match(r"\w*", opening)
    if not opening[:1].isupper() or (first and first[0].casefold() in _GOES_ON):
        return False
    if mark != "." or _LETTERS.fullmatch(before):
        return True
    return not _is_abbreviation(before.split()[-1] if before.split() else "")


def _is_abbreviation(word: str) -> bool:
    word = word.lstrip("*_(\"'\u201c\u2018")
    if not word.replace(".", "").isalpha():
        return False
    if len(word) == 1 or "." in word:
        return word[:1].isupper() or len(word) > 1
    return word in _TITLES or (word.isascii() and word.istitle() and not _VOWEL.search(word))


def _is_aside(end: re.Match[str], before: str, after: str) -> bool:
    """A reason, or more about what is definite already."""
    is_definite = _DEFINITE.fullmatch(before) is not None
    match end["why"].casefold():
        case "which":
            return bool(end["apart"] and is_definite) and not changes(after) and not re.search(r"\d", after)
        case "since":  # 1990
            return bool(end["apart"]) and not re.search(r"\d", after) and _names_few(before, is_definite)
        case _:
            is_reason = not re.match(r"\s(?:of|de)\b", after, re.IGNORECASE)
            return is_reason and (is_definite or (bool(end["apart"]) and _names_few(before, is_definite)))


def _names_few(before: str, is_definite: bool) -> bool:
    return is_definite or _FEW_WORDS.fullmatch(before) is not None


def _without_echo(statement: str) -> str:
    """`Yes` of `Yes, it is`."""
    match = _RESTATED.fullmatch(statement)
    if match is None or (match["yes"] and match["not"]):
        return statement
    return statement.partition(",")[0]


# A sentence around a number.

_CHANGING_WORDS = (
    # Negations, conditions, alternatives, doubts.
    "not no never none nor neither cannot cant dont without except unless if whether or either but though "
    "although however instead rather otherwise might may could should probably possibly perhaps maybe "
    "impossible unlikely wrong incorrect false unknown unclear "
    # Bounds and comparisons.
    "least most minimum maximum minimal maximal min max more less fewer greater larger bigger smaller "
    "higher lower longer shorter older younger earlier later faster slower heavier lighter than beyond "
    "exceeding nearly almost between until till within upper under over above below beneath beside extra "
    "additional short "
    # Directions.
    "by up down upward upwards downward downwards forward forwards backward backwards back behind ahead "
    "before after ago since north south east west northern southern eastern western left right clockwise "
    "counterclockwise anticlockwise positive negative plus minus opposite inverse reciprocal debit credit "
    # Parts and multiples.
    "half halves third thirds quarter quarters fourth fifth sixth seventh eighth ninth tenth twice thrice "
    "double triple quadruple times tens dozen dozens pair pairs couple score hundred hundreds thousand "
    "thousands million millions billion billions trillion trillions lakh crore one two three four five "
    "six seven eight nine ten eleven twelve twenty thirty forty fifty sixty seventy eighty ninety squared "
    "cubed root square cube factorial modulo mod wins win won"
)
_CHANGING = frozenset(_CHANGING_WORDS.split())
_CHANGING_STEMS = re.compile(
    r"(?:increas|decreas|reduc|los[ste]|losing|gain|profit|deficit|surplus|debt|ow(?:e|es|ed|ing)$|fall|fell|drop"
    r"|declin|ris(?:e|es|en|ing)$|rose$|climb|s[aiu]nk|shr[aiu]nk|gr[eo]w|rais|lower|discount|sav(?:e|es|ed|ing)"
    r"|spen[dt]|subtract|withdr|deposit|borrow|lend|lent$|refund|exceed|reject|den(?:y|ies|ied)|fail|withou)|.*n['\u2019]t$"
)
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
_FORM = re.compile(r"(?P<before>\D*)(?P<number>\d[\d.,]{0,60}(?:/\d{1,12})?)(?P<after>\D*)")
_WORDS_ONLY = re.compile(r"[^\d\\^_{}()\[\]<>|+*/\u221a\u03c0\u00b1\u2264\u2265&%~]*")
_EQUATION = re.compile(r"(?:^|.*[\s,:])(?:[A-Za-z]|[A-Za-z]{4,24})\s?[=\u2248]\s?", re.DOTALL)
_SUM = re.compile(
    r"(?:.*(?:[A-Za-z]{2}|[:,])\s{1,3})?(?=[^=]*\d)[-+*/\u00d7\u00f7()\d\s.,$%]{1,80}[=\u2248]\s?", re.DOTALL
)
_FILLERS = frozenset(
    {"about", "approximately", "approx", "roughly", "around", "exactly", "only", "just", "indeed"}
)
_LINKS_WORDS = (
    "is are was were be equals equal has have had makes make totals needs takes costs gives contains ist "
    "sind beträgt est sont es son é são è sono zijn равно"
)
_LINKS = frozenset(_LINKS_WORDS.split())
"What a number follows where it is stated: verbs that hold for every number alike."


def changes(text: str) -> bool:
    """Whether it has a word that would make a number next to it another one, or none."""
    words = (word.casefold() for word in _WORD.findall(text))
    return any(word in _CHANGING or _CHANGING_STEMS.match(word) or is_scale(word) for word in words)


def find_stated(sentence: str) -> str | None:
    """The number that a sentence states, with its unit, as written; None where the form leaves a doubt.

    The sentence is without markup: no dollar signs, asterisks or LaTeX brackets.
    """
    match = _FORM.fullmatch(sentence)
    if match is None:
        return None
    number, after = match["number"].rstrip(".,"), match["after"].rstrip(" .!")
    before, sign = match["before"], ""
    if before.endswith("-") and not before[-2:-1].strip():
        before, sign = before[:-1], "-"
    if not leads_to_number(before) or unit_factor(after) is None:
        return None
    return sign + number + after


def leads_to_number(before: str) -> bool:
    """Whether what stands before a number says no more than that the number is the value of something."""
    if changes(before):
        return False
    said = before.rstrip()
    if said.endswith(("=", "\u2248")):
        is_named = _EQUATION.fullmatch(before) and _WORDS_ONLY.fullmatch(before)
        return is_named is not None or _SUM.fullmatch(before) is not None
    if not said or said.endswith(":"):
        return True
    words = [word.casefold() for word in _WORD.findall(said)]
    while words and words[-1] in _FILLERS:
        words.pop()
    if words[-3:] == ["a", "total", "of"]:
        words = words[:-3]
    is_plain = before[-1:].isspace() and _WORDS_ONLY.fullmatch(before) is not None
    return is_plain and bool(words) and words[-1] in _LINKS
