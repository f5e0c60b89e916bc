"""When the router lets a request climb a ladder, and what its decision says when it does not."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest

import junctor.routing
from junctor.chat import ChatRequest, Constraints, Decision, Drafted, Event, Model, collect
from junctor.pool.ration import Rations
from junctor.routing.ladder import Ladder
from junctor.routing.predictor import Predictor, parse_artefact
from junctor.routing.router import Router
from ladders import CHEAP, NEVER, STRONG, a_ladder, request_of, scripted

pytestmark = pytest.mark.anyio

PREDICTOR = Predictor(
    parse_artefact((Path(junctor.routing.__file__).parent / "artefact" / "router.msgpack").read_bytes())
)


class Bench:
    """A router with a ladder over fakes."""

    def __init__(self, ladder: Ladder | None, *others: Model, **defaults: object) -> None:
        self.saved = list[Decision]()
        self.models = {name: scripted(name) for name in (*CHEAP, STRONG)}
        pool: dict[str, Model] = {**self.models, **{model.card.name: model for model in others}}
        self.router = Router(
            pool,
            PREDICTOR,
            save_decision=self.saved.append,
            new_id=lambda: f"dec_{len(self.saved) + 1}",
            ladder=ladder,
            **defaults,  # pyright: ignore[reportArgumentType]
        )

    async def ask(self, request: ChatRequest | None = None) -> list[Event]:
        async with aclosing(self.router.answer(request or request_of())) as events:
            return [event async for event in events]

    async def decision_for(self, request: ChatRequest | None = None) -> Decision:
        await self.ask(request)
        (decision,) = self.saved
        return decision


def conversation() -> ChatRequest:
    turns = [("user", "Hi"), ("assistant", "Hello"), ("user", "What is 17 * 23?")]
    messages = [{"role": role, "content": text} for role, text in turns]
    return msgspec.structs.replace(request_of(), messages=msgspec.Raw(msgspec.json.encode(messages)))


async def test_a_checkable_request_climbs_and_leaves_one_decision() -> None:
    bench = Bench(a_ladder())
    answer = await collect(bench.router.answer(request_of()))
    assert (answer.model, answer.text) == ("cheap-a", "42")
    (decision,) = bench.saved
    assert (decision.id, decision.path, decision.chosen) == ("dec_1", "cascade", "cheap-a")
    assert decision.took_us > 0
    assert bench.router.climbs == (*CHEAP, STRONG)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (request_of("Write a poem about 3 cats."), "not cascaded: its answers are not likely"),
        (request_of(constraints=Constraints(never=("cheap-b",))), "cheap-b is ruled out by never"),
        (request_of(constraints=Constraints(only=("cheap-a", STRONG))), "cheap-b is ruled out by only"),
        (request_of(constraints=Constraints(max_usd=0.0002)), "strong is ruled out by max_usd"),
        (request_of(constraints=Constraints(max_usd=0.0055)), "all calls together may cost 0.00584 USD"),
        (request_of(passthrough={"n": msgspec.Raw(b"2")}), "several answers"),
        (conversation(), "a conversation stays with one model"),
    ],
)
async def test_what_speaks_against_it_stands_in_the_rule(request_: ChatRequest, words: str) -> None:
    bench = Bench(a_ladder())
    decision = await bench.decision_for(request_)
    assert decision.path == "prompt"
    assert words in decision.rule
    assert decision.escalation is None


async def test_a_limit_on_the_first_token_is_answered_by_one_model() -> None:
    bench = Bench(a_ladder(), scripted("quick", first_token_ms=5.0, ability=0.8))
    decision = await bench.decision_for(request_of(constraints=Constraints(max_first_token_ms=9)))
    assert (decision.path, decision.chosen) == ("prompt", "quick")
    assert "max_first_token_ms leaves no time" in decision.rule


async def test_a_mode_without_a_promise_goes_to_the_strongest_and_says_so() -> None:
    for request in (request_of(constraints=Constraints(mode="cost")), request_of()):
        bench = Bench(a_ladder(promised=request.constraints.mode is not None))
        decision = await bench.decision_for(request)
        assert (decision.path, decision.chosen) == ("prompt", STRONG)
        assert "no promise of 98% of strong for the mode" in decision.rule
        assert "ladder-1-test" in decision.rule
        assert decision.candidates[0].name == STRONG
        assert not bench.models["cheap-a"].requests
    assert bench.router.climbs == ()


async def test_a_floor_alone_and_a_higher_one_are_for_the_prompt() -> None:
    alone = await Bench(a_ladder()).decision_for(request_of(constraints=Constraints(quality=0.1)))
    assert (alone.path, "not cascaded" in alone.rule) == ("prompt", False)
    low = await Bench(a_ladder()).decision_for(
        request_of(constraints=Constraints(quality=0.1, mode="balanced"))
    )
    assert low.path == "cascade"


async def test_a_stronger_model_that_was_not_calibrated_keeps_requests_from_the_ladder() -> None:
    newer = scripted("newer", ability=0.99, usd=50.0)
    decision = await Bench(a_ladder(), newer).decision_for()
    assert decision.path == "prompt"
    assert "newer is stronger than strong, and was not calibrated" in decision.rule
    without = Constraints(never=("newer",))
    assert (await Bench(a_ladder(), newer).decision_for(request_of(constraints=without))).path == "cascade"


async def test_while_the_promise_is_broken_nothing_climbs() -> None:
    decision = await Bench(a_ladder(), promise_holds=lambda: False).decision_for()
    assert (decision.path, decision.chosen) == ("prompt", STRONG)


async def test_without_a_ladder_all_is_as_before() -> None:
    bench = Bench(None)
    assert not [event for event in await bench.ask() if isinstance(event, Drafted)]
    assert bench.saved[0].path == "prompt"
    assert "cascade" not in bench.saved[0].rule
    assert bench.router.climbs == ()


async def test_answers_are_not_kept_where_the_settings_say_so() -> None:
    decision = await Bench(a_ladder(), keeps_answers=False).decision_for()
    assert decision.escalation is not None
    assert decision.escalation.steps[0].drafts[0].answer == "answer 1"


async def test_an_escalation_counts_as_the_strongest_models_answer() -> None:
    """Also where another answer was taken; then its key's share is used up, and nothing climbs."""
    rations = Rations()
    await rations.open("k", 0.01)
    bench = Bench(a_ladder(gains=tuple(-gain for gain in NEVER)), rations=rations)
    asked = msgspec.structs.replace(request_of(), caller="k")
    answer = await collect(bench.router.answer(asked))
    assert answer.decision is not None
    assert len(bench.models[STRONG].requests) == 1
    await collect(bench.router.answer(msgspec.structs.replace(asked, id="req_2")))
    assert len(bench.models[STRONG].requests) == 1
    decision = bench.saved[-1]
    assert decision.path == "prompt"
    assert "not cascaded: strong is ruled out by key.strongest_share" in decision.rule
