"""What a key may ask for, and what that can cost at most."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from junctor.chat import ChatRequest, Constraints, ModelCard, ModelForbidden, Price
from junctor.gateway.keys import NANO, Caller
from junctor.gateway.menu import LONG_ANSWER_TOKENS, TYPICAL_ANSWER_TOKENS, Menu


def card(name: str, price: Price | None, **more: int) -> ModelCard:
    return ModelCard(name=name, price=price, **more)


CHEAP = card("cheap", Price(input=1, output=2, source="test"))
DEAR = card("dear", Price(input=10, output=20, source="test"), max_output=100)
UNKNOWN = card("unknown", None)
CACHING = card("caching", Price(input=10, output=0, cache_write=12.5, source="test"))
MENU = Menu(
    {
        "cheap": [CHEAP],
        "dear": [DEAR],
        "unknown": [UNKNOWN],
        "caching": [CACHING],
        "safe": [CHEAP, DEAR],
    },
    {"auto": [CHEAP, DEAR, UNKNOWN]},
)


def request(model: str = "auto", max_tokens: int | None = None, **limits: Any) -> ChatRequest:
    return ChatRequest(
        model=model,
        messages=msgspec.Raw(b'[{"role":"user","content":"Hi"}]'),
        max_tokens=max_tokens,
        constraints=Constraints(**limits),
    )


def caller(*models: str) -> Caller:
    return Caller(key_id="k", name="ann", models=models, is_held=True)


def test_a_key_without_a_list_may_use_every_model() -> None:
    asked = request("dear")
    assert MENU.permit(caller(), "dear", asked) is asked
    assert MENU.permit(caller(), "auto", asked) is asked


def test_a_key_may_use_the_models_of_its_list_alone() -> None:
    asked = request("cheap")
    assert MENU.permit(caller("cheap"), "cheap", asked) is asked
    with pytest.raises(ModelForbidden, match="may not use the model `dear`; it may use: `cheap`") as caught:
        MENU.permit(caller("cheap"), "dear", request("dear"))
    assert (caught.value.status, caught.value.code, caught.value.param) == (403, "model_not_allowed", "model")


def test_a_router_chooses_among_the_keys_models() -> None:
    assert MENU.permit(caller("cheap", "unknown"), "auto", request()).constraints.only == ("cheap", "unknown")
    assert MENU.permit(caller("cheap", "auto"), "auto", request()).constraints.only == ("cheap",)


def test_a_caller_can_narrow_that_and_not_widen_it() -> None:
    both = caller("cheap", "unknown")
    narrowed = MENU.permit(both, "auto", request(only=("cheap", "dear"), never=("unknown",)))
    assert narrowed.constraints == Constraints(only=("cheap",), never=("unknown",))
    with pytest.raises(ModelForbidden, match="asks for `dear` only"):
        MENU.permit(both, "auto", request(only=("dear",)))


def test_a_key_for_the_router_alone_may_not_name_a_model() -> None:
    asked = request()
    assert MENU.permit(caller("auto"), "auto", asked) is asked
    with pytest.raises(ModelForbidden):
        MENU.permit(caller("auto"), "cheap", request("cheap"))


def test_a_key_whose_models_have_left_the_pool_gets_none() -> None:
    """And not, by an empty list, all of them."""
    with pytest.raises(ModelForbidden, match="nothing to choose from"):
        MENU.permit(caller("gone"), "auto", request())


def test_an_estimate_takes_the_dearest_that_may_answer() -> None:
    estimate = MENU.estimate("cheap", request("cheap", 1000), 100)
    assert (estimate.model, estimate.tokens) == ("cheap", 1100)
    assert estimate.most_nano == (100 * 1 + 1000 * 2) * NANO // 1_000_000
    assert (estimate.prompt_nano, estimate.stated_nano) == (100_000, 2_000_000)
    safe = MENU.estimate("safe", request("safe", 50), 100)
    assert safe.most_nano == (100 * 10 + 50 * 20) * NANO // 1_000_000, "its fallback may answer"
    assert MENU.estimate("auto", request(max_tokens=50), 100).most_nano == safe.most_nano
    never = MENU.estimate("auto", request(max_tokens=50, never=("dear",)), 100)
    only = MENU.estimate("auto", request(max_tokens=50, only=("cheap",)), 100)
    assert never.most_nano == only.most_nano == (100 * 1 + 50 * 2) * NANO // 1_000_000


def test_no_model_writes_more_than_it_can() -> None:
    assert MENU.estimate("dear", request("dear", 10**6), 0).most_nano == 100 * 20 * NANO // 1_000_000


def test_an_answer_without_a_limit_may_be_long_but_need_not() -> None:
    """A long one is reserved; none of it is a reason to refuse."""
    estimate = MENU.estimate("cheap", request("cheap"), 100)
    assert estimate.stated_nano == estimate.least_nano == 0
    assert estimate.most_nano == (100 + LONG_ANSWER_TOKENS * 2) * NANO // 1_000_000
    assert estimate.tokens == 100 + TYPICAL_ANSWER_TOKENS


def test_a_long_prompt_surely_costs_something() -> None:
    """Half of what we count beyond the envelope of a small one; and the answer, where its limit is stated."""
    assert MENU.estimate("cheap", request("cheap"), 10_100).least_nano == 5_000 * NANO // 1_000_000
    stated = MENU.estimate("cheap", request("cheap", 1000), 10_100)
    assert stated.least_nano == (5_000 + 1000 * 2) * NANO // 1_000_000


def test_a_price_that_nobody_knows_counts_as_nothing() -> None:
    """As in the ledger."""
    assert MENU.estimate("unknown", request("unknown", 1000), 100).most_nano == 0


def test_the_prompt_may_be_written_to_a_dearer_cache() -> None:
    assert MENU.estimate("caching", request("caching", 1), 1000).most_nano == 12_500 * NANO // 1_000_000


@pytest.mark.parametrize("names", [(), ("cheap",), ("auto",), ("auto", "dear"), ("safe",), ("gone",)])
@pytest.mark.parametrize("name", ["cheap", "dear", "safe", "auto"])
def test_what_it_permits_is_what_it_lets_pass(names: tuple[str, ...], name: str) -> None:
    """One rule, asked in two ways."""
    try:
        MENU.permit(caller(*names), name, request(name))
    except ModelForbidden:
        assert not MENU.permits(caller(*names), name)
    else:
        assert MENU.permits(caller(*names), name)


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
    menu = Menu({"safe": [CHEAP, DEAR], "cheap": [CHEAP]}, {"auto": [CHEAP, DEAR, UNKNOWN]}, hedges=hedges)
    said = menu.estimate(name, asked, 100)
    assert said.calls == calls
    assert said.most_nano == MENU.estimate(name, asked, 100).most_nano, "of one call"


def test_a_cascade_may_cost_all_of_its_models_together() -> None:
    """Where all of them may be asked: else it does not run, and the dearest of the rest counts."""
    third = card("third", Price(input=4, output=4, source="test"))
    routed = {"auto": [CHEAP, DEAR, third, UNKNOWN]}
    menu = Menu({}, routed, together={"auto": ("cheap", "third", "dear")})
    estimate = menu.estimate("auto", request(max_tokens=50), 1000)
    assert estimate.most_nano == 1000 * (1000 + 4000 + 10_000) + 50 * (2000 + 4000 + 20_000)
    assert estimate.calls == 1
    alone = menu.estimate("auto", request(max_tokens=50, never=("third",)), 1000)
    assert alone.most_nano == 1000 * 10_000 + 50 * 20_000
    hedging = Menu({}, routed, hedges=True, together={"auto": ("cheap", "third", "dear")})
    hedged = hedging.estimate("auto", request(max_tokens=50), 1000)
    assert hedged.calls * hedged.most_nano >= estimate.most_nano
