"""Tools, the choice among them, and the form of the answer: the Responses API's words and the chat form's.

The Responses API has flat tools (`{"type": "function", "name": ...}`), the chat form wraps them once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from junctor.chat import BadRequest, UnsupportedByModel
from junctor.wire.json_value import as_list, as_object, as_text

Fields = dict[str, Any]

_FUNCTION_FIELDS = ("name", "description", "parameters", "strict")
_FORMAT_FIELDS = ("name", "description", "schema", "strict")
_CHOICES = ("none", "auto", "required")
_MOST_SHOWN = 60


class Tools(msgspec.Struct, frozen=True):
    """Tools in the chat form."""

    tools: list[Fields]
    choice: str | Fields | None
    refused: tuple[str, ...]
    "Places and kinds of tools that only a Responses upstream has: `tools[1] (web_search)`."


def parse_tools(tools: Sequence[Fields], choice: object) -> Tools:
    """Tools and choice in the chat form. Raises `BadRequest`."""
    functions: list[Fields] = []
    refused: list[str] = []
    for index, tool in enumerate(tools):
        if tool.get("type") != "function":
            refused.append(f"tools[{index}] ({_kind(tool) or 'no type'})")
            continue
        if not as_text(tool.get("name")):
            raise BadRequest(f"`tools[{index}].name` must be a string", param=f"tools[{index}].name")
        function = {name: tool[name] for name in _FUNCTION_FIELDS if tool.get(name) is not None}
        functions.append({"type": "function", "function": function})
    if choice is None or (isinstance(choice, str) and choice in _CHOICES):
        return Tools(functions, choice, tuple(refused))
    chosen = as_object(choice)
    match chosen.get("type"):
        case "function":
            name = as_text(chosen.get("name"))
            if not name:
                raise BadRequest("`tool_choice.name` must be a string", param="tool_choice.name")
            return Tools(functions, {"type": "function", "function": {"name": name}}, tuple(refused))
        case "allowed_tools":
            # The chat form of most servers has no such choice; leaving the others away means the same.
            allowed = {as_text(as_object(one).get("name")) for one in as_list(chosen.get("tools"))}
            kept = [tool for tool in functions if tool["function"]["name"] in allowed]
            mode = "required" if chosen.get("mode") == "required" else "auto"
            return Tools(kept, mode if kept else "none", tuple(refused))
        case str() as kind:
            return Tools(functions, None, (*refused, f"tool_choice ({kind[:_MOST_SHOWN]})"))
        case _:
            raise BadRequest(
                "`tool_choice` must be none, auto, required, or an object with a type", param="tool_choice"
            )


def parse_format(text: Fields) -> Fields | None:
    """`text.format` as the chat form's `response_format`; None for plain text. Raises `BadRequest`."""
    wanted = text.get("format")
    if wanted is None:
        return None
    said = as_object(wanted)
    match said.get("type"):
        case "text":
            return None
        case "json_object":
            return {"type": "json_object"}
        case "json_schema":
            if not as_text(said.get("name")) or not isinstance(said.get("schema"), dict):
                raise BadRequest("`text.format` must have a name and a schema", param="text.format")
            schema = {name: said[name] for name in _FORMAT_FIELDS if said.get(name) is not None}
            return {"type": "json_schema", "json_schema": schema}
        case _:
            raise BadRequest(
                "`text.format.type` must be text, json_schema or json_object", param="text.format.type"
            )


def render_tools(tools: object) -> list[Fields]:
    """Tools of the chat form as the Responses API has them. Raises `BadRequest`."""
    rendered: list[Fields] = []
    for index, tool in enumerate(as_list(tools)):
        function = as_object(as_object(tool).get("function"))
        if not as_text(function.get("name")):
            kind = f"`{shown}`" if (shown := _kind(as_object(tool))) else "no type"
            raise UnsupportedByModel(
                f"`tools[{index}]` must be a function with a name; {kind} is not carried to this model",
                param=f"tools[{index}]",
            )
        flat = {name: function[name] for name in _FUNCTION_FIELDS if function.get(name) is not None}
        # Left out, it would mean true here; in the chat form it means false.
        rendered.append({"type": "function", "strict": False, "parameters": {}, **flat})
    return rendered


def _kind(tool: Fields) -> str:
    """Empty where it says none."""
    return as_text(tool.get("type"))[:_MOST_SHOWN]


def render_tool_choice(choice: object) -> object:
    """A choice of the chat form as the Responses API has it. Raises `BadRequest`."""
    if isinstance(choice, str) and choice in _CHOICES:
        return choice
    name = as_text(as_object(as_object(choice).get("function")).get("name"))
    if name:
        return {"type": "function", "name": name}
    raise BadRequest(
        '`tool_choice` must be none, auto, required, or {"type": "function", "function": {"name": ...}}',
        param="tool_choice",
    )


def render_format(wanted: object) -> Fields:
    """A `response_format` of the chat form as `text.format`. Raises `BadRequest`."""
    said = as_object(wanted)
    if said.get("type") == "json_schema":
        schema = as_object(said.get("json_schema"))
        if not as_text(schema.get("name")) or not isinstance(schema.get("schema"), dict):
            raise BadRequest(
                "`response_format.json_schema` must have a name and a schema",
                param="response_format.json_schema",
            )
        return {"type": "json_schema", **{name: schema[name] for name in _FORMAT_FIELDS if name in schema}}
    if said.get("type") in ("json_object", "text"):
        return {"type": said["type"]}
    raise BadRequest(
        "`response_format.type` must be text, json_schema or json_object", param="response_format.type"
    )
