"""OpenAI chat completion requests: from a caller's bytes, and to an upstream's.

Only the outer object is decoded. What we do not have to understand stays the bytes it came as, so that
fields which are newer than this program reach the upstream unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from junctor.chat import BadRequest, ChatRequest
from junctor.wire.constraints import FIELD as CONSTRAINTS
from junctor.wire.constraints import parse_constraints
from junctor.wire.fusion import FIELD as FUSION
from junctor.wire.fusion import PLUGINS, drop_fusion, parse_fusion
from junctor.wire.json_body import MOST_TOKENS, parse_outer, read_field, read_messages, read_model, read_raw
from junctor.wire.json_value import BAD_JSON, NULL

OWN_TOOLS = frozenset({"function", "custom"})
"Kinds of tools that the caller runs; any other is run by the provider, such as a search of the web."
_SEARCH = "web_search_options"
"The field of OpenAI's models that search by themselves."
_LIMITS = ("max_completion_tokens", "max_tokens")
"The caller's names for `ChatRequest.max_tokens`, newest first."
_KNOWN = frozenset(
    {"model", "messages", "tools", "tool_choice", "response_format", "stream", CONSTRAINTS, FUSION}
)
_ASK_FOR_USAGE = msgspec.Raw(b'{"include_usage":true}')

_outer = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = None


class _Tool(msgspec.Struct, frozen=True):
    type: str = "function"


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
    fields = parse_outer(body)
    stream = read_field(fields, "stream", bool, "true or false") or False
    options = read_field(
        fields, "stream_options", _StreamOptions, 'an object, such as {"include_usage": true}'
    )
    fusion = parse_fusion(fields)
    passthrough = {name: value for name, value in fields.items() if name not in _KNOWN}
    if PLUGINS in passthrough:
        drop_fusion(passthrough)
    request = ChatRequest(
        model=model or read_model(fields),
        messages=read_messages(fields),
        tools=read_raw(fields, "tools", (b"[",), "a list of tools"),
        tool_choice=read_raw(fields, "tool_choice", (b'"', b"{"), "a string or an object"),
        response_format=read_raw(fields, "response_format", (b"{",), "an object"),
        max_tokens=_read_limit(fields),
        stream=stream,
        relay="openai_chat",
        lost_elsewhere=fusion.left_out,
        constraints=parse_constraints(fields.get(CONSTRAINTS), headers),
        fusion=fusion.options,
        passthrough=passthrough,
        id=request_id,
        caller=caller,
    )
    return Call(request, bool(stream and options and options.include_usage))


def _read_limit(fields: Mapping[str, msgspec.Raw]) -> int | None:
    for name in _LIMITS:
        limit = read_field(fields, name, int, "a whole number of tokens")
        if limit is not None:
            if not 1 <= limit <= MOST_TOKENS:
                raise BadRequest(f"`{name}` must lie between 1 and {MOST_TOKENS}", param=name)
            return limit
    return None


def name_provider_tools(request: ChatRequest) -> tuple[str, ...]:
    """What the request has a provider run, such as `tools[1] (web_search)`."""
    found = (_SEARCH,) if request.passthrough.get(_SEARCH, NULL) != NULL else ()
    try:
        tools = msgspec.json.decode(request.tools, type=list[_Tool]) if request.tools is not None else []
    except BAD_JSON:
        return found
    run_there = (f"tools[{at}] ({it.type[:80]})" for at, it in enumerate(tools) if it.type not in OWN_TOOLS)
    return (*run_there, *found)


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
