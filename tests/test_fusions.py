"""From settings to the pool's fusions: who takes part, who judges, and what each may be asked for."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from junctor.assemble import choose_members
from junctor.chat import ChatRequest, Decision, FusionOptions, Model, ModelCard, collect
from junctor.fusion.plan import Plan
from junctor.fusions import Fusions, fusions_of
from junctor.lasting import ARTEFACT
from junctor.pool.choice import Policy
from junctor.pool.resilient import Resilience
from junctor.pool.scripted import ScriptedModel, parse_script
from junctor.pool.vote import Vote
from junctor.routing.calibration.judges import Judges, JudgeSkill
from junctor.routing.calibration.store import Calibrated
from junctor.routing.calibration.votes import PoolVote, Votes
from junctor.routing.predictor import Predictor, parse_artefact
from junctor.routing.router import Router
from junctor.settings import parse_settings
from running import environment

pytestmark = pytest.mark.anyio


def model(name: str, *, usd: float | None = None, provider: str = "scripted", **more: str) -> str:
    lines = "".join(f"{key} = {value}\n" for key, value in more.items())
    price = "" if usd is None else f"price = {{ input = {usd}, output = {usd} }}\n"
    script = f'script = [{{ text = "{name}" }}]\n' if provider == "scripted" else 'base_url = "http://h/v1"\n'
    return f'[[models]]\nname = "{name}"\nprovider = "{provider}"\n{price}{script}{lines}'


SEVEN = "".join(model(f"m{at}", usd=at) for at in range(1, 8))
PREDICTOR = Predictor(parse_artefact(ARTEFACT.read_bytes()))
ABLE = {f"m{at}": at / 10 for at in range(1, 8)}


async def read(config: str, folder: Path, abilities: dict[str, float] | None = None) -> Fusions:
    settings = parse_settings(config, Path("junctor.toml"))
    members = await choose_members(settings, environment(folder, OPENAI_API_KEY="x"))
    return fusions_of(settings, members, abilities or {it.card.name: 0.5 for it in members})


async def test_there_is_always_a_fusion_of_all_models_that_chat(tmp_path: Path) -> None:
    """Judged by the best of those that are asked; models for embeddings are not."""
    config = model("a") + model("b") + '[[models]]\nname = "v"\nprovider = "scripted"\nkind = "embeddings"\n'
    fusions = await read(config, tmp_path)
    assert dict(fusions.plans) == {"fusion": Plan(name="fusion", members=("a", "b"))}
    assert set(fusions.presets) == {"fusion", "general-high", "general-budget"}
    assert fusions.able["fusion"] == ("a", "b", "auto")
    assert (await read("", tmp_path)).plans == {}, "an empty pool has nothing to fuse"


async def test_of_many_models_the_five_ablest_are_asked_in_the_order_of_the_file(tmp_path: Path) -> None:
    fusions = await read(SEVEN, tmp_path, ABLE | {"m1": 0.9})
    assert fusions.plans["fusion"].members == ("m1", "m4", "m5", "m6", "m7")
    assert fusions.presets["general-high"].members == ("m1", "m4", "m5", "m6", "m7")
    (fused, _) = fusions.fused()
    assert fused["fusion"].members == ("m1", "m7", "m6", "m5", "m4"), "the best first"


async def test_the_budget_preset_takes_the_three_cheapest(tmp_path: Path) -> None:
    """What no list has a price for is free, where its provider has no list; else it is unknown."""
    config = SEVEN + model("free") + model("listed", provider="openai")
    members = (await read(config, tmp_path)).presets["general-budget"].members
    assert members == ("free", "m1", "m2")


async def test_what_was_calibrated_counts_for_models_that_are_what_they_were(tmp_path: Path) -> None:
    vote = Vote((2.0, 1.0), 0.5, 0.0, 0.0)
    pool = PoolVote(
        members=("m1", "m2"), vote=vote, best="m1", prompts=9, score=1, best_score=1, majority_score=1
    )
    skill = JudgeSkill(model="m7", identity="scripted/m7", accuracy=0.8, pairs=40, failed=0)
    calibrated = Calibrated(
        votes=Votes(pools=(pool,), identities={"m1": "scripted/m1", "m2": "scripted/m2"}),
        judges=Judges(judges=(skill,)),
    )
    settings = parse_settings(SEVEN, Path("junctor.toml"))
    members = await choose_members(settings, environment(tmp_path))
    fusions = fusions_of(settings, members, ABLE, calibrated)
    assert fusions.votes == {("m1", "m2"): vote}
    assert fusions.judges == {"m7": 0.8}
    others = fusions_of(settings, members[1:], ABLE, calibrated)
    assert (others.votes, others.judges) == ({}, {"m7": 0.8})


async def test_a_table_says_what_a_fusion_is(tmp_path: Path) -> None:
    config = (
        SEVEN
        + """
[[fusions]]
name = "fusion"
members = ["m1", "m1", "m2"]
judge = "m7"
judge_accuracy = 0.7
mode = "best-of"
quorum = 2
grace_ms = 10
deadline_ms = 20
max_usd = 0.5
on_judge_failure = "error"
max_completion_tokens = 30
temperature = 0.4
reasoning = { effort = "low" }
[[fusions]]
name = "general-high"
mode = "vote"
"""
    )
    fusions = await read(config, tmp_path, ABLE)
    assert fusions.plans["fusion"] == Plan(
        name="fusion",
        members=("m1", "m1", "m2"),
        judge="m7",
        judge_accuracy=0.7,
        mode="best-of",
        quorum=2,
        grace_ms=10,
        deadline_ms=20,
        max_usd=0.5,
        on_judge_failure="error",
        max_completion_tokens=30,
        temperature=0.4,
        reasoning=msgspec.Raw(b'{"effort":"low"}'),
    )
    assert fusions.presets["general-high"] is fusions.plans["general-high"], "our own goes before"
    (fused, presets) = fusions.fused()
    assert fused["fusion"].members == ("m2", "m1", "m1")
    assert (fused["fusion"].judge, fused["fusion"].mode, fused["fusion"].max_usd) == ("m7", "best-of", 0.5)
    assert presets["general-high"].mode == "vote"


NESTED = (
    SEVEN
    + """
[[fusions]]
name = "top"
members = ["low", "m3", "auto"]
depth = 2
[[fusions]]
name = "low"
members = ["m1", "m2"]
"""
)


async def test_a_fusion_of_fusions_has_one_model_for_a_judge(tmp_path: Path) -> None:
    fusions = await read(NESTED, tmp_path, ABLE)
    assert list(fusions.plans) == ["fusion", "low", "top"], "what is asked is built before what asks"
    assert fusions.plans["top"].judge == "m3"
    assert fusions.plans["low"].judge is None
    assert fusions.abilities["low"] == 0.2
    assert fusions.abilities["auto"] == fusions.abilities["top"] == 0.7


async def test_nothing_can_be_asked_to_ask_itself(tmp_path: Path) -> None:
    """Not by a request either: who may take part, and which presets, follows from the depth."""
    fusions = await read(NESTED, tmp_path, ABLE)
    models = (*(f"m{at}" for at in range(1, 8)), "auto")
    assert fusions.able == {"fusion": models, "low": models, "top": (*models, "fusion", "low")}
    (fused, _) = fusions.fused()
    assert fused["top"].presets == {"general-high", "general-budget", "fusion", "low", "top"}
    assert fused["low"].presets == {"general-high", "general-budget", "fusion", "low"}


def build(fusions: Fusions, saved: list[Decision]) -> dict[str, Model]:
    chats: dict[str, Model] = {
        name: ScriptedModel(
            ModelCard(name=name, ability=ABLE[name]), parse_script([{"text": f"The answer is {name[1:]}."}])
        )
        for name in ABLE
    }
    router = Router(chats, PREDICTOR, save_decision=saved.append, new_id=lambda: "dec_auto")
    return fusions.build(chats, router, Resilience(Policy(attempts=1)), saved.append)


async def ask(fusion: Model, options: FusionOptions | None = None) -> Decision:
    prompt = b'[{"role":"user","content":"What is 1 + 1? Answer with the number only."}]'
    request = ChatRequest(model="x", messages=msgspec.Raw(prompt), fusion=options, id="req_1")
    decision = (await collect(fusion.answer(request))).decision
    assert decision is not None
    return decision


async def test_members_are_asked_the_router_and_other_fusions_too(tmp_path: Path) -> None:
    saved = list[Decision]()
    pool = build(await read(NESTED, tmp_path, ABLE), saved)
    assert set(pool) == {"fusion", "low", "top"}
    assert {name: model.card.name for name, model in pool.items()} == {name: name for name in pool}
    verdict = (await ask(pool["top"], FusionOptions(mode="best-of"))).fusion
    assert verdict is not None
    assert [(it.model, it.status) for it in verdict.members] == [
        ("low", "answered"),
        ("m3", "answered"),
        ("auto", "answered"),
    ]
    assert {(it.path, it.request_id) for it in saved} == {("fusion", "req_1"), ("prompt", "req_1")}
    own = await ask(pool["fusion"], FusionOptions(preset="low"))
    assert own.fusion is not None
    assert [it.model for it in own.fusion.members] == ["m1", "m2"]
