"""Who is asked, and what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import pytest
from panels import member, request_of

from junctor.chat import BadRequest, ChatRequest, Constraints, Model, NoModelFits, UnsupportedByModel
from junctor.fusion.panel import Seat, check, seat
from junctor.fusion.plan import Plan, keep_to
from junctor.fusion.weights import Weights
from junctor.pool.prompt import parse_prompt
from junctor.pool.scripted import ScriptedModel, parse_script


class Behind(ScriptedModel):
    """It asks others, who take 30 cents for an answer together."""

    def __init__(self, name: str) -> None:
        super().__init__(member(name, price=None).card, parse_script([{"text": "42"}]))

    def most_usd(self, request: ChatRequest, tokens: int, answer_tokens: int) -> float:
        return 0.3


MODELS: Mapping[str, Model] = {
    "a": member("a"),
    "b": member("b", usd=10.0),
    "blind": member("blind", skills=frozenset()),
    "small": member("small", window=5),
    "unknown": member("unknown", price=None),
    "joint": Behind("joint"),
}
IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.test/y.png"}}]}]


def seats_of(
    *names: str,
    request: ChatRequest | None = None,
    away: Mapping[str, str] | None = None,
    abilities: Mapping[str, float] | None = None,
    **plan: object,
) -> Sequence[Seat]:
    request = request or request_of()
    wanted = Plan(name="fusion", members=names, **plan)  # pyright: ignore[reportArgumentType]
    check(wanted, MODELS, request)
    kept = keep_to(wanted, request.constraints)
    return seat(kept, MODELS, request, parse_prompt(request), weights=Weights(abilities), away=away or {})


def test_each_member_is_asked_what_the_caller_asks() -> None:
    request = request_of(
        max_tokens=50, stream=True, passthrough={"seed": msgspec.Raw(b"1"), "n": msgspec.Raw(b"3")}
    )
    one, two = seats_of("a", "a", request=request)
    assert one == two
    assert one.request.messages == request.messages
    assert (one.request.model, one.request.id, one.request.stream) == ("a", "req_1", False)
    assert one.request.max_tokens == 50
    assert one.request.passthrough == {"seed": msgspec.Raw(b"1")}, "one answer each: `n` is not for members"


def test_what_the_plan_says_of_members_goes_before_what_the_request_says() -> None:
    said = {"temperature": msgspec.Raw(b"1.5"), "max_completion_tokens": msgspec.Raw(b"50")}
    request = request_of(max_tokens=50, passthrough=said)
    (asked,) = seats_of(
        "a",
        request=request,
        temperature=0.2,
        max_completion_tokens=9,
        reasoning=msgspec.Raw(b'{"effort":"low"}'),
    )
    assert asked.request.max_tokens == 9
    assert msgspec.json.encode(asked.request.passthrough) == b'{"temperature":0.2,"reasoning_effort":"low"}'


def test_reasoning_that_says_more_than_how_much_is_passed_on_as_it_is() -> None:
    told = msgspec.Raw(b'{"effort":"low","max_tokens":2000}')
    (asked,) = seats_of("a", reasoning=told)
    assert msgspec.json.encode(asked.request.passthrough) == b'{"reasoning":' + bytes(told) + b"}"


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (Constraints(only=("b",)), "not among those asked for, or that this key may use"),
        (Constraints(never=("a",)), "excluded by `never`"),
        (Constraints(needs=("vision",)), "lacks vision"),
        (Constraints(min_window=100_000), "its window of 8192 tokens is too small"),
    ],
)
def test_a_member_that_the_callers_limits_rule_out_is_not_asked(limits: Constraints, why: str) -> None:
    if limits.only or limits.never:
        first, second = seats_of("a", "b", request=request_of(constraints=limits))
        assert (first.left_out, second.left_out) == (why, None)
    else:
        with pytest.raises(NoModelFits, match=why):
            seats_of("a", request=request_of(constraints=limits))


def test_a_member_that_chooses_others_keeps_to_the_callers_limits() -> None:
    limits = Constraints(never=("b",), mode="cost", max_usd=9.0, needs=("json",))
    (asked,) = seats_of("a", request=request_of(constraints=limits))
    assert asked.request.constraints == Constraints(never=("b",), mode="cost", max_usd=4.5)
    (alone,) = seats_of("a", request=request_of(constraints=limits), mode="vote")
    assert alone.request.constraints.max_usd == 9.0, "nobody else is paid"
    (free,) = seats_of("a", request=request_of(constraints=Constraints(mode="cost")))
    assert free.request.constraints == Constraints(mode="cost")


def test_members_that_cannot_read_the_request_are_not_asked() -> None:
    small, a = seats_of("small", "a")
    assert small.left_out == "its window of 5 tokens is too small"
    assert a.left_out is None
    messages = msgspec.Raw(msgspec.json.encode(IMAGE))
    with pytest.raises(NoModelFits, match="a: lacks vision"):
        seats_of("a", request=msgspec.structs.replace(request_of(), messages=messages))


def test_json_is_a_limit_where_it_is_stated_and_not_where_the_request_has_a_format() -> None:
    """What a member says counts all the same where its API knows of no format."""
    formatted = msgspec.Raw(b'{"type":"json_object"}')
    soft = seats_of("a", "blind", request=request_of(response_format=formatted))
    assert [it.left_out for it in soft] == [None, None]
    stated = Constraints(needs=("json",))
    for response_format in (None, formatted):
        hard = seats_of("a", "blind", request=request_of(constraints=stated, response_format=response_format))
        assert [it.left_out for it in hard] == [None, "lacks json"]


def test_who_is_set_aside_is_not_asked() -> None:
    a, b = seats_of("a", "b", away={"b": "failed five times"})
    assert (a.left_out, b.left_out) == (None, "failed five times")


def test_the_weakest_are_left_out_until_the_rest_fit_the_limit() -> None:
    request = request_of(max_tokens=1000)
    abilities = {"a": 0.6, "b": 0.9}
    free = seats_of("a", "b", "a", request=request, abilities=abilities)
    limit = free[1].usd + free[0].usd * 1.5
    told = seats_of("a", "b", "a", request=request, abilities=abilities, max_usd=limit)
    assert [it.left_out is None for it in told] == [True, True, False]
    assert "max_usd" in (told[2].left_out or "")
    capped = request_of(max_tokens=1000, constraints=Constraints(max_usd=limit))
    assert [it.left_out for it in seats_of("a", "b", "a", request=capped, abilities=abilities)] == [
        it.left_out for it in told
    ]
    with pytest.raises(NoModelFits, match="max_usd"):
        seats_of("a", "b", request=request, max_usd=1e-9)


def test_each_has_a_share_by_what_it_may_cost() -> None:
    """And no less than that, though nothing be left for a judge."""
    a, b = seats_of("a", "b", max_usd=1.0, mode="vote")
    shares = [it.request.constraints.max_usd or 0.0 for it in (a, b)]
    assert shares[1] == pytest.approx(10 * shares[0])
    assert sum(shares) == pytest.approx(1.0)
    tight = seats_of("a", "b", max_usd=(a.usd + b.usd) * 1.1)
    assert [it.request.constraints.max_usd for it in tight] == pytest.approx([a.usd, b.usd])


def test_whose_price_is_not_known_cannot_keep_a_limit_on_the_cost() -> None:
    assert [it.left_out for it in seats_of("a", "unknown")] == [None, None]
    a, unknown = seats_of("a", "unknown", max_usd=1.0)
    assert (a.left_out, unknown.left_out) == (None, "its price is not known, so it cannot keep to max_usd")
    with pytest.raises(NoModelFits, match="unknown: its price is not known"):
        seats_of("unknown", max_usd=1.0)


def test_who_has_others_answer_counts_as_what_these_may_cost() -> None:
    """A router or a fusion has no price of its own: it says what all behind it may come to."""
    joint, a = seats_of("joint", "a", max_usd=1.0, abilities={"joint": 0.5, "a": 0.9})
    assert (joint.left_out, a.left_out) == (None, None)
    assert joint.request.constraints.max_usd == pytest.approx(0.5 * 0.3 / (0.3 + a.usd))
    joint, a = seats_of("joint", "a", max_usd=0.3, abilities={"joint": 0.5, "a": 0.9})
    assert (joint.left_out, a.left_out) == ("all together may cost more than max_usd (0.3)", None)


def test_one_that_is_too_dear_alone_does_not_cost_the_others_their_places() -> None:
    """However able it is."""
    joint, a = seats_of("joint", "a", max_usd=0.2, abilities={"joint": 0.9, "a": 0.5})
    assert (joint.left_out, a.left_out) == ("it may cost 0.3 USD, more than max_usd (0.2)", None)


def test_a_member_that_cannot_call_tools_is_told_of_them_in_words() -> None:
    tools = msgspec.Raw(b'[{"type":"function","function":{"name":"f"}}]')
    can, cannot = seats_of("a", "blind", request=request_of(tools=tools))
    assert (can.tools_as_text, can.request.tools) == (False, tools)
    assert (cannot.tools_as_text, cannot.request.tools, cannot.left_out) == (True, None, None)


def test_tools_that_a_provider_runs_are_refused() -> None:
    """Each member would run them."""
    request = request_of(refused_elsewhere=("tools[0] (web_search)",))
    with pytest.raises(UnsupportedByModel, match=r"tools\[0\] \(web_search\)"):
        seats_of("a", "b", request=request)


@pytest.mark.parametrize(
    ("names", "plan", "field"),
    [
        ((), {}, "fusion.analysis_models"),
        (("a",) * 9, {}, "fusion.analysis_models"),
        (("a", "nobody"), {}, "fusion.analysis_models"),
        (("a",), {"judge": "nobody"}, "fusion.model"),
    ],
)
def test_members_that_are_none_are_refused_by_field(
    names: tuple[str, ...], plan: dict[str, object], field: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        seats_of(*names, **plan)
    assert caught.value.param == field
