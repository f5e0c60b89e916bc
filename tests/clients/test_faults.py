"""Upstreams that fail, seen by the official SDK at the front door: one clear error, one row, nothing lost."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from faults.fault_server import TEXT, FaultServer, running_fault_server
from running import Running, running

KEY = "sk-canary-of-the-provider"
BEFORE = {
    "401": "upstream_unauthorised",
    "403": "upstream_unauthorised",
    "429": "upstream_rate_limited",
    "500": "upstream_broken",
    "529": "upstream_broken",
    "400": "some_code",
    "too-long": "context_length_exceeded",
    "redirect": "upstream_broken",
    "html": "upstream_broken",
    "garbage": "upstream_broken",
    "not-http": "upstream_broken",
    "reset": "upstream_broken",
    "reset-after-headers": "upstream_broken",
    "hang": "upstream_timeout",
    "hang-after-headers": "upstream_timeout",
    "huge-headers": "upstream_broken",
}
"Fault before the first text -> code that the caller sees."
MIDDLE = {
    "reset-mid-stream": "upstream_broken",
    "hang-mid-stream": "upstream_timeout",
    "truncated": "upstream_broken",
    "error-mid-stream": "upstream_broken",
}
"Fault after the first text of a stream -> code of the error event."
FINE = ("ok", "no-usage", "double-done", "trickle", "until-close", "does-not-stream", "close-after")
"Odd, but whole answers."
DIALECTS = ("openai_chat", "anthropic_messages")


@pytest.fixture(scope="module")
def upstream() -> Iterator[FaultServer]:
    """A fault server on an event loop of its own."""
    ready, done, box = threading.Event(), threading.Event(), []

    async def serve() -> None:
        async with running_fault_server() as faults:
            box.append(faults)
            ready.set()
            while not done.is_set():
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait(10)
    yield box[0]
    done.set()
    thread.join(10)


@pytest.fixture(scope="module")
def server(upstream: FaultServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    models = "".join(
        f"""
        [[models]]
        name = "{fault}@{dialect}"
        provider = "test"
        base_url = "{upstream.base_url(fault)}"
        dialect = "{dialect}"
        api_key_env = "PROVIDER_KEY"
        model = "upstream-name"
        price = {{ input = 1, output = 2, cached_input = 0.5 }}
        """
        for fault in (*BEFORE, *MIDDLE, *FINE)
        for dialect in DIALECTS
    )
    config = f"""
    [timeouts]
    first_token_s = 0.3
    idle_s = 0.3
    total_s = 1.0
    [retries]
    attempts = 1
    {models}
    [[models]]
    name = "saved@openai_chat"
    provider = "test"
    base_url = "{upstream.base_url("500")}"
    fallbacks = ["ok@anthropic_messages"]
    """
    with running(config, tmp_path_factory.mktemp("server"), PROVIDER_KEY=KEY) as it:
        yield it


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.api, api_key="x", max_retries=0) as it:
        yield it


def rows(server: Running) -> dict[str, dict[str, Any]]:
    with sqlite3.connect(server.database) as connection:
        connection.row_factory = sqlite3.Row
        return {row["request_id"]: dict(row) for row in connection.execute("SELECT * FROM ledger")}


def ask(client: openai.OpenAI, model: str, *, stream: bool) -> tuple[str, Any, str]:
    """(text, the error if there was one, the request's id)."""
    text: list[str] = []
    messages = [{"role": "user", "content": "Hi"}]
    try:
        reply = client.chat.completions.with_raw_response.create(
            model=model, messages=messages, stream=stream
        )
    except openai.APIStatusError as error:
        return "", error, error.response.headers["x-request-id"]
    request_id = reply.headers["x-request-id"]
    if not stream:
        return reply.parse().choices[0].message.content, None, request_id
    try:
        for chunk in reply.parse():
            text.extend(choice.delta.content or "" for choice in chunk.choices)
    except openai.APIError as error:
        return "".join(text), error, request_id
    return "".join(text), None, request_id


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("fault", BEFORE)
def test_a_fault_before_the_first_text_is_a_status(
    server: Running, client: openai.OpenAI, fault: str, stream: bool, dialect: str
) -> None:
    text, error, request_id = ask(client, f"{fault}@{dialect}", stream=stream)
    assert text == ""
    assert isinstance(error, openai.APIStatusError)
    assert set(error.body) == {"message", "type", "param", "code"}
    if fault != "400" or dialect == "openai_chat":  # Anthropic's errors have no code of their own
        assert error.code == BEFORE[fault]
    assert KEY not in error.message
    row = rows(server)[request_id]
    # An upstream may choose its code: the caller sees it, the ledger keeps ours.
    outcome = "upstream_refused" if fault == "400" else error.code
    assert (row["outcome"], row["http_status"]) == (outcome, error.status_code)
    # Who asked for a pause a moment ago is not asked again.
    assert row["attempts"] == 1 or fault == "429"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("fault", MIDDLE)
def test_a_fault_in_mid_stream_is_one_error_event(
    server: Running, client: openai.OpenAI, fault: str, dialect: str
) -> None:
    text, error, request_id = ask(client, f"{fault}@{dialect}", stream=True)
    assert text
    assert TEXT.startswith(text)
    assert error is not None
    row = rows(server)[request_id]
    assert (row["outcome"], row["http_status"]) == (MIDDLE[fault], 200)
    assert row["usd_nano"] > 0, "what was said before the fault has been paid for"


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("fault", FINE)
def test_an_odd_but_whole_answer_is_an_answer(
    server: Running, client: openai.OpenAI, fault: str, stream: bool, dialect: str
) -> None:
    if (fault, stream, dialect) == ("no-usage", False, "anthropic_messages"):
        pytest.skip("a whole Messages reply always has its usage")
    text, error, request_id = ask(client, f"{fault}@{dialect}", stream=stream)
    assert (text, error) == (TEXT, None)
    row = rows(server)[request_id]
    assert row["outcome"] == "ok"
    assert row["usd_nano"] > 0


def test_a_fallback_across_dialects(server: Running, client: openai.OpenAI) -> None:
    """OpenAI's upstream is down; Anthropic's answers, in the words of the caller's dialect."""
    text, error, request_id = ask(client, "saved@openai_chat", stream=True)
    assert (text, error) == (TEXT, None)
    assert rows(server)[request_id]["model"] == "ok@anthropic_messages"


def test_the_upstream_gets_its_own_name_and_key_and_nothing_of_ours(
    client: openai.OpenAI, upstream: FaultServer
) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    client.chat.completions.create(
        model="ok@openai_chat",
        messages=messages,
        extra_body={"junctor": {"mode": "cost"}, "a_new_field": [1, 2]},
        extra_headers={"x-junctor-quality": "0"},
    )
    seen = upstream.seen[-1]
    assert seen.json["model"] == "upstream-name"
    assert seen.json["a_new_field"] == [1, 2]
    assert "junctor" not in seen.json
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert not [name for name in seen.headers if name.startswith("x-junctor")]
