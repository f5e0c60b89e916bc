"""A ladder whose models are asked one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from climbing import Climb, pool
from junctor.chat import ChatRequest, Event, Finished, ModelCard, Price, Started, Text, Usage, collect
from ladders import CHEAP, STRONG, request_of, scripted

pytestmark = pytest.mark.anyio


class Counting:
    """A model that says how many are being asked, itself included."""

    def __init__(self, name: str, within: list[str], most: list[int]) -> None:
        self.card = ModelCard(name=name, price=Price(input=1, output=1, source="test"))
        self.limits = list[float | None]()
        self._within = within
        self._most = most

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        self.limits.append(request.within_s)
        self._within.append(self.card.name)
        self._most.append(len(self._within))
        await asyncio.sleep(0.01)
        yield Started(self.card.name)
        yield Text("42" if self.card.name != "cheap-b" else "41")
        yield Usage(10, 5)
        self._within.remove(self.card.name)
        yield Finished("stop")


@pytest.mark.parametrize(("in_turn", "most"), [(False, 2), (True, 1)])
async def test_in_turn_no_two_models_are_asked_at_once_and_all_of_a_rung_are_asked(
    in_turn: bool, most: int
) -> None:
    within, counts = list[str](), list[int]()
    models = [Counting(name, within, counts) for name in (*CHEAP, STRONG)]
    climb = Climb(*models, asks_in_turn=in_turn)
    answer = await collect(climb.cascade.answer(request_of(within_s=8.0)))
    assert (answer.text, max(counts)) == ("42", most)
    assert climb.asked == [["cheap-a", "cheap-b"], ["cheap-c"]]
    first, second = (model.limits[0] or 0 for model in models[:2])
    assert first <= (2 if in_turn else 4), "they share what the rung has"
    assert second <= 4


async def test_in_turn_one_that_hangs_leaves_time_for_the_next_and_for_the_strongest() -> None:
    hanging = [{"delay_s": 3600}]
    models = pool(cheap_a=hanging, cheap_c="41", strong="41")
    climb = Climb(*models, asks_in_turn=True)
    answer = await collect(climb.cascade.answer(request_of(within_s=1.0)))
    assert answer.text in ("41", "42")
    assert climb.asked[0] == ["cheap-a", "cheap-b"]
    assert climb.decision.escalation is not None
    late, said = climb.decision.escalation.steps[0].drafts
    assert "had not answered" in (late.failed or "")
    assert said.answer == "42"


async def test_in_turn_who_is_set_aside_is_passed_over() -> None:
    away = scripted("cheap-a", {"fail": "upstream_rate_limited", "retry_after_s": 60})
    climb = Climb(away, *pool()[1:], asks_in_turn=True)
    with pytest.raises(Exception, match="upstream_rate_limited"):
        await collect(climb.resilience.answer([climb.resilience.watch(away)], request_of()))
    assert (await collect(climb.cascade.answer(request_of()))).model == "cheap-b"
    assert climb.asked == [["cheap-a", "cheap-b"], ["cheap-c"]]
