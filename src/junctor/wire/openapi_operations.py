"""What the OpenAPI description says of each route beyond its path: bodies, replies, errors.

A route that is missing here, or one too many, fails a test; so does an error that no route can give.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from junctor.wire.openapi_schemas import Schema, or_null, refer, say

JSON = "application/json"
EVENTS = "text/event-stream"
_STREAMED = refer("ServerSentEvent")


class Query(msgspec.Struct, frozen=True):
    """A parameter of the query or a header."""

    name: str
    schema: Schema
    place: Literal["query", "header"] = "query"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One route."""

    id: str
    tag: str
    body: str = ""
    "Name of the schema of its request; empty: it takes none."
    example: object = None
    "A body that works wherever `auto` does."
    parameters: tuple[Query, ...] = ()
    "Those of the path follow from it."
    replies: dict[int, dict[str, Schema]]
    "By status and content type: what answers when nothing goes wrong."
    errors: tuple[str, ...] = ()
    "Codes of the errors that are its own; those of every route are not named."
    asks_models: bool = False
    "Whether a model answers: with limits on the choice, receipts in headers, and the models' own errors."


def _json(name: str, status: int = 200) -> dict[int, dict[str, Schema]]:
    return {status: {JSON: refer(name)}}


def _answer(name: str) -> dict[int, dict[str, Schema]]:
    return {200: {JSON: refer(name), EVENTS: _STREAMED}}


_HELLO = [{"role": "user", "content": "Say hello."}]
_VERSION = Query("anthropic-version", say({"type": "string"}, "Passed on to Anthropic's models."), "header")
_BETA = Query("anthropic-beta", say({"type": "string"}, "Passed on to Anthropic's models."), "header")
_KEY = Query(
    "idempotency-key",
    say(
        {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        "A repeated request with the same key gets the same reply for 24 hours, and no model is asked again.",
    ),
    "header",
)
API_VERSION = Query("api-version", say({"type": "string"}, "Azure's clients send it; it is not read."))
_ADMIN = ("admin_only",)
_ONE_KEY = ("admin_only", "key_not_found")
_ORDER = Query("order", {"enum": ["asc", "desc"], "default": "desc"})

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", "/v1/chat/completions"): Operation(
        id="createChatCompletion",
        tag="OpenAI",
        body="ChatRequest",
        example={"model": "auto", "messages": _HELLO, "junctor": {"mode": "cost"}},
        parameters=(_KEY,),
        replies=_answer("ChatCompletion"),
        asks_models=True,
    ),
    ("POST", "/v1/responses"): Operation(
        id="createResponse",
        tag="OpenAI",
        body="ResponsesRequest",
        example={"model": "auto", "input": "Say hello."},
        parameters=(_KEY,),
        replies=_answer("Response"),
        errors=("previous_response_not_found",),
        asks_models=True,
    ),
    ("GET", "/v1/responses/{id}"): Operation(
        id="getResponse",
        tag="OpenAI",
        parameters=(
            Query("stream", say({"enum": ["false", "0"]}, "A stored response is not streamed again.")),
        ),
        replies=_json("Response"),
        errors=("response_not_found",),
    ),
    ("DELETE", "/v1/responses/{id}"): Operation(
        id="deleteResponse", tag="OpenAI", replies=_json("DeletedResponse"), errors=("response_not_found",)
    ),
    ("GET", "/v1/responses/{id}/input_items"): Operation(
        id="listInputItems",
        tag="OpenAI",
        parameters=(
            _ORDER,
            Query("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}),
            Query("after", say({"type": "string", "minLength": 1}, "The id of the item before the page.")),
        ),
        replies=_json("InputItems"),
        errors=("response_not_found",),
    ),
    ("POST", "/v1/embeddings"): Operation(
        id="createEmbedding",
        tag="OpenAI",
        body="EmbeddingsRequest",
        example={"model": "text-embedding-3-small", "input": "Hello."},
        parameters=(_KEY,),
        replies=_json("EmbeddingsList"),
        asks_models=True,
    ),
    ("POST", "/v1/messages"): Operation(
        id="createMessage",
        tag="Anthropic",
        body="MessagesRequest",
        example={"model": "auto", "max_tokens": 100, "messages": _HELLO},
        parameters=(_VERSION, _BETA, _KEY),
        replies=_answer("Message"),
        asks_models=True,
    ),
    ("POST", "/v1/messages/count_tokens"): Operation(
        id="countTokens",
        tag="Anthropic",
        body="MessagesCountRequest",
        example={"model": "auto", "messages": _HELLO},
        parameters=(_VERSION, _BETA),
        replies=_json("TokenCount"),
        asks_models=True,
    ),
    ("GET", "/v1/models"): Operation(
        id="listModels", tag="OpenAI", parameters=(_VERSION,), replies=_json("ModelList")
    ),
    ("GET", "/v1/models/{name}"): Operation(
        id="getModel", tag="OpenAI", replies=_json("Model"), errors=("model_not_found", "model_not_allowed")
    ),
    ("GET", "/api/decisions/{id}"): Operation(
        id="getDecision",
        tag="Junctor",
        replies={
            200: {
                JSON: {
                    "allOf": [
                        refer("Decision"),
                        {
                            "type": "object",
                            "required": ["outcome"],
                            "properties": {"outcome": or_null(refer("LedgerRow"))},
                        },
                    ]
                }
            }
        },
        errors=("decision_not_found",),
    ),
    ("POST", "/api/feedback"): Operation(
        id="giveFeedback",
        tag="Junctor",
        body="FeedbackRequest",
        example={"request_id": "req_01", "rating": "good"},
        replies=_json("Feedback", 201),
        errors=("request_not_found",),
    ),
    ("GET", "/api/savings"): Operation(
        id="getSavings",
        tag="Junctor",
        parameters=(
            Query("days", {"type": "integer", "minimum": 1, "maximum": 3660, "default": 30}),
            Query("key", say({"type": "string"}, "The name of a key: of its requests alone.")),
        ),
        replies=_json("Savings"),
        errors=_ADMIN,
    ),
    ("GET", "/api/keys"): Operation(id="listKeys", tag="Keys", replies=_json("KeyList"), errors=_ADMIN),
    ("POST", "/api/keys"): Operation(
        id="createKey",
        tag="Keys",
        body="KeyRequest",
        example={"name": "team-a", "models": ["small"], "usd_per_day": 5},
        replies=_json("NewKeyDocument", 201),
        errors=_ADMIN,
    ),
    ("PATCH", "/api/keys/{id}"): Operation(
        id="changeKey",
        tag="Keys",
        body="KeyChanges",
        example={"usd_per_day": 10, "expires": None},
        replies=_json("KeyDocument"),
        errors=_ONE_KEY,
    ),
    ("DELETE", "/api/keys/{id}"): Operation(
        id="revokeKey", tag="Keys", replies=_json("KeyDocument"), errors=_ONE_KEY
    ),
    ("POST", "/api/keys/{id}/rotate"): Operation(
        id="rotateKey",
        tag="Keys",
        body="KeyRotation",
        example={"grace_hours": 24},
        replies=_json("NewKeyDocument"),
        errors=_ONE_KEY,
    ),
    ("POST", "/api/reload"): Operation(
        id="reloadConfiguration",
        tag="Junctor",
        replies=_json("Reloaded"),
        errors=("admin_only", "config_refused"),
    ),
    ("GET", "/openapi.json"): Operation(id="getDescription", tag="Junctor", replies=_json("OpenAPI")),
    ("GET", "/healthz"): Operation(id="getHealth", tag="Watching", replies=_json("Health")),
    ("GET", "/readyz"): Operation(
        id="getReadiness", tag="Watching", replies={**_json("Readiness"), **_json("Readiness", 503)}
    ),
    ("GET", "/metrics"): Operation(
        id="getMetrics", tag="Watching", replies={200: {"text/plain": {"type": "string"}}}
    ),
}
"By method and path."

PATH_PARAMETERS = {
    "id": "As another reply has named it.",
    "name": "A model of the pool, or `auto`. It may hold slashes.",
    "model": "A model of the pool, or `auto`.",
}

REPLY_HEADERS = {
    "x-request-id": "Names the request: the key of its row in the ledger.",
    "request-id": "The same, where Anthropic's clients look for it.",
}
"Of every reply, but for refusals of what is hardly a request: broken HTTP, overload."
WHO_HEADERS = {
    "x-junctor-model": "Who answered: a model of the pool.",
    "x-junctor-decision": "Of `auto` and of fusions: for `GET /api/decisions/{id}`.",
}
RECEIPT_HEADERS = {
    **WHO_HEADERS,
    "x-junctor-cost": "USD. Not on a stream of a named model: its headers leave before its cost is known.",
    "x-junctor-saved": "USD, against the strongest model of the pool, for the same tokens; not of a fusion.",
    "x-junctor-cost-basis": "`estimated` on a stream of `auto` or a fusion: its last comment is exact.",
    "x-junctor-warning": "What of the request did not reach the model, whose API has no such field; or who "
    "answers, where that is not the model that was named.",
    "idempotent-replayed": "`true` on a reply that is given again for its `Idempotency-Key`.",
}
LIMIT_HEADERS = {
    "x-ratelimit-limit-requests": "Of the key, where it has such a limit: requests a minute.",
    "x-ratelimit-remaining-requests": "How many are left now.",
    "x-ratelimit-reset-requests": "Until all are there again, such as `12ms`, `1.5s` or `6m0s`.",
    "x-ratelimit-limit-tokens": "Of the key, where it has such a limit: tokens a minute, read and written.",
    "x-ratelimit-remaining-tokens": "How many are left now.",
    "x-ratelimit-reset-tokens": "Until all are there again.",
}
RETRY_HEADERS = {
    "retry-after": "Seconds after which another try makes sense, where that is known.",
    "x-should-retry": "`false` where another try would not help, or Junctor did. Never with `retry-after`.",
}
ALL_HEADERS = REPLY_HEADERS | RECEIPT_HEADERS | LIMIT_HEADERS | RETRY_HEADERS
