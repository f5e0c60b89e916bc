"""Prompt text -> numbers the predictor weighs: named features, and hashed words.

Pure, and without numpy: the server has to start fast and stay small. The trainer calls the same functions, so
that training and serving cannot drift apart. Whoever changes what is computed here raises `FEATURES_VERSION`;
an artefact of another version is refused.

Hashing follows Weinberger et al., "Feature Hashing for Large Scale Multitask Learning" (2009), unsigned, with
zlib's CRC-32: stable across processes and machines, unlike Python's salted `hash`.
"""

from __future__ import annotations

import re
from math import log1p
from zlib import crc32

import msgspec

FEATURES_VERSION = 2
BUCKETS = 1 << 16
"Hash buckets: the lower two bytes of a CRC."
HEAD_BYTES, TAIL_BYTES = 480, 160
"""Of a longer text only the words in so many bytes at its beginning and at its end are looked at. More words,
and pairs of words, cost more time and predicted no better (docs/routing.md)."""

_KEPT_WORDS = 4096
LONG_WORD = 8
"Letters; a longer word counts as long."

NAMES = (
    "log_chars",
    "log_spaces",
    "log_lines",
    "word_length",
    "long_words",
    "distinct_words",
    "digits",
    "capitals",
    "marks",
    "non_ascii",
    "cjk",
    "question_marks",
    "ends_with_question",
    "wh_word",
    "asks_how_many",
    "asks_why",
    "instruction",
    "creative",
    "negation",
    "choices",
    "code",
    "code_fence",
    "latex",
    "operators",
    "money",
    "percent",
    "quotes",
    "list_items",
    "conditionals",
    "blanks",
)
"Names of the dense features, in the order of `Features.named`."

_WORD = re.compile(rb"[a-z0]+|[\xc2-\xf4][\x80-\xbf]+")
"In a folded text. A character outside ASCII is a word of its own, as in Chinese."
_CHOICE = re.compile(rb"\n[ \t]*\(?[A-J][.):][ \t]")
_LIST_ITEM = re.compile(rb"\n[ \t]*(?:[-*]|[0-9]{1,2}[.)])[ \t]")
_SMALL_AND_SPACE = bytes(range(97, 123)) + b" "
"Most of a text; what is left without them is quick to go over again and again."
_OPERATORS = b"+*/=<>^"


def _fold(byte: int) -> int:
    """Letters become small, digits `0`, all other ASCII a space."""
    character = chr(byte)
    if byte >= 128 or character.islower():
        return byte
    return ord(character.lower()) if character.isupper() else ord("0" if character.isdigit() else " ")


def _kind(byte: int) -> bytes:
    """What features count a byte as."""
    if byte >= 128:
        return b"\xe3" if 0xE3 <= byte < 0xEE else b"\x80"
    for kind, sort in ((b"0", b"0123456789"), (b"A", bytes(range(65, 91))), (b"+", _OPERATORS)):
        if byte in sort:
            return kind
    return b"." if chr(byte).isprintable() and not chr(byte).isalnum() else b" "


_FOLDED = bytes(map(_fold, range(256)))
_KINDS = b"".join(map(_kind, range(256)))
"""A digit is `0`, a capital `A`, an operator `+`, another mark `.`, the first byte of a Chinese, Japanese or
Korean character E3, any other byte beyond ASCII 80."""

_WH = frozenset(b"what which who whom whose when where".split())
_HOW_MANY = frozenset(b"many much often far old total calculate compute determine find sum average".split())
_WHY = frozenset(b"why explain because reason prove show describe".split())
_INSTRUCTION = frozenset(
    b"write list summarize summarise translate implement fix rewrite create generate give convert extract "
    b"classify".split()
)
_CREATIVE = frozenset(b"story poem song joke essay email letter name idea ideas imagine creative".split())
_NEGATION = frozenset(b"not except least incorrect false never none cannot without".split())
_CODE_WORDS = frozenset(
    b"def return import function const var assert void int str self elif else none null async await "
    b"lambda".split()
)
_CODE_MARKS = (b"==", b"=>", b"</", b";\n", b"{\n", b"()", b"):\n")
_CONDITIONAL = frozenset(b"if then given suppose let such assume unless every each twice half".split())


class Features(msgspec.Struct, frozen=True, gc=False):
    """What the predictor reads of one text."""

    named: tuple[float, ...]
    "Values of `NAMES`, in that order: shares, logs and flags of about 0..10."
    hashed: tuple[int, ...]
    "Distinct hash buckets of its words, 0..BUCKETS - 1, in no order that means anything."


def extract_features(text: str) -> Features:
    """Features of a text. Cost grows with its length: `ask.parse_ask` has cut it."""
    data = text.encode("utf-8", "replace")
    sample = data
    if len(data) > HEAD_BYTES + TAIL_BYTES:
        sample = data[:HEAD_BYTES] + b" " + data[-TAIL_BYTES:]
    folded = sample.translate(_FOLDED)
    words = folded.split() if folded.isascii() else _WORD.findall(folded)
    distinct = set(words)
    return Features(
        named=_named(data, folded, words, distinct),
        hashed=tuple(set(map(_buckets.__getitem__, distinct))),
    )


class _Buckets(dict[bytes, int]):
    """Buckets of words; those of the words that come again and again are remembered."""

    def __missing__(self, word: bytes) -> int:
        if len(self) >= _KEPT_WORDS:
            self.clear()
        bucket = self[word] = crc32(word) % BUCKETS
        return bucket


_buckets = _Buckets()


def _named(data: bytes, folded: bytes, words: list[bytes], distinct: set[bytes]) -> tuple[float, ...]:
    size = len(data) or 1
    count = len(words) or 1
    rare = data.translate(None, _SMALL_AND_SPACE)
    kinds = rare.translate(_KINDS)
    operators, cjk = kinds.count(b"+"), kinds.count(b"\xe3")
    has_lines = b"\n" in rare
    return (
        log1p(len(data)),
        log1p(data.count(b" ")),
        log1p(rare.count(b"\n")),
        min(20.0, (len(folded) - folded.count(b" ")) / count),
        len([1 for word in words if len(word) > LONG_WORD]) / count,
        len(distinct) / count,
        kinds.count(b"0") / size,
        kinds.count(b"A") / size,
        (kinds.count(b".") + operators) / size,
        (kinds.count(b"\x80") + cjk) / size,
        cjk / size,
        log1p(rare.count(b"?")),
        float(data.rstrip().endswith(b"?")),
        float(not distinct.isdisjoint(_WH)),
        float(b"how" in distinct and not distinct.isdisjoint(_HOW_MANY)),
        float(not distinct.isdisjoint(_WHY)),
        float(not distinct.isdisjoint(_INSTRUCTION)),
        float(not distinct.isdisjoint(_CREATIVE)),
        float(not distinct.isdisjoint(_NEGATION)),
        log1p(len(_CHOICE.findall(data)) if has_lines else 0),
        log1p(len(distinct & _CODE_WORDS) + sum([data.count(mark) for mark in _CODE_MARKS if mark in rare])),
        float(b"```" in rare and b"```" in data),
        log1p(rare.count(b"\\") + (data.count(b"$$") if b"$" in rare else 0)),
        operators / size,
        float(b"$" in rare),
        float(b"%" in rare),
        log1p(rare.count(b'"')),
        log1p(len(_LIST_ITEM.findall(data)) if has_lines else 0),
        log1p(len(distinct & _CONDITIONAL)),
        float(b"__" in rare and b"__" in data),
    )
