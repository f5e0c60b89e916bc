"""The router as a Model: it says what it decided, then another model answers."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest

import junctor.routing
from junctor.chat import (
    BadRequest,
    ChatRequest,
    Constraints,
    Decision,
    Event,
    Model,
    ModelCard,
    NoModelFits,
    Price,
    Routed,
    UpstreamBroken,
    UpstreamRefused,
    collect,
)
from junctor.pool.scripted import ScriptedModel, parse_script
from junctor.routing.abilities import Abilities, Ability, identity_of
from junctor.routing.features import NAMES, extract_features
from junctor.routing.neighbours import describe_prompts
from junctor.routing.predictor import Predictor, parse_artefact
from junctor.routing.router import Router
from ladders import CHEAP, STRONG, a_ladder
from ladders import scripted as a_model

PREDICTOR = Predictor(
    parse_artefact((Path(junctor.routing.__file__).parent / "artefact" / "router.msgpack").read_bytes())
)


def scripted(name: str, usd: float, ability: float, *steps: dict[str, object]) -> ScriptedModel:
    """A fake of so much USD per million tokens; without steps it says its name."""
    price = Price(input=usd, output=usd, source="test")
    card = ModelCard(name=name, price=price, ability=ability, window=4096, skills=frozenset({"tools"}))
    return ScriptedModel(card, parse_script(list(steps) or [{"text": f"I am {name}"}]))


class Bench:
    """A router over fakes, and what it saved."""

    def __init__(self, *models: Model, **defaults: object) -> None:
        self.saved: list[Decision] = []
        self.router = Router(
            {model.card.name: model for model in models},
            PREDICTOR,
            save_decision=self.saved.append,
            new_id=lambda: f"dec_{len(self.saved) + 1}",
            **defaults,  # pyright: ignore[reportArgumentType]
        )

    async def ask(self, text: str = "What is 2 + 2?", **more: object) -> list[Event]:
        async with aclosing(self.router.answer(request_of(text, **more))) as events:
            return [event async for event in events]


def request_of(text: str = "What is 2 + 2?", **more: object) -> ChatRequest:
    messages = msgspec.Raw(msgspec.json.encode([{"role": "user", "content": text}]))
    return ChatRequest(model="auto", id="req_1", messages=messages, **more)  # pyright: ignore[reportArgumentType]


@pytest.mark.anyio
async def test_the_decision_comes_first_then_the_answer_of_the_chosen_one() -> None:
    """And it is saved, with everything that a reader needs."""
    bench = Bench(scripted("big", 30, 0.905), scripted("small", 0.3, 0.9))
    answer = await collect(bench.router.answer(request_of()))
    assert answer.text == "I am small"
    assert answer.decision == bench.saved[0]
    decision = bench.saved[0]
    assert (decision.id, decision.request_id, decision.chosen, decision.mode) == (
        "dec_1",
        "req_1",
        "small",
        "balanced",
    )
    assert [candidate.name for candidate in decision.candidates] == ["small", "big"]
    assert decision.candidates[1].refused_because
    assert set(NAMES) < set(decision.features)
    assert decision.took_us > 0
    assert decision.saved_usd > 0
    assert decision.artefact == PREDICTOR.version


@pytest.mark.anyio
async def test_the_next_in_the_ranking_answers_when_the_chosen_one_fails() -> None:
    """Before the first text a failure is not the caller's problem."""
    bench = Bench(
        scripted("big", 30, 0.9),
        scripted("mid", 3, 0.9),
        scripted("small", 0.3, 0.9, {"fail": "upstream_broken"}),
    )
    events = await bench.ask()
    assert isinstance(events[0], Routed)
    assert bench.saved[0].chosen == "small"
    assert [event.text for event in events if hasattr(event, "text")] == ["I am mid"]


@pytest.mark.anyio
async def test_after_the_first_text_there_is_no_second_answer() -> None:
    """A cut answer is an error, and the decision is kept all the same."""
    bench = Bench(
        scripted("big", 30, 0.9),
        scripted("small", 0.3, 0.9, {"text": "The ans"}, {"fail": "upstream_broken"}),
    )
    with pytest.raises(UpstreamBroken):
        await bench.ask()
    assert len(bench.saved) == 1


@pytest.mark.anyio
async def test_what_an_upstream_refuses_is_not_asked_elsewhere() -> None:
    """The request is at fault: the next model would refuse it too, and cost money."""
    big = scripted("big", 30, 0.9)
    bench = Bench(big, scripted("small", 0.3, 0.9, {"fail": "upstream_refused"}))
    with pytest.raises(UpstreamRefused):
        await bench.ask()
    assert not big.requests


@pytest.mark.anyio
async def test_models_that_are_ruled_out_are_not_fallen_back_on() -> None:
    """A limit holds for the whole request."""
    bench = Bench(scripted("big", 30, 0.9), scripted("small", 0.3, 0.9, {"fail": "upstream_broken"}))
    with pytest.raises(UpstreamBroken):
        await bench.ask(constraints=Constraints(never=("big",)))


@pytest.mark.anyio
async def test_a_refused_request_saves_nothing_and_asks_nobody() -> None:
    """Neither one that no model fits, nor one that is malformed."""
    model = scripted("small", 0.3, 0.9)
    bench = Bench(model)
    with pytest.raises(NoModelFits):
        await bench.ask(constraints=Constraints(needs=("vision",)))
    with pytest.raises(BadRequest):
        await collect(bench.router.answer(ChatRequest(model="auto", messages=msgspec.Raw(b"{}"))))
    with pytest.raises(NoModelFits):
        await Bench().ask()
    assert not bench.saved
    assert not model.requests


@pytest.mark.anyio
async def test_whoever_stops_reading_stops_the_upstream() -> None:
    """Closing the router's stream closes the model's."""
    closed = asyncio.Event()

    class Endless:
        card = ModelCard(name="endless", ability=0.5)

        async def answer(self, request: ChatRequest):
            try:
                async with aclosing(scripted("x", 1, 0.5, {"text": "a"}).answer(request)) as events:
                    async for event in events:
                        yield event
                await asyncio.sleep(3600)
            finally:
                closed.set()

    stream = Bench(Endless()).router.answer(request_of())
    assert isinstance(await anext(stream), Routed)
    await anext(stream)
    await stream.aclose()
    assert closed.is_set()


@pytest.mark.parametrize(
    ("defaults", "limits", "mode", "floor"),
    [
        ({}, {}, "balanced", None),
        ({"mode": "cost"}, {}, "cost", None),
        ({"mode": "cost"}, {"mode": "quality"}, "quality", None),
        ({"floor": 0.1}, {}, "floor", 0.1),
        ({"floor": 0.1}, {"quality": 0.05}, "floor", 0.05),
        ({"mode": "cost", "floor": 0.1}, {}, "cost", 0.1),
        ({"mode": "cost"}, {"quality": 0.05}, "floor", 0.05),
        ({}, {"quality": 0.05, "mode": "quality"}, "quality", 0.05),
    ],
)
def test_the_requests_mode_and_floor_win_over_the_defaults(
    defaults: dict[str, object], limits: dict[str, object], mode: str, floor: float | None
) -> None:
    """A floor without a mode says what will do."""
    bench = Bench(scripted("small", 0.3, 0.9), **defaults)
    decision, _ = bench.router.decide(request_of(constraints=Constraints(**limits)))  # pyright: ignore[reportArgumentType]
    assert (decision.mode, decision.floor) == (mode, floor)


def test_skills_the_request_shows_and_skills_it_states_are_both_needed() -> None:
    """Tools in the body, vision in the constraints."""
    bench = Bench(scripted("small", 0.3, 0.9))
    tools = msgspec.Raw(b'[{"type":"function","function":{"name":"f"}}]')
    assert bench.router.decide(request_of(tools=tools))[1] == ("small",)
    with pytest.raises(NoModelFits, match="vision"):
        bench.router.decide(request_of(tools=tools, constraints=Constraints(needs=("vision",))))


def test_the_routers_card_offers_what_any_of_its_models_can() -> None:
    """`GET /v1/models` shows it beside the others."""
    card = Bench(scripted("a", 1, 0.5), scripted("b", 1, 0.6)).router.card
    assert (card.name, card.window, card.skills) == ("auto", 4096, {"tools"})


def test_the_strongest_is_the_one_of_the_highest_ability() -> None:
    """What savings are compared with."""
    strongest = Bench(scripted("a", 1, 0.8), scripted("b", 99, 0.4)).router.strongest
    assert strongest is not None
    assert strongest.name == "a"
    assert Bench().router.strongest is None


def test_it_tells_what_it_takes_each_model_to_be_able_to_do() -> None:
    """As probabilities, as they are declared."""
    told = Bench(scripted("a", 1, 0.8), scripted("b", 99, 0.4)).router.abilities
    assert {name: round(p, 6) for name, p in told.items()} == {"a": 0.8, "b": 0.4}


def test_harder_prompts_are_predicted_to_be_harder() -> None:
    """The prediction reads the prompt at all."""
    bench = Bench(scripted("small", 0.3, 0.5))
    olympiad = (
        r"Let $P(x)$ be a monic polynomial with integer coefficients such that $P(\sqrt{2}+\sqrt[3]{3})=0$. "
        r"Find the sum of the coefficients of $P(x)$ and express it as $\frac{m}{n}$."
    )
    easy = "What is the usual colour of a ripe banana?\nA. yellow\nB. blue\nC. black\nD. purple"
    p_hard, p_easy = (
        bench.router.decide(request_of(text))[0].candidates[0].p_good for text in (olympiad, easy)
    )
    assert p_hard < p_easy


@pytest.mark.anyio
async def test_a_model_that_is_set_aside_is_passed_over_and_the_decision_says_so() -> None:
    """After five failures in a row the next in the ranking is chosen, not fallen back on."""
    broken = scripted("small", 0.3, 0.9, {"fail": "upstream_broken"})
    bench = Bench(scripted("big", 30, 0.9), scripted("mid", 3, 0.9), broken)
    for _ in range(6):
        events = await bench.ask()
    assert [event.text for event in events if hasattr(event, "text")] == ["I am mid"]
    before, after = bench.saved[0], bench.saved[-1]
    assert (before.chosen, after.chosen) == ("small", "mid")
    assert len(broken.requests) == 5
    assert [candidate.name for candidate in after.candidates] == ["mid", "big", "small"]
    assert after.candidates[0].refused_because is None
    why = after.candidates[-1].refused_because
    assert why is not None
    assert why.startswith("set aside for another ")
    assert after.rule.startswith("the next in the ranking, because small is set aside")
    usd = {candidate.name: candidate.usd for candidate in after.candidates}
    assert after.saved_usd == pytest.approx(before.saved_usd + usd["small"] - usd["mid"])


@pytest.mark.anyio
async def test_when_all_are_set_aside_the_ranking_stands_and_one_is_probed() -> None:
    big = scripted("big", 30, 0.9, {"fail": "upstream_broken"})
    small = scripted("small", 0.3, 0.9, {"fail": "upstream_broken"})
    bench = Bench(big, small)
    for _ in range(7):
        with pytest.raises(UpstreamBroken):
            await bench.ask()
    assert bench.saved[-1].chosen == "small"
    assert len(big.requests) + len(small.requests) == 5 + 5 + 2


GADGET = "incorrect \n1. Letter __ In Corporation Letter provisions corporation"
"Found by lab/attack_routing.py for this pool."


def test_words_put_before_a_prompt_do_not_choose_the_strong_model() -> None:
    """By the whole text alone they do; with a second look the decision says that its ends disagree."""
    cheap, strong = scripted("gpt-4o-mini", 0.26, 0.0), scripted("claude-3-5-sonnet-20241022", 6, 0.0)
    for model in (cheap, strong):
        model.card = msgspec.structs.replace(model.card, ability=None)
    mode = Constraints(mode="cost")
    prompt = (
        "A farmer has 17 sheep. All but 9 run away, and then he buys 4 more at the market. How many sheep "
        "are in his field in the evening?"
    )
    careful, careless = Bench(cheap, strong), Bench(cheap, strong, looks_again=False)
    honest, _ = careless.router.decide(request_of(prompt, constraints=mode))
    fooled, _ = careless.router.decide(request_of(f"{GADGET} {prompt}", constraints=mode))
    assert (honest.chosen, fooled.chosen) == (cheap.card.name, strong.card.name)
    wise, order = careful.router.decide(request_of(f"{GADGET} {prompt}", constraints=mode))
    assert wise.chosen == order[0] == cheap.card.name
    assert wise.features["views_disagree"] == 1.0
    assert "characters alone" in wise.rule
    same, _ = careful.router.decide(request_of(prompt, constraints=mode))
    assert "views_disagree" not in same.features


def test_like_prompts_of_a_calibration_move_the_choice_and_the_decision_says_so() -> None:
    """The cheap model was good at sums and bad at code; what looks like neither is left as it was."""
    texts = [
        *(f"What is {at} + {at * 7}? Give the number {at * 3} % {at}." for at in range(30)),
        *(f"def f{at}(x):\n    return [x == {at}]\n```\nFix this function; it is None." for at in range(30)),
    ]
    measured = Abilities(
        artefact=PREDICTOR.version,
        models=tuple(
            Ability(
                model=name,
                identity=identity_of(ModelCard(name=name)),
                logits=0.5,
                error=0.1,
                p=0.5,
                p_error=0.1,
                score=0.5,
                prompts=60,
                level=level,
                level_error=0.1,
                residuals=residuals,
            )
            for name, level, residuals in (
                ("small", 0.4, (*(0.4,) * 30, *(-0.4,) * 30)),
                ("big", 0.8, (0.0,) * 60),
            )
        ),
        neighbourhood=describe_prompts([extract_features(text).named for text in texts]),
    )
    models = scripted("big", 30, 0.9), scripted("small", 0.3, 0.5)
    sums, code = request_of("What is 45 + 315? Give the number 135 % 45."), request_of(texts[45])
    router = Bench(*models, abilities=measured, asks_neighbours=True).router
    assert [router.decide(each)[0].chosen for each in (sums, code)] == ["small", "big"]
    decision = router.decide(sums)[0]
    assert {each.p_source for each in decision.candidates} == {"measured ability, moved by like prompts"}
    unlike = router.decide(request_of("路由器选择模型。" * 9))[0]
    assert {each.p_source for each in unlike.candidates} == {"measured ability"}
    router = Bench(*models, abilities=measured).router
    decision = router.decide(sums)[0]
    assert decision.chosen == "big"
    assert {each.p_source for each in decision.candidates} == {"measured ability"}


def test_what_an_answer_may_cost_at_most_is_that_of_the_dearest_which_may_give_it() -> None:
    """Or that of all models of a ladder, where a cascade may ask them all; unknown prices say nothing."""
    unknown = ScriptedModel(ModelCard(name="unknown"), parse_script([{"text": "Hi"}]))
    dear_to_read = scripted("reads", 1, 0.5)
    dear_to_read.card = msgspec.structs.replace(
        dear_to_read.card, price=Price(input=60, output=1, source="test")
    )
    router = Bench(scripted("big", 30, 0.9), scripted("small", 0.3, 0.9), dear_to_read, unknown).router
    assert router.most_usd(request_of(), 1000, 500) == pytest.approx(1000 * 60e-6 + 500 * 30e-6)
    never = request_of(constraints=Constraints(never=("reads",)))
    assert router.most_usd(never, 1000, 500) == pytest.approx(1500 * 30e-6)
    only = request_of(constraints=Constraints(only=("small",)))
    assert router.most_usd(only, 1000, 500) == pytest.approx(1500 * 0.3e-6)
    assert router.most_usd(request_of(constraints=Constraints(only=("unknown",))), 1000, 500) is None
    models = {name: a_model(name) for name in (*CHEAP, STRONG)}
    climbing = Bench(*models.values(), ladder=a_ladder()).router
    assert climbing.most_usd(request_of(), 1000, 500) == pytest.approx(1500 * (30 + 3) * 1e-6)
    assert climbing.most_usd(
        request_of(constraints=Constraints(never=("cheap-a",))), 1000, 500
    ) == pytest.approx(1500 * 30e-6)
