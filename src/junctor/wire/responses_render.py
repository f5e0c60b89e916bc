"""Requests as an upstream that speaks OpenAI's Responses API takes them.

A caller's own body in that API goes as it came, but for `model`. Any other request is translated from the
chat form. Of what has no counterpart, fields that ask for something which the answer would lack are refused,
and all others (`stop`, `seed`, the penalties) are left out and named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from junctor.chat import BadRequest, ChatRequest, UnsupportedByModel
from junctor.wire.constraints import FIELD as CONSTRAINTS
from junctor.wire.fusion import drop_fusion
from junctor.wire.json_body import Rendered, parse_outer, read_field
from junctor.wire.json_value import BAD_JSON, NULL, as_list, as_object, as_text
from junctor.wire.openai_plain import without_extras
from junctor.wire.responses_ids import MARK, without_our_id
from junctor.wire.responses_reasoning import SEAL, parse_reasoning, render_reasoning
from junctor.wire.responses_request import PROOF, RELAY
from junctor.wire.responses_tools import render_format, render_tool_choice, render_tools

Fields = dict[str, Any]

_LEFT_OUT = frozenset(
    {"frequency_penalty", "logit_bias", "prediction", "presence_penalty", "seed", "stop", "thinking", "top_k"}
)
"Fields of the chat form, and of Anthropic's that chat callers use, that the Responses API has not."
_REFUSED = {
    "audio": "sound",
    "functions": "the old `functions`; use `tools`",
    "function_call": "the old `function_call`; use `tool_choice`",
    "logprobs": "log probabilities in the chat form",
    "top_logprobs": "log probabilities in the chat form",
    "web_search_options": "the chat form's web search",
}
"Fields that ask for something which the answer would lack."
_UNSET: tuple[object, ...] = (None, False, 0, [], {})
_ANSWERED_HERE = frozenset(
    {"max_completion_tokens", "max_tokens", "modalities", "n", "reasoning_effort", "store", "stream_options"}
    | {"verbosity"}
)
_ROLES = {"system": "system", "developer": "developer", "user": "user"}


def render_request(request: ChatRequest, upstream_model: str) -> Rendered:
    """The request for `POST /v1/responses`. Raises `BadRequest`, which names what it cannot carry."""
    if request.relay == RELAY and request.body is not None:
        return Rendered(_with_model(request.body, upstream_model))
    _refuse_what_is_lost(request.passthrough)
    lost: frozenset[str] = frozenset()
    if request.body is not None:
        request, lost = without_extras(request)
    passed = _LEFT_OUT | _ANSWERED_HERE | _REFUSED.keys()
    fields: Fields = {
        "model": upstream_model,
        "input": render_items(request.messages),
        **{name: value for name, value in request.passthrough.items() if name not in passed},
        # Callers of other APIs have not asked the provider to keep anything.
        "store": False,
    }
    if request.tools is not None:
        fields["tools"] = render_tools(_decode(request.tools, "tools"))
    if request.tool_choice is not None:
        fields["tool_choice"] = render_tool_choice(_decode(request.tool_choice, "tool_choice"))
    if text := _render_text(request):
        fields["text"] = text
    if request.max_tokens is not None:
        fields["max_output_tokens"] = request.max_tokens
    effort = read_field(request.passthrough, "reasoning_effort", str, "a string")
    if effort is not None:
        fields["reasoning"] = {"effort": effort, "summary": "auto"}
        fields["include"] = [PROOF]
    if request.stream:
        fields["stream"] = True
    left_out = [name for name, value in request.passthrough.items() if name in _LEFT_OUT and value != NULL]
    return Rendered(msgspec.json.encode(fields), tuple(sorted(lost.union(left_out))))


def _with_model(body: msgspec.Raw, upstream_model: str) -> bytes:
    """A caller's own body. What only we can read is taken out: ids that we gave, and what we have sealed."""
    fields: Fields = dict(parse_outer(bytes(body)))
    fields.pop(CONSTRAINTS, None)
    drop_fusion(fields)
    given: msgspec.Raw = fields["input"]
    if MARK.encode() in bytes(given) and (items := as_list(_decode(given, "input"))):
        fields["input"] = [*_restored(items)]
    return msgspec.json.encode({**fields, "model": upstream_model})


def _restored(items: list[Fields]) -> Iterator[Fields]:
    """Items as the upstream would have made them: its own reasoning is opened, that of others left away."""
    for item in items:
        if item.get("type") != "reasoning":
            yield without_our_id(item)
        elif as_text(item.get("encrypted_content")).startswith(SEAL):
            if (block := parse_reasoning(item)) and (own := render_reasoning(block)):
                yield own
        elif without_our_id(item) is item:
            yield item


def _refuse_what_is_lost(fields: Mapping[str, msgspec.Raw]) -> None:
    choices = read_field(fields, "n", int, "a whole number")
    if choices is not None and choices != 1:
        raise UnsupportedByModel("`n` must be 1: this model gives one answer to a request", param="n")
    for name, what in _REFUSED.items():
        if read_field(fields, name, object, "valid JSON") not in _UNSET:
            raise UnsupportedByModel(f"this model cannot give {what}; leave out `{name}`", param=name)
    modalities = read_field(fields, "modalities", list[str], "a list")
    if modalities and modalities != ["text"]:
        raise UnsupportedByModel(
            '`modalities` must be ["text"]: this model answers in text only', param="modalities"
        )


def _render_text(request: ChatRequest) -> Fields:
    text: Fields = {}
    if request.response_format is not None:
        text["format"] = render_format(_decode(request.response_format, "response_format"))
    if (verbosity := read_field(request.passthrough, "verbosity", str, "a string")) is not None:
        text["verbosity"] = verbosity
    return text


def _decode(raw: msgspec.Raw, name: str) -> object:
    try:
        return msgspec.json.decode(raw)
    except BAD_JSON:
        raise BadRequest(f"`{name}` is not valid JSON", param=name) from None


def render_items(messages: msgspec.Raw) -> list[Fields]:
    """Messages of the chat form as input items. Raises `BadRequest` with the path of what cannot be said."""
    try:
        decoded = msgspec.json.decode(messages, type=list[dict[str, Any]])
    except BAD_JSON:
        raise BadRequest("`messages` must be a list of objects", param="messages") from None
    items: list[Fields] = []
    for index, message in enumerate(decoded):
        at = f"messages[{index}]"
        match message.get("role"):
            case "system" | "developer" | "user" as role:
                content = [*_input_parts(message.get("content"), f"{at}.content")]
                items.append({"type": "message", "role": _ROLES[role], "content": content})
            case "assistant":
                items += _assistant_items(message, at)
            case "tool":
                items.append(_output_item(message, at))
            case role:
                raise BadRequest(
                    f"`{at}.role` must be system, developer, user, assistant or tool, not {str(role)[:50]!r}",
                    param=f"{at}.role",
                )
    return items


def _assistant_items(message: Fields, at: str) -> Iterator[Fields]:
    for block in as_list(message.get("thinking_blocks")):
        if (item := render_reasoning(as_object(block))) is not None:
            yield item
    said = [*_output_parts(message.get("content"), f"{at}.content")]
    if refusal := as_text(message.get("refusal")):
        said.append({"type": "refusal", "refusal": refusal})
    if said:
        yield {"type": "message", "role": "assistant", "content": said}
    for index, call in enumerate(as_list(message.get("tool_calls"))):
        function = as_object(as_object(call).get("function"))
        if not as_text(function.get("name")):
            where = f"{at}.tool_calls[{index}].function"
            raise BadRequest(f"`{where}` must hold a name and arguments", param=where)
        yield {
            "type": "function_call",
            "call_id": as_text(as_object(call).get("id")),
            "name": function["name"],
            "arguments": as_text(function.get("arguments")) or "{}",
        }


def _output_item(message: Fields, at: str) -> Fields:
    call_id = as_text(message.get("tool_call_id"))
    if not call_id:
        raise BadRequest(f"`{at}.tool_call_id` must name the call", param=f"{at}.tool_call_id")
    parts = [*_input_parts(message.get("content"), f"{at}.content")]
    plain = all(part["type"] == "input_text" for part in parts)
    output = "".join(part["text"] for part in parts) if plain else parts
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def _parts(content: object, at: str) -> Iterator[tuple[str, Fields]]:
    if content is None or content == "":
        return
    if isinstance(content, str):
        yield at, {"type": "text", "text": content}
        return
    parts = as_list(content)
    if not parts:
        raise BadRequest(f"`{at}` must be a string or a list of parts", param=at)
    for index, part in enumerate(parts):
        yield f"{at}[{index}]", as_object(part)


def _output_parts(content: object, at: str) -> Iterator[Fields]:
    for where, part in _parts(content, at):
        if part.get("type") == "refusal":
            yield {"type": "refusal", "refusal": as_text(part.get("refusal"))}
        else:
            yield {"type": "output_text", "text": _text(part, where), "annotations": []}


def _input_parts(content: object, at: str) -> Iterator[Fields]:
    for where, part in _parts(content, at):
        match part.get("type"):
            case "image_url":
                image = part.get("image_url")
                url = as_object(image).get("url", image)
                if not isinstance(url, str):
                    raise BadRequest(f"`{where}.image_url.url` must be a string", param=where)
                yield {"type": "input_image", "image_url": url, "detail": _detail(image)}
            case "file":
                yield {"type": "input_file", **as_object(part.get("file"))}
            case "input_audio":
                yield {"type": "input_audio", "input_audio": part.get("input_audio")}
            case _:
                yield {"type": "input_text", "text": _text(part, where)}


def _detail(image: object) -> str:
    return as_text(as_object(image).get("detail")) or "auto"


def _text(part: Fields, at: str) -> str:
    text = part.get("text")
    if part.get("type") != "text" or not isinstance(text, str):
        raise BadRequest(f"`{at}` must be text", param=at)
    return text
