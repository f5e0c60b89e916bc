"""The ids that we give to responses and their items: who made one can be told from it, and for which request.

req_0193...   the request
resp_0193...  the response to it
msg_junctor_0193..._2   an item of its output (`rs_`: reasoning, `fc_`: function call)
msg_junctor_0193..._i0  an item of its input that came without an id
"""

from __future__ import annotations

import re
from typing import Any

MARK = "junctor"
"Stands in every id of an item that we gave, and in what we sealed: a body without it holds neither."
_OURS = re.compile(r"[a-z]{1,8}_junctor_([0-9a-f]{32})_i?[0-9]{1,9}", re.ASCII)
_PREFIXES = {"reasoning": "rs", "function_call": "fc", "function_call_output": "fco"}


def response_id(suffix: str) -> str:
    """Of the response to the request with that suffix."""
    return f"resp_{suffix}"


def output_id(kind: str, suffix: str, number: int) -> str:
    """Of an item of the output, by its type."""
    return f"{_PREFIXES.get(kind, 'msg')}_{MARK}_{suffix}_{number}"


def input_id(kind: str, suffix: str, number: int) -> str:
    """Of an item of the input, by its type."""
    return f"{_PREFIXES.get(kind, 'msg')}_{MARK}_{suffix}_i{number}"


def response_of(item_id: str) -> str | None:
    """The id of the response that an item belongs to; None when it is not ours."""
    match = _OURS.fullmatch(item_id)
    return response_id(match[1]) if match else None


def without_our_id(item: dict[str, Any]) -> dict[str, Any]:
    """The item as its caller wrote it: other servers look our ids up, and do not find them."""
    given = item.get("id")
    if not isinstance(given, str) or response_of(given) is None:
        return item
    return {name: value for name, value in item.items() if name != "id"}
