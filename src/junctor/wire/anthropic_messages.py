"""Messages in OpenAI's chat form as `system` and `messages` of Anthropic's Messages API.

System and developer messages become `system`, wherever they stand. Tool results become blocks of one user
turn. Turns of the same role that follow each other are merged: Messages wants them to take turns.

What `messages_turns` put beside OpenAI's form is put back. Reasoning comes as `thinking_blocks`, in LiteLLM's
form, or as `reasoning_details`, in OpenRouter's; a block without the proof that it is an Anthropic model's is
left out, because the API would refuse it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from junctor.chat import BadRequest, UnsupportedByModel
from junctor.wire.json_value import BAD_JSON, as_list, as_object, as_text
from junctor.wire.messages_turns import EXTRAS, MARK, MEDIA_TYPE, Block
from junctor.wire.responses_reasoning import NATIVE

_DATA_URL = re.compile(rf"data:(?P<type>{MEDIA_TYPE.pattern});base64,", re.ASCII)
_EMPTY_TURN = "..."
"Stands for a message without content, which Messages refuses."
_NO_ID_CHARACTER = re.compile(r"[^a-zA-Z0-9_-]")
"What the id of a call must not hold: some servers put the tool's name and a colon into it."
_CARRIED = frozenset({"role", "content", "refusal", "tool_calls", "tool_call_id", "is_error", MARK, EXTRAS})
_REASONING = ("thinking_blocks", "reasoning_details", "reasoning_content", "reasoning")
"Where an assistant's message may hold its reasoning; the first that is there counts."


class Turns(msgspec.Struct, frozen=True):
    """A conversation as Anthropic's Messages API has it."""

    system: list[Block]
    turns: list[Block]
    left_out: frozenset[str] = frozenset()
    "Fields of messages that it cannot carry: `messages.name`."


def render_messages(raw: msgspec.Raw) -> Turns:
    """The blocks of `system`, and the turns. Raises `BadRequest` with the path of what cannot be said."""
    try:
        messages = msgspec.json.decode(raw, type=list[dict[str, Any]])
    except BAD_JSON:
        raise BadRequest("`messages` must be a list of objects", param="messages") from None
    system: list[Block] = []
    turns: list[Block] = []
    left_out: set[str] = set()
    for index, message in enumerate(messages):
        at = f"messages[{index}]"
        left_out |= _not_carried(message)
        match message.get("role"):
            case "system" if as_object(message.get(EXTRAS)).get("role") == "system":
                _add(turns, "system", _marked(_text_blocks(message.get("content"), f"{at}.content"), message))
            case "system" | "developer":
                system += _marked(_text_blocks(message.get("content"), f"{at}.content"), message)
            case "user":
                _add(turns, "user", _marked(_user_blocks(message.get("content"), f"{at}.content"), message))
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
    return Turns(system, turns, frozenset(left_out))


def _not_carried(message: Block) -> set[str]:
    """The fields of a message that ask for something, and that Messages has no place for."""
    names = {f"messages.{name}" for name, value in message.items() if value and name not in _CARRIED}
    if message.get("role") != "assistant":
        return names
    names -= {f"messages.{name}" for name in _REASONING}
    name, blocks = _reasoning_of(message)
    return names | {f"messages.{name}"} if len(list(_thinking(blocks))) < len(blocks) else names


def _reasoning_of(message: Block) -> tuple[str, list[Any]]:
    """Where a message holds its reasoning, and the reasoning in pieces."""
    for name in _REASONING:
        if said := message.get(name):
            return name, as_list(said) or [said]
    return "", []


def _thinking(pieces: list[Any]) -> Iterator[Block]:
    """The blocks of reasoning that an Anthropic model has signed or encrypted."""
    for piece in pieces:
        block = as_object(piece)
        text, signature, data = (as_text(block.get(name)) for name in ("thinking", "signature", "data"))
        match block.get("type"):
            case "thinking" if signature and not signature.startswith(NATIVE):
                yield {"type": "thinking", "thinking": text, "signature": signature}
            case "reasoning.text" if signature:
                yield {"type": "thinking", "thinking": as_text(block.get("text")), "signature": signature}
            case "redacted_thinking" | "reasoning.encrypted" if data:
                yield {"type": "redacted_thinking", "data": data}
            case _:
                pass


def _add(turns: list[Block], role: str, blocks: list[Block]) -> None:
    blocks = blocks or [_text(_EMPTY_TURN)]
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _extended(block: Block, part: Block) -> Block:
    """A block with what the chat form keeps beside the part: a mark for the prompt cache, and the extras."""
    if mark := as_object(part.get(MARK)):
        block[MARK] = mark
    return block | as_object(part.get(EXTRAS))


def _marked(blocks: list[Block], message: Block) -> list[Block]:
    """A mark on the message itself, which some clients set, stands for one on its last block."""
    if blocks and (mark := as_object(message.get(MARK))):
        blocks[-1] = blocks[-1] | {MARK: mark}
    return blocks


def _parts(content: object, at: str) -> list[Block]:
    """The parts of a content: a string is one part, nothing is none."""
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [_text(content)]
    parts = as_list(content)
    if (parts or content == []) and all(isinstance(part, dict) for part in parts):
        return parts
    raise BadRequest(f"`{at}` must be a string or a list of parts", param=at)


def _text_blocks(content: object, at: str) -> list[Block]:
    """Blocks of a content that holds text alone, or what only Anthropic knows."""
    blocks: list[Block] = []
    for index, part in enumerate(_parts(content, at)):
        here = f"{at}[{index}]"
        if part.get("type") == "refusal":
            part = _text(as_text(part.get("refusal")))
        elif not isinstance(part.get("text"), str) and not _whole(part):
            raise BadRequest(f"`{here}` must be text", param=here)
        blocks += _text_part(part, here)
    return blocks


def _user_blocks(content: object, at: str) -> list[Block]:
    blocks: list[Block] = []
    for index, part in enumerate(_parts(content, at)):
        here = f"{at}[{index}]"
        match part.get("type"):
            case "image_url":
                blocks.append(_extended(_image(part.get("image_url"), f"{here}.image_url"), part))
            case "file":
                blocks.append(_extended(_document(as_object(part.get("file")), f"{here}.file"), part))
            case _:
                blocks += _text_part(part, here)
    return blocks


def _whole(part: Block) -> Block:
    """The block of Anthropic's that a part stands for; empty when it is a part of OpenAI's."""
    extras = as_object(part.get(EXTRAS))
    return extras if isinstance(extras.get("type"), str) else {}


def _text_part(part: Block, at: str) -> list[Block]:
    if block := _whole(part):
        return [block]
    if part.get("type") != "text":
        kind = str(part.get("type"))[:50]
        raise UnsupportedByModel(f"this model reads text and images, not `{kind}`", param=f"{at}.type")
    text = part.get("text")
    if not isinstance(text, str):
        raise BadRequest(f"`{at}.text` must be a string", param=f"{at}.text")
    # Messages refuses text blocks that are empty.
    return [_extended(_text(text), part)] if text else []


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


def _document(file: Block, at: str) -> Block:
    inline = _DATA_URL.match(as_text(file.get("file_data")))
    if inline is None or inline["type"] != "application/pdf":
        raise UnsupportedByModel(
            f"this model reads a file as `{at}.file_data`: a PDF as a data: URL in base64",
            param=f"{at}.file_data",
        )
    data = file["file_data"][inline.end() :]
    block: Block = {
        "type": "document",
        "source": {"type": "base64", "media_type": inline["type"], "data": data},
    }
    if title := as_text(file.get("filename")):
        block["title"] = title
    return block


def _assistant_blocks(message: Block, at: str) -> list[Block]:
    blocks = list(_thinking(_reasoning_of(message)[1]))
    said = _text_blocks(message.get("content"), f"{at}.content")
    if not said and (refusal := as_text(message.get("refusal"))):
        said = [_text(refusal)]
    blocks += _marked(said, message)
    for index, call in enumerate(as_list(message.get("tool_calls"))):
        blocks.append(_tool_use(as_object(call), f"{at}.tool_calls[{index}]"))
    return blocks


def _tool_use(call: Block, at: str) -> Block:
    function = as_object(call.get("function"))
    name = as_text(function.get("name"))
    if not name:
        raise BadRequest(f"`{at}.function` must hold a name and arguments", param=f"{at}.function")
    try:
        given = msgspec.json.decode(function.get("arguments") or "{}", type=dict[str, Any])
    except (*BAD_JSON, UnicodeEncodeError, TypeError):
        where = f"{at}.function.arguments"
        raise BadRequest(f"`{where}` must be a JSON object, as text", param=where) from None
    call_id = _NO_ID_CHARACTER.sub("_", str(call.get("id") or ""))
    return _extended({"type": "tool_use", "id": call_id, "name": name, "input": given}, call)


def _tool_result(message: Block, at: str) -> Block:
    call_id = message.get("tool_call_id")
    if not isinstance(call_id, str) or not call_id:
        raise BadRequest(f"`{at}.tool_call_id` must name the call", param=f"{at}.tool_call_id")
    block: Block = {
        "type": "tool_result",
        "tool_use_id": _NO_ID_CHARACTER.sub("_", call_id),
        "content": _user_blocks(message.get("content"), f"{at}.content"),
    }
    if message.get("is_error") is True:
        block["is_error"] = True
    return _extended(block, message)
