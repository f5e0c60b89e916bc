"""Narrowing of decoded JSON whose form nobody promised."""

from __future__ import annotations

from typing import Any, cast

import msgspec

NULL = msgspec.Raw(b"null")
BAD_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"What a decoder raises for bytes that are not the JSON it wants."


_MOST_COUNTED = 10**12


def as_count(value: int | None) -> int:
    """A count that can be trusted to be one: not negative, and no larger than a database can hold."""
    return min(max(0, value or 0), _MOST_COUNTED)


def as_object(value: object) -> dict[str, Any]:
    """The object; an empty one for anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """The list; an empty one for anything else."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def as_text(value: object) -> str:
    """The string; an empty one for anything else."""
    return value if isinstance(value, str) else ""
