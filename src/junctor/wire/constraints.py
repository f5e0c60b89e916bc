"""Constraints as callers write them: the body field `junctor` and the `x-junctor-*` headers.

    {"junctor": {"max_usd": 0.01, "never": ["big"]}}      x-junctor-max-usd: 0.01     x-junctor-never: big

A field of the body wins over its header.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import msgspec

from junctor.chat import BadRequest, Constraints
from junctor.wire.json_value import BAD_JSON

FIELD = "junctor"
"The body field."
HEADER_PREFIX = "x-junctor-"

_SHAPES = {field.name: field.type for field in msgspec.structs.fields(Constraints)}
_LISTS = frozenset({"needs", "only", "never"})
HIGHEST = {"quality": 1.0}
"Of the numbers that have a highest value; the lowest of all is 0."
SAID_AS = {
    "max_usd": "an amount of USD, such as 0.01",
    "max_first_token_ms": "a number of milliseconds",
    "max_total_ms": "a number of milliseconds",
    "needs": "a list of skills: tools, vision, json, audio",
    "min_window": "a whole number of tokens",
    "only": "a list of names of models",
    "never": "a list of names of models",
    "quality": "a number from 0 to 1",
    "mode": "one of balanced, cost, quality",
}
"What each constraint is, in words."
_MOST_SHOWN = 80


def parse_constraints(field: msgspec.Raw | None, headers: Mapping[str, str]) -> Constraints:
    """The constraints of one request. Raises `BadRequest`, which names the field or the header."""
    found = _from_headers(headers)
    if field is not None:
        found |= _from_body(field)
    return Constraints(**found) if found else _NONE


_NONE = Constraints()
_Fields = dict[str, Any]
_decoder = msgspec.json.Decoder[_Fields | None](_Fields | None)


def _from_body(field: msgspec.Raw) -> dict[str, Any]:
    try:
        values = _decoder.decode(field)
    except BAD_JSON:
        raise BadRequest(f"`{FIELD}` must be an object of constraints", param=FIELD) from None
    found: dict[str, Any] = {}
    for name, value in values.items() if values else ():
        param = f"{FIELD}.{name[:_MOST_SHOWN]}"
        if name not in _SHAPES:
            hint = suggest(name, _SHAPES)
            raise BadRequest(f"`{param}` is not a constraint{hint}", param=param)
        found[name] = _check(name, value, param)
    return found


def _from_headers(headers: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for header, text in headers.items():
        if header[:10].lower() != HEADER_PREFIX:
            continue
        param = header.lower()[:_MOST_SHOWN]
        name = param.removeprefix(HEADER_PREFIX).replace("-", "_")
        if name not in _SHAPES:
            hint = suggest(name, _SHAPES, _header_of)
            raise BadRequest(f"the header `{param}` is not known{hint}", param=param)
        found[name] = _check(name, _header_value(name, text.strip()), param)
    return found


def _header_value(name: str, text: str) -> object:
    if name in _LISTS:
        return [part.strip() for part in text.split(",")]
    if name == "mode":
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else number


def _check(name: str, value: object, param: str) -> object:
    try:
        checked: object = msgspec.convert(value, _SHAPES[name])
    except (msgspec.ValidationError, OverflowError):
        raise _refusal(name, value, param) from None
    if isinstance(checked, int | float):
        fits = math.isfinite(checked) and 0 <= checked <= HIGHEST.get(name, math.inf)
    else:
        fits = name not in _LISTS or "" not in cast("tuple[str, ...]", checked)
    if not fits:
        raise _refusal(name, value, param)
    return cast("object", checked)


def _refusal(name: str, value: object, param: str) -> BadRequest:
    shown = json.dumps(value, ensure_ascii=False)
    shown = shown if len(shown) <= _MOST_SHOWN else shown[:_MOST_SHOWN] + "..."
    least = ", at least 0" if SAID_AS[name].startswith(("an amount", "a number of", "a whole")) else ""
    return BadRequest(f"`{param}` must be {SAID_AS[name]}{least}; it is {shown}", param=param)


def suggest(name: str, known: Iterable[str], spell: Callable[[str], str] = str) -> str:
    """The end of a refusal: what was probably meant, else all that is known, each as `spell` says it."""
    near = difflib.get_close_matches(name[:_MOST_SHOWN], list(known), n=1)
    return f"; did you mean `{spell(near[0])}`?" if near else f"; known: {', '.join(map(spell, known))}"


def _header_of(name: str) -> str:
    return HEADER_PREFIX + name.replace("_", "-")
