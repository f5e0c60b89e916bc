"""A fusion behind a real server: what callers of each dialect get, what it costs, what they may say."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from junctor.gateway.receipt import parse_receipt_comment
from junctor.wire.sse import EventParser
from recorded_server import RecordedServer, recorded_server
from running import Running, running
from served_fusion import ANALYSIS, BROKEN, CONFIG, DIFFER, NANO, OPEN, SUM
from tables import key_table

CHAT, RESPONSES, MESSAGES = "/chat/completions", "/responses", "/messages"
DIALECTS = pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])
STREAMED = pytest.mark.parametrize("stream", [False, True])
KEY = "a-key"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(CONFIG, tmp_path_factory.mktemp("fusion")) as it:
        yield it


def body_of(path: str, text: str, **fields: Any) -> dict[str, Any]:
    if path == RESPONSES:
        return {"model": "fusion", "input": text, **fields}
    messages = [{"role": "user", "content": text}]
    limit = {"max_tokens": 500} if path == MESSAGES else {}
    return {"model": "fusion", "messages": messages, **limit, **fields}


def ask(server: Running, path: str, text: str, **fields: Any) -> httpx.Response:
    return httpx.post(f"{server.api}{path}", json=body_of(path, text, **fields), timeout=30)


def events_of(reply: httpx.Response) -> list[dict[str, Any]]:
    found = [event.data for event in EventParser().feed(reply.content) if event.data != b"[DONE]"]
    return [json.loads(data) for data in found]


def fusion_of(path: str, reply: httpx.Response) -> dict[str, Any]:
    """The block, wherever the dialect has it."""
    assert reply.status_code == 200, reply.text
    if not reply.headers["content-type"].startswith("text/event-stream"):
        return reply.json()["fusion"]
    blocks = [event.get("response", event).get("fusion") for event in events_of(reply)]
    (block,) = [block for block in blocks if block is not None]
    return block


def text_of(path: str, reply: httpx.Response) -> str:
    if reply.headers["content-type"].startswith("text/event-stream"):
        events = events_of(reply)
        if path == CHAT:
            deltas = [choice["delta"] for event in events for choice in event["choices"]]
            return "".join(delta.get("content", "") for delta in deltas)
        if path == RESPONSES:
            return "".join(it["delta"] for it in events if it["type"] == "response.output_text.delta")
        return "".join(it["delta"]["text"] for it in events if it["type"] == "content_block_delta")
    body = reply.json()
    if path == CHAT:
        return body["choices"][0]["message"]["content"]
    return (body["output"][0]["content"] if path == RESPONSES else body["content"])[0]["text"]


def row_of(server: Running, reply: httpx.Response) -> dict[str, Any]:
    with sqlite3.connect(server.database) as connection:
        connection.row_factory = sqlite3.Row
        wanted = reply.headers["x-request-id"]
        rows = connection.execute("SELECT * FROM ledger WHERE request_id = ?", (wanted,)).fetchall()
    assert len(rows) == 1
    return dict(rows[0])


def decision_of(server: Running, reply: httpx.Response) -> dict[str, Any]:
    found = httpx.get(f"{server.url}/api/decisions/{reply.headers['x-junctor-decision']}")
    assert found.status_code == 200
    return found.json()


@DIALECTS
@STREAMED
def test_who_agrees_answers_and_who_could_change_nothing_is_called_off(
    server: Running, path: str, stream: bool
) -> None:
    reply = ask(server, path, SUM, stream=stream)
    assert text_of(path, reply) == "They have \\boxed{42}."
    block = fusion_of(path, reply)
    assert (block["path"], block["chosen"], block["saved_answers"]) == ("vote", 1, 1)
    assert [it["status"] for it in block["members"]] == ["answered", "answered", "spared"]
    assert block["clusters"][0]["answer"] == "42"
    assert reply.headers["x-junctor-model"] == "large"


@DIALECTS
@STREAMED
def test_a_contested_answer_is_judged_in_both_orders(server: Running, path: str, stream: bool) -> None:
    block = fusion_of(path, ask(server, path, DIFFER, stream=stream))
    assert (block["path"], block["judge"]) == ("vote+judge", "judge")
    first, second = (ruling["order"] for ruling in block["rulings"])
    assert first == second[::-1]
    assert [ruling["preferred"] for ruling in block["rulings"]] == [first[0], second[0]]


@DIALECTS
@STREAMED
def test_what_cannot_be_compared_is_written_anew(server: Running, path: str, stream: bool) -> None:
    reply = ask(server, path, OPEN, stream=stream)
    assert text_of(path, reply) == "Go by train, and see the Forum."
    block = fusion_of(path, reply)
    assert (block["path"], "chosen" in block) == ("merge", False)
    assert block["analysis"]["blind_spots"] == ANALYSIS["blind_spots"]
    assert block["analysis"]["contradictions"][0]["stances"][0]["model"] in ("small", "large", "slow")
    assert reply.headers["x-junctor-model"] == "judge"


@DIALECTS
@STREAMED
def test_cost_and_usage_are_those_of_all_calls_and_nothing_was_saved(
    server: Running, path: str, stream: bool
) -> None:
    reply = ask(server, path, DIFFER, stream=stream)
    row, decision = row_of(server, reply), decision_of(server, reply)
    cost = sum(NANO.values()) + NANO["judge"]
    assert (row["usd_nano"], row["attempts"], row["model"]) == (cost, 5, "large")
    assert (row["input_tokens"], row["output_tokens"], row["asked_model"]) == (500, 50, "fusion")
    assert (row["strongest_model"], row["saved_usd_nano"]) == (None, 0)
    assert (decision["path"], decision["chosen"]) == ("fusion", "large")
    block = fusion_of(path, reply)
    for name, value in block.items():
        if name not in ("members", "clusters", "rulings"):
            assert decision["fusion"][name] == value, "the record is what the caller was told"
    assert [it["answer"] for it in decision["fusion"]["members"]] == ["1", "2", "3"]
    assert block["usd"] == pytest.approx(cost / 1e9)
    assert float(reply.headers["x-junctor-cost"]) == pytest.approx(cost / 1e9)
    assert "x-junctor-saved" not in reply.headers
    if stream:
        receipt = parse_receipt_comment(reply.content)
        assert receipt is not None
        assert (receipt.usd, receipt.saved_usd) == (pytest.approx(cost / 1e9), None)
        assert (receipt.input_tokens, receipt.output_tokens) == (500, 50)
        return
    usage = reply.json()["usage"]
    assert usage.get("prompt_tokens", usage.get("input_tokens")) == 500
    assert usage.get("completion_tokens", usage.get("output_tokens")) == 50


@DIALECTS
@pytest.mark.parametrize(
    "fields",
    [
        {"model": "pair"},
        {"fusion": {"preset": "pair"}},
        {"plugins": [{"id": "fusion", "preset": "pair"}]},
        {"model": "openrouter/fusion", "fusion": {"preset": "pair"}},
        {"model": "judge", "fusion": {"analysis_models": ["small", "large"], "mode": "merge"}},
        {
            "model": "claude-junctor-judge",
            "plugins": [{"id": "fusion", "analysis_models": ["small", "large"]}],
            "fusion": {"mode": "merge"},
        },
        {
            "model": "auto",
            "fusion": {"analysis_models": ["small", "large"], "mode": "merge", "model": "judge"},
        },
    ],
)
def test_one_fusion_by_many_names(server: Running, path: str, fields: dict[str, Any]) -> None:
    reply = ask(server, path, OPEN, **fields)
    block = fusion_of(path, reply)
    assert (block["judge"], block["mode"], block["path"]) == ("judge", "merge", "merge")
    named = str(fields.get("model", "fusion")).removeprefix("claude-junctor-")
    warning = reply.headers.get("x-junctor-warning", "")
    assert (f"fusion answers it, not {named} alone" in warning) == (named in ("judge", "auto"))
    assert ("and it judges" in warning) == (named == "judge")
    assert [it["model"] for it in block["members"]] == ["small", "large"]


def test_a_router_that_is_named_is_no_judge(server: Running) -> None:
    """It would choose another one each time; the fusion's own judges."""
    block = fusion_of(CHAT, ask(server, CHAT, DIFFER, model="auto", fusion={}))
    assert block["judge"] == "judge"


@DIALECTS
@STREAMED
def test_what_is_not_carried_is_named(server: Running, path: str, stream: bool) -> None:
    plugin = {"id": "fusion", "max_tool_calls": 8}
    for text in (SUM, OPEN):
        reply = ask(server, path, text, stream=stream, plugins=[plugin])
        assert "plugins.max_tool_calls" in reply.headers["x-junctor-warning"]
    assert "x-junctor-warning" not in ask(server, path, SUM, stream=stream).headers


@DIALECTS
def test_progress_comes_before_the_answer_to_those_who_ask(server: Running, path: str) -> None:
    reply = ask(server, path, OPEN, stream=True, fusion={"events": True})
    events = events_of(reply)
    steps = [
        it["fusion_event"]["type"] if path == CHAT else it["type"].removeprefix("fusion.")
        for it in events
        if "fusion_event" in it or it.get("type", "").startswith("fusion.")
    ]
    assert steps == ["member_done"] * 3 + ["judging"]
    assert text_of(path, reply) == "Go by train, and see the Forum."
    assert fusion_of(path, reply)["path"] == "merge"
    assert "x-junctor-cost" not in reply.headers, "nothing is known when the first event leaves"
    receipt = parse_receipt_comment(reply.content)
    assert receipt is not None
    assert receipt.usd > 0
    settled = events_of(ask(server, path, SUM, stream=True, fusion={"events": True}))
    assert "settled" in json.dumps(settled)


@DIALECTS
@STREAMED
def test_when_nobody_answers_the_caller_gets_an_error(server: Running, path: str, stream: bool) -> None:
    reply = ask(server, path, BROKEN, stream=stream)
    assert reply.status_code == 400
    assert "all 3 models failed" in reply.json()["error"]["message"]
    row = row_of(server, reply)
    assert (row["outcome"], row["saved_usd_nano"]) == ("upstream_refused", 0)


def test_a_failure_after_the_first_event_ends_the_stream(server: Running) -> None:
    reply = ask(server, CHAT, BROKEN, stream=True, fusion={"events": True})
    assert reply.status_code == 200
    assert "error" in events_of(reply)[-1]
    assert b"[DONE]" not in reply.content


@DIALECTS
@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"fusion": "vote"}, "fusion"),
        ({"fusion": {"mod": "vote"}}, "fusion.mod"),
        ({"fusion": {"mode": "best"}}, "fusion.mode"),
        ({"fusion": {"quorum": 9}}, "fusion.quorum"),
        ({"fusion": {"deadline_ms": 0}}, "fusion.deadline_ms"),
        ({"fusion": {"analysis_models": ["small"] * 9}}, "fusion.analysis_models"),
        ({"fusion": {"analysis_models": ["small", "nobody"]}}, "fusion.analysis_models"),
        ({"fusion": {"analysis_models": ["fusion"]}}, "fusion.analysis_models"),
        ({"fusion": {"model": "nobody"}}, "fusion.model"),
        ({"fusion": {"preset": "nothing"}}, "fusion.preset"),
        ({"fusion": {"x" * 100_000: 1}}, "fusion.xxx"),
        ({"fusion": {"reasoning": "low"}}, "fusion.reasoning"),
        ({"plugins": [{"id": "web"}, {"id": "fusion", "temperature": 3}]}, "plugins[1].temperature"),
        ({"plugins": [{"id": "fusion", "enabled": "yes"}]}, "plugins[0].enabled"),
        ({"model": "nobody", "fusion": {}}, "nobody"),
    ],
)
def test_a_mistake_is_refused_by_name(server: Running, path: str, fields: dict[str, Any], named: str) -> None:
    reply = ask(server, path, SUM, **fields)
    assert reply.status_code in (400, 404)
    error = reply.json()["error"]
    assert named in json.dumps(error)
    assert len(reply.content) < 1500, "little of a hostile body comes back"


@pytest.mark.parametrize(
    "raw",
    [
        b'{"fusion": {"model": "\\ud800"}}',
        b'{"plugins": [{"id": "fusion", "\\ud800": 1}]}',
        b'{"fusion": {"grace_ms": 1e999}}',
        b'{"fusion": ' + b'{"reasoning":' * 50_000 + b"1" + b"}" * 50_001,
        b'{"plugins": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"plugins": [' + b'{"id":"fusion","mode":"vote"},' * 20_000 + b'{"id":"fusion","quorum":0}]}',
    ],
)
@DIALECTS
def test_hostile_bodies_are_the_callers_mistake(server: Running, path: str, raw: bytes) -> None:
    body = raw[:-1] + b"," + json.dumps(body_of(path, SUM)).encode()[1:]
    reply = httpx.post(f"{server.api}{path}", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400, reply.text
    assert ask(server, path, SUM).status_code == 200


def test_a_response_is_stored_with_its_fusion_and_gone_on_from(server: Running) -> None:
    first = ask(server, RESPONSES, SUM).json()
    stored = httpx.get(f"{server.api}/responses/{first['id']}").json()
    assert stored["fusion"] == first["fusion"]
    fields = {"previous_response_id": first["id"], "model": "judge", "fusion": {"preset": "pair"}}
    again = fusion_of(RESPONSES, ask(server, RESPONSES, OPEN, **fields))
    assert (again["path"], len(again["members"])) == ("merge", 2)


def test_a_repeated_request_gets_the_same_block_and_asks_nobody(server: Running) -> None:
    headers = {"idempotency-key": "once"}
    bodies = [
        httpx.post(f"{server.api}{CHAT}", json=body_of(CHAT, SUM), headers=headers).json() for _ in range(2)
    ]
    assert bodies[0] == bodies[1]
    assert bodies[0]["fusion"]["path"] == "vote"


def test_tokens_are_counted_for_a_fusion_too(server: Running) -> None:
    for fields in ({}, {"model": "openrouter/fusion"}, {"fusion": {"mode": "vote"}}):
        body = {
            name: value for name, value in body_of(MESSAGES, SUM, **fields).items() if name != "max_tokens"
        }
        counted = httpx.post(f"{server.api}/messages/count_tokens", json=body)
        assert counted.status_code == 200
        assert counted.json()["input_tokens"] > 0


@STREAMED
def test_a_plain_request_has_no_trace_of_it(server: Running, stream: bool) -> None:
    reply = ask(server, CHAT, SUM, model="small", stream=stream)
    assert b"fusion" not in reply.content
    reply = ask(server, CHAT, SUM, model="auto", stream=stream)
    assert b"fusion" not in reply.content


def test_a_key_that_may_use_one_member_learns_of_no_other(tmp_path_factory: pytest.TempPathFactory) -> None:
    config = CONFIG + key_table("k", KEY, models=["small", "large"])
    with running(config, tmp_path_factory.mktemp("keys")) as server:
        for fields in (
            {"fusion": {"analysis_models": ["slow"]}},
            {"fusion": {"model": "judge"}},
            {"model": "judge", "fusion": {}},
            {"model": "slow", "fusion": {}},
        ):
            reply = httpx.post(
                f"{server.api}{CHAT}",
                json=body_of(CHAT, SUM, **fields),
                headers={"authorization": f"Bearer {KEY}"},
            )
            assert reply.status_code in (400, 403), reply.text
            unsaid = {"slow", "judge"} - {*json.dumps(fields).split('"')}
            assert not [name for name in unsaid if f"`{name}`" in reply.text], reply.text


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordedServer]:
    with recorded_server() as it:
        yield it


@pytest.fixture(scope="module")
def relaying(upstream: RecordedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Members behind APIs of each dialect."""
    tables = "".join(
        f'[[models]]\nname = "{name}"\nprovider = "up"\ndialect = "{dialect}"\nskills = ["tools"]\n'
        f'base_url = "{upstream.base_url}"\napi_key_env = "PROVIDER_KEY"\n'
        for name, dialect in (
            ("gpt", "openai_chat"),
            ("claude", "anthropic_messages"),
            ("resp", "openai_responses"),
        )
    )
    with running("[retries]\nattempts = 1\n" + tables, tmp_path_factory.mktemp("up"), PROVIDER_KEY="k") as it:
        yield it


REPLIES: dict[str, Any] = {
    "gpt": {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "42"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    },
    "claude": {
        "content": [{"type": "text", "text": "42"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    "resp": {
        "status": "completed",
        "output": [
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "42"}]}
        ],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
}


@DIALECTS
@pytest.mark.parametrize("member", [*REPLIES])
@STREAMED
def test_members_are_asked_whatever_api_they_and_the_caller_speak(
    relaying: Running, upstream: RecordedServer, path: str, member: str, stream: bool
) -> None:
    """The answer is decoded for the caller, and nothing of the fusion's fields reaches a member."""
    upstream.script(REPLIES[member])
    upstream.seen.clear()
    fields = {"plugins": [{"id": "fusion", "model": member}], "fusion": {"analysis_models": [member] * 2}}
    reply = ask(relaying, path, SUM, stream=stream, **fields)
    assert text_of(path, reply) == "42"
    assert fusion_of(path, reply)["clusters"][0]["members"] == [0, 1]
    assert len(upstream.seen) == 2
    for sent in upstream.seen:
        assert SUM in json.dumps(sent.json)
        assert b"fusion" not in sent.body
        assert b"plugins" not in sent.body


def test_what_a_member_of_the_callers_own_api_is_asked(relaying: Running, upstream: RecordedServer) -> None:
    """All that the chat form carries: marks for the cache, tools, limits, what ends an answer."""
    upstream.script(REPLIES["claude"])
    upstream.seen.clear()
    marked = {"type": "text", "text": SUM, "cache_control": {"type": "ephemeral"}}
    tool = {"name": "weather", "description": "d", "input_schema": {"type": "object", "properties": {}}}
    body = {
        "model": "fusion",
        "max_tokens": 77,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": [marked]}],
        "tools": [tool],
        "stop_sequences": ["END"],
        "top_k": 3,
        "fusion": {"analysis_models": ["claude"], "temperature": 0.5},
    }
    reply = httpx.post(f"{relaying.api}{MESSAGES}", json=body)
    assert reply.status_code == 200, reply.text
    (sent,) = upstream.seen
    told = sent.json
    assert told["messages"][0]["content"] == [marked]
    assert told["system"] == body["system"]
    assert told["tools"] == [tool]
    assert (told["max_tokens"], told["stop_sequences"], told["top_k"]) == (77, ["END"], 3)
    assert told["temperature"] == 0.5


def test_a_tool_that_only_one_api_runs_is_refused(relaying: Running, upstream: RecordedServer) -> None:
    """Every member would run it."""
    upstream.seen.clear()
    tool = {"type": "web_search_20250305", "name": "web_search"}
    reply = ask(relaying, MESSAGES, SUM, tools=[tool], fusion={"analysis_models": ["claude"]})
    assert reply.status_code == 400
    assert "web_search" in reply.json()["error"]["message"]
    assert not upstream.seen


@DIALECTS
def test_a_plugin_that_is_switched_off_reaches_no_model_either(
    relaying: Running, upstream: RecordedServer, path: str
) -> None:
    """The request is relayed to a model of the caller's own API."""
    name = {CHAT: "gpt", RESPONSES: "resp", MESSAGES: "claude"}[path]
    upstream.script(REPLIES[name])
    upstream.seen.clear()
    plugins = [{"id": "fusion", "enabled": False, "preset": "MARK"}, {"id": "web"}]
    reply = ask(relaying, path, SUM, model=name, plugins=plugins, fusion=None)
    assert reply.status_code == 200
    (sent,) = upstream.seen
    assert sent.json["plugins"] == [{"id": "web"}]
    assert "fusion" not in sent.json
    assert b"MARK" not in sent.body
