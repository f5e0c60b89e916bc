"""Input items of the Responses API as messages of OpenAI's chat form.

Items of the assistant that follow one another (reasoning, message, function calls) become one message, unless
text has been said already: what comes after it is a message of its own, so that the order is kept.

Some items only a Responses upstream understands. They are not in the messages, but named: in `refused` where
the model would answer without something it needs, in `left_out` where a trace of earlier work is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from junctor.chat import BadRequest
from junctor.wire.json_value import as_object
from junctor.wire.responses_reasoning import parse_reasoning, text_of

Item = dict[str, Any]
Message = dict[str, Any]

_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
"The chat form has `developer` too, but few models know it, and OpenAI takes the two as the same."
_TRACES = frozenset(
    {
        "code_interpreter_call",
        "file_search_call",
        "image_generation_call",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "mcp_list_tools",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    }
)
"What OpenAI's own tools did earlier: the answer that came of it is there, as a message."
_MOST_SHOWN = 60


class Converted(msgspec.Struct, frozen=True):
    """Items in the chat form."""

    messages: list[Message]
    refused: tuple[str, ...] = ()
    "Places and kinds of what no other API can carry: `input[2] (computer_call_output)`."
    left_out: tuple[str, ...] = ()


def render_messages(items: Sequence[Item], instructions: str | None = None) -> Converted:
    """The messages that say the same. Raises `BadRequest` with the path of what is malformed."""
    conversion = _Conversion(instructions)
    for index, item in enumerate(items):
        conversion.add(item, f"input[{index}]")
    return conversion.end()


class _Conversion:
    def __init__(self, instructions: str | None) -> None:
        self._turns: list[Message] = []
        self._refused: list[str] = []
        self._left_out: list[str] = []
        if instructions:
            self._turns.append({"role": "system", "content": instructions})

    def add(self, item: Item, at: str) -> None:
        kind = item.get("type") or "message"
        if not isinstance(kind, str):
            raise BadRequest(f"`{at}.type` must be a string", param=f"{at}.type")
        match kind:
            case "message":
                self._message(item, at)
            case "reasoning":
                self._reasoning(item)
            case "function_call":
                self._function_call(item, at)
            case "function_call_output":
                self._function_call_output(item, at)
            case _:
                kinds = self._left_out if kind in _TRACES else self._refused
                kinds.append(f"{at} ({_shown(kind)})")

    def end(self) -> Converted:
        for turn in self._turns:
            if turn["role"] == "assistant" and "content" not in turn:
                turn["content"] = None if "tool_calls" in turn else ""
        return Converted(self._turns, tuple(self._refused), tuple(self._left_out))

    def _message(self, item: Item, at: str) -> None:
        role = item.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            raise BadRequest(
                f"`{at}.role` must be user, assistant, system or developer, not {_shown(role)!r}",
                param=f"{at}.role",
            )
        parts = self._parts(item.get("content"), f"{at}.content")
        if role != "assistant":
            self._turns.append({"role": _ROLES[role], "content": _joined(parts)})
            return
        turn = self._assistant()
        if "content" in turn:
            parts = [*_as_parts(turn["content"]), *parts]
        turn["content"] = _joined(parts)

    def _reasoning(self, item: Item) -> None:
        block, text = parse_reasoning(item), text_of(item)
        if block is None and not text:
            return
        turn = self._assistant()
        if text:
            earlier = turn.get("reasoning_content")
            turn["reasoning_content"] = f"{earlier}\n\n{text}" if earlier else text
        if block is not None:
            turn.setdefault("thinking_blocks", []).append(block)

    def _function_call(self, item: Item, at: str) -> None:
        call = {
            "id": _text(item, "call_id", at),
            "type": "function",
            "function": {"name": _text(item, "name", at), "arguments": _string(item, "arguments", at)},
        }
        turns = self._turns
        turn = turns[-1] if turns and turns[-1]["role"] == "assistant" else self._assistant()
        turn.setdefault("tool_calls", []).append(call)

    def _function_call_output(self, item: Item, at: str) -> None:
        call_id = _text(item, "call_id", at)
        parts = self._parts(item.get("output"), f"{at}.output")
        self._turns.append({"role": "tool", "tool_call_id": call_id, "content": _joined(parts)})

    def _assistant(self) -> Message:
        """The assistant's message that the next item belongs to.

        Once calls were made their results must follow at once: then everything goes into the same message.
        """
        turn = self._turns[-1] if self._turns else None
        if turn is None or turn["role"] != "assistant" or ("content" in turn and "tool_calls" not in turn):
            turn = {"role": "assistant"}
            self._turns.append(turn)
        return turn

    def _parts(self, content: object, at: str) -> list[Item]:
        if isinstance(content, str):
            return [{"type": "text", "text": content}]
        parts: list[Item] = []
        for index, raw in enumerate(as_objects(content, at, "a string or a list of parts")):
            here = f"{at}[{index}]"
            part = _part(raw, here)
            if part is None:
                self._refused.append(f"{here} ({_shown(raw.get('type'))})")
            else:
                parts.append(part)
        return parts


def _part(part: Item, at: str) -> Item | None:
    """A part of a message in the chat form; None for one that the chat form has no word for."""
    match part.get("type"):
        case "input_text" | "output_text" | "text" | "summary_text":
            return {"type": "text", "text": _string(part, "text", at)}
        case "refusal":
            return {"type": "refusal", "refusal": _string(part, "refusal", at)}
        case "input_image" if part.get("image_url") is not None:
            image: Item = {"url": _string(part, "image_url", at)}
            if part.get("detail") is not None:
                image["detail"] = part["detail"]
            return {"type": "image_url", "image_url": image}
        case "input_file" if part.get("file_url") is None:
            known = {name: part[name] for name in ("file_data", "file_id", "filename") if part.get(name)}
            return {"type": "file", "file": known}
        case "input_audio":
            return {"type": "input_audio", "input_audio": as_object(part.get("input_audio"))}
        case _:
            return None


def as_objects(values: object, at: str, wanted: str) -> list[Item]:
    """A list of objects. Raises `BadRequest`, which says where it is not one."""
    if not isinstance(values, list):
        raise BadRequest(f"`{at}` must be {wanted}", param=at)
    objects = cast("list[object]", values)
    for index, value in enumerate(objects):
        if not isinstance(value, dict):
            raise BadRequest(f"`{at}[{index}]` must be an object", param=f"{at}[{index}]")
    return cast("list[Item]", objects)


def _joined(parts: list[Item]) -> str | list[Item]:
    """One text is a string, as most servers want it."""
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _as_parts(content: str | list[Item]) -> list[Item]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _string(fields: Item, name: str, at: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise BadRequest(f"`{at}.{name}` must be a string", param=f"{at}.{name}")
    return value


def _text(fields: Item, name: str, at: str) -> str:
    value = _string(fields, name, at)
    if not value:
        raise BadRequest(f"`{at}.{name}` must not be empty", param=f"{at}.{name}")
    return value


def _shown(value: object) -> str:
    return str(value)[:_MOST_SHOWN]
