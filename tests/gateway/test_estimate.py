"""What a request can cost at most."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from priced_pool import CHEAP, DEAR, NAMED, ROUTED, UNKNOWN, card, request

from junctor.chat import ChatRequest, FusionOptions, Price
from junctor.gateway.estimate import LONG_ANSWER_TOKENS, TYPICAL_ANSWER_TOKENS, Tariff
from junctor.gateway.fused import Fused, paths_of_judging
from junctor.gateway.keys import NANO

TARIFF = Tariff(
    NAMED,
    ROUTED,
)


def test_an_estimate_takes_the_dearest_that_may_answer() -> None:
    estimate = TARIFF.estimate("cheap", request("cheap", 1000), 100)
    assert (estimate.model, estimate.tokens) == ("cheap", 1100)
    assert estimate.most_nano == (100 * 1 + 1000 * 2) * NANO // 1_000_000
    assert (estimate.prompt_nano, estimate.stated_nano) == (100_000, 2_000_000)
    safe = TARIFF.estimate("safe", request("safe", 50), 100)
    assert safe.most_nano == (100 * 10 + 50 * 20) * NANO // 1_000_000, "its fallback may answer"
    assert TARIFF.estimate("auto", request(max_tokens=50), 100).most_nano == safe.most_nano
    never = TARIFF.estimate("auto", request(max_tokens=50, never=("dear",)), 100)
    only = TARIFF.estimate("auto", request(max_tokens=50, only=("cheap",)), 100)
    assert never.most_nano == only.most_nano == (100 * 1 + 50 * 2) * NANO // 1_000_000


def test_no_model_writes_more_than_it_can() -> None:
    assert TARIFF.estimate("dear", request("dear", 10**6), 0).most_nano == 100 * 20 * NANO // 1_000_000


def test_an_answer_without_a_limit_may_be_long_but_need_not() -> None:
    """A long one is reserved; none of it is a reason to refuse."""
    estimate = TARIFF.estimate("cheap", request("cheap"), 100)
    assert estimate.stated_nano == estimate.least_nano == 0
    assert estimate.most_nano == (100 + LONG_ANSWER_TOKENS * 2) * NANO // 1_000_000
    assert estimate.tokens == 100 + TYPICAL_ANSWER_TOKENS


def test_a_long_prompt_surely_costs_something() -> None:
    """Half of what we count beyond the envelope of a small one; and the answer, where its limit is stated."""
    assert TARIFF.estimate("cheap", request("cheap"), 10_100).least_nano == 5_000 * NANO // 1_000_000
    stated = TARIFF.estimate("cheap", request("cheap", 1000), 10_100)
    assert stated.least_nano == (5_000 + 1000 * 2) * NANO // 1_000_000


def test_a_price_that_nobody_knows_counts_as_nothing() -> None:
    """As in the ledger."""
    assert TARIFF.estimate("unknown", request("unknown", 1000), 100).most_nano == 0


def test_the_prompt_may_be_written_to_a_dearer_cache() -> None:
    assert TARIFF.estimate("caching", request("caching", 1), 1000).most_nano == 12_500 * NANO // 1_000_000


@pytest.mark.parametrize(
    ("hedges", "name", "asked", "calls"),
    [
        (True, "safe", request("safe"), 2),
        (True, "auto", request(), 2),
        (True, "cheap", request("cheap"), 1),
        (True, "auto", request(only=("cheap",)), 1),
        (True, "auto", request(never=("cheap", "dear")), 1),
        (True, "auto", request(max_usd=0.5), 1),
        (False, "safe", request("safe"), 1),
        (False, "auto", request(), 1),
    ],
)
def test_a_request_that_may_be_hedged_is_two_calls(
    hedges: bool, name: str, asked: ChatRequest, calls: int
) -> None:
    """Where there is another model, and no limit on the cost: by the rule of `Resilience`."""
    tariff = Tariff(
        {"safe": [CHEAP, DEAR], "cheap": [CHEAP]}, {"auto": [CHEAP, DEAR, UNKNOWN]}, hedges=hedges
    )
    said = tariff.estimate(name, asked, 100)
    assert said.calls == calls
    assert said.most_nano == TARIFF.estimate(name, asked, 100).most_nano, "of one call"


def test_a_cascade_may_cost_all_of_its_models_together() -> None:
    """Where all of them may be asked: else it does not run, and the dearest of the rest counts."""
    third = card("third", Price(input=4, output=4, source="test"))
    routed = {"auto": [CHEAP, DEAR, third, UNKNOWN]}
    tariff = Tariff({}, routed, together={"auto": ("cheap", "third", "dear")})
    estimate = tariff.estimate("auto", request(max_tokens=50), 1000)
    assert estimate.most_nano == 1000 * (1000 + 4000 + 10_000) + 50 * (2000 + 4000 + 20_000)
    assert estimate.calls == 1
    alone = tariff.estimate("auto", request(max_tokens=50, never=("third",)), 1000)
    assert alone.most_nano == 1000 * 10_000 + 50 * 20_000
    hedging = Tariff({}, routed, hedges=True, together={"auto": ("cheap", "third", "dear")})
    hedged = hedging.estimate("auto", request(max_tokens=50), 1000)
    assert hedged.calls * hedged.most_nano >= estimate.most_nano


# Fusions. `twice`: 2 calls of 1 and 2 USD a million tokens, judged by a model of 10 and 20.

NANO_A_TOKEN = NANO // 1_000_000
NAMED = {
    "cheap": [CHEAP],
    "other": [card("other", CHEAP.price)],
    "judge": [card("judge", DEAR.price)],
    "safe": [CHEAP, DEAR],
}


def fusions(hedges: bool = False, **of: Fused) -> Tariff:
    return Tariff(NAMED, {"auto": [CHEAP, DEAR]}, hedges=hedges, fused=of, presets=of)


def fused(name: str, max_tokens: int | None = None, **options: Any) -> ChatRequest:
    asked = request(name, max_tokens)
    return msgspec.structs.replace(asked, fusion=FusionOptions(**options) if options else None)


def member_nano(read: int, said: int) -> int:
    return (read * 1 + said * 2) * NANO_A_TOKEN


TWO = Fused(members=("cheap", "other"), judge="judge", mode="vote")


def test_a_fusion_may_cost_all_of_its_members_together() -> None:
    """Each as often as it is asked, and without its fallbacks."""
    tariff = fusions(two=TWO, thrice=Fused(members=("cheap", "cheap", "safe"), mode="vote"))
    estimate = tariff.estimate("two", request("two", 50), 1000)
    assert (estimate.calls, estimate.most_nano) == (1, 2 * member_nano(1000, 50))
    assert tariff.estimate("thrice", request("thrice", 50), 1000).most_nano == 3 * member_nano(1000, 50)
    assert estimate.stated_nano == 2 * 50 * 2 * NANO_A_TOKEN
    assert estimate.prompt_nano == 2 * 1000 * NANO_A_TOKEN
    assert estimate.least_nano == 2 * (450 + 50 * 2) * NANO_A_TOKEN
    assert estimate.tokens == 2 * 1050
    assert estimate.model == "two"


def test_members_that_a_request_rules_out_cost_nothing() -> None:
    tariff = fusions(two=TWO)
    for limits in ({"only": ("other",)}, {"never": ("cheap",)}):
        estimate = tariff.estimate("two", request("two", 50, **limits), 1000)
        assert estimate.most_nano == member_nano(1000, 50)


def test_a_fusions_own_limit_on_its_members_answers_goes_before_the_requests() -> None:
    tariff = fusions(two=msgspec.structs.replace(TWO, max_completion_tokens=30))
    assert tariff.estimate("two", request("two", 5000), 1000).most_nano == 2 * member_nano(1000, 30)
    own = tariff.estimate("two", fused("two", 5000, max_completion_tokens=40), 1000)
    assert own.most_nano == 2 * member_nano(1000, 40)


@pytest.mark.parametrize("mode", ["auto", "best-of", "merge"])
def test_the_judge_reads_all_answers_and_counts_at_its_own_price(mode: Any) -> None:
    """A judge at ten times the price is most of it."""
    tariff = fusions(two=msgspec.structs.replace(TWO, mode=mode))
    estimate = tariff.estimate("two", request("two"), 1000)
    members = 2 * member_nano(1000, LONG_ANSWER_TOKENS)
    least_read = 2 * (1000 + 2 * LONG_ANSWER_TOKENS) * 10 * NANO_A_TOKEN
    assert estimate.most_nano > members + least_read
    assert estimate.tokens > 2 * (1000 + TYPICAL_ANSWER_TOKENS) + 1000


def test_a_judge_that_is_not_named_may_be_the_dearest_member() -> None:
    merge = {"mode": "merge"}
    tariff = fusions(
        best=Fused(members=("cheap", "judge"), **merge),
        named=Fused(members=("cheap", "judge"), judge="judge", **merge),
        cheap=Fused(members=("cheap", "judge"), judge="cheap", **merge),
    )
    nano = {name: tariff.estimate(name, request(name), 1000).most_nano for name in ("best", "named", "cheap")}
    assert nano["best"] == nano["named"] > nano["cheap"]


def test_a_debate_asks_each_member_again_with_what_the_others_say() -> None:
    tariff = fusions(two=msgspec.structs.replace(TWO, mode="debate"))
    estimate = tariff.estimate("two", request("two", 50), 1000)
    assert estimate.most_nano == 2 * member_nano(1000, 50) + 2 * member_nano(1000 + 2 * 50, 50)


def test_one_member_is_not_judged() -> None:
    assert paths_of_judging("merge", 1, 1000, 50) == ()
    tariff = fusions(one=Fused(members=("cheap",), judge="judge"))
    assert tariff.estimate("one", request("one", 50), 1000).most_nano == member_nano(1000, 50)


def test_what_the_request_names_counts() -> None:
    """And is remembered apart: it says nothing of what the fusion as configured costs."""
    tariff = fusions(
        two=msgspec.structs.replace(TWO, presets=frozenset({"dear"})),
        dear=Fused(members=("judge",), mode="vote"),
    )
    own = tariff.estimate("two", fused("two", 50, analysis_models=("judge",) * 3), 1000)
    assert own.most_nano == 3 * 10 * member_nano(1000, 50)
    assert own.model not in ("two", tariff.estimate("two", fused("two", mode="merge"), 1000).model)
    preset = tariff.estimate("two", fused("two", 50, preset="dear"), 1000)
    assert preset.most_nano == 10 * member_nano(1000, 50)


@pytest.mark.parametrize(
    ("asked", "usd"),
    [
        (request("two", 5000), 0.001),
        (fused("two", 5000, max_usd=0.0001), 0.0001),
        (request("two", 5000, max_usd=0.0002), 0.0002),
    ],
)
def test_a_fusion_needs_no_more_than_it_may_cost_and_reserves_what_it_might(
    asked: ChatRequest, usd: float
) -> None:
    """An upstream may write more than it was asked to: only what it did cost says whether a limit is kept."""
    tariff = fusions(two=msgspec.structs.replace(TWO, max_usd=0.001))
    estimate = tariff.estimate("two", asked, 1000)
    assert (estimate.stated_nano, estimate.least_nano) == (round(usd * NANO), round(usd * NANO))
    assert estimate.most_nano == 2 * member_nano(1000, 5000)
    free = fusions(two=TWO).estimate("two", request("two", 5000), 1000)
    assert (estimate.prompt_nano, free.prompt_nano) == (free.prompt_nano, 2 * 1000 * NANO_A_TOKEN)


def test_fusions_that_requests_make_up_are_of_one_group() -> None:
    """However they differ: their costs become known one after the other."""
    tariff = fusions(two=TWO)
    kinds = [{"analysis_models": ("cheap",) * at} for at in range(1, 9)] + [{"mode": "merge"}]
    estimates = [tariff.estimate("two", fused("two", **kind), 10) for kind in kinds]
    assert len({estimate.model for estimate in estimates}) == len(kinds)
    assert {estimate.group for estimate in estimates} == {"two"}
    assert tariff.estimate("two", request("two"), 10).group == ""


def test_a_router_and_a_fusion_may_be_members() -> None:
    """The router costs what its dearest costs, or two of them where it hedges; a fusion all that it may."""
    of = {
        "two": TWO,
        "more": Fused(members=("two", "auto"), mode="vote"),
    }
    dear = 10 * member_nano(1000, 50)
    assert (
        fusions(**of).estimate("more", request("more", 50), 1000).most_nano
        == 2 * member_nano(1000, 50) + dear
    )
    hedged = fusions(hedges=True, **of).estimate("more", request("more", 50), 1000)
    assert hedged.most_nano == 2 * member_nano(1000, 50) + 2 * dear


def test_a_fusion_of_whom_nobody_has_a_price_costs_nothing() -> None:
    tariff = Tariff({"unknown": [UNKNOWN]}, {}, fused={"free": Fused(members=("unknown",) * 2)})
    assert tariff.estimate("free", request("free"), 1000).most_nano == 0
