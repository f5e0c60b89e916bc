"""A local model as the pool sees it, with a child of a few lines in place of llama.cpp."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import aclosing

import msgspec
import pytest

from junctor.chat import (
    ChatRequest,
    EngineDown,
    JunctorError,
    ModelCard,
    Started,
    Text,
    UpstreamBroken,
    WindowExceeded,
    collect,
)
from junctor.pool.transport import Transport
from junctor.serving.engine import ChildEngine
from junctor.serving.llama import LocalModel
from test_engine import CHILD, ORDER, QUICK

pytestmark = pytest.mark.anyio


def ask(text: str) -> ChatRequest:
    messages = msgspec.Raw(msgspec.json.encode([{"role": "user", "content": text}]))
    return ChatRequest(model="tiny", messages=messages, stream=True)


@pytest.fixture
async def model() -> AsyncIterator[LocalModel]:
    """A model whose engine is loading."""
    engine = ChildEngine(ORDER, (sys.executable, CHILD, "serve"), environment={}, patience=QUICK)
    transport = Transport()
    await engine.start()
    yield LocalModel(ModelCard(name="tiny"), engine, transport)
    await engine.stop()
    await transport.close()


async def test_a_request_waits_for_the_engine_and_is_answered(model: LocalModel) -> None:
    """The key and the path reach the child, and the words come back."""
    answer = await collect(model.answer(ask("hello")))
    assert answer.text == "one two three"
    assert answer.model == "tiny"


async def test_a_crash_in_the_answer_is_engine_down_and_the_next_request_is_answered(
    model: LocalModel,
) -> None:
    """Killed after the first word: what was said stays said, then one clean error, then life goes on."""
    said = list[object]()
    with pytest.raises(EngineDown, match="crashed while it answered"):
        async with aclosing(model.answer(ask("die"))) as events:
            async for event in events:
                said.append(event)
    assert said == [Started("tiny"), Text("one ")]
    assert (await collect(model.answer(ask("hello")))).text == "one two three"


async def test_a_crash_before_the_answer_is_engine_down(model: LocalModel) -> None:
    """Retryable: nothing was said."""
    with pytest.raises(EngineDown) as down:
        await collect(model.answer(ask("drop dead")))
    assert down.value.retryable
    assert down.value.model == "tiny"


@pytest.mark.parametrize(("text", "kind"), [("stumble", UpstreamBroken), ("refuse", WindowExceeded)])
async def test_an_error_of_a_living_engine_keeps_its_name(
    model: LocalModel, text: str, kind: type[JunctorError]
) -> None:
    """A 500 is not a crash, and a request longer than the window is the caller's to mend."""
    with pytest.raises(kind):
        await collect(model.answer(ask(text)))
    assert (await collect(model.answer(ask("hello")))).text == "one two three"


async def test_a_stopped_engine_is_engine_down(model: LocalModel) -> None:
    """At once, not after a timeout."""
    await model._engine.stop()
    with pytest.raises(EngineDown, match="is not running"):
        await collect(model.answer(ask("hello")))
