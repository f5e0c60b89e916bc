"""All routes but those that ask for an answer: one door, and one envelope for whatever goes wrong."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from junctor.chat import AuthenticationFailed, UnknownModel
from junctor.gateway.rest import CALLER, Rest

pytestmark = pytest.mark.anyio


async def who(request: Request) -> Response:
    return JSONResponse({"caller": request.scope[CALLER]})


async def probe(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def refuse(_: Request) -> Response:
    raise UnknownModel("there is no such model")


async def fault(_: Request) -> Response:
    raise RuntimeError("secret-canary")


def admit(headers: Mapping[str, str]) -> str:
    if headers.get("authorization") != "Bearer right":
        raise AuthenticationFailed("no")
    return "team-a"


REST = Rest(
    [
        Route("/api/who", who),
        Route("/healthz", probe),
        Route("/v1/refuse", refuse),
        Route("/api/fault", fault),
    ],
    admit,
)


async def ask(
    path: str, key: str = "right", method: str = "GET", rest: Rest = REST
) -> tuple[int, dict[str, str], dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [(b"authorization", f"Bearer {key}".encode())]
    scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b""}
    await rest(scope, receive, send)
    fields = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], fields, json.loads(b"".join(message["body"] for message in sent[1:]))


async def test_a_route_knows_its_caller_and_its_reply_names_the_request() -> None:
    status, headers, body = await ask("/api/who")
    assert (status, body) == (200, {"caller": "team-a"})
    assert headers["x-request-id"].startswith("req_")


async def test_without_a_key_there_is_nothing_but_the_probes() -> None:
    for path in ("/api/who", "/v1/refuse", "/nothing", "/api/fault"):
        assert (await ask(path, "wrong"))[0] == 401
    assert (await ask("/healthz", "wrong"))[0] == 200


async def test_what_goes_wrong_is_said_in_the_envelope_of_its_path() -> None:
    assert (await ask("/v1/refuse"))[2]["error"]["code"] == "model_not_found"
    assert (await ask("/v1/nothing"))[2]["error"]["code"] == "route_not_found"
    assert (await ask("/api/nothing"))[2]["code"] == "route_not_found"
    status, headers, body = await ask("/api/who", method="DELETE")
    assert (status, body["code"]) == (405, "method_not_allowed")
    assert headers["content-type"] == "application/problem+json"


async def test_our_own_fault_is_a_500_whose_reason_stands_in_the_log_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        status, headers, body = await ask("/api/fault")
    assert (status, body["code"]) == (500, "internal_error")
    assert headers["x-request-id"] in body["detail"]
    assert "secret-canary" not in json.dumps(body)
    assert "secret-canary" in caplog.text
    assert headers["x-request-id"] in caplog.text


async def test_a_405_says_what_the_path_takes() -> None:
    """RFC 9110 demands `Allow`, with the methods of all routes of the path."""
    routes = [Route("/api/it", who), Route("/api/it", who, methods=["DELETE"]), Route("/api/other", who)]
    status, headers, _ = await ask("/api/it", method="PUT", rest=Rest(routes, admit))
    assert (status, headers["allow"]) == (405, "DELETE, GET, HEAD")
