"""LangChain's OpenAI integration, unmodified, against a running server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from running import Running, running

CONFIG = """
[retries]
attempts = 1
[[models]]
name = "small"
provider = "scripted"
price = { input = 0.1, output = 0.4 }
ability = 0.4
skills = ["tools", "json"]
script = [
  { when = "sunny", text = "Take a hat." },
  { when = "two cities", tool_call = { name = "get_weather", arguments = '{"city": "Rome"}' } },
  { tool_call = { name = "get_weather", arguments = '{"city": "Oslo"}' } },
  { when = "weather", tool_call = { name = "get_weather", arguments = '{"city": "Rome"}' } },
  { when = "person", text = '{"name": "Ada",' }, { text = ' "age": 36}' },
  { when = "half", text = "Half an " }, { fail = "upstream_broken" },
  { turn = true, text = "Hello" }, { text = " there." },
]
[[models]]
name = "large"
provider = "scripted"
price = { input = 3.0, output = 15.0 }
ability = 0.8
skills = ["tools", "json", "vision"]
script = [{ text = "Good" }, { text = " day." }]
[[models]]
name = "vectors"
provider = "scripted"
kind = "embeddings"
price = { input = 0.02, output = 0.0 }
"""


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


@tool
def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"It is sunny in {city}."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(CONFIG, tmp_path_factory.mktemp("server")) as it:
        yield it


def chat(server: Running, model: str = "small", **more: Any) -> ChatOpenAI:
    return ChatOpenAI(model=model, base_url=server.api, api_key="none", max_retries=0, **more)


def test_invoke(server: Running) -> None:
    answer = chat(server).invoke([SystemMessage("Be kind."), HumanMessage("Hi")])
    assert answer.content == "Hello there."
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] == 3


def test_auto_within_limits(server: Running) -> None:
    """`model="auto"`, limits in `extra_body`, and who answered in the metadata."""
    cheap = chat(server, "auto", extra_body={"junctor": {"never": ["large"]}}, include_response_headers=True)
    answer = cheap.invoke("Say hello.")
    assert answer.content == "Hello there."
    assert answer.response_metadata["model_name"] == "small"
    assert answer.response_metadata["headers"]["x-junctor-decision"].startswith("dec_")
    best = chat(server, "auto", extra_body={"junctor": {"mode": "quality"}})
    assert best.invoke("Say hello.").content == "Good day."


def test_stream(server: Running) -> None:
    pieces = list(chat(server, stream_usage=True).stream("Hi"))
    assert [piece.content for piece in pieces if piece.content] == ["Hello", " there."]
    whole = pieces[0]
    for piece in pieces[1:]:
        whole += piece
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] == 3


@pytest.mark.anyio
async def test_async(server: Running) -> None:
    model = chat(server)
    assert (await model.ainvoke("Hi")).content == "Hello there."
    assert "".join([str(piece.content) async for piece in model.astream("Hi")]) == "Hello there."


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_conversation_with_tools(server: Running, streamed: bool) -> None:
    """Two calls at once, their results, and the last word."""
    model = chat(server, streaming=streamed).bind_tools([get_weather])
    asked: list[Any] = [HumanMessage("What is the weather in these two cities?")]
    answer = model.invoke(asked)
    assert isinstance(answer, AIMessage)
    assert [call["args"] for call in answer.tool_calls] == [{"city": "Rome"}, {"city": "Oslo"}]
    results = [get_weather.invoke(call) for call in answer.tool_calls]
    assert all(isinstance(result, ToolMessage) for result in results)
    assert model.invoke([*asked, answer, *results]).content == "Take a hat."


@pytest.mark.parametrize("method", ["json_schema", "json_mode"])
def test_structured_output(server: Running, method: Any) -> None:
    found = chat(server).with_structured_output(Person, method=method).invoke("Describe a person as JSON.")
    assert found == Person(name="Ada", age=36)


def test_the_responses_api(server: Running) -> None:
    """The same class over /v1/responses, with a stored response to go on from."""
    model = chat(server, use_responses_api=True)
    first = model.invoke("Hi")
    assert first.text == "Hello there."
    second = model.invoke("Go on", previous_response_id=first.response_metadata["id"])
    assert second.text == "Hello there."
    assert "".join(piece.text for piece in model.stream("Hi")) == "Hello there."


def test_embeddings(server: Running) -> None:
    vectors = OpenAIEmbeddings(
        model="vectors", base_url=server.api, api_key="none", check_embedding_ctx_length=False
    )
    assert len(vectors.embed_documents(["one", "two"])) == 2
    assert vectors.embed_query("one") == vectors.embed_documents(["one"])[0]


def test_errors_are_those_of_the_sdk(server: Running) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        chat(server, "smal").invoke("Hi")
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.UnprocessableEntityError, match="max_usd"):
        chat(server, "auto", extra_body={"junctor": {"max_usd": 0}}).invoke("Hi")


def test_a_break_in_mid_stream_is_raised(server: Running) -> None:
    said: list[str] = []
    with pytest.raises(openai.APIError, match="script"):
        for piece in chat(server).stream("half"):
            said.append(str(piece.content))
    assert "".join(said) == "Half an "
