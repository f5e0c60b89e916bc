"""Bodies of requests and replies as JSON Schema, for the OpenAPI description.

They say what Junctor itself reads and promises, no more: what it passes on unread is open, though the model
behind it may refuse it. Structs of ours are described by msgspec.
"""

from __future__ import annotations

from typing import Any

import msgspec

from junctor.chat import Verdict
from junctor.wire.json_body import MOST_TOKENS
from junctor.wire.openapi_options import CONSTRAINTS, FUSION

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
_WORDS: Schema = {"type": "string", "minLength": 1}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_FLAG: Schema = {"type": "boolean"}
_OPEN: Schema = {"type": "object"}
_ANY: Schema = {}


def refer(name: str) -> Schema:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def say(schema: Schema, description: str) -> Schema:
    """The schema with words."""
    return {**schema, "description": description}


def or_null(schema: Schema) -> Schema:
    """Null, too: in a request it counts as left out."""
    if isinstance(kind := schema.get("type"), str):
        return {**schema, "type": [kind, "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def obj(*required: str, **properties: Schema) -> Schema:
    """An object; fields that are not named here may be there too."""
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": True}
    return {**schema, "required": [*required]} if required else schema


def array(items: Schema, least: int = 0) -> Schema:
    """A list."""
    return {"type": "array", "items": items, **({"minItems": least} if least else {})}


def const(value: str, *others: str) -> Schema:
    """One of these words."""
    return {"enum": [value, *others]}


_MODEL = say(_WORDS, "A model of the pool; `auto`: the router chooses; `fusion`: several answer together.")
_STREAM = say(or_null(_FLAG), "Whether to answer as server-sent events.")
_LIMIT = say(
    {"type": ["integer", "null"], "minimum": 1, "maximum": MOST_TOKENS}, "Most tokens to answer with."
)
_CONSTRAINTS = say(or_null(refer("Constraints")), "Limits on which model may answer.")
_FUSION = say(
    or_null(refer("FusionOptions")), "How a fusion is to answer. The model that is named judges it."
)
_PLUGINS = say(_ANY, "OpenRouter's: `{id: fusion}` has the fields of `fusion`; others are passed on.")
_FUSED = say(refer("Verdict"), "Of a fusion: how its answer came to be. What is empty is left out.")
_PASSED = "Every other field (`temperature`, ...) is passed on as it is."

_CHAT_FIELDS: dict[str, Schema] = {
    "model": _MODEL,
    "messages": say(array(refer("ChatMessage"), 1), "The conversation."),
    "stream": _STREAM,
    "stream_options": or_null(obj(include_usage=or_null(_FLAG))),
    "tools": or_null(array(_OPEN)),
    "tool_choice": or_null({"anyOf": [TEXT, _OPEN]}),
    "response_format": or_null(_OPEN),
    "max_completion_tokens": _LIMIT,
    "max_tokens": say(
        _LIMIT, "The older name of `max_completion_tokens`, which counts where both are there."
    ),
    "junctor": _CONSTRAINTS,
    "fusion": _FUSION,
    "plugins": _PLUGINS,
}

_CHAT: dict[str, Schema] = {
    "ChatMessage": obj(
        "role",
        role=say(TEXT, "`system`, `developer`, `user`, `assistant` or `tool`."),
        content=say(_ANY, "A string, or a list of parts: text, images, audio, files."),
        tool_calls=say(_ANY, "What an assistant called."),
        tool_call_id=say(_ANY, "The call that a tool answers."),
    ),
    "ChatRequest": say(obj("model", "messages", **_CHAT_FIELDS), _PASSED),
    "ChatCompletion": obj(
        *("id", "object", "created", "model", "choices"),
        id=TEXT,
        object=TEXT,
        created=_COUNT,
        model=TEXT,
        choices=array(
            obj(
                *("index", "message", "finish_reason"),
                index=_COUNT,
                message=obj("role", role=TEXT, content=or_null(TEXT), tool_calls=or_null(array(_OPEN))),
                finish_reason=or_null(TEXT),
            )
        ),
        usage=or_null(
            obj(
                *("prompt_tokens", "completion_tokens", "total_tokens"),
                prompt_tokens=_COUNT,
                completion_tokens=_COUNT,
                total_tokens=_COUNT,
            )
        ),
        fusion=_FUSED,
    ),
}

_RESPONSES: dict[str, Schema] = {
    "ResponsesRequest": say(
        obj(
            *("model", "input"),
            model=_MODEL,
            input={"anyOf": [TEXT, array(refer("ResponsesItem"), 1)]},
            instructions=or_null(TEXT),
            previous_response_id=say(or_null(TEXT), "The stored response to go on from."),
            store=say(or_null(_FLAG), "Whether to keep the answer for later requests; true when left out."),
            stream=_STREAM,
            include=or_null(array(TEXT)),
            tools=say(or_null(array(obj("type", type=TEXT))), "Functions; other tools need OpenAI's models."),
            tool_choice=or_null(
                {
                    "anyOf": [
                        const("none", "auto", "required"),
                        obj("type", "name", type=const("function"), name=_WORDS),
                    ]
                }
            ),
            text=or_null(_OPEN),
            reasoning=or_null(_OPEN),
            max_output_tokens=_LIMIT,
            junctor=_CONSTRAINTS,
            fusion=_FUSION,
            plugins=_PLUGINS,
        ),
        f"{_PASSED} `background`, `conversation` and `prompt` are refused.",
    ),
    "ResponsesItem": {
        "anyOf": [
            obj(
                *("role", "content"),
                type=const("message"),
                role=const("user", "assistant", "system", "developer"),
                content={"anyOf": [TEXT, array(refer("ResponsesPart"))]},
            ),
            obj(
                *("type", "call_id", "name", "arguments"),
                type=const("function_call"),
                call_id=_WORDS,
                name=_WORDS,
                arguments=TEXT,
            ),
            obj(
                *("type", "call_id", "output"),
                type=const("function_call_output"),
                call_id=_WORDS,
                output={"anyOf": [TEXT, array(refer("ResponsesPart"))]},
            ),
            obj("type", type=const("reasoning"), summary=array(_OPEN), encrypted_content=or_null(TEXT)),
            obj("type", "id", type=const("item_reference"), id=_WORDS),
        ]
    },
    "ResponsesPart": say(
        obj("type", "text", type=const("input_text", "output_text"), text=TEXT),
        "Images (`input_image`), files and audio have other fields.",
    ),
    "Response": obj(
        *("id", "object", "created_at", "status", "model", "output"),
        id=TEXT,
        object=const("response"),
        created_at=_COUNT,
        status=TEXT,
        model=TEXT,
        output=array(obj("type", type=TEXT)),
        usage=or_null(_OPEN),
        error=or_null(_OPEN),
        previous_response_id=or_null(TEXT),
        fusion=_FUSED,
    ),
    "DeletedResponse": obj(
        *("id", "object", "deleted"), id=TEXT, object=const("response"), deleted={"const": True}
    ),
    "InputItems": obj(
        *("object", "data", "first_id", "last_id", "has_more"),
        object=const("list"),
        data=array(obj("type", "id", type=TEXT, id=TEXT)),
        first_id=or_null(TEXT),
        last_id=or_null(TEXT),
        has_more=_FLAG,
    ),
}

_MESSAGES_FIELDS: dict[str, Schema] = {
    "model": _MODEL,
    "messages": array(refer("MessagesTurn"), 1),
    "system": or_null(refer("MessagesContent")),
    "stream": _STREAM,
    "tools": or_null(array(obj("name", "input_schema", name=_WORDS, input_schema=_OPEN))),
    "tool_choice": or_null(obj("type", type=const("auto", "any", "none"))),
    "stop_sequences": or_null(array(TEXT)),
    "thinking": or_null(_OPEN),
    "metadata": or_null(_OPEN),
    "output_config": or_null(_OPEN),
    "junctor": _CONSTRAINTS,
    "fusion": _FUSION,
    "plugins": _PLUGINS,
}

_MESSAGES: dict[str, Schema] = {
    "MessagesRequest": say(
        obj(
            *("model", "max_tokens", "messages"),
            max_tokens={"type": "integer", "minimum": 0, "maximum": MOST_TOKENS},
            **_MESSAGES_FIELDS,
        ),
        _PASSED,
    ),
    "MessagesCountRequest": obj("model", "messages", **_MESSAGES_FIELDS),
    "MessagesTurn": obj(
        *("role", "content"), role=const("user", "assistant"), content=refer("MessagesContent")
    ),
    "MessagesContent": {"anyOf": [TEXT, array(refer("MessagesBlock"))]},
    "MessagesBlock": say(
        obj("type", "text", type=const("text"), text=TEXT),
        "Images, documents, thinking, tools' calls and results have other fields.",
    ),
    "Message": obj(
        *("id", "type", "role", "model", "content", "stop_reason", "usage"),
        id=TEXT,
        type=const("message"),
        role=const("assistant"),
        model=TEXT,
        content=array(obj("type", type=TEXT)),
        stop_reason=or_null(TEXT),
        stop_sequence=or_null(TEXT),
        usage=obj("input_tokens", "output_tokens", input_tokens=_COUNT, output_tokens=_COUNT),
        fusion=_FUSED,
    ),
    "TokenCount": obj("input_tokens", input_tokens=_COUNT),
}

_RATE = or_null({"type": "integer", "minimum": 1, "maximum": MOST_TOKENS})
_BUDGET = or_null({"type": "number", "minimum": 1e-9, "maximum": 1_000_000})
_KEY_FIELDS: dict[str, Schema] = {
    "name": {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    "models": say(or_null(array({"type": "string", "pattern": "^[!-~]+$"})), "Left out: all."),
    "requests_per_minute": _RATE,
    "tokens_per_minute": _RATE,
    "usd_per_day": say(_BUDGET, "UTC."),
    "usd_per_month": say(_BUDGET, "UTC."),
    "strongest_share": say(
        or_null({"type": "number", "minimum": 0, "maximum": 1}), "Of the answers by `auto`."
    ),
    "expires": say(or_null({"type": "string", "format": "date"}), "Until the day's end, UTC; or a time."),
    "admin": or_null(_FLAG),
}

_KEYS: dict[str, Schema] = {
    "KeyRequest": {**obj("name", **_KEY_FIELDS), "additionalProperties": False},
    "KeyChanges": say(
        {**obj(**_KEY_FIELDS), "additionalProperties": False},
        "What is left out stays as it is; null takes a limit away.",
    ),
    "KeyRotation": {
        **obj(
            grace_hours=say(
                or_null({"type": "number", "minimum": 0, "maximum": 8760}),
                "How long the old key works on; left out: not at all.",
            )
        ),
        "additionalProperties": False,
    },
}

_FEEDBACK: dict[str, Schema] = {
    "FeedbackRequest": {
        **obj(
            request_id=say(TEXT, "As the reply header `x-request-id` has it."),
            decision_id=say(TEXT, "As the reply header `x-junctor-decision` has it."),
            score={"type": "number", "minimum": 0, "maximum": 1},
            rating=say(const("good", "bad"), "A score of 1 or 0."),
        ),
        "additionalProperties": False,
        "allOf": [
            {"oneOf": [{"required": [name]} for name in names]}
            for names in (("request_id", "decision_id"), ("score", "rating"))
        ],
    }
}

_OTHERS: dict[str, Schema] = {
    "EmbeddingsRequest": say(
        obj(
            *("model", "input"),
            model=say(_WORDS, "A model of the pool that makes embeddings; `auto` does not."),
            input={"anyOf": [TEXT, array({"anyOf": [TEXT, _COUNT, array(_COUNT, 1)]}, 1)]},
        ),
        _PASSED,
    ),
    "EmbeddingsList": obj("data", data=array(_OPEN), usage=or_null(_OPEN)),
    "Model": obj(
        *("id", "object", "created", "owned_by", "type", "display_name", "created_at"),
        id=TEXT,
        object=const("model"),
        created=_COUNT,
        owned_by=TEXT,
        type=const("model"),
        display_name=TEXT,
        created_at=TEXT,
    ),
    "ModelList": obj(*("object", "data"), object=const("list"), data=array(refer("Model"))),
    "ServerSentEvent": say(
        obj("data", data=TEXT, event=TEXT),
        "Each event of the stream; `data` is JSON, as the API of the path has it, or `[DONE]`.",
    ),
    "Health": obj("status", status=const("ok")),
    "Readiness": obj(
        *("status", "parts"),
        status=const("ready", "not ready"),
        parts={"type": "object", "additionalProperties": TEXT},
    ),
    "OpenAPI": obj("openapi", "info", "paths", openapi=TEXT, info=_OPEN, paths=_OPEN),
}

_ERRORS: dict[str, Schema] = {
    "OpenAIError": obj(
        "error",
        error=obj(
            *("message", "type", "param", "code"),
            message=TEXT,
            type=TEXT,
            param=or_null(TEXT),
            code=or_null(TEXT),
        ),
    ),
    "AnthropicError": obj(
        *("type", "error", "request_id"),
        type=const("error"),
        error=obj(
            *("type", "message"),
            type=TEXT,
            message=TEXT,
            details=obj("error_code", error_code=say(TEXT, "The `code` of Junctor's table of errors.")),
        ),
        request_id=or_null(TEXT),
    ),
}

BODIES: dict[str, Schema] = {**_CHAT, **_RESPONSES, **_MESSAGES, **_KEYS, **_FEEDBACK, **_OTHERS, **_ERRORS}
"Hand-written schemas, by name."


def render_schemas(structs: tuple[type, ...]) -> dict[str, Schema]:
    """All schemas of the document: `BODIES`, and those of structs, which refer to one another."""
    shown = dict.fromkeys((*structs, Verdict))
    _, described = msgspec.json.schema_components(shown, ref_template="#/components/schemas/{name}")
    return {**BODIES, "Constraints": CONSTRAINTS, "FusionOptions": FUSION, **described}
