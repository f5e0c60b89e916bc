"""Messages in OpenAI's chat form as `system` and `messages` of Anthropic's Messages API.

System and developer messages become `system`, wherever they stand. Tool results become blocks of one user
turn. Turns of the same role that follow each other are merged: Messages wants them to take turns.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from junctor.chat import BadRequest, UnsupportedByModel
from junctor.wire.json_value import BAD_JSON, as_list, as_object, as_text

Block = dict[str, Any]

_DATA_URL = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+);base64,", re.ASCII)
_EMPTY_TURN = "..."
"Stands for a message without content, which Messages refuses."


def render_messages(raw: msgspec.Raw) -> tuple[list[Block], list[Block]]:
    """The blocks of `system`, and the turns. Raises `BadRequest` with the path of what cannot be said."""
    try:
        messages = msgspec.json.decode(raw, type=list[dict[str, Any]])
    except BAD_JSON:
        raise BadRequest("`messages` must be a list of objects", param="messages") from None
    system: list[Block] = []
    turns: list[Block] = []
    for index, message in enumerate(messages):
        at = f"messages[{index}]"
        match message.get("role"):
            case "system" | "developer":
                system += _text_blocks(message.get("content"), f"{at}.content")
            case "user":
                _add(turns, "user", _user_blocks(message.get("content"), f"{at}.content"))
            case "assistant":
                _add(turns, "assistant", _assistant_blocks(message, at))
            case "tool":
                _add(turns, "user", [_tool_result(message, at)])
            case role:
                raise BadRequest(
                    f"`{at}.role` must be system, developer, user, assistant or tool, not {str(role)[:50]!r}",
                    param=f"{at}.role",
                )
    if not turns:
        raise BadRequest(
            "this model needs at least one message that is not a system message", param="messages"
        )
    return system, turns


def _add(turns: list[Block], role: str, blocks: list[Block]) -> None:
    blocks = blocks or [_text(_EMPTY_TURN)]
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _text(text: str, part: dict[str, Any] | None = None) -> Block:
    """A block of text. A mark for the prompt cache, which some clients put on parts, is kept."""
    block: Block = {"type": "text", "text": text}
    if part is not None and (mark := as_object(part.get("cache_control"))):
        block["cache_control"] = mark
    return block


def _parts(content: object, at: str) -> list[dict[str, Any]]:
    """The parts of a content: a string is one part, nothing is none."""
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [_text(content)]
    parts = as_list(content)
    if parts and all(isinstance(part, dict) for part in parts):
        return parts
    raise BadRequest(f"`{at}` must be a string or a list of parts", param=at)


def _text_blocks(content: object, at: str) -> list[Block]:
    blocks: list[Block] = []
    for index, part in enumerate(_parts(content, at)):
        text = part.get("text") if part.get("type") == "text" else part.get("refusal")
        if not isinstance(text, str):
            raise BadRequest(f"`{at}[{index}]` must be text", param=f"{at}[{index}]")
        # Messages refuses text blocks that are empty.
        if text:
            blocks.append(_text(text, part))
    return blocks


def _user_blocks(content: object, at: str) -> list[Block]:
    blocks: list[Block] = []
    for index, part in enumerate(_parts(content, at)):
        if part.get("type") == "image_url":
            blocks.append(_image(part.get("image_url"), f"{at}[{index}].image_url"))
        else:
            blocks += _text_part(part, f"{at}[{index}]")
    return blocks


def _text_part(part: dict[str, Any], at: str) -> list[Block]:
    if part.get("type") != "text":
        kind = str(part.get("type"))[:50]
        raise UnsupportedByModel(f"this model reads text and images, not `{kind}`", param=f"{at}.type")
    text = part.get("text")
    if not isinstance(text, str):
        raise BadRequest(f"`{at}.text` must be a string", param=f"{at}.text")
    return [_text(text, part)] if text else []


def _image(image: object, at: str) -> Block:
    url: object = as_object(image).get("url", image)
    if not isinstance(url, str):
        raise BadRequest(f"`{at}.url` must be a string", param=f"{at}.url")
    if inline := _DATA_URL.match(url):
        source = {"type": "base64", "media_type": inline["type"], "data": url[inline.end() :]}
    elif url.startswith("https://"):
        source = {"type": "url", "url": url}
    else:
        raise BadRequest(f"`{at}.url` must be an https: URL or a data: URL in base64", param=f"{at}.url")
    return {"type": "image", "source": source}


def _assistant_blocks(message: dict[str, Any], at: str) -> list[Block]:
    blocks = _text_blocks(message.get("content"), f"{at}.content")
    if not blocks and (refusal := as_text(message.get("refusal"))):
        blocks = [_text(refusal)]
    for index, call in enumerate(as_list(message.get("tool_calls"))):
        blocks.append(_tool_use(as_object(call), f"{at}.tool_calls[{index}]"))
    return blocks


def _tool_use(call: dict[str, Any], at: str) -> Block:
    function = as_object(call.get("function"))
    name = as_text(function.get("name"))
    if not name:
        raise BadRequest(f"`{at}.function` must hold a name and arguments", param=f"{at}.function")
    try:
        given = msgspec.json.decode(function.get("arguments") or "{}", type=dict[str, Any])
    except (*BAD_JSON, UnicodeEncodeError, TypeError):
        where = f"{at}.function.arguments"
        raise BadRequest(f"`{where}` must be a JSON object, as text", param=where) from None
    return {"type": "tool_use", "id": str(call.get("id") or ""), "name": name, "input": given}


def _tool_result(message: dict[str, Any], at: str) -> Block:
    call_id = message.get("tool_call_id")
    if not isinstance(call_id, str) or not call_id:
        raise BadRequest(f"`{at}.tool_call_id` must name the call", param=f"{at}.tool_call_id")
    blocks = _user_blocks(message.get("content"), f"{at}.content")
    return {"type": "tool_result", "tool_use_id": call_id, "content": blocks}
