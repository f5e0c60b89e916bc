"""A response as it is kept: what the caller got, and the conversation, for a request that goes on from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from junctor.chat import BadRequest
from junctor.wire.responses_ids import input_id
from junctor.wire.responses_input import Item
from junctor.wire.responses_reply import Kept
from junctor.wire.responses_request import ResponsesCall

_WITH_STATUS = ("message", "function_call", "function_call_output")
Order = Literal["asc", "desc"]
MOST_ITEMS = 100
"Of one page."


class Document(msgspec.Struct, frozen=True):
    """A kept response."""

    response: msgspec.Raw
    "The object that the caller got."
    input: list[Item]
    "All input items, those of the responses before it included. Each has an id."
    output: list[Item]

    @property
    def conversation(self) -> list[Item]:
        """What a request that goes on from it begins with."""
        return [*self.input, *self.output]


class _Page(msgspec.Struct, frozen=True, kw_only=True):
    object: str = "list"
    data: Sequence[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool


_decoder = msgspec.json.Decoder(Document)


def render_document(call: ResponsesCall, kept: Kept) -> bytes:
    """The document of an answered call."""
    given = [*_with_ids(call.items, call.suffix)]
    return msgspec.json.encode(Document(kept.response, given, kept.output))


def parse_document(data: bytes | str) -> Document:
    """The reverse of `render_document`."""
    return _decoder.decode(data)


def _with_ids(items: Sequence[Item], suffix: str) -> Iterator[Item]:
    """The items as OpenAI keeps them: with type, id and status each, and content as a list of parts."""
    for number, item in enumerate(items):
        kind = item.get("type") or "message"
        whole: Item = {**item, "type": kind}
        if not isinstance(item.get("id"), str):
            whole["id"] = input_id(kind, suffix, number)
        if kind in _WITH_STATUS:
            whole.setdefault("status", "completed")
        if kind == "message" and isinstance(text := item.get("content"), str):
            whole["content"] = [_part(text, item.get("role"))]
        yield whole


def _part(text: str, role: object) -> dict[str, Any]:
    if role == "assistant":
        return {"type": "output_text", "text": text, "annotations": []}
    return {"type": "input_text", "text": text}


def render_input_items(document: Document, *, order: Order, limit: int, after: str | None) -> bytes:
    """One page of the input items. Raises `BadRequest` when none of them is called `after`."""
    items = document.input if order == "asc" else document.input[::-1]
    start = 0
    if after is not None:
        ids = [item.get("id") for item in items]
        if after not in ids:
            raise BadRequest("`after` must be the id of an item of this response", param="after")
        start = ids.index(after) + 1
    page = items[start : start + limit]
    return msgspec.json.encode(
        _Page(
            data=page,
            first_id=page[0].get("id") if page else None,
            last_id=page[-1].get("id") if page else None,
            has_more=start + limit < len(items),
        )
    )
