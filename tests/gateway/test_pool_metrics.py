"""What Prometheus is told of the pool."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec
import pytest

from junctor.chat import ChatRequest, Event, Finished, ModelCard, Started, Text, UpstreamBroken
from junctor.gateway.metrics import Metrics
from junctor.pool.choice import Policy
from junctor.pool.resilient import Resilience, Resilient

pytestmark = pytest.mark.anyio


class Moody:
    """A model that fails as often as it is told to."""

    def __init__(self, name: str, failures: int) -> None:
        self.card = ModelCard(name=name)
        self._left = failures

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        if self._left:
            self._left -= 1
            raise UpstreamBroken("not today", model=self.card.name)
        yield Started(self.card.name)
        yield Text("yes")
        yield Finished("stop")


async def ask(model: Resilient) -> None:
    request = ChatRequest(model="a", messages=msgspec.Raw(b"[]"))
    _ = [event async for event in model.answer(request)]


async def test_health_and_counts_are_read_at_the_scrape() -> None:
    """Five failures in a row set a model aside; the other answers."""
    metrics, resilience = Metrics(), Resilience(Policy(attempts=1))
    metrics.watch_pool(lambda: resilience)
    model = Resilient([Moody("a", 99), Moody("b", 0)], resilience)
    text = metrics.render().decode()
    assert 'junctor_model_state{model="a",state="ok"} 1.0' in text
    for _ in range(6):
        await ask(model)
    text = metrics.render().decode()
    assert 'junctor_model_state{model="a",state="failing"} 1.0' in text
    assert 'junctor_model_state{model="b",state="ok"} 1.0' in text
    assert "junctor_fallbacks_total 5.0" in text
    assert 'junctor_set_aside_total{model="a",why="failing"} 1.0' in text


def test_before_there_is_a_pool_nothing_is_said_of_one() -> None:
    metrics = Metrics()
    metrics.watch_pool(lambda: None)
    assert b"junctor_model_state" not in metrics.render()
