"""Turns of Anthropic's Messages API as messages of OpenAI's chat form, with what that form lacks beside it.

What OpenAI has a word for is said in it. The rest travels along, and `anthropic_messages` puts it back:

    message.thinking_blocks      reasoning that carries its proof, in LiteLLM's form
    message.reasoning_content    reasoning that carries none: no Anthropic model said it
    message.is_error             of a tool's result
    part.cache_control           a mark for the prompt cache; also on tools, calls and results
    part.anthropic               more fields of the block; with a `type` among them: the whole block

A turn of the assistant in another order than reasoning, content, calls becomes several messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from junctor.chat import BadRequest
from junctor.wire.json_value import as_list, as_object, as_text

Block = dict[str, Any]
"A block of Anthropic's, or a message or a part of OpenAI's."

EXTRAS = "anthropic"
"Where a part keeps what only Anthropic's API knows; also the type of a part that is nothing else."
MARK = "cache_control"

MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
"What a data: URL can name."

_STEPS = {"thinking": 0, "redacted_thinking": 0, "tool_use": 2}
"The order of blocks that one message of the assistant can keep; everything else is content: 1."


def parse_turns(system: object, turns: Sequence[object]) -> list[Block]:
    """The messages that say the same. Raises `BadRequest` with the path of what is malformed."""
    messages: list[Block] = []
    if system:
        messages.append({"role": "system", "content": _content(system, "system")})
    for index, raw in enumerate(turns):
        at = f"messages[{index}]"
        turn = _object(raw, at)
        content = turn.get("content")
        match turn.get("role"):
            case "user":
                messages += _user(content, f"{at}.content")
            case "assistant":
                messages += _assistant(content, f"{at}.content")
            case "system":
                # In the middle of a conversation: it stays where it stands.
                said = _content(content, f"{at}.content")
                messages.append({"role": "system", "content": said, EXTRAS: {"role": "system"}})
            case role:
                raise BadRequest(
                    f"`{at}.role` must be user, assistant or system, not {str(role)[:50]!r}",
                    param=f"{at}.role",
                )
    return messages


def _object(value: object, at: str) -> Block:
    found = as_object(value)
    if not found:
        raise BadRequest(f"`{at}` must be an object", param=at)
    return found


def _string(block: Block, name: str, at: str) -> str:
    value = block.get(name)
    if not isinstance(value, str):
        raise BadRequest(f"`{at}.{name}` must be a string", param=f"{at}.{name}")
    return value


def _blocks(content: object, at: str) -> Iterator[tuple[str, Block]]:
    """Each block with its path."""
    blocks = as_list(content)
    if not blocks and content != []:
        raise BadRequest(f"`{at}` must be a string or a list of blocks", param=at)
    for index, raw in enumerate(blocks):
        here = f"{at}[{index}]"
        block = _object(raw, here)
        _string(block, "type", here)
        yield here, block


def _content(content: object, at: str) -> str | list[Block]:
    if isinstance(content, str):
        return content
    return [_part(block, here) for here, block in _blocks(content, at)]


def _user(content: object, at: str) -> list[Block]:
    """Results of tools become messages of their own, which OpenAI wants before anything else is said."""
    if isinstance(content, str):
        return [{"role": "user", "content": content}]
    results: list[Block] = []
    parts: list[Block] = []
    for here, block in _blocks(content, at):
        if block["type"] == "tool_result":
            results.append(_tool_result(block, here))
        else:
            parts.append(_part(block, here))
    return [*results, {"role": "user", "content": parts}] if parts or not results else results


def _tool_result(block: Block, at: str) -> Block:
    content = block.get("content")
    message: Block = {
        "role": "tool",
        "tool_call_id": _string(block, "tool_use_id", at),
        "content": "" if content is None else _content(content, f"{at}.content"),
    }
    if block.get("is_error") is True:
        message["is_error"] = True
    return _extended(message, block, {"type", "tool_use_id", "content", "is_error"})


def _part(block: Block, at: str) -> Block:
    match block["type"]:
        case "text":
            part: Block = {"type": "text", "text": _string(block, "text", at)}
            return _extended(part, block, {"type", "text"})
        case "image" if url := _data_url(block.get("source"), "image/"):
            return _extended({"type": "image_url", "image_url": {"url": url}}, block, {"type", "source"})
        case "document" if url := _data_url(block.get("source"), "application/pdf"):
            title = as_text(block.get("title"))
            file = {"file_data": url, "filename": title} if title else {"file_data": url}
            return _extended({"type": "file", "file": file}, block, {"type", "source", "title"})
        case "document" | "search_result" if text := _text_of(block):
            return {"type": "text", "text": text, EXTRAS: block}
        case _:
            return {"type": EXTRAS, EXTRAS: block}


def _extended(part: Block, block: Block, said: set[str]) -> Block:
    """The part, and with it what it does not say of the block."""
    if block.keys() <= said:
        return part
    rest = {name: value for name, value in block.items() if name not in said and value is not None}
    if (mark := rest.pop(MARK, None)) is not None:
        part[MARK] = mark
    if rest:
        part[EXTRAS] = rest
    return part


def _data_url(source: object, kind: str) -> str:
    """What OpenAI calls the URL of an image or a file; empty when it has no such form."""
    said = as_object(source)
    url, data, media_type = (as_text(said.get(name)) for name in ("url", "data", "media_type"))
    if said == {"type": "base64", "media_type": media_type, "data": data} and media_type.startswith(kind):
        return f"data:{media_type};base64,{data}" if MEDIA_TYPE.fullmatch(media_type) else ""
    is_image = kind == "image/"
    return url if is_image and said == {"type": "url", "url": url} and url.startswith("https://") else ""


def _text_of(block: Block) -> str:
    """The words of a document or a search result that is text; empty when it holds anything else."""
    source = block.get("source") if block["type"] == "document" else block
    said = as_object(source)
    content = said.get("data") if said.get("type") == "text" else said.get("content")
    if isinstance(content, str):
        return content
    texts = [as_text(as_object(one).get("text")) for one in as_list(content)]
    return "\n\n".join(texts) if all(texts) else ""


def _assistant(content: object, at: str) -> list[Block]:
    if isinstance(content, str):
        return [{"role": "assistant", "content": content}]
    messages: list[Block] = [{"role": "assistant", "content": []}]
    step = 0
    for here, block in _blocks(content, at):
        before, step = step, _STEPS.get(block["type"], 1)
        if step < before:
            messages.append({"role": "assistant", "content": []})
        _add(messages[-1], block, here)
    for message in messages:
        if not message["content"]:
            message["content"] = None if "tool_calls" in message else ""
    return messages


def _add(message: Block, block: Block, at: str) -> None:
    """One more block of the assistant's."""
    match block["type"]:
        case "thinking":
            thought = _string(block, "thinking", at)
            if as_text(block.get("signature")):
                message.setdefault("thinking_blocks", []).append(block)
            else:
                message["reasoning_content"] = message.get("reasoning_content", "") + thought
        case "redacted_thinking":
            _string(block, "data", at)
            message.setdefault("thinking_blocks", []).append(block)
        case "tool_use":
            message.setdefault("tool_calls", []).append(_tool_call(block, at))
        case _:
            message["content"].append(_part(block, at))


def _tool_call(block: Block, at: str) -> Block:
    given = block.get("input", {})
    if not isinstance(given, dict):
        raise BadRequest(f"`{at}.input` must be an object", param=f"{at}.input")
    function = {"name": _string(block, "name", at), "arguments": msgspec.json.encode(given).decode()}
    call: Block = {"id": _string(block, "id", at), "type": "function", "function": function}
    return _extended(call, block, {"type", "id", "name", "input"})
