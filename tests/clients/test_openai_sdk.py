"""The official OpenAI SDK, unmodified, against a running server."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import anthropic
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from running import Running, running

CONFIG = """
[[models]]
name = "small"
provider = "scripted"
price = { input = 0.1, output = 0.4 }
ability = 0.4
skills = ["tools", "json"]
script = [
  { when = "weather", tool_call = { name = "get_weather", arguments = '{"city": "Rome"}' } },
  { turn = true, when = "fail", fail = "upstream_refused" },
  { turn = true, when = "break", text = "Half an " },
  { fail = "upstream_broken" },
  { turn = true, text = "Hello" },
  { text = " there." },
]

[[models]]
name = "large"
provider = "scripted"
price = { input = 3.0, output = 15.0 }
ability = 0.8
skills = ["tools", "json", "vision"]
script = [{ text = "Good day." }]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(CONFIG, tmp_path_factory.mktemp("server")) as it:
        yield it


@pytest.fixture
def client(server: Running) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.api, api_key="none", max_retries=0) as it:
        yield it


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_plain(client: OpenAI) -> None:
    reply = client.chat.completions.with_raw_response.create(model="small", messages=user("Hi"))
    answer = reply.parse()
    assert answer.choices[0].message.content == "Hello there."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert reply.headers["x-junctor-model"] == "small"
    assert float(reply.headers["x-junctor-cost"]) > 0
    assert reply.headers["x-request-id"].startswith("req_")


def test_stream(client: OpenAI) -> None:
    with client.chat.completions.create(model="small", messages=user("Hi"), stream=True) as stream:
        chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello there."
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert all(c.usage is None for c in chunks), "usage was not asked for"
    assert all(c.choices for c in chunks)


def test_stream_with_usage(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="small", messages=user("Hi"), stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_tools(client: OpenAI) -> None:
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    answer = client.chat.completions.create(
        model="small", messages=user("What is the weather in Rome?"), tools=tools
    )
    call = answer.choices[0].message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city": "Rome"}')
    assert answer.choices[0].finish_reason == "tool_calls"


def test_tools_streamed(client: OpenAI) -> None:
    """The SDK's own accumulation of pieces gives the whole call."""
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    with client.chat.completions.stream(model="small", messages=user("weather?"), tools=tools) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.arguments == '{"city": "Rome"}'


def test_auto_says_what_it_decided(client: OpenAI, server: Running) -> None:
    reply = client.chat.completions.with_raw_response.create(
        model="auto", messages=user("Say hello."), extra_body={"junctor": {"mode": "quality"}}
    )
    assert reply.headers["x-junctor-model"] == "large"
    assert float(reply.headers["x-junctor-saved"]) == 0
    decision = client.get(f"{server.url}/api/decisions/{reply.headers['x-junctor-decision']}", cast_to=object)
    assert decision["chosen"] == "large"
    assert {c["name"] for c in decision["candidates"]} == {"small", "large"}
    assert decision["outcome"]["model"] == "large"
    assert decision["outcome"]["outcome"] == "ok"


def test_limits_as_headers(client: OpenAI) -> None:
    reply = client.chat.completions.with_raw_response.create(
        model="auto", messages=user("Say hello."), extra_headers={"x-junctor-only": "small"}
    )
    assert reply.headers["x-junctor-model"] == "small"
    assert float(reply.headers["x-junctor-saved"]) > 0


def test_what_no_model_satisfies_is_a_422_that_names_each_reason(client: OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.chat.completions.create(
            model="auto", messages=user("Hi"), extra_body={"junctor": {"max_usd": 0, "needs": ["vision"]}}
        )
    assert caught.value.code == "no_model_fits"
    assert "small" in caught.value.message
    assert "large" in caught.value.message
    assert "vision" in caught.value.message
    assert "max_usd" in caught.value.message


def test_an_image_goes_to_a_model_that_sees(client: OpenAI) -> None:
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    reply = client.chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": content}]
    )
    assert reply.headers["x-junctor-model"] == "large"


def test_unknown_model(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Did you mean `small`"):
        client.chat.completions.create(model="smal", messages=user("Hi"))


def test_bad_request_has_all_four_keys(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="auto", messages=user("Hi"), extra_body={"junctor": {"modde": "cost"}}
        )
    assert set(caught.value.body) == {"message", "type", "param", "code"}
    assert caught.value.param == "junctor.modde"
    assert "mode" in caught.value.message


def test_an_upstreams_refusal_reaches_the_caller(client: OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="small", messages=user("fail"))
    assert caught.value.code == "upstream_refused"


def test_a_break_in_mid_stream_is_one_error_and_no_second_answer(client: OpenAI) -> None:
    text: list[str] = []
    with pytest.raises(openai.APIError, match="script"):
        for chunk in client.chat.completions.create(model="small", messages=user("break"), stream=True):
            text.append(chunk.choices[0].delta.content or "")
    assert "".join(text) == "Half an "


def test_models(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["small", "large", "auto", "fusion"]
    assert client.models.retrieve("large").owned_by == "scripted"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("none")


@pytest.mark.anyio
async def test_async(server: Running) -> None:
    async with AsyncOpenAI(base_url=server.api, api_key="none", max_retries=0) as client:
        answer = await client.chat.completions.create(model="small", messages=user("Hi"))
        assert answer.choices[0].message.content == "Hello there."
        stream = await client.chat.completions.create(model="small", messages=user("Hi"), stream=True)
        assert "".join([c.choices[0].delta.content or "" async for c in stream]) == "Hello there."


def test_keys(tmp_path: Path) -> None:
    """A server with keys: the right one is let in, others get a 401, on every route but the probes."""
    key = "junctor_test"
    digest = hashlib.sha256(key.encode()).hexdigest()
    with running(f'{CONFIG}\n[[keys]]\nname = "team"\nsha256 = "{digest}"', tmp_path) as server:
        with OpenAI(base_url=server.api, api_key=key, max_retries=0) as client:
            assert client.chat.completions.create(model="small", messages=user("Hi")).choices
        with OpenAI(base_url=server.api, api_key=key + "x", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError, match="not known"):
                client.chat.completions.create(model="small", messages=user("Hi"))
            with pytest.raises(openai.AuthenticationError):
                client.models.list()
            with pytest.raises(openai.AuthenticationError):
                client.get(f"{server.url}/api/decisions/dec_1", cast_to=object)
            assert client.get(f"{server.url}/healthz", cast_to=object) == {"status": "ok"}


AWAY = """
[[models]]
name = "away"
provider = "scripted"
script = [{ fail = "upstream_unavailable", retry_after_s = 1 }, { turn = true, text = "Here again." }]
"""


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_the_sdks_come_back_when_they_are_told_when(tmp_path: Path, sdk: str) -> None:
    """Nobody was asked: this is no retry of ours that they would multiply."""
    with running(AWAY, tmp_path) as server:
        if sdk == "openai":
            with OpenAI(base_url=server.api, api_key="none") as client:
                reply = client.chat.completions.create(model="away", messages=user("Hi"))
            assert reply.choices[0].message.content == "Here again."
        else:
            with anthropic.Anthropic(base_url=server.url, api_key="none") as client:
                message = client.messages.create(model="away", max_tokens=9, messages=user("Hi"))
            assert message.content[0].text == "Here again."
        with closing(sqlite3.connect(server.database)) as database:
            rows = database.execute("SELECT outcome FROM ledger ORDER BY created_at").fetchall()
    assert rows == [("upstream_unavailable",), ("ok",)]
