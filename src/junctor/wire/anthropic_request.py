"""From OpenAI's chat form to a request of Anthropic's Messages API.

What has a counterpart is translated. Of what has none, fields that ask for something which the answer would
lack are refused (log probabilities, several choices, sound), and all others (`seed`, `logit_bias`, the
penalties, fields that nobody knows) are left out and named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from junctor.chat import BadRequest, ChatRequest, UnsupportedByModel
from junctor.wire.anthropic_messages import render_messages
from junctor.wire.json_body import Rendered
from junctor.wire.json_value import BAD_JSON, NULL, as_object, as_text
from junctor.wire.messages_turns import EXTRAS, MARK

_OWN_FIELDS = ("thinking", "top_k", "container", "inference_geo", "speed")
"Fields of Messages itself, which callers reach as extra fields: they go as they came."
_TRANSLATED = frozenset(
    {
        *_OWN_FIELDS,
        "max_completion_tokens",
        "max_tokens",
        "modalities",
        "n",
        "parallel_tool_calls",
        "reasoning_effort",
        "stop",
        "stream_options",
        "temperature",
        "top_p",
        "user",
    }
)
_REFUSED = {
    "audio": "sound",
    "functions": "the old `functions`; use `tools`",
    "function_call": "the old `function_call`; use `tool_choice`",
    "logprobs": "log probabilities",
    "top_logprobs": "log probabilities",
    "web_search_options": "OpenAI's web search",
}
"Fields that ask for something which the answer would lack."
_UNSET_VALUES: tuple[object, ...] = (None, False, 0, [], {})
_MOST_TEMPERATURE = 1.0
"OpenAI's goes to 2."
_EFFORTS = {name: name for name in ("low", "medium", "high", "xhigh", "max")} | {"minimal": "low"}
"OpenAI's words for `reasoning_effort` as Anthropic's. `none` is its default: thinking is asked for apart."
_STRUCTURED_TYPES = ("json_schema", "json_object", "text")
_T = TypeVar("_T")


class _Function(msgspec.Struct, frozen=True):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Tool(msgspec.Struct, frozen=True):
    type: str
    function: _Function | None = None
    cache_control: dict[str, Any] | None = None
    anthropic: dict[str, Any] | None = None
    "What `messages_request` kept beside OpenAI's form."


def render_messages_request(request: ChatRequest, upstream_model: str, default_max_tokens: int) -> Rendered:
    """The request for `POST /v1/messages`. `default_max_tokens`: Anthropic wants a limit; OpenAI does not.

    Raises `BadRequest`, which names the field that Messages cannot carry.
    """
    _refuse_what_is_lost(request.passthrough)
    said = render_messages(request.messages)
    fields: dict[str, Any] = {
        "model": upstream_model,
        "max_tokens": request.max_tokens or default_max_tokens,
        "messages": said.turns,
    }
    if said.system:
        fields["system"] = said.system
    fields |= _render_sampling(request.passthrough)
    if config := _render_output_config(request):
        fields["output_config"] = config
    if request.tools is not None:
        fields["tools"] = _render_tools(request.tools)
        fields |= _render_tool_choice(request.tool_choice, request.passthrough.get("parallel_tool_calls"))
    if request.stream:
        fields["stream"] = True
    return Rendered(msgspec.json.encode(fields), tuple(sorted(said.left_out | _left_out(request))))


def _left_out(request: ChatRequest) -> set[str]:
    fields = request.passthrough.items()
    return {name for name, raw in fields if name not in _TRANSLATED and raw != NULL}


def _refuse_what_is_lost(fields: Mapping[str, msgspec.Raw]) -> None:
    choices = _decode(fields.get("n"), int, "n", "a whole number")
    if choices is not None and choices != 1:
        raise UnsupportedByModel("`n` must be 1: this model gives one answer to a request", param="n")
    for name, what in _REFUSED.items():
        if _decode(fields.get(name), object, name, "valid JSON") not in _UNSET_VALUES:
            raise UnsupportedByModel(f"this model cannot give {what}; leave out `{name}`", param=name)
    modalities = _decode(fields.get("modalities"), list[str], "modalities", "a list")
    if modalities and modalities != ["text"]:
        raise UnsupportedByModel(
            '`modalities` must be ["text"]: this model answers in text only', param="modalities"
        )


def _decode(raw: msgspec.Raw | None, kind: type[_T], name: str, wanted: str) -> _T | None:
    if raw is None or raw == NULL:
        return None
    try:
        return msgspec.json.decode(raw, type=kind)
    except BAD_JSON:
        raise BadRequest(f"`{name}` must be {wanted}", param=name) from None


def _render_sampling(fields: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    rendered: dict[str, Any] = {name: fields[name] for name in _OWN_FIELDS if name in fields}
    temperature = _decode(fields.get("temperature"), float, "temperature", "a number")
    if temperature is not None:
        rendered["temperature"] = min(max(temperature, 0.0), _MOST_TEMPERATURE)
    top_p = _decode(fields.get("top_p"), float, "top_p", "a number")
    if top_p is not None:
        rendered["top_p"] = top_p
    if stop := _read_stop(fields.get("stop")):
        rendered["stop_sequences"] = stop
    user = _decode(fields.get("user"), str, "user", "a string")
    if user:
        rendered["metadata"] = {"user_id": user}
    return rendered


def _read_stop(raw: msgspec.Raw | None) -> list[str]:
    wanted = "a string or a list of strings"
    if raw is None or bytes(memoryview(raw)[:1]) == b"[":
        sequences = _decode(raw, list[str], "stop", wanted) or []
    else:
        sequences = [_decode(raw, str, "stop", wanted) or ""]
    # Anthropic refuses a stop sequence of white space alone; OpenAI does not.
    return [sequence for sequence in sequences if sequence.strip()]


def _render_tools(raw: msgspec.Raw) -> list[dict[str, Any]]:
    tools = (
        _decode(raw, list[_Tool], "tools", "a list of tools, each with its `function` and its `name`") or []
    )
    rendered: list[dict[str, Any]] = []
    for index, tool in enumerate(tools):
        if tool.function is None and tool.type == EXTRAS and tool.anthropic:
            rendered.append(tool.anthropic)
            continue
        if tool.function is None:
            raise BadRequest(
                f"this model knows tools of type `function` only, not `{tool.type[:50]}`",
                param=f"tools[{index}]",
            )
        function = tool.function
        one: dict[str, Any] = {
            "name": function.name,
            "input_schema": function.parameters or {"type": "object", "properties": {}},
        }
        if function.description:
            one["description"] = function.description
        if function.strict is not None:
            one["strict"] = function.strict
        if tool.cache_control:
            one[MARK] = tool.cache_control
        rendered.append(one | (tool.anthropic or {}))
    return rendered


def _render_tool_choice(choice: msgspec.Raw | None, parallel: msgspec.Raw | None) -> dict[str, Any]:
    wanted = 'none, auto, required, or {"type": "function", "function": {"name": ...}}'
    said = _decode(choice, object, "tool_choice", wanted)
    one_at_a_time = _decode(parallel, bool, "parallel_tool_calls", "true or false") is False
    names = {None: "auto", "auto": "auto", "required": "any", "none": "none"}
    rendered: dict[str, Any]
    if name := as_text(as_object(as_object(said).get("function")).get("name")):
        rendered = {"type": "tool", "name": name}
    elif said is None or (isinstance(said, str) and said in names):
        if said is None and not one_at_a_time:
            return {}
        rendered = {"type": names[said]}
    else:
        raise BadRequest(f"`tool_choice` must be {wanted}", param="tool_choice")
    if one_at_a_time and rendered["type"] != "none":
        rendered["disable_parallel_tool_use"] = True
    return {"tool_choice": rendered}


def _render_output_config(request: ChatRequest) -> dict[str, Any]:
    config: dict[str, Any] = {}
    effort = _decode(request.passthrough.get("reasoning_effort"), str, "reasoning_effort", "a string")
    if effort is not None and effort in _EFFORTS:
        config["effort"] = _EFFORTS[effort]
    if request.response_format is not None:
        config |= _render_format(request.response_format)
    return config


def _render_format(raw: msgspec.Raw) -> dict[str, Any]:
    said = _decode(raw, dict[str, Any], "response_format", "an object") or {}
    kind = said.get("type")
    if kind == "text":
        return {}
    if kind == "json_schema":
        if schema := as_object(as_object(said.get("json_schema")).get("schema")):
            return {"format": {"type": "json_schema", "schema": schema}}
        raise BadRequest(
            "`response_format.json_schema.schema` must be an object", param="response_format.json_schema"
        )
    raise BadRequest(
        "this model takes a `response_format` of type json_schema, not json_object: give the schema"
        if kind == "json_object"
        else f"`response_format.type` must be one of {', '.join(_STRUCTURED_TYPES)}",
        param="response_format.type",
    )
