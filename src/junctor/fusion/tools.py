"""Tools for members that cannot call any: told as text, and their calls read from text. Pure.

Nothing is ever run here: a call is an answer like any other, and whoever asked runs the one that is given.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from junctor.chat import Answer, ChatRequest, ToolCall

MOST_CHARS = 20_000
"Of the tools' description."
_OF_TOOLS = frozenset({"parallel_tool_calls", "functions", "function_call"})
_HOW = (
    "You can have a tool called. These are the tools, as JSON:\n\n{tools}\n\n"
    "To have one called, reply with this JSON object and nothing else: "
    '{{"tool": "its name", "arguments": {{...}}}}. Otherwise reply in words.'
)


class _Call(msgspec.Struct, forbid_unknown_fields=True):
    tool: str
    arguments: dict[str, Any]


class _Function(msgspec.Struct):
    name: str = ""


class _Tool(msgspec.Struct):
    function: _Function = msgspec.field(default_factory=_Function)


def with_tools_as_text(request: ChatRequest) -> ChatRequest:
    """The request with its tools in words, in a system message before the others."""
    if request.tools is None:
        return request
    tools = bytes(request.tools).decode("utf-8", "replace")[:MOST_CHARS]
    message = {"role": "system", "content": _HOW.format(tools=tools)}
    messages = msgspec.json.decode(request.messages, type=list[msgspec.Raw])
    told = msgspec.Raw(msgspec.json.encode([message, *messages]))
    return without_tools(replace(request, messages=told))


def without_tools(request: ChatRequest) -> ChatRequest:
    """The request for an answer in words. Some upstreams refuse what belongs to tools without any."""
    passthrough = {name: value for name, value in request.passthrough.items() if name not in _OF_TOOLS}
    return replace(request, tools=None, tool_choice=None, passthrough=passthrough)


def parse_tool_call(answer: Answer, request: ChatRequest) -> Answer:
    """The answer with the call that its text is; as it was where it is none of the request's tools."""
    text = answer.text.strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    try:
        call = msgspec.json.decode(text, type=_Call)
        tools = msgspec.json.decode(request.tools or b"[]", type=list[_Tool])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return answer
    if call.tool not in {tool.function.name for tool in tools}:
        return answer
    arguments = msgspec.json.encode(call.arguments).decode()
    made = ToolCall(0, id=f"call_{request.id[-24:]}", name=call.tool, arguments=arguments)
    return replace(answer, text="", tool_calls=(made,), reason="tool_calls")
