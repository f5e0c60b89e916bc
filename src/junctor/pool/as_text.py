"""A chat as plain text, for a model that is to read it and not to take part in it. Pure.

What is no text is named in brackets: an image, a sound, a tool call.
"""

from __future__ import annotations

from typing import Any

import msgspec

from junctor.chat import Answer, ChatRequest
from junctor.pool.fence import MOST_CHARS, cut
from junctor.wire.json_value import BAD_JSON, as_list, as_object, as_text

SYSTEM_SHARE = 4
"The system's messages have at most one part in so many of the room: they say in which form to answer."
LEAST_CHARS = 100
"Where less room is left, an earlier message is left out rather than cut."

_SYSTEM = frozenset({"system", "developer"})
_MEDIA = {"image_url": "an image", "input_audio": "a sound", "file": "a file"}


def render_conversation(request: ChatRequest, most_chars: int = MOST_CHARS) -> str:
    """The messages, each after its role. Where they are too long: the system's, and the newest.

    A single message without a role worth telling (`user`) stands alone.
    """
    messages = [as_object(message) for message in _decode_list(request.messages)]
    texts = [_text_of(message) for message in messages]
    roles = [as_text(message.get("role")) or "user" for message in messages]
    if roles == ["user"]:
        return cut(texts[0], most_chars)
    lines = [f"[{role}] {text}" for role, text in zip(roles, texts, strict=True)]
    system = "\n\n".join(line for line, role in zip(lines, roles, strict=True) if role in _SYSTEM)
    others = [line for line, role in zip(lines, roles, strict=True) if role not in _SYSTEM]
    room = most_chars
    if len(system) + sum(map(len, others)) > most_chars:
        system = cut(system, most_chars // SYSTEM_SHARE)
    room -= len(system)
    return "\n\n".join(filter(None, [system, *_newest(others, room)]))


def render_tools(request: ChatRequest, most_chars: int = MOST_CHARS) -> str:
    """The tools that an answer may call: name, description, parameters. Empty without any."""
    if request.tools is None:
        return ""
    functions = [as_object(as_object(tool).get("function")) for tool in _decode_list(request.tools)]
    return cut("\n".join(map(_describe, filter(None, functions))), most_chars)


def render_form(request: ChatRequest, most_chars: int = MOST_CHARS) -> str:
    """The form that the answer has to have, where the request states one: JSON. Else empty."""
    if request.response_format is None:
        return ""
    return cut(bytes(request.response_format).decode("utf-8", "replace"), most_chars)


def render_answer(answer: Answer) -> str:
    """An answer: its text, and the tools that it calls."""
    calls = [_tell_call(call.name, call.arguments) for call in answer.tool_calls]
    return "\n".join(filter(None, [answer.text, *calls]))


def _newest(lines: list[str], room: int) -> list[str]:
    """As many of the last lines as there is room for; the very last one in any case."""
    kept = list[str]()
    for line in reversed(lines):
        if kept and min(room, len(line)) < min(LEAST_CHARS, len(line)):
            break
        kept.append(cut(line, max(0, room)))
        room -= len(kept[-1])
    if (missing := len(lines) - len(kept)) > 0:
        kept.append(f"[... {missing} earlier messages left out ...]")
    return kept[::-1]


def _text_of(message: dict[str, Any]) -> str:
    content = message.get("content")
    parts = [content] if isinstance(content, str) else [_tell_part(as_object(p)) for p in as_list(content)]
    calls = [as_object(as_object(call).get("function")) for call in as_list(message.get("tool_calls"))]
    told = [_tell_call(as_text(call.get("name")), as_text(call.get("arguments"))) for call in calls]
    return "\n".join(filter(None, [*parts, *told]))


def _tell_part(part: dict[str, Any]) -> str:
    kind = as_text(part.get("type"))
    if kind == "text":
        return as_text(part.get("text"))
    return f"[{_MEDIA.get(kind) or kind or 'something that is no text'}]"


def _tell_call(name: str, arguments: str) -> str:
    return f"[calls the tool {name} with {arguments}]"


def _describe(function: dict[str, Any]) -> str:
    name, description = as_text(function.get("name")), as_text(function.get("description"))
    parameters = msgspec.json.encode(function.get("parameters") or {}).decode()
    return f"{name}: {description}\n  parameters: {parameters}"


def _decode_list(raw: msgspec.Raw) -> list[Any]:
    """What has not the form is none: the front door has refused it, or the model will."""
    try:
        return as_list(msgspec.json.decode(raw))
    except BAD_JSON:
        return []


def shorten(text: str, most_chars: int) -> str:
    """One line, and no more than so many characters."""
    text = " ".join(text.split())
    return text if len(text) <= most_chars else text[: most_chars - 1] + "\u2026"
