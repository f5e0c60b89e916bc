"""Which requests climb a cascade."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from junctor.chat import Candidate, ChatRequest, Constraints
from junctor.routing.checkable import Case, objection_to
from junctor.routing.features import extract_features
from junctor.routing.ladder import Ladder
from ladders import CHEAP, STRONG, a_ladder, request_of

SUM = "How many legs do 3 cats and 15 hens have?"


def case_of(request: ChatRequest, text: str = SUM, **more: object) -> Case:
    fields: dict[str, object] = {"needs": (), "begun": False, "floor": None, **more}
    return Case(request=request, text=text, named=extract_features(text).named, **fields)  # pyright: ignore[reportArgumentType]


def candidates(**changes: Mapping[str, object]) -> list[Candidate]:
    made = [Candidate(name=name, p_good=0.8, p_source="test", usd=0.001) for name in (*CHEAP, STRONG)]
    return [msgspec.structs.replace(it, **changes.get(it.name.replace("-", "_"), {})) for it in made]


def object_to(
    request: ChatRequest | None = None,
    *,
    ladder: Ladder | None = None,
    among: list[Candidate] | None = None,
    away: Mapping[str, str] | None = None,
    asks_in_turn: bool = False,
    **case: object,
) -> str | None:
    made = case_of(request or request_of(SUM), **case)  # pyright: ignore[reportArgumentType]
    return objection_to(
        ladder or a_ladder(), made, among or candidates(), away or {}, asks_in_turn=asks_in_turn
    )


def test_the_prompt_must_ask_for_something_that_can_be_compared() -> None:
    assert object_to(text=SUM) is None
    assert object_to(text="Write a poem about 3 cats.") == "its answers are not likely to be comparable"


def test_json_and_tools_can_be_compared_whatever_the_prompt() -> None:
    for need in ("json", "tools"):
        assert object_to(text="Write a poem", needs=(need,)) is None


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (request_of(constraints=Constraints(max_first_token_ms=500)), "max_first_token_ms"),
        (request_of(passthrough={"n": msgspec.Raw(b"2")}), "several answers"),
        (request_of(passthrough={"logprobs": msgspec.Raw(b"true")}), "`logprobs`"),
        (request_of(passthrough={"functions": msgspec.Raw(b'[{"name":"f"}]')}), "`functions`"),
        (request_of(refused_elsewhere=("tools[1] (web_search)",)), "web_search"),
        (request_of(lost_elsewhere=("truncation",)), "truncation"),
        (request_of(constraints=Constraints(max_usd=0.0039)), "all calls together may cost 0.004 USD"),
        (request_of(constraints=Constraints(max_total_ms=5000)), "not all latencies are known"),
    ],
)
def test_what_a_request_says_against_it(request_: ChatRequest, words: str) -> None:
    assert words in (object_to(request_) or "")


@pytest.mark.parametrize(
    "request_",
    [
        request_of(passthrough={"n": msgspec.Raw(b"1"), "logprobs": msgspec.Raw(b"false")}),
        request_of(passthrough={"temperature": msgspec.Raw(b"0"), "n": msgspec.Raw(b"null")}),
        request_of(constraints=Constraints(max_usd=0.0041)),
        request_of(stream=True, max_tokens=100),
    ],
)
def test_what_does_not_matter(request_: ChatRequest) -> None:
    assert object_to(request_) is None


def test_a_limit_on_time_holds_for_one_answer_after_the_other() -> None:
    timed = [msgspec.structs.replace(it, total_ms=1000.0) for it in candidates()]
    assert object_to(request_of(constraints=Constraints(max_total_ms=3000)), among=timed) is None
    assert "3e+03 ms" in (
        object_to(request_of(constraints=Constraints(max_total_ms=2999)), among=timed) or ""
    )
    in_turn = request_of(constraints=Constraints(max_total_ms=3999))
    assert "4e+03 ms" in (object_to(in_turn, among=timed, asks_in_turn=True) or "")
    assert object_to(in_turn, among=timed) is None


def test_conversations_sound_and_high_floors_stay_with_one_model() -> None:
    assert "conversation" in (object_to(begun=True) or "")
    assert "sound" in (object_to(needs=("audio",)) or "")
    assert "above the promised 98%" in (object_to(floor=0.99) or "")
    assert object_to(floor=0.5) is None


def test_all_models_of_the_ladder_must_be_there_and_allowed() -> None:
    assert "cheap-b is ruled out by only" in (
        object_to(among=candidates(cheap_b={"ruled_out_by": "only"})) or ""
    )
    assert "cheap-c is not in the pool" in (object_to(among=candidates()[:2] + candidates()[3:]) or "")
    assert "strong is set aside" in (object_to(away={STRONG: "set aside"}) or "")
    assert "cheap-a is set aside" in (object_to(away={"cheap-a": "set aside"}) or "")
    assert object_to(away={"cheap-c": "set aside"}) is None, "later rungs go on without it"
