"""From OpenAI's chat form to a request of Anthropic's Messages API.

What has a counterpart is translated, what has none and would change the answer is refused, and what has none
and only advises is left out: see `LEFT_OUT`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from junctor.chat import BadRequest, ChatRequest
from junctor.wire.anthropic_messages import render_messages
from junctor.wire.json_value import BAD_JSON, NULL, as_object, as_text

LEFT_OUT = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "max_completion_tokens",
        "max_tokens",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "seed",
        "service_tier",
        "store",
        "stream_options",
        "verbosity",
    }
)
"""Fields of OpenAI's without a counterpart that leave the answer an answer: they shift probabilities, name a
cache or a tier, or are said otherwise (the limits, the stream's options)."""

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


def render_messages_request(request: ChatRequest, upstream_model: str, default_max_tokens: int) -> bytes:
    """The request for `POST /v1/messages`. `default_max_tokens`: Anthropic wants a limit; OpenAI does not.

    Raises `BadRequest`, which names the field that Messages cannot carry.
    """
    _refuse_what_is_lost(request.passthrough)
    system, messages = render_messages(request.messages)
    fields: dict[str, Any] = {
        "model": upstream_model,
        "max_tokens": request.max_tokens or default_max_tokens,
        "messages": messages,
    }
    if system:
        fields["system"] = system
    fields |= _render_sampling(request.passthrough)
    if request.tools is not None:
        fields["tools"] = _render_tools(request.tools)
        fields |= _render_tool_choice(request.tool_choice, request.passthrough.get("parallel_tool_calls"))
    if request.response_format is not None:
        fields |= _render_format(request.response_format)
    if request.stream:
        fields["stream"] = True
    return msgspec.json.encode(fields)


def _refuse_what_is_lost(fields: Mapping[str, msgspec.Raw]) -> None:
    choices = _decode(fields.get("n"), int, "n", "a whole number")
    if choices is not None and choices != 1:
        raise BadRequest("`n` must be 1: this model gives one answer to a request", param="n")
    for name, what in _REFUSED.items():
        raw = fields.get(name)
        if raw is not None and msgspec.json.decode(raw) not in _UNSET_VALUES:
            raise BadRequest(f"this model cannot give {what}; leave out `{name}`", param=name)
    modalities = _decode(fields.get("modalities"), list[str], "modalities", "a list")
    if modalities and modalities != ["text"]:
        raise BadRequest("`modalities` must be ['text']: this model answers in text only", param="modalities")


def _decode(raw: msgspec.Raw | None, kind: type[_T], name: str, wanted: str) -> _T | None:
    if raw is None or raw == NULL:
        return None
    try:
        return msgspec.json.decode(raw, type=kind)
    except BAD_JSON:
        raise BadRequest(f"`{name}` must be {wanted}", param=name) from None


def _render_sampling(fields: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    rendered: dict[str, Any] = {}
    temperature = _decode(fields.get("temperature"), float, "temperature", "a number")
    if temperature is not None:
        rendered["temperature"] = min(max(temperature, 0.0), _MOST_TEMPERATURE)
    top_p = _decode(fields.get("top_p"), float, "top_p", "a number")
    if top_p is not None:
        rendered["top_p"] = top_p
    top_k = _decode(fields.get("top_k"), int, "top_k", "a whole number")
    if top_k is not None:
        rendered["top_k"] = top_k
    if stop := _read_stop(fields.get("stop")):
        rendered["stop_sequences"] = stop
    user = _decode(fields.get("user"), str, "user", "a string")
    if user:
        rendered["metadata"] = {"user_id": user}
    effort = _decode(fields.get("reasoning_effort"), str, "reasoning_effort", "a string")
    if effort in ("low", "medium", "high", "xhigh"):
        rendered["output_config"] = {"effort": effort}
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
        rendered.append(one)
    return rendered


def _render_tool_choice(choice: msgspec.Raw | None, parallel: msgspec.Raw | None) -> dict[str, Any]:
    wanted = "none, auto, required, or {'type': 'function', 'function': {'name': ...}}"
    said: object = None if choice is None else msgspec.json.decode(choice)
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


def _render_format(raw: msgspec.Raw) -> dict[str, Any]:
    said = _decode(raw, dict[str, Any], "response_format", "an object") or {}
    kind = said.get("type")
    if kind == "text":
        return {}
    if kind == "json_schema":
        if schema := as_object(as_object(said.get("json_schema")).get("schema")):
            return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
        raise BadRequest(
            "`response_format.json_schema.schema` must be an object", param="response_format.json_schema"
        )
    raise BadRequest(
        "this model takes a `response_format` of type json_schema, not json_object: give the schema"
        if kind == "json_object"
        else f"`response_format.type` must be one of {', '.join(_STRUCTURED_TYPES)}",
        param="response_format.type",
    )
