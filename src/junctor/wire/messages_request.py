"""Requests of Anthropic's Messages API: from a caller's bytes, and on to an upstream of the same API.

The body stays as it came, for such an upstream. Beside it the request is said once more in the chat form, for
the router and for all other upstreams; what that form cannot say is named.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from junctor.chat import BadRequest, ChatRequest
from junctor.wire.constraints import FIELD as CONSTRAINTS
from junctor.wire.constraints import parse_constraints
from junctor.wire.fusion import FIELD as FUSION
from junctor.wire.fusion import PLUGINS, drop_fusion, parse_fusion
from junctor.wire.json_body import MOST_TOKENS, Rendered, parse_outer, read_field, read_messages, read_model
from junctor.wire.json_value import BAD_JSON, NULL, as_list, as_object, as_text
from junctor.wire.messages_tools import parse_format, parse_tool_choice, parse_tools
from junctor.wire.messages_turns import parse_turns
from junctor.wire.responses_reasoning import NATIVE

RELAY = "anthropic_messages"
HEADERS = ("anthropic-version", "anthropic-beta")
"Headers that belong to the body: they go to an upstream of the same API."
MOST_USER_CHARS = 64
"OpenAI's limit for `user`. A longer `user_id`, such as Claude Code's, is told by its SHA-256."

_SAME = ("temperature", "top_p", "top_k")
"Fields that the chat form has under the same name."
_SAID = frozenset(
    {
        CONSTRAINTS,
        FUSION,
        *_SAME,
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "output_config",
        "output_format",
        "stop_sequences",
        "stream",
        "system",
        "thinking",
        "tool_choice",
        "tools",
    }
)
"Fields that are translated."
_EFFORT_SHARES = {"low": 0.2, "medium": 0.5, "high": 0.8}
"Of the limit on the answer, how much may be reasoning. As OpenRouter's documentation has it."
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
"Anthropic's words for effort as those of OpenAI's that every model with the field knows."
_UNPROVEN = re.compile(rb'"signature"\s*:\s*"(?:"|%s)' % re.escape(NATIVE.encode()))
"A thinking block that no Anthropic model has signed: another model of the pool said it, in an earlier turn."
_EMPTY_TURN = [{"type": "text", "text": "..."}]

_outer = msgspec.json.Decoder(dict[str, msgspec.Raw])


class MessagesCall(msgspec.Struct, frozen=True):
    """A request as a caller of Anthropic's Messages API made it."""

    request: ChatRequest


def parse_request(
    body: bytes, headers: Mapping[str, str], *, request_id: str, caller: str, model: str = ""
) -> MessagesCall:
    """Read a request. `model`, when not empty, stands in its URL and counts.

    Raises `BadRequest`, with the field at fault and what to change.
    """
    fields = parse_outer(body)
    if fields.get("max_tokens", NULL) == NULL:
        raise BadRequest(
            "`max_tokens` is missing: the most tokens to answer with, such as 4096", param="max_tokens"
        )
    request = _parse(body, fields, headers, model)
    return MessagesCall(msgspec.structs.replace(request, id=request_id, caller=caller))


def parse_count_request(body: bytes, headers: Mapping[str, str]) -> ChatRequest:
    """Read a request whose tokens are to be counted: it needs no `max_tokens`. Raises `BadRequest`."""
    return _parse(body, parse_outer(body), headers, "")


def _parse(
    body: bytes, fields: Mapping[str, msgspec.Raw], headers: Mapping[str, str], model: str
) -> ChatRequest:
    max_tokens = _read_limit(fields)
    tools = parse_tools(read_field(fields, "tools", list[dict[str, Any]], "a list of tools") or [])
    choice, passed = parse_tool_choice(read_field(fields, "tool_choice", dict[str, Any], "an object"))
    wanted, effort, lost = _read_output(fields, max_tokens)
    fusion = parse_fusion(fields)
    return ChatRequest(
        model=model or read_model(fields),
        messages=_raw(_read_messages(fields)),
        tools=_raw(tools.tools) if tools.tools else None,
        tool_choice=_raw(choice) if choice is not None and tools.tools else None,
        response_format=_raw(wanted) if wanted is not None else None,
        max_tokens=max_tokens,
        stream=read_field(fields, "stream", bool, "true or false") or False,
        relay=RELAY,
        body=msgspec.Raw(body),
        headers=_read_headers(headers),
        refused_elsewhere=tools.refused,
        lost_elsewhere=(*_lost(fields), *lost, *tools.lost, *fusion.left_out),
        constraints=parse_constraints(fields.get(CONSTRAINTS), headers),
        fusion=fusion.options,
        passthrough=_read_sampling(fields, effort, passed if tools.tools else {}),
    )


def _read_headers(headers: Mapping[str, str]) -> dict[str, str]:
    found = {name: headers[name] for name in HEADERS if name in headers}
    for name, value in found.items():
        if not value.isascii() or not value.isprintable():
            raise BadRequest(f"the header `{name}` holds a character that it cannot have", param=name)
    return found


def _read_messages(fields: Mapping[str, msgspec.Raw]) -> list[dict[str, Any]]:
    raw = read_messages(fields)
    turns = read_field({"messages": raw}, "messages", list[Any], "a list of turns")
    system = read_field(fields, "system", object, "a string or a list of blocks")
    return parse_turns(system, turns or [])


def _read_limit(fields: Mapping[str, msgspec.Raw]) -> int | None:
    limit = read_field(fields, "max_tokens", int, "a whole number of tokens")
    # 0 only fills the prompt cache.
    if limit is not None and not 0 <= limit <= MOST_TOKENS:
        raise BadRequest(f"`max_tokens` must lie between 0 and {MOST_TOKENS}", param="max_tokens")
    return limit


def _read_sampling(
    fields: Mapping[str, msgspec.Raw], effort: str | None, tool_fields: dict[str, Any]
) -> dict[str, msgspec.Raw]:
    passed = {name: fields[name] for name in _SAME if fields.get(name, NULL) != NULL}
    if stop := read_field(fields, "stop_sequences", list[str], "a list of strings"):
        passed["stop"] = _raw(stop)
    metadata = read_field(fields, "metadata", dict[str, Any], "an object") or {}
    if user := as_text(metadata.get("user_id")):
        short = user if len(user) <= MOST_USER_CHARS else hashlib.sha256(user.encode()).hexdigest()
        passed["user"] = _raw(short)
    if effort is not None:
        passed["reasoning_effort"] = _raw(effort)
    return passed | {name: _raw(value) for name, value in tool_fields.items()}


def _read_output(
    fields: Mapping[str, msgspec.Raw], max_tokens: int | None
) -> tuple[dict[str, Any] | None, str | None, list[str]]:
    """The response format, the effort, and the names of what the chat form has no word for."""
    config = read_field(fields, "output_config", dict[str, Any], "an object") or {}
    thinking = read_field(fields, "thinking", dict[str, Any], "an object") or {}
    older = read_field(fields, "output_format", dict[str, Any], "an object")
    lost = [f"output_config.{name}" for name in sorted(config) if name not in ("effort", "format")]
    effort = _EFFORTS.get(as_text(config.get("effort")))
    if config.get("effort") is not None and effort is None:
        lost.append("output_config.effort")
    match thinking.get("type"):
        case "enabled":
            effort = effort or _effort_of(thinking.get("budget_tokens"), max_tokens)
        case "adaptive" | None:
            pass
        case _:
            lost.append("thinking")
    return parse_format(config.get("format") or older), effort, lost


def _effort_of(budget: object, max_tokens: int | None) -> str:
    """The effort whose share of the answer comes nearest to a budget for thinking."""
    share = min(budget, MOST_TOKENS) / max_tokens if isinstance(budget, int) and max_tokens else 0.5
    return min(_EFFORT_SHARES, key=lambda effort: abs(_EFFORT_SHARES[effort] - share))


def _lost(fields: Mapping[str, msgspec.Raw]) -> list[str]:
    if PLUGINS in fields:
        drop_fusion(fields := dict(fields))
    return sorted(name for name, raw in fields.items() if name not in _SAID and raw != NULL)


def _raw(value: object) -> msgspec.Raw:
    try:
        return msgspec.Raw(msgspec.json.encode(value))
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None


def render_relayed(request: ChatRequest, upstream_model: str) -> Rendered:
    """The caller's own body for an upstream of the same API: `model` is replaced, and what is ours taken out.

    Reasoning that no Anthropic model has signed is taken out and named: the API refuses it.
    """
    assert request.body is not None
    fields: dict[str, Any] = dict(_outer.decode(request.body))
    fields["model"] = upstream_model
    fields.pop(CONSTRAINTS, None)
    drop_fusion(fields)
    left_out: tuple[str, ...] = ()
    if _UNPROVEN.search(memoryview(request.body)):
        fields["messages"] = _without_unproven(fields["messages"])
        left_out = ("messages.content (thinking of another model)",)
    return Rendered(msgspec.json.encode(fields), left_out, request.headers)


def _without_unproven(raw: msgspec.Raw) -> list[Any]:
    try:
        turns = msgspec.json.decode(raw, type=list[Any])
    except BAD_JSON:
        raise BadRequest("`messages` must be a list of turns", param="messages") from None
    for turn in map(as_object, turns):
        content = turn.get("content")
        if turn.get("role") == "assistant" and isinstance(content, list):
            kept = [block for block in as_list(turn["content"]) if not _is_unproven(as_object(block))]
            turn["content"] = kept or _EMPTY_TURN
    return turns


def _is_unproven(block: dict[str, Any]) -> bool:
    signature = as_text(block.get("signature"))
    return block.get("type") == "thinking" and (not signature or signature.startswith(NATIVE))
