"""What is served, as an OpenAPI 3.1 document.

    routes as they are served  +  what each does (openapi_operations)  +  the tree of errors  ->  one document

The document is a fact sheet: paths, statuses and envelopes come from the code that answers, not from here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from junctor.chat import (
    Decision,
    JunctorError,
    UpstreamError,
    UpstreamRefused,
)
from junctor.wire.constraints import HEADER_PREFIX
from junctor.wire.openapi_operations import (
    ALL_HEADERS,
    API_VERSION,
    JSON,
    LIMIT_HEADERS,
    OPERATIONS,
    PATH_PARAMETERS,
    RECEIPT_HEADERS,
    REPLY_HEADERS,
    RETRY_HEADERS,
    WHO_HEADERS,
    Operation,
)
from junctor.wire.openapi_options import CONSTRAINT_HEADERS
from junctor.wire.openapi_schemas import TEXT, Schema, refer, render_schemas
from junctor.wire.problem import Problem

Envelope = Literal["OpenAIError", "AnthropicError", "Problem"]
"The form of a path's errors: the name of its schema."

ANY_ROUTE = (
    *("invalid_request", "malformed_request", "headers_timeout", "request_timeout", "request_too_large"),
    *("uri_too_long", "headers_too_large", "overloaded", "server_stopped", "internal_error", "store_failed"),
)
"Codes of the errors that can meet a request wherever it goes."
WITH_KEY = ("invalid_api_key",)
WITH_PARAMETER = ("route_not_found",)
"A parameter of the path that is not encoded, such as one with a `?`, leads elsewhere."
WITH_MODELS = (
    *("model_not_found", "model_not_allowed", "no_model_fits", "context_length_exceeded"),
    *("unsupported_by_model", "idempotency_pending", "idempotency_mismatch"),
    *("rate_limit_exceeded", "insufficient_quota"),
)
"And every `UpstreamError`."
_AZURE: list[Schema] = [
    {"url": "/"},
    {"url": "/openai", "description": "The same, under the addresses that Azure's clients use."},
]
_PATIENT = frozenset({"idempotency_pending", "overloaded", "rate_limit_exceeded"})
"Codes of the errors, besides every `UpstreamError`, that can say when another try makes sense."
_PARAMETER = re.compile(r"\{(\w+)\}")
_SCHEMES: dict[str, Schema] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "As OpenAI's clients send it."},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "Anthropic's."},
    "api-key": {"type": "apiKey", "in": "header", "name": "api-key", "description": "Azure's."},
}


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A route as it is served."""

    method: str
    path: str
    "Parameters in braces: `/v1/models/{name}`."
    means: str
    "The path whose other address this is; the same, where it is the only one."
    what: str
    "One line."
    envelope: Envelope
    needs_key: bool = True
    "Where the server has keys at all."


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """What the document says of the server as a whole."""

    version: str
    has_keys: bool
    "Whether callers need one."
    max_body_bytes: int
    structs: tuple[type, ...] = ()
    "What replies hold besides the structs of the hall and of this room."


def render_openapi(served: Sequence[Served], server: Server) -> bytes:
    """The document, as JSON."""
    errors = {error.code: error for error in all_errors(JunctorError)}
    schemas = render_schemas((Decision, Problem, *server.structs))
    paths: dict[str, Schema] = {}
    for route in served:
        item = paths.setdefault(route.path, {})
        if route.path.startswith("/v1/"):
            item["servers"] = _AZURE
        operation = _operation_of(route, schemas)
        item[route.method.lower()] = _operation(route, operation, server, errors)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Junctor",
            "version": server.version,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": _describe(server),
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "headers": {name: {"description": words, "schema": TEXT} for name, words in ALL_HEADERS.items()},
            "securitySchemes": _SCHEMES,
        },
    }
    return msgspec.json.encode(document)


def bare(route: Served) -> Operation:
    """A route that `OPERATIONS` does not know, such as one of a room from elsewhere."""
    name = "_".join(re.findall(r"\w+", route.path))
    return Operation(id=f"{route.method.lower()}_{name}", tag="Junctor", replies={200: {}})


def _operation_of(route: Served, schemas: dict[str, Schema]) -> Operation:
    """What a route does. Where its URL names the model, the schema of its body joins the others."""
    operation = OPERATIONS.get((route.method, route.means)) or bare(route)
    if route.path == route.means:
        return operation
    if "{model}" not in route.path or not operation.body:
        return msgspec.structs.replace(operation, id=f"{operation.id}AtAzuresAddress", tag="Azure")
    body = f"Deployment{operation.body}"
    whole = schemas[operation.body]
    schemas[body] = {**whole, "required": [name for name in whole["required"] if name != "model"]}
    return msgspec.structs.replace(
        operation,
        id=f"{operation.id}OfDeployment",
        tag="Azure",
        body=body,
        parameters=(*operation.parameters, API_VERSION),
    )


def all_errors(root: type[JunctorError]) -> Iterator[type[JunctorError]]:
    """The tree of errors below a class, itself included."""
    yield root
    for child in root.__subclasses__():
        yield from all_errors(child)


def codes_of(operation: Operation, *, needs_key: bool = True) -> Iterator[str]:
    """Codes of the errors that a route can give."""
    yield from ANY_ROUTE
    if needs_key:
        yield from WITH_KEY
    yield from operation.errors
    if operation.asks_models:
        yield from WITH_MODELS
        yield from (error.code for error in all_errors(UpstreamError))


def _describe(server: Server) -> str:
    keys = "Every route but those for probes wants an API key. " if server.has_keys else "No key is needed. "
    return (
        "One endpoint in front of a pool of language models. Errors have the form that the clients of a path "
        f"expect. {keys}A request body may have {server.max_body_bytes} bytes."
    )


def _operation(
    route: Served, operation: Operation, server: Server, errors: dict[str, type[JunctorError]]
) -> Schema:
    rendered: Schema = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": route.what,
        "parameters": [*_parameters(route, operation)],
        "responses": _responses(route, operation, errors),
        "security": [{name: []} for name in _SCHEMES] if route.needs_key and server.has_keys else [],
    }
    if operation.body:
        content: Schema = {"schema": refer(operation.body), "example": operation.example}
        rendered["requestBody"] = {"required": True, "content": {JSON: content}}
    return rendered


def _parameters(route: Served, operation: Operation) -> Iterator[Schema]:
    for name in _PARAMETER.findall(route.path):
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1},
            "description": PATH_PARAMETERS[name],
        }
    for parameter in operation.parameters:
        yield {"name": parameter.name, "in": parameter.place, "schema": parameter.schema}
    if operation.asks_models:
        for name, schema in CONSTRAINT_HEADERS.items():
            yield {
                "name": HEADER_PREFIX + name.replace("_", "-"),
                "in": "header",
                "description": f"As `junctor.{name}` of the body, which wins.",
                "schema": schema,
            }


def _responses(route: Served, operation: Operation, errors: dict[str, type[JunctorError]]) -> Schema:
    replies: dict[str, Schema] = {}
    receipt = (
        {**REPLY_HEADERS, **RECEIPT_HEADERS, **LIMIT_HEADERS} if operation.asks_models else REPLY_HEADERS
    )
    for status, content in operation.replies.items():
        replies[str(status)] = {
            "description": route.what,
            "headers": _headers(receipt),
            "content": {kind: {"schema": schema} for kind, schema in content.items()},
        }
    codes = dict.fromkeys(codes_of(operation, needs_key=route.needs_key))
    if _PARAMETER.search(route.path):
        codes |= dict.fromkeys(WITH_PARAMETER)
    for error in (errors[code] for code in codes if code in errors):
        reply = replies.setdefault(_status_of(error), {"description": "", "headers": {}, "content": {}})
        said = f"`{error.code}`: {(error.__doc__ or '').splitlines()[0]}"
        reply["description"] = f"{reply['description']}\n\n{said}".strip()
        reply["headers"] |= _headers(REPLY_HEADERS)
        if error.code in _PATIENT or issubclass(error, UpstreamError):
            reply["headers"] |= _headers(RETRY_HEADERS)
        if operation.asks_models:
            reply["headers"] |= _headers({**WHO_HEADERS, **LIMIT_HEADERS})
        reply["content"][media_type_of(route.envelope)] = {"schema": refer(route.envelope)}
    return dict(sorted(replies.items()))


def _status_of(error: type[JunctorError]) -> str:
    """A refusal keeps the status that the upstream gave it."""
    return "4XX" if issubclass(error, UpstreamRefused) else str(error.status)


def media_type_of(envelope: Envelope) -> str:
    """The content type of an error."""
    return "application/problem+json" if envelope == "Problem" else JSON


def _headers(names: Iterable[str]) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def render_routes(served: Iterable[Served]) -> str:
    """The same routes as a table in Markdown, for the reference."""
    rows = "".join(f"| {route.method} | `{route.path}` | {route.what} |\n" for route in served)
    return f"| method | path | what |\n|---|---|---|\n{rows}"
