"""OpenAI chat completion requests: from a caller's bytes, and to an upstream's.

Only the outer object is decoded. What we do not have to understand stays the bytes it came as, so that
fields which are newer than this program reach the upstream unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from junctor.chat import BadRequest, ChatRequest
from junctor.wire.constraints import FIELD as CONSTRAINTS
from junctor.wire.constraints import parse_constraints
from junctor.wire.json_value import BAD_JSON, NULL

_LIMITS = ("max_completion_tokens", "max_tokens")
"The caller's names for `ChatRequest.max_tokens`, newest first."
_KNOWN = frozenset({"model", "messages", "tools", "tool_choice", "response_format", "stream", CONSTRAINTS})
_ASK_FOR_USAGE = msgspec.Raw(b'{"include_usage":true}')
_MOST_TOKENS = 1_000_000_000
_T = TypeVar("_T")

_outer = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class Call(msgspec.Struct, frozen=True):
    """A request as a caller of OpenAI's chat API made it."""

    request: ChatRequest
    include_usage: bool = False
    "Whether the caller of a stream asked for the chunk with the token counts."


def parse_request(
    body: bytes, headers: Mapping[str, str], *, request_id: str, caller: str, model: str = ""
) -> Call:
    """Read a request. `model`, when not empty, stands in its URL and counts.

    Raises `BadRequest`, with the field at fault and what to change.
    """
    fields = _parse_outer(body)
    stream = _read(fields, "stream", bool, "true or false") or False
    options = _read(fields, "stream_options", _StreamOptions, "an object, such as {'include_usage': true}")
    request = ChatRequest(
        model=model or _read_model(fields),
        messages=_read_messages(fields),
        tools=_read_raw(fields, "tools", (b"[",), "a list of tools"),
        tool_choice=_read_raw(fields, "tool_choice", (b'"', b"{"), "a string or an object"),
        response_format=_read_raw(fields, "response_format", (b"{",), "an object"),
        max_tokens=_read_limit(fields),
        stream=stream,
        relay="openai_chat",
        constraints=parse_constraints(fields.get(CONSTRAINTS), headers),
        passthrough={name: value for name, value in fields.items() if name not in _KNOWN},
        id=request_id,
        caller=caller,
    )
    return Call(request, bool(stream and options and options.include_usage))


def _parse_outer(body: bytes) -> dict[str, msgspec.Raw]:
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


def _read(fields: Mapping[str, msgspec.Raw], name: str, kind: type[_T], wanted: str) -> _T | None:
    raw = fields.get(name)
    if raw is None or raw == NULL:
        return None
    try:
        return msgspec.json.decode(raw, type=kind)
    except BAD_JSON:
        raise BadRequest(f"`{name}` must be {wanted}", param=name) from None


def _read_raw(
    fields: Mapping[str, msgspec.Raw], name: str, openings: tuple[bytes, ...], wanted: str
) -> msgspec.Raw | None:
    """A field that stays undecoded; None for one that is missing, null or an empty list."""
    raw = fields.get(name)
    if raw is None or raw == NULL:
        return None
    if not _opens_with(raw, *openings):
        raise BadRequest(f"`{name}` must be {wanted}", param=name)
    return None if _is_empty_list(raw) else raw


def _is_empty_list(raw: msgspec.Raw) -> bool:
    return _opens_with(raw, b"[") and bytes(memoryview(raw)[1:64]).lstrip()[:1] == b"]"


def _opens_with(raw: msgspec.Raw, *openings: bytes) -> bool:
    return bytes(memoryview(raw)[:1]) in openings


def _read_model(fields: Mapping[str, msgspec.Raw]) -> str:
    model = _read(fields, "model", str, "a string: the name of a model, or auto")
    if not model:
        raise BadRequest("`model` is missing: name a model of the pool, or auto", param="model")
    return model


def _read_messages(fields: Mapping[str, msgspec.Raw]) -> msgspec.Raw:
    raw = fields.get("messages")
    if raw is None:
        raise BadRequest("`messages` is missing: a list with at least one message", param="messages")
    if not _opens_with(raw, b"[") or _is_empty_list(raw):
        raise BadRequest("`messages` must be a list with at least one message", param="messages")
    return raw


def _read_limit(fields: Mapping[str, msgspec.Raw]) -> int | None:
    for name in _LIMITS:
        limit = _read(fields, name, int, "a whole number of tokens")
        if limit is not None:
            if not 1 <= limit <= _MOST_TOKENS:
                raise BadRequest(f"`{name}` must lie between 1 and {_MOST_TOKENS}", param=name)
            return limit
    return None


def render_request(request: ChatRequest, upstream_model: str) -> bytes:
    """The request as an upstream that speaks OpenAI's chat API takes it.

    Only `model` changes, and a stream is asked for its token counts. A limit on the answer keeps the name
    that the caller gave it.
    """
    fields: dict[str, Any] = {"model": upstream_model, "messages": request.messages}
    fields |= request.passthrough
    fields.pop("stream_options", None)
    for name, value in (
        ("tools", request.tools),
        ("tool_choice", request.tool_choice),
        ("response_format", request.response_format),
    ):
        if value is not None:
            fields[name] = value
    if request.max_tokens is not None and not any(name in request.passthrough for name in _LIMITS):
        fields["max_tokens"] = request.max_tokens
    if request.stream:
        fields["stream"] = True
        fields["stream_options"] = _with_usage(request.passthrough.get("stream_options"))
    return msgspec.json.encode(fields)


def _with_usage(options: msgspec.Raw | None) -> msgspec.Raw | dict[str, Any]:
    if options is None or options == NULL:
        return _ASK_FOR_USAGE
    kept: dict[str, Any] = dict(_outer.decode(options))
    return kept | {"include_usage": True}
