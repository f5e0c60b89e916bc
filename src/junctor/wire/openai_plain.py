"""Requests of other dialects as plain OpenAI requests.

What `messages_turns` and `responses_input` put beside OpenAI's form is taken out, because strict servers
refuse fields that they do not know. What is lost by that is named.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from junctor.chat import BadRequest, ChatRequest
from junctor.wire.json_body import Rendered
from junctor.wire.json_value import BAD_JSON, as_list, as_object, as_text
from junctor.wire.messages_turns import EXTRAS, MARK, Block
from junctor.wire.openai_request import render_request
from junctor.wire.responses_reasoning import NATIVE

OPTIONAL = (
    "reasoning_content",
    "reasoning_effort",
    "parallel_tool_calls",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "user",
)
"""What not every server of OpenAI's API takes, and none of them for every model: fields of requests, and the
`reasoning_content` of messages. `max_tokens` has a newer name, `max_completion_tokens`."""
_UNKNOWN = re.compile(
    r"unsupported|unrecogni[sz]ed|unknown|unexpected|extra inputs|not (?:support|permitted|allowed|accepted)",
    re.IGNORECASE,
)
_EXTRAS = (EXTRAS, MARK, "is_error")
"Fields beside OpenAI's form that only Anthropic's API has."
_FILE_NAME = "document.pdf"
"OpenAI wants one; Anthropic's documents may have none."
_NO_TEXT = "(see below)"
"Stands for a tool's result that is an image alone."


def render_plain(
    request: ChatRequest, upstream_model: str, *, without: frozenset[str] = frozenset()
) -> Rendered:
    """A translated request for an upstream of OpenAI's chat API. Raises `BadRequest`.

    `without`: of `OPTIONAL`, what the server does not know. It is left out and named; the limit on the answer
    gets its newer name instead. Reasoning that carries another server's proof is never sent.
    """
    left_out: set[str] = set()
    messages = _shed_messages(request.messages, left_out)
    passthrough = {name: value for name, value in request.passthrough.items() if name not in without}
    left_out |= request.passthrough.keys() - passthrough.keys()
    if "max_tokens" in without and request.max_tokens is not None:
        passthrough["max_completion_tokens"] = _encode(request.max_tokens)
    reasoning = "reasoning_content" not in without
    plain = msgspec.structs.replace(
        request,
        messages=_encode(_plain_messages(messages, left_out, reasoning=reasoning)),
        tools=_shed_tools(request.tools, left_out),
        passthrough=passthrough,
    )
    return Rendered(render_request(plain, upstream_model), tuple(sorted(left_out)))


def refused_field(message: str, param: str | None) -> str | None:
    """Which of `OPTIONAL` a server says that it does not know; None when it refuses something else."""
    if not _UNKNOWN.search(message):
        return None
    for name in OPTIONAL:
        if param == name or re.search(rf"(?:['\"`.]|: ){name}\b", f"{message} .{param}"):
            return name
    return None


def without_extras(request: ChatRequest) -> tuple[ChatRequest, frozenset[str]]:
    """A request for the Responses API without what only Anthropic's has, and the names of that.

    Raises `BadRequest`.
    """
    left_out: set[str] = set()
    messages = _shed_messages(request.messages, left_out)
    for message in messages:
        proven, thought = message.pop("thinking_blocks", None), message.pop("reasoning_content", None)
        own = [block for block in as_list(proven) if _is_of_responses(block)]
        if own:
            message["thinking_blocks"] = own
        if proven and len(own) < len(as_list(proven)):
            left_out.add("messages.thinking_blocks")
        elif thought and not own:
            left_out.add("messages.reasoning_content")
    plain = msgspec.structs.replace(
        request, messages=_encode(messages), tools=_shed_tools(request.tools, left_out)
    )
    return plain, frozenset(left_out)


def _is_of_responses(block: object) -> bool:
    return as_text(as_object(block).get("signature")).startswith(NATIVE)


def _plain_messages(messages: list[Block], left_out: set[str], *, reasoning: bool) -> list[Block]:
    """Messages without extras in the order and the fields that OpenAI's chat API wants."""
    plain: list[Block] = []
    shown: list[Block] = []
    for message in messages:
        if message.get("role") != "tool" and shown:
            plain.append({"role": "user", "content": shown})
            shown = []
        _take_reasoning(message, left_out, reasoning=reasoning)
        if message.get("role") == "tool":
            shown += _take_images(message)
        _append(plain, message)
    if shown:
        plain.append({"role": "user", "content": shown})
    return plain


def _shed_messages(raw: msgspec.Raw, left_out: set[str]) -> list[Block]:
    return [_shed_message(message, left_out) for message in _decode(raw, "messages")]


def _shed_tools(raw: msgspec.Raw | None, left_out: set[str]) -> msgspec.Raw | None:
    tools: list[Block] = []
    for tool in [] if raw is None else _decode(raw, "tools"):
        if tool.get("type") != EXTRAS:
            left_out |= {MARK} if MARK in tool else set()
            tools.append({name: value for name, value in tool.items() if name not in _EXTRAS})
    return _encode(tools) if tools else None


def _decode(raw: msgspec.Raw, name: str) -> list[Block]:
    try:
        return msgspec.json.decode(raw, type=list[dict[str, Any]])
    except BAD_JSON:
        raise BadRequest(f"`{name}` must be a list of objects", param=name) from None


def _encode(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _shed_message(message: Block, left_out: set[str]) -> Block:
    plain = {name: value for name, value in message.items() if name not in _EXTRAS}
    if MARK in message:
        left_out.add(MARK)
    if message.get("is_error"):
        left_out.add("messages.is_error")
    if (parts := message.get("content")) and isinstance(parts, list):
        plain["content"] = _shed_content(as_list(message["content"]), left_out)
    if calls := as_list(message.get("tool_calls")):
        plain["tool_calls"] = [_shed_part(as_object(call), "tool_calls", left_out) for call in calls]
    return plain


def _take_reasoning(message: Block, left_out: set[str], *, reasoning: bool) -> None:
    proven, thought = message.pop("thinking_blocks", None), message.pop("reasoning_content", None)
    if proven:
        left_out.add("messages.thinking_blocks")
    elif thought and reasoning:
        message["reasoning_content"] = thought
    elif thought:
        left_out.add("messages.reasoning_content")


def _shed_content(parts: list[Any], left_out: set[str]) -> str | list[Block]:
    """One text alone is a string, as most servers want it."""
    plain: list[Block] = []
    for raw in parts:
        part = as_object(raw)
        if part.get("type") == EXTRAS:
            kind = as_text(as_object(part.get(EXTRAS)).get("type"))
            left_out.add(f"messages.content ({kind[:50]})")
            continue
        plain.append(_shed_part(part, "content", left_out))
        if part.get("type") == "file" and not as_object(part.get("file")).get("filename"):
            plain[-1]["file"] = {**as_object(part.get("file")), "filename": _FILE_NAME}
    if len(plain) == 1 and plain[0].get("type") == "text":
        return as_text(plain[0].get("text"))
    return plain or ""


def _shed_part(value: Block, where: str, left_out: set[str]) -> Block:
    """A part or a call without what is beside OpenAI's form."""
    if MARK in value:
        left_out.add(MARK)
    extras = as_object(value.get(EXTRAS))
    if "type" not in extras:
        left_out.update(f"messages.{where}.{name}" for name in extras)
    return {name: inner for name, inner in value.items() if name not in _EXTRAS}


def _take_images(plain: Block) -> list[Block]:
    """What a tool returned beside text: OpenAI wants text alone there, so a user turn shows the rest."""
    parts = as_list(plain.get("content"))
    shown = [part for part in parts if as_object(part).get("type") != "text"]
    if not shown:
        return []
    kept = [part for part in parts if as_object(part).get("type") == "text"]
    plain["content"] = kept or _NO_TEXT
    return [{"type": "text", "text": f"Returned by the call {plain.get('tool_call_id')}:"}, *shown]


def _append(messages: list[Block], message: Block) -> None:
    """Turns of the assistant that follow each other are one: results must follow the calls at once."""
    if not (messages and messages[-1].get("role") == message.get("role") == "assistant"):
        messages.append(message)
        return
    last = messages[-1]
    parts = [*_as_parts(last.get("content")), *_as_parts(message.get("content"))]
    last["content"] = parts or (None if last.get("tool_calls") or message.get("tool_calls") else "")
    if calls := [*as_list(last.get("tool_calls")), *as_list(message.get("tool_calls"))]:
        last["tool_calls"] = calls
    if thought := as_text(last.get("reasoning_content")) + as_text(message.get("reasoning_content")):
        last["reasoning_content"] = thought


def _as_parts(content: object) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return as_list(content)
