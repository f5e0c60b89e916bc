"""The words after a number -> how many times it they stand for, as `million` in `5 million dollars`. Pure.

A number with words after it is that number only where the words cannot change it. These are known, or have
the form of a counted thing: units and currencies, plural nouns (`legs`), rates (`per hour`), a few empty
words (`left`, `in total`). With whatever else follows (`5 degrees below zero`, `5 percent increase`, `2
thirds`, `7 days ago`) it is not that number: the caller keeps the whole text.
"""

from __future__ import annotations

import re

MOST_CHARS = 80
"More is no unit."

_SHAPE = re.compile(r"(?:\s?%)?(?:[\s/]{1,3}[^\W\d_]{1,24}\.?(?:\^\{?[23]\}?)?){0,9}")
_SCALES = {
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "lakh": 10**5,
    "lakhs": 10**5,
    "crore": 10**7,
    "crores": 10**7,
    "dozen": 12,
    "millionen": 10**6,
    "milliarden": 10**9,
    "millones": 10**6,
    "milhões": 10**6,
    "milioni": 10**6,
    "miljoen": 10**6,
    "milliards": 10**9,
    "miliardi": 10**9,
    "miljard": 10**9,
} | {f"{scale}s": 10**power for scale, power in (("million", 6), ("billion", 9), ("trillion", 12))}
"A German `Billion` is a thousand of ours, but its plural is spelt in another way."
_UNITS_WORDS = (
    # Time, length, area, volume, mass.
    "second sec secs minute min mins hour hr hrs day week wk wks month year yr yrs ms decade century "
    "centuries mm cm km nm um in ft yd mi inch inches foot feet yard mile metre meter kilometre kilometer "
    "centimetre centimeter millimetre millimeter micrometer nanometer nanometre acre hectare ha ml cl dl "
    "cc litre liter gallon gal quart qt pint pt cup tablespoon tbsp teaspoon tsp millilitre milliliter "
    "barrel bushel mg kg lb lbs oz gram kilogram milligram kilo pound ounce stone ton tonne kgs cms "
    # Speed, energy, electricity, data, angles.
    "mph kph kmh kmph rpm fps knot watt kilowatt kw kwh mw joule kj calorie cal kcal kilocalorie volt amp "
    "ampere ohm hertz hz khz mhz ghz newton pascal kpa psi bar kelvin mol mole db decibel byte bit kb mb "
    "gb tb degree deg celsius fahrenheit radian rad percent pct percentage point "
    # Money.
    "dollar usd cent eur euro gbp penny pence peso yen jpy rupee inr yuan rmb cny franc chf krone kronor "
    "rouble ruble lira dinar dirham shekel baht ringgit rand naira cedi buck "
    # What is counted, where the plural has no s, or there is one of it.
    "people person children child men man women woman mice fish sheep deer geese dice teeth unit item "
    "piece time way "
    # Other languages.
    "stunde stunden minuten sekunde sekunden tag tage tagen woche wochen monat monate monaten jahr jahre "
    "jahren kilometer zentimeter meter gramm kilogramm liter grad prozent pfund stück leute personen "
    "heure jour ora ore minuti secondi giorno giorni settimane mesi anno anni metri chilometri grammi "
    "litri gradi uur uren dagen weken maanden jaar hora día mes año час часа часов минут минуты секунд "
    "дней лет рублей метров"
)
_UNITS = frozenset(_UNITS_WORDS.split())
_KINDS_WORDS = (
    "square cubic sq cu us metric nautical fluid light percentage full whole total different distinct "
    "unique possible american canadian australian"
)
_KINDS = frozenset(_KINDS_WORDS.split())
"Before a unit; none makes it more or less."
_RATES = frozenset({"per", "/", "a", "an", "each", "every"})
_EMPTY = frozenset({"left", "remaining", "total", "altogether", "overall", "old", "long", "tall", "apiece"})
_EMPTY_PAIRS = frozenset({("in", "total"), ("in", "all"), ("left", "over")})
_PLURAL = re.compile(r"[a-zàâçéèêëîïôöûüñáíóúãõ]{2,22}[^\Wsui\d_]s")
_CHANGING_PLURALS = re.compile(
    r"(?:hundred|thousand|ten|dozen|score|pair|couple|triple|double|halve|quarter|third|tier|quart|tercio)s"
    r"|(?:four|fif|six|seven|eigh|nin|ten|eleven|twelf|\w+teen|\w+tie|hundred|thousand|\w{1,8}llion)ths"
    r"|(?:m|b|tr|quadr|quint)ill?(?:i|j)?\w{0,6}[no]\w{0,3}s|milh\w+|bilh\w+|mill?ards|milliers|docenas|dúzias"
    r"|douzaines|centaines|cientos|miles?imos|cinquièmes|dizaines"
    r"|(?:gain|profit|deficit|debt|win|fail|rise|fall|drop|increase|decrease|reduction|losse|surpluse|credit|debit"
    r"|raise|decline|discount|saving|upward|downward|backward|forward|northward|southward|eastward|westward"
    r"|inward|outward|afterward|sideway|alway|perhap|sometime|beside|hence|negative|positive|other|power)s"
    r"|(?:one|two|three|four|five|sixe|seven|eight|nine)s"
    r"|moins|menos|depuis|après|dessous|dessus|avants?|minos|plus"
)
"Of the form of a plural: fractions and multiples, losses and gains, directions."


def unit_factor(rest: str) -> int | None:
    """By how much the words after a number multiply it; None: they can change it in other ways."""
    if not rest:
        return 1
    if len(rest) > MOST_CHARS or not _SHAPE.fullmatch(rest):
        return None
    spaced = rest.casefold().replace("%", " percent ").replace("/", " / ")
    words = [word.rstrip(".") for word in spaced.split()]
    factor = 1
    while words and words[0] in _SCALES:
        factor *= _SCALES[words.pop(0)]
    return None if _skip_empty(_skip_rate(_skip_unit(words))) else factor


def is_scale(word: str) -> bool:
    """`million`, `dozen`."""
    return word.casefold() in _SCALES


def _skip_unit(words: list[str]) -> list[str]:
    at = 0
    while at < len(words) and words[at] in _KINDS:
        at += 1
    if at == len(words) or tuple(words[:2]) in _EMPTY_PAIRS or not _is_unit(words[at]):
        return words
    if words[at] in {"degree", "degrees"} and words[at + 1 : at + 2] and words[at + 1] in _UNITS:
        at += 1  # of Celsius
    rest = words[at + 1 :]
    return rest[2:] if rest[:1] == ["of"] and len(rest) > 1 and _is_stuff(words[at], rest[1]) else rest


def _is_unit(word: str) -> bool:
    base = word.partition("^")[0]
    if base in _UNITS or (base.endswith("s") and base[:-1] in _UNITS and len(base) > 3):
        return True
    return base == word and _is_plural(word)


def _is_plural(word: str) -> bool:
    return bool(_PLURAL.fullmatch(word)) and not _CHANGING_PLURALS.fullmatch(word)


def _is_stuff(unit: str, word: str) -> bool:
    """`flour`, of a cup: but not of a share, which is more or less by what it is of."""
    return not unit.startswith("per") and word.isalpha() and word not in _SCALES and len(word) > 3


def _skip_rate(words: list[str]) -> list[str]:
    if (
        len(words) > 1
        and words[0] in _RATES
        and (_is_unit(words[1]) or (words[:1] == ["/"] and words[1] in "hsdlm"))
    ):
        return words[2:]
    return words


def _skip_empty(words: list[str]) -> list[str]:
    while words:
        if tuple(words[:2]) in _EMPTY_PAIRS:
            words = words[2:]
        elif words[0] in _EMPTY:
            words = words[1:]
        else:
            break
    return words
