"""A cascade behind a real server: what callers of each dialect get, what it costs, what `why` can tell."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from running import Running, running
from served_ladder import ALL_DIFFER, ALL_DIFFER_NANO, CONFIG, store_ladder

ASKED = "How many legs do 3 cats and 15 hens have?"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("cascade")
    store_ladder(CONFIG, folder)
    with running(CONFIG, folder) as it:
        yield it


def ask(server: Running, text: str = ASKED, path: str = "/chat/completions", **fields: Any) -> httpx.Response:
    body = {"model": "auto", "messages": [{"role": "user", "content": text}], **fields}
    return httpx.post(f"{server.api}{path}", json=body, timeout=30)


def decision_of(server: Running, reply: httpx.Response) -> dict[str, Any]:
    found = httpx.get(f"{server.url}/api/decisions/{reply.headers['x-junctor-decision']}")
    assert found.status_code == 200
    return found.json()


def row_of(server: Running, reply: httpx.Response) -> dict[str, Any]:
    with sqlite3.connect(server.database) as connection:
        connection.row_factory = sqlite3.Row
        wanted = reply.headers["x-request-id"]
        rows = connection.execute("SELECT * FROM ledger WHERE request_id = ?", (wanted,)).fetchall()
    assert len(rows) == 1
    return dict(rows[0])


def test_whoever_agrees_first_answers_and_is_named_everywhere(server: Running) -> None:
    reply = ask(server)
    body = reply.json()
    assert body["choices"][0]["message"]["content"] == "They have \\boxed{42} legs."
    assert body["model"] == reply.headers["x-junctor-model"] == "cheap-a"
    decision, row = decision_of(server, reply), row_of(server, reply)
    assert (decision["path"], decision["chosen"]) == ("cascade", "cheap-a")
    assert decision["request_id"] == row["request_id"]
    assert (row["model"], row["attempts"], row["decision_id"]) == ("cheap-a", 2, decision["id"])
    steps = decision["escalation"]["steps"]
    assert [[draft["answer"] for draft in step["drafts"]] for step in steps] == [["42", "42"]]
    assert "hens" not in json.dumps(decision["escalation"])
    assert decision["outcome"]["usd"] == pytest.approx(decision["escalation"]["usd"])


def test_what_a_cascade_costs_is_the_sum_of_its_calls_and_the_saving_is_of_the_taken_answer(
    server: Running,
) -> None:
    reply = ask(server, ALL_DIFFER)
    row = row_of(server, reply)
    cost = ALL_DIFFER_NANO
    assert row["usd_nano"] == cost
    assert (row["model"], row["attempts"]) == ("strong", 4)
    assert (row["input_tokens"], row["output_tokens"]) == (400, 100)
    assert row["strongest_usd_nano"] == 140 * 30_000
    assert row["saved_usd_nano"] == 140 * 30_000 - cost
    assert float(reply.headers["x-junctor-cost"]) == pytest.approx(cost / 1e9)
    decision = decision_of(server, reply)
    assert decision["escalation"]["usd"] == pytest.approx(cost / 1e9)
    assert decision["saved_usd"] == pytest.approx(140 * 30e-6 - cost / 1e9)
    assert [len(step["drafts"]) for step in decision["escalation"]["steps"]] == [2, 1, 1]


@pytest.mark.parametrize("stream", [False, True])
def test_openais_sdk_reads_a_cascades_answer(server: Running, stream: bool) -> None:
    client = openai.OpenAI(base_url=server.api, api_key="none", max_retries=0)
    made = client.chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": ASKED}], stream=stream
    )
    assert made.headers["x-junctor-model"] == "cheap-a"
    assert made.headers["x-junctor-decision"].startswith("dec_")
    parsed = made.parse()
    if stream:
        chunks = [chunk for chunk in parsed if chunk.choices]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert {chunk.model for chunk in chunks} == {"cheap-a"}
        assert chunks[-1].choices[0].finish_reason == "stop"
    else:
        text = parsed.choices[0].message.content
    assert text == "They have \\boxed{42} legs."


@pytest.mark.parametrize("stream", [False, True])
def test_the_responses_api_reads_a_cascades_answer(server: Running, stream: bool) -> None:
    client = openai.OpenAI(base_url=server.api, api_key="none", max_retries=0)
    made = client.responses.with_raw_response.create(model="auto", input=ASKED, stream=stream)
    assert made.headers["x-junctor-model"] == "cheap-a"
    parsed = made.parse()
    if stream:
        events = [*parsed]
        parsed = events[-1].response
        assert events[-1].type == "response.completed"
    assert (parsed.output_text, parsed.model) == ("They have \\boxed{42} legs.", "cheap-a")


@pytest.mark.parametrize("stream", [False, True])
def test_anthropics_sdk_reads_a_cascades_answer(server: Running, stream: bool) -> None:
    client = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)
    asked: Any = {"model": "auto", "max_tokens": 500, "messages": [{"role": "user", "content": ASKED}]}
    if stream:
        with client.messages.stream(**asked) as made:
            assert made.response.headers["x-junctor-model"] == "cheap-a"
            message = made.get_final_message()
    else:
        message = client.messages.create(**asked)
    assert message.content[0].text == "They have \\boxed{42} legs."  # pyright: ignore[reportAttributeAccessIssue]
    assert (message.model, message.stop_reason) == ("cheap-a", "end_turn")


def test_a_streams_receipt_and_headers_are_of_the_taken_answer(server: Running) -> None:
    reply = ask(server, ALL_DIFFER, stream=True)
    comment = next(line for line in reply.text.splitlines() if line.startswith(": junctor "))
    receipt = json.loads(comment.removeprefix(": junctor "))
    row = row_of(server, reply)
    assert receipt["model"] == reply.headers["x-junctor-model"] == row["model"] == "strong"
    assert receipt["decision"] == reply.headers["x-junctor-decision"] == row["decision_id"]
    assert receipt["usd"] == pytest.approx(row["usd_nano"] / 1e9)
    assert float(reply.headers["x-junctor-cost"]) == pytest.approx(row["usd_nano"] / 1e9)
    assert row["first_token_ms"] <= row["total_ms"]


def test_free_text_is_the_strongest_models_and_is_streamed(server: Running) -> None:
    reply = ask(server, "Do you know the tale of 3 hens?", stream=True)
    assert reply.headers["x-junctor-model"] == "strong"
    assert "happy" in reply.text
    decision = decision_of(server, reply)
    assert "no answers could be compared" in decision["rule"]
    assert decision["escalation"]["usd"] == pytest.approx(row_of(server, reply)["usd_nano"] / 1e9)


def test_what_cannot_be_compared_is_asked_once(server: Running) -> None:
    reply = ask(server, "Write me a story.")
    assert row_of(server, reply)["attempts"] == 1
    decision = decision_of(server, reply)
    assert decision["path"] == "prompt"
    assert "not cascaded" in decision["rule"]


def test_tool_calls_that_are_equal_are_made_once(server: Running) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    reply = ask(server, "the weather in Rome", tools=tools)
    choice = reply.json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["weather"]
    assert row_of(server, reply)["attempts"] == 2
    answer = decision_of(server, reply)["escalation"]["steps"][0]["drafts"][0]["answer"]
    assert answer == 'call weather({"city":"Rome"})'


def leave_while_asked(server: Running, model: str, stream: bool) -> dict[str, Any]:
    """A client that leaves while this model hangs, and the row that is left."""
    body = json.dumps(
        {"model": "auto", "stream": stream, "messages": [{"role": "user", "content": "linger: 17 * 23 = ?"}]}
    ).encode()
    host, port = server.url.removeprefix("http://").split(":")
    with sqlite3.connect(server.database) as connection:
        before = connection.execute("SELECT count(*) FROM ledger").fetchone()[0]
    with socket.create_connection((host, int(port)), timeout=10) as line:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
        line.sendall(head.encode() + body)
        while not server.app._current.resilience.health()[model].waiting:
            time.sleep(0.01)
    left = time.monotonic()
    while True:
        with sqlite3.connect(server.database) as connection:
            connection.row_factory = sqlite3.Row
            rows = connection.execute("SELECT * FROM ledger ORDER BY created_at").fetchall()
        if len(rows) > before:
            break
        assert time.monotonic() - left < 30
        time.sleep(0.01)
    return dict(rows[-1])


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_during_drafts_stops_them_all(server: Running, stream: bool) -> None:
    """One model hangs for a minute; the row is there long before (measured: after 0 to 3 ms)."""
    row = leave_while_asked(server, "cheap-b", stream)
    assert row["outcome"] == "client_gone"
    assert row["attempts"] == 2
    found = httpx.get(f"{server.url}/api/decisions/{row['decision_id']}").json()
    assert "the caller left" in found["rule"]


def test_a_cascade_can_be_turned_off(tmp_path: Path) -> None:
    config = CONFIG + '\n[routing]\ncascade = "off"\n'
    store_ladder(config, tmp_path)
    with running(config, tmp_path) as server:
        reply = ask(server)
        assert row_of(server, reply)["attempts"] == 1
        assert decision_of(server, reply)["path"] == "prompt"


def test_models_can_be_asked_in_turn(tmp_path: Path) -> None:
    """While the first one hangs, the second is not asked; all of a rung are asked in the end."""
    config = CONFIG.replace("delay_s = 0 }", "delay_s = 60 }", 1) + '\n[routing]\ndrafts = "sequential"\n'
    store_ladder(config, tmp_path)
    with running(config, tmp_path) as server:
        assert leave_while_asked(server, "cheap-a", stream=False)["attempts"] == 1
        reply = ask(server)
        assert (reply.headers["x-junctor-model"], row_of(server, reply)["attempts"]) == ("cheap-a", 2)


def test_answers_can_be_kept_out_of_the_database(tmp_path: Path) -> None:
    config = CONFIG + "\n[routing]\nkeep_answers = false\n"
    store_ladder(config, tmp_path)
    with running(config, tmp_path) as server:
        decision = decision_of(server, ask(server))
        assert [draft["answer"] for draft in decision["escalation"]["steps"][0]["drafts"]] == ["answer 1"] * 2
