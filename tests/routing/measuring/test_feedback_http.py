"""`POST /api/feedback` of a running server: who may give it, for what, and what is kept."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from running import Running, running
from tables import key_table, model_table

CONFIG = (
    model_table("small", usd=1)
    + model_table("down", script='[{ fail = "upstream_broken" }]', ability=0.1)
    + "[retries]\nshare = 0\n"
    + "".join(key_table(name, admin=name == "boss") for name in ("ann", "bob", "boss"))
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(CONFIG, tmp_path_factory.mktemp("server")) as it:
        yield it


def call(server: Running, key: str, path: str, body: Any) -> tuple[int, Any, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urlopen(Request(server.url + path, data, {"authorization": f"Bearer {key}"})) as reply:
            return reply.status, json.load(reply), reply.headers
    except HTTPError as error:
        with error:
            return error.code, json.load(error), error.headers


def ask(server: Running, key: str, model: str = "auto") -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    return call(server, key, "/v1/chat/completions", body)[2]


def give(server: Running, key: str, **body: Any) -> tuple[int, Any]:
    status, said, headers = call(server, key, "/api/feedback", body)
    assert headers["content-type"] == ("application/json" if status == 201 else "application/problem+json")
    return status, said


def kept(server: Running, request_id: str) -> list[tuple[str, str, float]]:
    with closing(sqlite3.connect(server.database)) as connection:
        sql = "SELECT key_id, model, score FROM feedback WHERE request_id = ?"
        return connection.execute(sql, (request_id,)).fetchall()


def test_the_key_that_asked_says_how_good_the_answer_was(server: Running) -> None:
    request_id = ask(server, "ann")["x-request-id"]
    status, said = give(server, "ann", request_id=request_id, score=0.25)
    assert (status, said["request_id"], said["model"], said["score"]) == (201, request_id, "small", 0.25)
    assert kept(server, request_id) == [("config:ann", "small", 0.25)]


def test_the_later_word_holds_and_saying_it_twice_changes_nothing(server: Running) -> None:
    headers = ask(server, "ann")
    request_id = headers["x-request-id"]
    one = give(server, "ann", request_id=request_id, rating="bad")
    assert give(server, "ann", decision_id=headers["x-junctor-decision"], rating="good")[0] == 201
    two = give(server, "ann", request_id=request_id, rating="bad")
    assert one[1]["id"] == two[1]["id"]
    assert kept(server, request_id) == [("config:ann", "small", 0.0)]


def test_another_key_cannot_tell_that_the_request_exists_and_an_admin_may(server: Running) -> None:
    request_id = ask(server, "ann")["x-request-id"]
    status, theirs = give(server, "bob", request_id=request_id, rating="good")
    assert (status, theirs["code"]) == (404, "request_not_found")
    _, unknown = give(server, "bob", request_id="req_0", rating="good")
    assert theirs["detail"].replace(request_id, "X") == unknown["detail"].replace("req_0", "X")
    assert give(server, "boss", request_id=request_id, rating="good")[0] == 201
    assert kept(server, request_id) == [("config:boss", "small", 1.0)]


def test_a_request_that_nobody_answered_has_nothing_to_rate(server: Running) -> None:
    unknown = ask(server, "ann", model="nobody")["x-request-id"]
    assert give(server, "ann", request_id=unknown, rating="good")[0] == 404
    failed = ask(server, "ann", model="down")["x-request-id"]
    status, said = give(server, "ann", request_id=failed, rating="bad")
    assert (status, said["code"], kept(server, failed)) == (404, "request_not_found", [])


def test_unknown_ids_are_unknown(server: Running) -> None:
    for field in ("request_id", "decision_id"):
        assert give(server, "boss", **{field: "x' OR 1=1 --", "rating": "good"})[0] == 404


def test_a_bad_body_says_what_to_send(server: Running) -> None:
    status, said = give(server, "ann", request_id="req_1", stars=5)
    assert (status, said["code"]) == (400, "invalid_request")
    assert '"rating": "good"' in said["detail"]


def test_a_body_that_is_too_large_is_not_read(server: Running) -> None:
    status, said, _ = call(server, "ann", "/api/feedback", b" " * 17_000)
    assert (status, said["code"]) == (413, "request_too_large")


def test_without_a_key_there_is_nothing(server: Running) -> None:
    assert give(server, "wrong", request_id="req_1", rating="good")[0] == 401


def test_days_must_be_days(server: Running) -> None:
    for days in ("0", "-1", "x", "3661", "1.5", "9" * 5000, "%C2%B2"):
        with pytest.raises(HTTPError) as caught:
            urlopen(
                Request(f"{server.url}/api/savings?days={days}", headers={"authorization": "Bearer boss"})
            )
        with caught.value as error:
            assert error.code == 400
            assert json.load(error)["param"] == "days"
