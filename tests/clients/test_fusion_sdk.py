"""The official SDKs, unmodified, read what a fusion says beside its answer, and its progress."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from running import Running, running
from served_fusion import ANALYSIS, CONFIG, DIFFER, OPEN, SUM

ANSWER = "They have \\boxed{42}."
WRITTEN = "Go by train, and see the Forum."
EVENTS: dict[str, Any] = {"fusion": {"events": True}}
STEPS = ["member_done", "member_done", "member_done", "judging"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(CONFIG, tmp_path_factory.mktemp("fusion")) as it:
        yield it


@pytest.fixture
def client(server: Running) -> Iterator[OpenAI]:
    with OpenAI(base_url=server.api, api_key="none", max_retries=0) as it:
        yield it


@pytest.fixture
def claude(server: Running) -> Iterator[Anthropic]:
    with Anthropic(base_url=server.url, api_key="none", max_retries=0) as it:
        yield it


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def extra(of: Any, name: str = "fusion") -> Any:
    return (of.model_extra or {}).get(name)


# OpenAI's chat API.


def test_openai_chat_whole(client: OpenAI) -> None:
    reply: Any = client.chat.completions.create(
        model="judge", messages=user(DIFFER), extra_body={"fusion": {"quorum": 3}}
    )
    assert reply.fusion["path"] == "vote+judge"
    assert reply.model_extra["fusion"]["rulings"][0]["order"]
    assert reply.usage.prompt_tokens == 500


def test_openai_chat_streamed(client: OpenAI) -> None:
    chunks = [
        *client.chat.completions.create(
            model="fusion",
            messages=user(SUM),
            stream=True,
            stream_options={"include_usage": True},
        )
    ]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ANSWER
    (last,) = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    assert extra(last)["path"] == "vote"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 20


def test_openai_chat_streamed_with_progress(client: OpenAI) -> None:
    chunks = [
        *client.chat.completions.create(model="fusion", messages=user(OPEN), stream=True, extra_body=EVENTS)
    ]
    steps = [extra(chunk, "fusion_event") for chunk in chunks if extra(chunk, "fusion_event")]
    assert [step["type"] for step in steps] == STEPS
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == WRITTEN


@pytest.mark.parametrize("tells", [False, True])
def test_openais_chat_helper(client: OpenAI, tells: bool) -> None:
    """`stream()`, which builds the whole reply from the chunks."""
    with client.chat.completions.stream(
        model="fusion", messages=user(OPEN), extra_body=EVENTS if tells else {}
    ) as stream:
        chunks = [event.chunk for event in stream if event.type == "chunk"]
        final = stream.get_final_completion()
    assert final.choices[0].message.content == WRITTEN
    assert final.choices[0].finish_reason == "stop"
    assert [extra(chunk)["path"] for chunk in chunks if extra(chunk)] == ["merge"]
    assert sum(extra(chunk, "fusion_event") is not None for chunk in chunks) == (len(STEPS) if tells else 0)


def test_openai_names_a_mistake(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="fusion", messages=user(SUM), extra_body={"fusion": {"qorum": 2}}
        )
    assert caught.value.param == "fusion.qorum"
    assert "did you mean `quorum`" in str(caught.value)


def test_openrouters_plugin_goes_as_their_examples_have_it(client: OpenAI) -> None:
    reply: Any = client.chat.completions.create(
        model="openrouter/fusion",
        messages=user(OPEN),
        extra_body={
            "plugins": [{"id": "fusion", "analysis_models": ["small", "large"], "model": "judge"}],
        },
    )
    assert [it["model"] for it in reply.fusion["members"]] == ["small", "large"]
    assert set(reply.fusion["analysis"]) == set(ANALYSIS)


# OpenAI's Responses API.


def test_openai_responses_whole(client: OpenAI) -> None:
    reply: Any = client.responses.create(model="fusion", input=SUM)
    assert reply.output_text == ANSWER
    assert reply.fusion["path"] == "vote"
    stored: Any = client.responses.retrieve(reply.id)
    assert stored.fusion == reply.fusion


@pytest.mark.parametrize("tells", [False, True])
def test_openai_responses_streamed(client: OpenAI, tells: bool) -> None:
    events: list[Any] = [
        *client.responses.create(model="fusion", input=OPEN, stream=True, extra_body=EVENTS if tells else {})
    ]
    steps = [event.type for event in events if event.type.startswith("fusion.")]
    assert steps == ([f"fusion.{step}" for step in STEPS] if tells else [])
    assert [event.sequence_number for event in events] == [*range(len(events))]
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == WRITTEN
    assert extra(events[-1].response)["path"] == "merge"


@pytest.mark.parametrize("tells", [False, True])
def test_openais_responses_helper(client: OpenAI, tells: bool) -> None:
    """`stream()`, which builds snapshots from the events."""
    with client.responses.stream(model="fusion", input=OPEN, extra_body=EVENTS if tells else {}) as stream:
        told = [event.type for event in stream]
        final = stream.get_final_response()
    assert final.output_text == WRITTEN
    assert extra(final)["judge"] == "judge"
    assert ("fusion.judging" in told) is tells


# Anthropic's Messages API.


def test_anthropic_whole(claude: Anthropic) -> None:
    reply: Any = claude.messages.create(model="fusion", max_tokens=500, messages=user(SUM))
    assert reply.content[0].text == ANSWER
    assert reply.fusion["path"] == "vote"
    assert extra(reply)["members"][2]["status"] == "spared"


@pytest.mark.parametrize("tells", [False, True])
def test_anthropic_streamed(claude: Anthropic, tells: bool) -> None:
    events: list[Any] = [
        *claude.messages.create(
            model="fusion",
            max_tokens=500,
            messages=user(OPEN),
            stream=True,
            extra_body=EVENTS if tells else {},
        )
    ]
    assert events[0].type == "message_start"
    texts = [event.delta.text for event in events if event.type == "content_block_delta"]
    assert "".join(texts) == WRITTEN
    (delta,) = [event for event in events if event.type == "message_delta"]
    assert extra(delta)["path"] == "merge"
    steps = [event.type for event in events if event.type.startswith("fusion.")]
    assert steps == ([f"fusion.{step}" for step in STEPS] if tells else [])


@pytest.mark.parametrize("tells", [False, True])
def test_anthropics_helper(claude: Anthropic, tells: bool) -> None:
    """`stream()`, which builds the whole message from the events."""
    with claude.messages.stream(
        model="fusion", max_tokens=500, messages=user(OPEN), extra_body=EVENTS if tells else {}
    ) as stream:
        verdicts = [extra(event) for event in stream if event.type == "message_delta"]
        final = stream.get_final_message()
    assert final.content[0].type == "text"
    assert final.content[0].text == WRITTEN
    assert final.usage.input_tokens == 500
    assert [verdict["path"] for verdict in verdicts] == ["merge"]


@pytest.mark.parametrize("tells", [False, True])
def test_a_tool_call_that_members_agree_on(client: OpenAI, tells: bool) -> None:
    """One call comes out, with one id, however many have made it."""
    tool: Any = {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
    }
    with client.chat.completions.stream(
        model="pair",
        messages=user("The weather, please."),
        tools=[tool],
        extra_body={"fusion": {"events": tells, "mode": "vote"}},
    ) as stream:
        final = stream.get_final_completion()
    (call,) = final.choices[0].message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": "Rome"}')
    assert final.choices[0].finish_reason == "tool_calls"
