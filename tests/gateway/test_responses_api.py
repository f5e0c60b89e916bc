"""The routes for stored responses: what they take, and what they refuse (the SDK's tests have the rest)."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from running import Running, running

CONFIG = """
[[models]]
name = "small"
provider = "scripted"
script = [{ text = "Hello." }]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(CONFIG, tmp_path_factory.mktemp("server")) as it:
        yield it


def ask(server: Running, path: str, method: str = "GET", body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{server.url}{path}", data, method=method)
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())["error"]


@pytest.fixture(scope="module")
def made(server: Running) -> str:
    items = [{"role": "user", "content": str(number)} for number in range(30)]
    return ask(server, "/v1/responses", "POST", {"model": "small", "input": items})[1]["id"]


def test_pages_of_input(server: Running, made: str) -> None:
    status, page = ask(server, f"/v1/responses/{made}/input_items")
    assert status == 200
    assert [item["content"][0]["text"] for item in page["data"]] == [str(29 - n) for n in range(20)]
    status, page = ask(server, f"/v1/responses/{made}/input_items?order=asc&limit=5&after={page['last_id']}")
    assert [item["content"][0]["text"] for item in page["data"]] == ["11", "12", "13", "14", "15"]


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "", "1" * 5000, "%C2%B2", "0000000001"])
def test_a_limit_out_of_range_is_refused(server: Running, made: str, limit: str) -> None:
    status, error = ask(server, f"/v1/responses/{made}/input_items?limit={limit}")
    assert (status, error["param"]) == (400, "limit")


@pytest.mark.parametrize(("query", "param"), [("order=up", "order"), ("after=none", "after")])
def test_other_faults_are_named(server: Running, made: str, query: str, param: str) -> None:
    status, error = ask(server, f"/v1/responses/{made}/input_items?{query}")
    assert (status, error["param"]) == (400, param)


def test_a_stored_response_is_not_streamed_again(server: Running, made: str) -> None:
    assert ask(server, f"/v1/responses/{made}?stream=true")[0] == 400
    assert ask(server, f"/v1/responses/{made}?stream=false")[0] == 200


def test_other_methods_and_paths_are_named_in_openais_envelope(server: Running, made: str) -> None:
    status, error = ask(server, f"/v1/responses/{made}", "PUT", {})
    assert (status, error["code"]) == (405, "method_not_allowed")
    status, error = ask(server, f"/v1/responses/{made}/cancel", "POST", {})
    assert (status, error["code"]) == (404, "route_not_found")
    status, error = ask(server, "/v1/responses", "GET")
    assert (status, error["code"]) == (405, "method_not_allowed")


def test_azures_path_too(server: Running, made: str) -> None:
    assert ask(server, f"/openai/responses/{made}?api-version=2026-01-01")[1]["id"] == made
