"""The bodies of requests: read one level deep, with errors that name the field; rendered for upstreams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from junctor.chat import BadRequest
from junctor.wire.json_value import BAD_JSON, NULL

MOST_TOKENS = 1_000_000_000
"No limit on an answer is higher."
Fields = Mapping[str, msgspec.Raw]
_T = TypeVar("_T")


class Rendered(msgspec.Struct, frozen=True):
    """A request as an upstream takes it."""

    body: bytes
    left_out: tuple[str, ...] = ()
    "Fields that its dialect has no place for, though the answer may differ without them."
    headers: Mapping[str, str] = {}
    "What goes with this request beside the upstream's own headers."


_outer = msgspec.json.Decoder(dict[str, msgspec.Raw])


def parse_outer(body: bytes) -> dict[str, msgspec.Raw]:
    """The fields of a body, undecoded. Raises `BadRequest`."""
    try:
        if not body.isascii():
            body.decode()
        return _outer.decode(body)
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: see byte {error.start}") from None
    except msgspec.ValidationError:
        raise BadRequest("the body must be a JSON object") from None
    except msgspec.DecodeError as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None


def read_field(fields: Fields, name: str, kind: type[_T], wanted: str) -> _T | None:
    """One field, decoded; None for one that is missing or null. Raises `BadRequest`: it must be `wanted`."""
    raw = fields.get(name)
    if raw is None or raw == NULL:
        return None
    try:
        return msgspec.json.decode(raw, type=kind)
    except BAD_JSON:
        raise BadRequest(f"`{name}` must be {wanted}", param=name) from None


def read_raw(fields: Fields, name: str, openings: tuple[bytes, ...], wanted: str) -> msgspec.Raw | None:
    """A field that stays undecoded; None for one that is missing, null or an empty list."""
    raw = fields.get(name)
    if raw is None or raw == NULL:
        return None
    if not opens_with(raw, *openings):
        raise BadRequest(f"`{name}` must be {wanted}", param=name)
    return None if is_empty_list(raw) else raw


def is_empty_list(raw: msgspec.Raw) -> bool:
    """Whether a value is `[]`."""
    return opens_with(raw, b"[") and bytes(memoryview(raw)[1:64]).lstrip()[:1] == b"]"


def opens_with(raw: msgspec.Raw, *openings: bytes) -> bool:
    """Whether a value begins with one of these bytes: what kind of JSON it is."""
    return bytes(memoryview(raw)[:1]) in openings


def read_model(fields: Fields) -> str:
    """The name of the model. Raises `BadRequest`."""
    model = read_field(fields, "model", str, "a string: the name of a model, or auto")
    if not model:
        raise BadRequest("`model` is missing: name a model of the pool, or auto", param="model")
    return model


def read_messages(fields: Fields) -> msgspec.Raw:
    """The list of messages, undecoded. Raises `BadRequest`."""
    raw = fields.get("messages")
    if raw is None:
        raise BadRequest("`messages` is missing: a list with at least one message", param="messages")
    if not opens_with(raw, b"[") or is_empty_list(raw):
        raise BadRequest("`messages` must be a list with at least one message", param="messages")
    return raw
