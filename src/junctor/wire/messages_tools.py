"""Tools, the choice among them, and the form of the answer: Anthropic's words in OpenAI's chat form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from junctor.chat import BadRequest
from junctor.wire.json_value import as_list, as_object, as_text
from junctor.wire.messages_turns import EXTRAS, MARK

Fields = dict[str, Any]

FORMAT_NAME = "answer"
"OpenAI wants a name for a schema; Anthropic has none."
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_SAID = frozenset({"type", "name", "description", "input_schema", MARK})
_MOST_SHOWN = 60
MOST_DEPTH = 10
"OpenAI's limit for how deep a strict schema may be nested."


class Tools(msgspec.Struct, frozen=True):
    """Tools in the chat form."""

    tools: list[Fields]
    refused: tuple[str, ...]
    "Places and kinds of tools that only Anthropic's models have: `tools[1] (web_search_20250305)`."
    lost: tuple[str, ...]
    "What of the others OpenAI has no word for."


def parse_tools(tools: Sequence[Fields]) -> Tools:
    """Tools in the chat form. Those that Anthropic defines go along as they are. Raises `BadRequest`."""
    parsed: list[Fields] = []
    refused: list[str] = []
    lost: set[str] = set()
    for index, tool in enumerate(tools):
        schema = tool.get("input_schema")
        if schema is None and as_text(tool.get("type")) not in ("", "custom"):
            refused.append(f"tools[{index}] ({tool['type'][:_MOST_SHOWN]})")
            parsed.append({"type": EXTRAS, EXTRAS: tool})
            continue
        if not isinstance(schema, dict):
            where = f"tools[{index}].input_schema"
            raise BadRequest(f"`{where}` must be an object", param=where)
        parsed.append(_function(tool, f"tools[{index}]", lost))
    return Tools(parsed, tuple(refused), tuple(sorted(lost)))


def _function(tool: Fields, at: str, lost: set[str]) -> Fields:
    if not as_text(tool.get("name")):
        raise BadRequest(f"`{at}.name` must be a string", param=f"{at}.name")
    function: Fields = {"name": tool["name"], "parameters": tool["input_schema"]}
    if tool.get("description") is not None:
        if not isinstance(tool["description"], str):
            raise BadRequest(f"`{at}.description` must be a string", param=f"{at}.description")
        function["description"] = tool["description"]
    rest = {name: value for name, value in tool.items() if name not in _SAID and value is not None}
    if isinstance(strict := rest.get("strict"), bool) and (not strict or is_strict(tool["input_schema"])):
        function["strict"] = rest.pop("strict")
    lost.update(f"tools.{name}" for name in rest)
    parsed: Fields = {"type": "function", "function": function}
    if (mark := tool.get(MARK)) is not None:
        if not isinstance(mark, dict):
            raise BadRequest(f"`{at}.{MARK}` must be an object", param=f"{at}.{MARK}")
        parsed[MARK] = mark
    if rest:
        parsed[EXTRAS] = rest
    return parsed


def parse_tool_choice(choice: Fields | None) -> tuple[str | Fields | None, Fields]:
    """The choice, and the fields of a chat request that go with it. Raises `BadRequest`."""
    if choice is None:
        return None, {}
    passed: Fields = {}
    if choice.get("disable_parallel_tool_use") is True:
        passed["parallel_tool_calls"] = False
    kind, name = as_text(choice.get("type")), as_text(choice.get("name"))
    if kind == "tool" and name:
        return {"type": "function", "function": {"name": name}}, passed
    if kind not in _CHOICES:
        raise BadRequest(
            '`tool_choice` must be {"type": "auto"}, any, none, or {"type": "tool", "name": ...}',
            param="tool_choice",
        )
    return _CHOICES[kind], passed


def parse_format(wanted: object) -> Fields | None:
    """`output_config.format` as a `response_format`; None without one. Raises `BadRequest`."""
    if not wanted:
        return None
    said = as_object(wanted)
    schema = as_object(said.get("schema"))
    if said.get("type") != "json_schema" or not schema:
        raise BadRequest(
            '`output_config.format` must be {"type": "json_schema", "schema": {...}}',
            param="output_config.format",
        )
    named: Fields = {"name": FORMAT_NAME, "schema": schema}
    return {"type": "json_schema", "json_schema": named | ({"strict": True} if is_strict(schema) else {})}


def is_strict(schema: Mapping[str, Any], depth: int = MOST_DEPTH) -> bool:
    """Whether OpenAI takes a schema with `strict`: objects require all their fields, and allow no others.

    https://platform.openai.com/docs/guides/structured-outputs, "Supported schemas". Anthropic lets fields be
    optional.
    """
    properties = as_object(schema.get("properties"))
    if schema.get("type") == "object" or properties:
        required = {name for name in as_list(schema.get("required")) if isinstance(name, str)}
        if schema.get("additionalProperties") is not False or required != set(properties):
            return False
    inner = [*properties.values(), schema.get("items")]
    for name in ("anyOf", "oneOf", "allOf"):
        inner += as_list(schema.get(name))
    for name in ("$defs", "definitions"):
        inner += as_object(schema.get(name)).values()
    return depth > 0 and all(is_strict(as_object(one), depth - 1) for one in inner if one is not None)
