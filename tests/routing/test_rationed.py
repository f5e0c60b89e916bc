"""The strongest model, for keys that may have only a share of its answers."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from test_routing_router import Bench, request_of, scripted

from junctor.chat import Constraints, NoModelFits, collect
from junctor.pool.ration import Ration, Rations
from junctor.routing.errors import StrongestShareUsed
from junctor.routing.rationed import explain_wait

FAILS = {"turn": True, "fail": "upstream_timeout"}
ONLY_BIG = Constraints(only=("big",))


def asked(at: int = 0, **more: object) -> object:
    return msgspec.structs.replace(request_of(**more), id=f"req_{at}", caller="k")


class Held(Bench):
    """A router whose callers' key may have so much of `big`, which is the best by far."""

    def __init__(self, share: float, *big: dict[str, object]) -> None:
        self.rations = Rations()
        models = (scripted("big", 30, 0.95, *big), scripted("small", 0.3, 0.5))
        super().__init__(*models, rations=self.rations)
        asyncio.run(self.rations.open("k", share))

    async def answer(self, at: int, **more: object) -> str:
        answer = await collect(self.router.answer(asked(at, **more)))  # pyright: ignore[reportArgumentType]
        return answer.model


@pytest.mark.anyio
async def test_beyond_its_share_the_next_best_answers() -> None:
    """And the decision says which constraint it was, and when there is room again."""
    bench = await asyncio.to_thread(Held, 0.03)
    answered = [await bench.answer(at) for at in range(104)]
    assert answered == ["big"] * 3 + ["small"] * 97 + ["big"] * 3 + ["small"]
    ruled_out = bench.saved[3].candidates[-1]
    assert (ruled_out.name, ruled_out.ruled_out_by) == ("big", "key.strongest_share")
    assert "3 of big" in str(ruled_out.refused_because)
    assert "after 97 answers" in str(ruled_out.refused_because)


@pytest.mark.anyio
async def test_a_burst_does_not_exceed_it() -> None:
    """Fifty at once, decided before any has ended."""
    bench = await asyncio.to_thread(Held, 0.05)
    answered = await asyncio.gather(*(bench.answer(at) for at in range(50)))
    assert sorted(answered) == ["big"] * 5 + ["small"] * 45


@pytest.mark.anyio
async def test_one_request_that_asks_several_times_needs_a_place_for_each() -> None:
    """A fusion asks `auto` for each of its members, all under the id of the one request."""
    bench = await asyncio.to_thread(Held, 0.05, {"delay_s": 0.01}, {"text": "here"})
    answered = await asyncio.gather(*(bench.answer(at // 8) for at in range(96)))
    assert sorted(answered) == ["big"] * 5 + ["small"] * 91


@pytest.mark.anyio
async def test_where_only_the_strongest_fits_the_refusal_says_when() -> None:
    """With a time to come back; where nothing fits at all, that is said instead."""
    bench = await asyncio.to_thread(Held, 0.01)
    assert await bench.answer(0, constraints=ONLY_BIG) == "big"
    with pytest.raises(StrongestShareUsed) as refused:
        await bench.answer(1, constraints=ONLY_BIG)
    assert "only big can answer this request" in refused.value.message
    assert "in 24 h" in refused.value.message
    assert refused.value.retry_after_s > 86_000
    assert refused.value.status == 429
    with pytest.raises(NoModelFits):
        await bench.answer(2, constraints=Constraints(only=("big",), max_usd=0.0))


@pytest.mark.anyio
async def test_a_failure_gives_the_place_back() -> None:
    """The strongest has answered nothing, so nothing of the share is used."""
    bench = await asyncio.to_thread(Held, 0.01, FAILS, {"turn": True, "text": "here"})
    assert await bench.answer(0) == "small"
    assert await bench.answer(1) == "big"
    assert await bench.answer(2) == "small"


@pytest.mark.anyio
async def test_other_keys_have_it_all() -> None:
    """Nothing stands between them and the model."""
    bench = await asyncio.to_thread(Held, 0.0)
    assert await bench.answer(0) == "small"
    others = [await collect(bench.router.answer(request_of())) for _ in range(3)]
    assert [answer.model for answer in others] == ["big"] * 3


def test_the_words_say_which_comes_first() -> None:
    """A share of nothing, places in use, and a window to wait for."""
    never = Ration(0.0, ())
    wait = never.wait("big")
    assert wait is not None
    assert explain_wait(never, "big", wait) == "this API key may have no answer of big by `auto`"
    held = Ration(0.01, ())
    held.take("r", "big")
    wait = held.wait("big")
    assert wait is not None
    assert "once an answer in progress has ended" in explain_wait(held, "big", wait)
