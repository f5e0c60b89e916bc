"""`GET /openapi.json` of a running server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from openapi_spec_validator import validate
from starlette.requests import Request as Asked
from starlette.responses import Response
from starlette.routing import Route

from junctor.gateway.dialect import canonical_path
from junctor.gateway.openapi_api import served
from junctor.wire.openapi_operations import OPERATIONS
from running import Running, running

CONFIG = """
[[models]]
name = "small"
provider = "scripted"
price = { input = 0.1, output = 0.4 }
script = [{ text = "Hello there." }]
"""
KEY = "junctor_test"
KEYED = f'{CONFIG}\n[[keys]]\nname = "team"\nsha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}"'
METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(CONFIG, tmp_path_factory.mktemp("server")) as it:
        yield it


@pytest.fixture(scope="module")
def document(server: Running) -> dict[str, Any]:
    with urlopen(f"{server.url}/openapi.json") as reply:
        assert reply.headers["content-type"] == "application/json"
        return json.load(reply)


def described(document: dict[str, Any]) -> set[tuple[str, str]]:
    return {
        (method.upper(), path) for path, item in document["paths"].items() for method in METHODS & set(item)
    }


def ask(url: str, method: str) -> tuple[int, str]:
    """Status and body."""
    data = b"{}" if method == "POST" else None
    try:
        with urlopen(Request(url, data, method=method)) as reply:
            return reply.status, reply.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_the_document_is_openapi(document: dict[str, Any]) -> None:
    """Judged by a validator that is not ours."""
    validate(document)
    assert document["openapi"] == "3.1.0"


def test_every_route_of_the_application_is_described(server: Running, document: dict[str, Any]) -> None:
    """And every description has its route, Azure's addresses included."""
    assert described(document) == {(route.method, route.path) for route in server.served}
    assert {(route.method, route.means) for route in server.served} == set(OPERATIONS)


def test_what_is_described_answers(server: Running, document: dict[str, Any]) -> None:
    """No path of the document leads nowhere, and each answers with a status that it names."""
    for method, path in described(document):
        status, body = ask(
            server.url + path.replace("{model}", "small").replace("{", "").replace("}", ""), method
        )
        assert status == 200 or "route_not_found" not in body, path
        assert status != 405, path
        assert str(status) in document["paths"][path][method.lower()]["responses"], (path, status, body)


def test_azures_addresses_are_those_of_the_other_server(server: Running, document: dict[str, Any]) -> None:
    """A path under /v1 has two servers, and answers at both."""
    for path, item in document["paths"].items():
        urls = [one["url"] for one in item.get("servers", ())]
        assert urls == (["/", "/openai"] if path.startswith("/v1/") else [])
    assert ask(f"{server.url}/openai/v1/models", "GET") == ask(f"{server.url}/v1/models", "GET")


def test_routes_are_read_as_they_are() -> None:
    """Methods, converters, the first sentence; what other address means the same."""

    async def endpoint(_: Asked) -> Response:
        """Does it. And more.

        At length.
        """
        return Response()

    routes = [Route("/v1/things/{name:path}", endpoint, methods=["GET", "DELETE"])]
    ours = [one for one in served(routes) if "things" in one.path]
    assert [(one.method, one.path, one.what) for one in ours] == [
        ("GET", "/v1/things/{name}", "Does it."),
        ("DELETE", "/v1/things/{name}", "Does it."),
    ]
    others = [one for one in served(routes) if one.means != one.path]
    assert others
    assert all(canonical_path(one.path)[0] == one.means for one in others)


def test_a_server_with_keys_wants_one_for_it(tmp_path: Path) -> None:
    """It says then that all but the probes want one."""
    with running(KEYED, tmp_path) as server:
        assert ask(f"{server.url}/openapi.json", "GET")[0] == 401
        asked = Request(f"{server.url}/openapi.json", headers={"authorization": f"Bearer {KEY}"})
        with urlopen(asked) as reply:
            paths = json.load(reply)["paths"]
    without = {
        path
        for path, item in paths.items()
        for one in item.values()
        if "security" in one and not one["security"]
    }
    assert without == {"/healthz", "/readyz"}
