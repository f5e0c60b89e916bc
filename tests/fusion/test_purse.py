"""`max_usd` bounds all calls together: each has its part before it is made, and writes no more than that."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec
import pytest
from panels import Made, Picky, last_verdict, member, request_of

from junctor.chat import (
    ChatRequest,
    Constraints,
    Event,
    Finished,
    FusionOptions,
    Model,
    NoModelFits,
    Price,
    Started,
    Text,
    Usage,
)
from junctor.fusion.panel import most_usd
from junctor.fusion.purse import LEAST_TOKENS, SURE_TOKENS, OnABudget, Purse
from junctor.pool.metered import Metered, Spent
from junctor.pool.prompt import parse_prompt

pytestmark = pytest.mark.anyio

DEAR = 100.0
"USD per million tokens: a hundredth of a cent each."
A_TOKEN = DEAR / 1e6
TOKENS = parse_prompt(request_of()).tokens
"Of the prompt."


class Talker:
    """Writes as much as it may: as a model does, it keeps to `max_tokens`."""

    def __init__(self, name: str, says: str = "The answer is 42.", **card: object) -> None:
        self.card = member(name, usd=DEAR, **card).card
        self.requests = list[ChatRequest]()
        self._says = says

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        self.requests.append(request)
        yield Started(self.card.name)
        yield Text(self._says)
        yield Usage(parse_prompt(request).tokens, request.max_tokens or 5000)
        yield Finished("stop")


class Bills:
    """What all calls came to."""

    def __init__(self) -> None:
        self.calls = list[Spent]()

    def meter(self, model: Model) -> Metered:
        return Metered(model, lambda _, spent: self.calls.append(spent))

    @property
    def usd(self) -> float:
        return sum(call.usd for call in self.calls)


async def ask(model: Model, request: ChatRequest) -> list[Event]:
    return [event async for event in model.answer(request)]


async def limit_of(purse: Purse, talker: Talker, request: ChatRequest | None = None) -> int | None:
    """The `max_tokens` with which it is asked."""
    await ask(OnABudget(Bills().meter(talker), purse), request or request_of())
    return talker.requests[-1].max_tokens


async def test_an_answer_is_no_longer_than_its_part_pays_for() -> None:
    """A share that the request states; else half of what is left."""
    said = {"seed": msgspec.Raw(b"1"), "max_completion_tokens": msgspec.Raw(b"2000")}
    share = request_of(constraints=Constraints(max_usd=0.21), max_tokens=2000, passthrough=said)
    talker, purse = Talker("a"), Purse(1.0)
    assert await limit_of(purse, talker, share) == 2000
    assert talker.requests[0].passthrough == said, "its own limit holds, as it is spelt"
    share = msgspec.structs.replace(share, constraints=Constraints(max_usd=0.1))
    assert await limit_of(purse, talker, share) == 1000 - TOKENS
    assert talker.requests[1].passthrough.keys() == {"seed"}
    assert purse.left == pytest.approx(1.0 - (TOKENS + 2000) * A_TOKEN - 0.1)
    left = purse.left
    assert await limit_of(purse, talker) == int(left / 2 / A_TOKEN) - TOKENS
    assert purse.left == pytest.approx(left / 2, abs=A_TOKEN)


async def test_a_limit_that_says_nothing_is_not_stated() -> None:
    """Some models refuse one that is beyond what they can write."""
    rich = Purse(100.0)
    assert await limit_of(rich, Talker("a", window=10**6)) is None
    assert await limit_of(Purse(2 * (TOKENS + 3000) * A_TOKEN), Talker("a", max_output=2000)) is None
    assert await limit_of(Purse(2 * (TOKENS + 1500) * A_TOKEN), Talker("a", max_output=2000)) == 1500
    most = 2 * (TOKENS + SURE_TOKENS + 1000) * A_TOKEN
    told = await limit_of(Purse(most), Talker("a", window=10**6, max_output=20_000))
    assert told == SURE_TOKENS + 1000
    assert await limit_of(Purse(2 * 1.0), Talker("a", window=TOKENS + 5000)) is None


async def test_what_cannot_be_paid_for_is_not_asked() -> None:
    talker = Talker("a")
    with pytest.raises(NoModelFits, match="too little for `a`"):
        await limit_of(Purse((TOKENS + LEAST_TOKENS - 1) * A_TOKEN), talker)
    with pytest.raises(NoModelFits, match="price of `x` is not known"):
        await ask(OnABudget(member("x", price=None), Purse(1.0)), request_of())
    assert not talker.requests
    assert await limit_of(Purse((TOKENS + LEAST_TOKENS) * A_TOKEN), talker) == LEAST_TOKENS
    free = OnABudget(member("free", price=Price(input=0, output=0, source="test")), Purse(0.0))
    assert await ask(free, request_of())


async def test_two_at_the_same_time_have_enough_where_there_is_enough_for_both() -> None:
    """A judge is asked in two orders at once: the first leaves the second what it needs."""
    purse = Purse(2 * (TOKENS + 500) * A_TOKEN)
    talkers = [Talker("a"), Talker("b")]
    running = [OnABudget(Bills().meter(talker), purse).answer(request_of()) for talker in talkers]
    for events in running:
        await anext(events)
    assert [talker.requests[0].max_tokens for talker in talkers] == [500, 500]
    assert purse.left == pytest.approx(0.0)
    for events in running:
        await events.aclose()
    assert purse.left > 0, "what they did not use is there again"


@pytest.mark.parametrize("mode", ["auto", "vote", "best-of", "merge", "debate"])
@pytest.mark.parametrize(
    "says", [("The answer is 42.", "The answer is 41."), ("Roses are red.", "It rains.")]
)
@pytest.mark.parametrize("max_usd", [0.11, 0.2, 0.5, 1.0, 2.0])
async def test_all_calls_of_a_fusion_together_keep_to_the_limit(
    mode: str, says: tuple[str, str], max_usd: float
) -> None:
    """Members that write all that they may, in both rounds; a judge and a writer who do, too."""
    bills = Bills()
    models = [Talker("a", says[0]), Talker("b", says[1]), Talker("j", '{"best": "A"}')]
    made = Made(map(bills.meter, models), members=("a", "b"), judge="j", mode=mode)
    verdict = last_verdict(await made.ask(max_usd=max_usd))
    assert "left_out" not in [it.status for it in verdict.members]
    assert 0 < bills.usd <= max_usd * 1.01
    assert verdict.usd == pytest.approx(bills.usd)


@pytest.mark.parametrize("max_usd", [0.02, 0.5, 1.0, 5.0])
async def test_a_fusion_within_keeps_to_its_share(max_usd: float) -> None:
    """It is asked where all that it may come to fits, and then keeps to that by itself."""
    bills = Bills()
    inner = Made(map(bills.meter, (Talker("a"), Talker("b"), Talker("c"))), name="inner", mode="best-of")
    outer = Made([inner.fusion, bills.meter(member("d", "41"))], name="outer", abilities={"inner": 0.9})
    estimate = inner.fusion.most_usd(request_of(), TOKENS, 500)
    assert estimate is not None
    assert estimate > 3 * (TOKENS + 500) * A_TOKEN, "its judge counts, too"
    verdict = last_verdict(await outer.ask(max_usd=max_usd))
    nested = verdict.members[0]
    assert nested.status == ("answered" if max_usd > estimate else "left_out")
    assert "max_usd" in (nested.reason or "max_usd")
    assert bills.usd <= max_usd * 1.01


async def test_what_a_fusion_may_come_to_is_no_more_than_it_may_cost() -> None:
    models = [Talker("a"), Talker("b")]
    free = Made(models, mode="vote").fusion
    assert most_usd(free, request_of(), 100, 500) == pytest.approx(2 * 600 * A_TOKEN)
    assert most_usd(free, request_of(constraints=Constraints(never=("a",))), 100, 500) == pytest.approx(
        600 * A_TOKEN
    )
    assert most_usd(Made(models, mode="vote", max_usd=0.01).fusion, request_of(), 100, 500) == 0.01
    limited = Made(models, mode="vote", max_completion_tokens=10).fusion
    assert most_usd(limited, request_of(), 100, 500) == pytest.approx(2 * 110 * A_TOKEN)
    debate = Made(models, mode="debate").fusion
    assert (most_usd(debate, request_of(), 100, 500) or 0) > 4 * 600 * A_TOKEN
    assert most_usd(Made([member("x", price=None)]).fusion, request_of(), 100, 500) is None


async def test_a_judge_without_a_price_is_done_without() -> None:
    judge = Picky("j", likes="41")
    judge.card = msgspec.structs.replace(judge.card, price=None)
    members = [member("a", "42"), member("b", "41")]
    made = Made([*members, judge], members=("a", "b"), judge="j", mode="best-of")
    request = msgspec.structs.replace(request_of(), fusion=FusionOptions(max_usd=1.0))
    verdict = last_verdict(await made.ask(request))
    assert not judge.requests
    assert "price of `j` is not known" in (verdict.degraded or "")


async def test_without_a_limit_nothing_is_limited() -> None:
    talkers = [Talker("a"), Talker("b")]
    await Made(talkers).ask()
    assert [talker.requests[0].max_tokens for talker in talkers] == [None, None]
    assert [talker.requests[0].constraints for talker in talkers] == [Constraints()] * 2
