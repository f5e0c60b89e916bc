"""Features to probabilities."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import junctor.routing
from junctor.chat import ModelCard, Price
from junctor.routing.abilities import Abilities, Ability
from junctor.routing.features import Features, extract_features
from junctor.routing.predictor import (
    MAX_TOKENS,
    MIN_TOKENS,
    Artefact,
    ArtefactError,
    Predictor,
    mean_p,
    parse_artefact,
    render_artefact,
)

SHIPPED = (Path(junctor.routing.__file__).parent / "artefact" / "router.msgpack").read_bytes()
ARTEFACT = parse_artefact(SHIPPED)
PREDICTOR = Predictor(ARTEFACT)
FEW = Predictor(ARTEFACT)

texts = st.text(max_size=300)
abilities = st.floats(0.01, 0.99)


def card(
    name: str, *, ability: float | None = None, usd: float | None = None, upstream: str = ""
) -> ModelCard:
    """A model; `usd`: its price per million tokens, in and out."""
    price = None if usd is None else Price(input=usd, output=usd, source="test")
    return ModelCard(name=name, upstream=upstream, ability=ability, price=price)


def p_of(text: str, *cards: ModelCard) -> list[float]:
    placed = PREDICTOR.place(cards)
    return [said.p_good for said in PREDICTOR.predict(extract_features(text), placed)]


@given(texts, abilities, abilities)
def test_p_rises_with_declared_ability_for_every_prompt(text: str, one: float, other: float) -> None:
    """A better model is never predicted to be worse."""
    low, high = sorted((one, other))
    p_low, p_high = p_of(text, card("low", ability=low), card("high", ability=high))
    assert p_low <= p_high


@given(texts, st.floats(0.001, 500), st.floats(0.001, 500))
def test_p_rises_with_price_for_models_about_which_nothing_else_is_known(
    text: str, one: float, other: float
) -> None:
    """The only thing left to go by."""
    low, high = sorted((one, other))
    p_low, p_high = p_of(text, card("nobody-1", usd=low), card("nobody-2", usd=high))
    assert p_low <= p_high


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=30, max_size=30),
    st.lists(st.integers(0, 32767)),
)
def test_any_features_give_a_probability_and_a_length(named: list[float], buckets: list[int]) -> None:
    """Freak values are clipped."""
    features = Features(tuple(named), tuple(set(buckets)))
    for said in PREDICTOR.predict(features, PREDICTOR.place([card("x", ability=0.5), card("gpt-4o")])):
        assert 0 < said.p_good < 1
        assert MIN_TOKENS <= said.output_tokens <= MAX_TOKENS


def test_a_declared_ability_means_the_mean_probability_on_the_reference_prompts() -> None:
    """The table that says so rises from end to end, so that it can be read backwards."""
    assert all(low < high for low, high in zip(ARTEFACT.mean_ps, ARTEFACT.mean_ps[1:], strict=False))
    (placed,) = PREDICTOR.place([card("x", ability=ARTEFACT.mean_ps[60])])
    assert placed.ability == pytest.approx(ARTEFACT.abilities[60])
    assert placed.loadings == ARTEFACT.average_loadings


@pytest.mark.parametrize(
    "name",
    ["gpt-4o-mini-2024-07-18", "gpt-4o-mini", "openai/gpt-4o-mini", "GPT-4o-mini", "gpt_4o_mini:latest"],
)
def test_models_of_the_training_are_found_under_their_usual_names(name: str) -> None:
    """With and without date, maker and tag; by the upstream's name too."""
    by_name, by_upstream = PREDICTOR.place([card(name), card("cheap", upstream=name)])
    assert by_name.source == by_upstream.source == "artefact"
    assert by_name.ability == by_upstream.ability


@pytest.mark.parametrize(
    "name",
    [
        "",
        "gpt",
        "gpt-4o-nano",
        "o1",
        "deepseek-v3",
        "deepseek-chat",
        "claude-3-9-sonnet",
        "llama-3.1-9b-instruct",
    ],
)
def test_a_name_that_is_only_similar_is_not_taken_for_a_known_model(name: str) -> None:
    """A wrong ability is worse than an estimated one."""
    (placed,) = PREDICTOR.place([card(name)])
    assert placed.source == "estimated ability"


@given(abilities)
def test_an_ability_reads_as_the_mean_probability_that_was_declared(declared: float) -> None:
    """There and back; and at the ends of the table, its ends."""
    (placed,) = PREDICTOR.place([card("own", ability=declared)])
    assert mean_p(ARTEFACT, placed.ability) == pytest.approx(declared, abs=1e-6)
    assert (mean_p(ARTEFACT, -99), mean_p(ARTEFACT, 99)) == (ARTEFACT.mean_ps[0], ARTEFACT.mean_ps[-1])


def test_a_declared_ability_wins_over_the_training() -> None:
    """The user has measured it, or knows better."""
    (placed,) = PREDICTOR.place([card("gpt-4o-mini", ability=0.2)])
    assert placed.source == "declared ability"
    assert placed.ability < PREDICTOR.place([card("gpt-4o-mini")])[0].ability


def test_an_estimate_from_the_price_moves_with_the_pools_placed_models() -> None:
    """Prices fall: the same price buys more in a pool whose known models are better than the line says."""
    unknown = card("nobody", usd=1.0)
    (alone,) = PREDICTOR.place([unknown])
    _, beside_good = PREDICTOR.place([card("star", ability=0.95, usd=1.0), unknown])
    _, beside_bad = PREDICTOR.place([card("dud", ability=0.05, usd=1.0), unknown])
    assert beside_bad.ability < alone.ability < beside_good.ability


def test_nothing_known_means_the_lowest_ability() -> None:
    """A model is not presumed strong."""
    (placed,) = PREDICTOR.place([card("nobody")])
    assert placed.ability == ARTEFACT.lowest_ability


def test_strong_models_of_the_training_rank_above_weak_ones() -> None:
    """The artefact holds what everybody knows."""
    text = "A train leaves at 3 pm at 60 km/h. When does it arrive, 150 km away? Show your work."
    p_8b, p_mini, p_sonnet = p_of(
        text, card("llama-3.1-8b-instruct"), card("gpt-4o-mini"), card("claude-3-5-sonnet")
    )
    assert p_8b < p_mini
    assert p_8b < p_sonnet


def test_the_shipped_artefact_is_small_and_says_where_it_comes_from() -> None:
    """Under 5 MB, with the digest, the seed, the licences and the held-out figures of its training."""
    training = ARTEFACT.training
    assert len(SHIPPED) < 5_000_000
    assert len(training.data_digest) == 64
    assert training.prompts > 0
    assert set(training.licences) == {"llmrouter", "mmlupro", "routellm", "zeroeval"}
    assert training.metrics["calibration_error_seen"] < 0.1
    assert ARTEFACT.version.startswith("router-")


def test_models_whose_runs_are_known_to_be_broken_are_not_in_it() -> None:
    """Their outcomes say where a run skipped its reasoning, not what is hard."""
    names = {model.name for model in ARTEFACT.models}
    assert not names & {"gemini-1-5-pro-002", "gemini-1-5-flash-002", "jamba-1-5-large"}


def test_an_artefact_survives_writing_and_reading() -> None:
    """Byte for byte."""
    assert render_artefact(ARTEFACT) == SHIPPED


@pytest.mark.parametrize("damaged", [b"", b"\x00", SHIPPED[:-1], SHIPPED[: len(SHIPPED) // 2], b"\xff" * 100])
def test_a_damaged_artefact_is_refused_in_words(damaged: bytes) -> None:
    """Never half a predictor."""
    with pytest.raises(ArtefactError, match="artefact"):
        parse_artefact(damaged)


@pytest.mark.parametrize(
    "change",
    [{"format": 99}, {"features_version": 99}, {"hashed_weights": (b"short",)}, {"named_weights": ()}],
)
def test_an_artefact_of_another_version_or_shape_is_refused(change: dict[str, object]) -> None:
    """Features computed in another way would make its weights noise."""
    other: Artefact = msgspec.structs.replace(ARTEFACT, **change)
    with pytest.raises(ArtefactError):
        parse_artefact(render_artefact(other))


@given(texts)
def test_a_model_is_predicted_the_same_in_a_small_pool_and_in_a_large_one(text: str) -> None:
    """For a few models, difficulty and topics are one column; for many they are not."""
    known = [ModelCard(name=model.name) for model in ARTEFACT.models]
    features = extract_features(text)
    alone = FEW.predict(features, FEW.place(known[:2]))
    among_all = PREDICTOR.predict(features, PREDICTOR.place(known))[:2]
    assert [said.p_good for said in alone] == pytest.approx([said.p_good for said in among_all], abs=1e-12)
    assert [said.output_tokens for said in alone] == [said.output_tokens for said in among_all]


def test_a_pool_of_before_is_still_predicted_after_another_was_placed() -> None:
    """A reload places the new pool while requests of the old one are under way."""
    predictor, features = Predictor(ARTEFACT), extract_features("Why is the sky blue?")
    known = [ModelCard(name=model.name) for model in ARTEFACT.models]
    before = predictor.place(known[:1])
    (said,) = predictor.predict(features, before)
    predictor.place(known[1:3])
    assert predictor.predict(features, before)[0].p_good == pytest.approx(said.p_good, abs=1e-12)


def test_length_is_predicted_per_model() -> None:
    """Some models are wordier."""
    placed = PREDICTOR.place([ModelCard(name=model.name) for model in ARTEFACT.models])
    lengths = {
        said.output_tokens for said in PREDICTOR.predict(extract_features("Why is the sky blue?"), placed)
    }
    assert len(lengths) > 5
    assert all(math.isfinite(length) for length in lengths)


def measured_of(card: ModelCard, *, logits: float, p: float, artefact: str) -> Abilities:
    ability = Ability(
        model=card.name,
        identity=f"/{card.upstream or card.name}",
        logits=logits,
        error=0.2,
        p=p,
        p_error=0.04,
        score=0.5,
        prompts=300,
    )
    return Abilities(artefact=artefact, models=(ability,))


def test_a_measured_ability_counts_more_than_a_declared_one_and_says_how_sure_it_is() -> None:
    own = card("own", ability=0.9)
    (placed,) = PREDICTOR.place([own], measured_of(own, logits=-1.0, p=0.3, artefact=PREDICTOR.version))
    assert (placed.ability, placed.source) == (-1.0, "measured ability")
    (said,) = PREDICTOR.predict(extract_features("What is 2 + 2?"), [placed])
    shifted = msgspec.structs.replace(placed, ability=-0.99)
    (nearby,) = PREDICTOR.predict(extract_features("What is 2 + 2?"), [shifted])
    assert said.p_error == pytest.approx(0.2 * (nearby.p_good - said.p_good) / 0.01, rel=0.02)


def test_a_measured_model_of_the_training_keeps_its_topics() -> None:
    known = card("gpt-4o-mini")
    plain, measured = (
        PREDICTOR.place([known], abilities)[0]
        for abilities in (None, measured_of(known, logits=0.5, p=0.6, artefact=PREDICTOR.version))
    )
    assert measured.loadings == plain.loadings != ARTEFACT.average_loadings
    assert plain.error == 0.0


def test_abilities_measured_on_another_artefacts_scale_are_placed_by_their_probability() -> None:
    own = card("own")
    (placed,) = PREDICTOR.place([own], measured_of(own, logits=99.0, p=0.6, artefact="router-0"))
    (declared,) = PREDICTOR.place([card("own", ability=0.6)])
    assert placed.ability == pytest.approx(declared.ability)
    assert placed.source == "measured ability"


def test_measured_models_anchor_those_that_are_estimated_by_price() -> None:
    """A pool whose measured model is weaker than its price says has weaker estimates."""
    told, guessed = card("told", usd=1.0), card("guessed", usd=1.0)
    plain = PREDICTOR.place([told, guessed])[1]
    low = PREDICTOR.place(
        [told, guessed], measured_of(told, logits=-2.0, p=0.15, artefact=PREDICTOR.version)
    )[1]
    assert low.ability < plain.ability


def test_levels_on_own_prompts_place_those_that_were_asked_and_move_the_others() -> None:
    """Or else a model that was not asked would seem to be better by as much as these prompts are harder."""
    own, known, priced = card("own"), card("gpt-4o-mini"), card("new", usd=1.0)
    measured = measured_of(own, logits=0.5, p=0.6, artefact=PREDICTOR.version)
    asked = msgspec.structs.replace(measured.models[0], level=-1.5, level_error=0.1)
    levels = msgspec.structs.replace(measured, models=(asked,), shift=2.0, shift_error=0.3)
    cards = [own, known, priced]
    before, after = (PREDICTOR.place(cards, each) for each in (measured, levels))
    assert (after[0].ability, after[0].error) == (-1.5, 0.1)
    for plain, moved in zip(before[1:], after[1:], strict=True):
        assert moved.ability == pytest.approx(plain.ability - 2.0)
        assert (moved.error, moved.source) == (0.0, plain.source)
    other_scale = msgspec.structs.replace(levels, artefact="router-0")
    assert PREDICTOR.place([known], other_scale) == PREDICTOR.place([known])
