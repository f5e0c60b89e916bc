"""Requests of OpenAI's Responses API, from a caller's bytes.

The body stays as it came, for an upstream of the same API. Beside it the request is said once more in the
chat form, for the router and for all other upstreams; what that form cannot say is named
(`refused_elsewhere`, `lost_elsewhere`).

A request may go on from earlier ones (`previous_response_id`, items of type `item_reference`). Whoever keeps
them finds them and calls `continue_from`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from junctor.chat import BadRequest, ChatRequest
from junctor.wire.constraints import FIELD as CONSTRAINTS
from junctor.wire.constraints import parse_constraints
from junctor.wire.fusion import FIELD as FUSION
from junctor.wire.fusion import PLUGINS, drop_fusion, parse_fusion
from junctor.wire.json_body import MOST_TOKENS, parse_outer, read_field, read_model
from junctor.wire.json_value import NULL
from junctor.wire.responses_input import Item, as_objects, render_messages
from junctor.wire.responses_tools import parse_format, parse_tools

PROOF = "reasoning.encrypted_content"
"Of `include`: the caller wants reasoning in a form that it can send back."
RELAY = "openai_responses"

_SAME = frozenset(
    {
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "temperature",
        "top_p",
        "user",
    }
)
"Fields that the chat form has under the same name."
_OURS = frozenset(
    {
        CONSTRAINTS,
        FUSION,
        "background",
        "conversation",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "previous_response_id",
        "prompt",
        "reasoning",
        "store",
        "stream",
        "stream_options",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "truncation",
    }
)
"Fields that are translated, answered by ourselves, or say something of OpenAI's own tools alone."
_LOST = frozenset({"access_programs", "context_management", "image", "prompt_cache_options"})
"Fields that only a Responses upstream has, and without which an answer is still an answer."
_REFUSED = frozenset({"moderation"})
_UNSUPPORTED = {
    "background": "answers are made while the caller waits; leave it out, and stream",
    "conversation": "conversations are not kept here; send the items, or previous_response_id",
    "prompt": "prompt templates are not kept here; send instructions and input",
}


class ResponsesCall(msgspec.Struct, frozen=True, kw_only=True):
    """A request as a caller of the Responses API made it."""

    request: ChatRequest
    fields: dict[str, msgspec.Raw]
    "The caller's fields, undecoded: replies repeat them."
    items: tuple[Item, ...]
    "The input; once continued, with what it goes on from before it."
    previous_id: str | None = None
    "The response that this one goes on from."
    references: tuple[str, ...] = ()
    "Ids of earlier items that the input names instead of repeating them."
    stores: bool = True
    "Whether the caller wants the response to be kept."
    shows_proof: bool = False
    "Whether reasoning items carry their `encrypted_content`."

    @property
    def suffix(self) -> str:
        """What the ids of the response and of its items have in common with that of the request."""
        return self.request.id.removeprefix("req_")


def parse_request(
    body: bytes, headers: Mapping[str, str], *, request_id: str, caller: str, model: str = ""
) -> ResponsesCall:
    """Read a request. `model`, when not empty, stands in its URL and counts.

    Raises `BadRequest`, with the field at fault and what to change.
    """
    fields = parse_outer(body)
    _refuse_unsupported(fields)
    items = _read_input(fields)
    include = read_field(fields, "include", list[str], "a list of strings") or []
    request = ChatRequest(
        model=model or read_model(fields),
        messages=msgspec.Raw(b"[]"),
        max_tokens=_read_limit(fields),
        stream=read_field(fields, "stream", bool, "true or false") or False,
        relay=RELAY,
        body=msgspec.Raw(body),
        constraints=parse_constraints(fields.get(CONSTRAINTS), headers),
        id=request_id,
        caller=caller,
    )
    stores = read_field(fields, "store", bool, "true or false")
    return ResponsesCall(
        request=msgspec.structs.replace(request, **_in_chat_form(fields, items)),
        fields=fields,
        items=tuple(items),
        previous_id=read_field(fields, "previous_response_id", str, "the id of a response") or None,
        references=tuple(_references(items)),
        stores=stores is not False,
        shows_proof=PROOF in include,
    )


def continue_from(
    call: ResponsesCall, earlier: Sequence[Item], referenced: Mapping[str, Item]
) -> ResponsesCall:
    """The call with its whole conversation: what it goes on from, then its own input.

    `earlier`: all items of the previous response, its input and its output. `referenced`: items by their id;
    a reference to one that is among the earlier ones is dropped, one that is not found stays.
    """
    known = {item["id"] for item in earlier if isinstance(item.get("id"), str)}
    items = list(earlier)
    for item in call.items:
        if item.get("type") == "item_reference" and (item_id := item.get("id")) is not None:
            if item_id in known:
                continue
            item = referenced.get(item_id, item)
        items.append(item)
    body: dict[str, Any] = {
        name: value for name, value in call.fields.items() if name != "previous_response_id"
    }
    request = msgspec.structs.replace(
        call.request,
        body=_raw({**body, "input": items}),
        **_in_chat_form(call.fields, items),
    )
    return msgspec.structs.replace(call, request=request, items=tuple(items))


def _refuse_unsupported(fields: Mapping[str, msgspec.Raw]) -> None:
    for name, why in _UNSUPPORTED.items():
        value = read_field(fields, name, object, "valid JSON")
        if value not in (None, False):
            raise BadRequest(f"`{name}` is not supported: {why}", param=name)


def _read_input(fields: Mapping[str, msgspec.Raw]) -> list[Item]:
    wanted = "a string, or a list of items"
    given = read_field(fields, "input", object, wanted)
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    if given is None:
        raise BadRequest("`input` is missing: a string, or a list of items", param="input")
    items = as_objects(given, "input", wanted)
    if not items and fields.get("previous_response_id", NULL) == NULL:
        raise BadRequest("`input` must hold at least one item", param="input")
    return items


def _read_limit(fields: Mapping[str, msgspec.Raw]) -> int | None:
    name = "max_output_tokens"
    limit = read_field(fields, name, int, "a whole number of tokens")
    if limit is not None and not 1 <= limit <= MOST_TOKENS:
        raise BadRequest(f"`{name}` must lie between 1 and {MOST_TOKENS}", param=name)
    return limit


def _references(items: Sequence[Item]) -> list[str]:
    references: list[str] = []
    for index, item in enumerate(items):
        if item.get("type") == "item_reference":
            item_id = item.get("id")
            if not isinstance(item_id, str) or not item_id:
                raise BadRequest(f"`input[{index}].id` must name an item", param=f"input[{index}].id")
            references.append(item_id)
    return references


def _in_chat_form(fields: Mapping[str, msgspec.Raw], items: Sequence[Item]) -> dict[str, Any]:
    """The fields of `ChatRequest` that say what the body says. Raises `BadRequest`."""
    converted = render_messages(items, read_field(fields, "instructions", str, "a string"))
    tools = parse_tools(
        read_field(fields, "tools", list[dict[str, Any]], "a list of tools") or [],
        read_field(fields, "tool_choice", object, "a string or an object"),
    )
    text = read_field(fields, "text", dict[str, Any], "an object") or {}
    wanted = parse_format(text)
    refused, lost = _beyond_chat(fields)
    fusion = parse_fusion(fields)
    return {
        "messages": _raw(converted.messages),
        "tools": _raw(tools.tools) if tools.tools else None,
        "tool_choice": _raw(tools.choice) if tools.choice is not None else None,
        "response_format": _raw(wanted) if wanted is not None else None,
        "passthrough": _passthrough(fields, text),
        "refused_elsewhere": (*converted.refused, *tools.refused, *refused),
        "lost_elsewhere": (*converted.left_out, *lost, *fusion.left_out),
        "fusion": fusion.options,
    }


def _passthrough(fields: Mapping[str, msgspec.Raw], text: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
    """The fields that the chat form has too, and those that nobody knows."""
    known = _OURS | _LOST | _REFUSED
    passed = {name: value for name, value in fields.items() if name in _SAME or name not in known}
    if PLUGINS in passed:
        drop_fusion(passed)
    reasoning = read_field(fields, "reasoning", dict[str, Any], "an object") or {}
    if isinstance(effort := reasoning.get("effort"), str):
        passed["reasoning_effort"] = _raw(effort)
    if isinstance(verbosity := text.get("verbosity"), str):
        passed["verbosity"] = _raw(verbosity)
    return passed


def _beyond_chat(fields: Mapping[str, msgspec.Raw]) -> tuple[list[str], list[str]]:
    """Fields that only a Responses upstream has: those that the answer would lack, and the others."""
    refused = [name for name in sorted(_REFUSED) if fields.get(name, NULL) != NULL]
    lost = [name for name in sorted(_LOST) if fields.get(name, NULL) != NULL]
    if read_field(fields, "top_logprobs", int, "a whole number"):
        refused.append("top_logprobs")
    elif "message.output_text.logprobs" in (
        read_field(fields, "include", list[str], "a list of strings") or []
    ):
        refused.append("include (message.output_text.logprobs)")
    if (read_field(fields, "truncation", str, "auto or disabled") or "disabled") != "disabled":
        lost.append("truncation")
    return refused, lost


def _raw(value: object) -> msgspec.Raw:
    try:
        return msgspec.Raw(msgspec.json.encode(value))
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
