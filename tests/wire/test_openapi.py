"""The OpenAPI document: what it says of a route, of its errors, and of a server with keys."""

from __future__ import annotations

from typing import Any

import msgspec

from junctor.chat import JunctorError, UpstreamError
from junctor.wire.openapi import (
    ANY_ROUTE,
    Envelope,
    Served,
    Server,
    all_errors,
    bare,
    codes_of,
    media_type_of,
    render_openapi,
    render_routes,
)
from junctor.wire.openapi_operations import OPERATIONS

CHAT = "/v1/chat/completions"
NEVER_ANSWERED = {
    "route_not_found": "it is no route's own; see WITH_PARAMETER",
    "method_not_allowed": "the document has no such method",
}


def served(
    method: str, path: str, envelope: Envelope = "OpenAIError", means: str = "", **more: Any
) -> Served:
    return Served(
        method=method, path=path, means=means or path, what="What it does.", envelope=envelope, **more
    )


def document(*routes: Served, has_keys: bool = False) -> dict[str, Any]:
    server = Server(version="1.2.3", has_keys=has_keys, max_body_bytes=1000)
    return msgspec.json.decode(render_openapi(routes, server))


def test_an_error_has_the_envelope_of_its_path() -> None:
    """OpenAI's, Anthropic's, or a problem: with the content type that belongs to it."""
    for envelope, kind in (
        ("OpenAIError", "application/json"),
        ("AnthropicError", "application/json"),
        ("Problem", "application/problem+json"),
    ):
        reply = document(served("GET", "/v1/models", envelope))["paths"]["/v1/models"]["get"]["responses"][
            "400"
        ]
        assert reply["content"] == {kind: {"schema": {"$ref": f"#/components/schemas/{envelope}"}}}
        assert media_type_of(envelope) == kind


def test_a_status_names_every_error_that_has_it() -> None:
    """From the tree of errors: its codes, and what its docstrings say."""
    responses = document(served("POST", CHAT))["paths"][CHAT]["post"]["responses"]
    assert "`model_not_found`: The pool holds no model of that name." in responses["404"]["description"]
    assert "`no_model_fits`" in responses["422"]["description"]
    assert "`idempotency_mismatch`" in responses["422"]["description"]
    assert "`upstream_refused`" in responses["4XX"]["description"], "it keeps the upstream's own status"
    for error in all_errors(UpstreamError):
        assert any(f"`{error.code}`" in reply["description"] for reply in responses.values()), error


def test_a_parameter_of_the_path_may_lead_elsewhere() -> None:
    """What is not encoded in it, such as a `?`, ends the path."""
    paths = document(served("GET", "/v1/models"), served("GET", "/v1/models/{name}"))["paths"]
    assert "404" not in paths["/v1/models"]["get"]["responses"]
    assert "`route_not_found`" in paths["/v1/models/{name}"]["get"]["responses"]["404"]["description"]


def test_only_patience_has_retry_headers() -> None:
    """`Retry-After` stands where an error can say when."""
    responses = document(served("POST", CHAT))["paths"][CHAT]["post"]["responses"]
    with_retry = {status for status, reply in responses.items() if "retry-after" in reply["headers"]}
    assert with_retry == {"409", "429", "4XX", "502", "503", "504"}


def test_a_streamed_answer_has_two_content_types() -> None:
    reply = document(served("POST", CHAT))["paths"][CHAT]["post"]["responses"]["200"]
    assert set(reply["content"]) == {"application/json", "text/event-stream"}
    assert {"x-request-id", "x-junctor-model", "x-junctor-cost"} <= set(reply["headers"])


def test_constraints_are_headers_too() -> None:
    parameters = document(served("POST", CHAT))["paths"][CHAT]["post"]["parameters"]
    headers = {parameter["name"] for parameter in parameters if parameter["in"] == "header"}
    assert {"x-junctor-max-usd", "x-junctor-never", "x-junctor-mode", "idempotency-key"} <= headers


def test_keys_are_wanted_where_the_server_has_them() -> None:
    """And never by the probes."""
    probe = served("GET", "/healthz", "Problem", needs_key=False)
    routes = served("GET", "/v1/models"), probe
    keyed = document(*routes, has_keys=True)["paths"]
    assert keyed["/v1/models"]["get"]["security"] == [{"bearer": []}, {"x-api-key": []}, {"api-key": []}]
    assert keyed["/healthz"]["get"]["security"] == []
    assert "401" not in keyed["/healthz"]["get"]["responses"]
    assert document(*routes)["paths"]["/v1/models"]["get"]["security"] == []


def test_a_deployments_body_needs_no_model() -> None:
    """Azure names it in the URL; all else is as at the path that it means."""
    path = "/openai/deployments/{model}/chat/completions"
    whole = document(served("POST", path, means=CHAT), served("POST", CHAT))
    schemas = whole["components"]["schemas"]
    assert schemas["ChatRequest"]["required"] == ["model", "messages"]
    assert schemas["DeploymentChatRequest"]["required"] == ["messages"]
    operation = whole["paths"][path]["post"]
    assert operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith(
        "/DeploymentChatRequest"
    )
    assert {"model", "api-version"} <= {parameter["name"] for parameter in operation["parameters"]}
    ids = [operation["operationId"], whole["paths"][CHAT]["post"]["operationId"]]
    assert len(set(ids)) == 2


def test_a_route_that_nobody_described_is_there_all_the_same() -> None:
    """A room from elsewhere does not cost the others their description."""
    route = served("GET", "/api/new/{id}", "Problem")
    assert bare(route).id == "get_api_new_id"
    operation = document(route)["paths"]["/api/new/{id}"]["get"]
    assert operation["summary"] == "What it does."
    assert "500" in operation["responses"]


def test_every_error_that_a_caller_can_get_stands_at_a_route() -> None:
    """A new error of the hall has to be placed: at a route, at all, or among those of models."""
    placed = {code for operation in OPERATIONS.values() for code in codes_of(operation)}
    hall = {error.code for error in all_errors(JunctorError) if error.__module__ == "junctor.chat.errors"}
    assert hall - placed == set(NEVER_ANSWERED)
    assert set(ANY_ROUTE) <= placed


def test_the_table_of_routes_is_markdown() -> None:
    assert (
        render_routes([served("GET", "/healthz")]).splitlines()[-1] == "| GET | `/healthz` | What it does. |"
    )
