"""`POST /api/reload` of a running server: who may, what it answers, and that a mistake changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from running import Running, running
from tables import key_table, model_table

BOSS, WORKER = "boss-key", "worker-key"
KEYS = key_table("boss", BOSS, admin=True) + key_table("worker", WORKER)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(KEYS + model_table("old"), tmp_path) as it:
        yield it


def reload(server: Running, key: str = BOSS, method: str = "POST") -> tuple[int, str, Any]:
    """Status, content type, body."""
    request = Request(f"{server.url}/api/reload", headers={"authorization": f"Bearer {key}"}, method=method)
    try:
        with urlopen(request) as reply:
            return reply.status, reply.headers["content-type"], json.load(reply)
    except HTTPError as error:
        with error:
            return error.code, error.headers["content-type"], json.load(error)


def test_a_changed_file_is_in_force_when_the_reply_comes(server: Running) -> None:
    server.config.write_text(KEYS + model_table("new") + model_table("newer"))
    assert reload(server) == (
        200,
        "application/json",
        {"models": ["new", "newer"], "keys": 2, "reloads": 1},
    )
    assert server.app.models == ("new", "newer")
    assert reload(server)[2]["reloads"] == 2


def test_a_bad_file_is_a_problem_that_names_every_mistake_and_nothing_changes(server: Running) -> None:
    server.config.write_text(KEYS + model_table("new") + "[server]\nprot = 1\nkeepalive_s = 'x'\n")
    status, kind, problem = reload(server)
    assert (status, kind, problem["code"]) == (409, "application/problem+json", "config_refused")
    assert "did you mean `port`?" in problem["detail"]
    assert "server.keepalive_s: must be a number" in problem["detail"]
    assert server.app.models == ("old",)
    assert server.app.config_refused
    server.config.write_text(KEYS + model_table("new"))
    assert reload(server)[0] == 200
    assert not server.app.config_refused


def test_a_model_that_cannot_be_built_is_named_too(server: Running) -> None:
    """The text is right, what it wants is not there."""
    server.config.write_text(KEYS + '[[models]]\nname = "a"\nprovider = "openai"\n')
    status, _, problem = reload(server)
    assert status == 409
    assert "OPENAI_API_KEY is not set" in problem["detail"]


def test_only_an_admin_may(server: Running) -> None:
    server.config.write_text(KEYS + model_table("new"))
    assert reload(server, WORKER)[0] == 403
    assert reload(server, WORKER)[2]["code"] == "admin_only"
    assert reload(server, "nobody")[0] == 401
    assert reload(server, method="GET")[0] == 405
    assert server.app.models == ("old",)


def test_on_an_open_server_anybody_on_this_machine_may(tmp_path: Path) -> None:
    with running(model_table("old"), tmp_path) as server:
        server.config.write_text(model_table("new"))
        assert reload(server)[2]["models"] == ["new"]


def test_a_key_that_its_own_reload_takes_away_still_gets_its_reply(server: Running) -> None:
    server.config.write_text(KEYS.replace("admin = true", "admin = false") + model_table("new"))
    assert reload(server)[0] == 200
    assert reload(server)[0] == 403
