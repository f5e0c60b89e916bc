"""Abilities that were measured, found again for the models that they were measured of."""

from __future__ import annotations

import msgspec
import pytest

from junctor.chat import ModelCard
from junctor.routing.abilities import (
    Abilities,
    Ability,
    identity_of,
    level_of,
    match_abilities,
    parse_abilities,
)


def ability_of(model: str = "small", *, logits: float = 0.4, error: float = 0.1, p: float = 0.6) -> Ability:
    return Ability(
        model=model,
        identity=f"openai/{model}-2",
        logits=logits,
        error=error,
        p=p,
        p_error=0.02,
        score=0.55,
        prompts=300,
    )


def test_stored_abilities_are_read_again() -> None:
    abilities = Abilities(artefact="router-1", models=(ability_of(),))
    assert parse_abilities(msgspec.json.encode(abilities)) == abilities


def test_what_an_earlier_version_stored_holds_for_prompts_of_any_sort() -> None:
    """It knew no levels and no shift, and nothing of like prompts."""
    old = msgspec.json.decode(msgspec.json.encode(Abilities(artefact="router-1", models=(ability_of(),))))
    del old["shift"], old["shift_error"], old["models"][0]["level"], old["models"][0]["level_error"]
    del old["neighbourhood"], old["models"][0]["residuals"]
    abilities = parse_abilities(msgspec.json.encode(old))
    assert abilities is not None
    assert level_of(abilities.models[0], abilities) == (0.4, 0.1)


def test_a_level_counts_and_without_one_an_ability_moved_by_the_shift() -> None:
    asked = msgspec.structs.replace(ability_of("a"), level=-1.2, level_error=0.15)
    abilities = Abilities(artefact="x", models=(asked, ability_of("b")), shift=1.5, shift_error=0.4)
    assert level_of(abilities.models[0], abilities) == (-1.2, 0.15)
    assert level_of(abilities.models[1], abilities) == (pytest.approx(-1.1), pytest.approx(0.17**0.5))


def test_another_layout_is_not_used_and_a_damaged_one_is_an_error() -> None:
    other = msgspec.json.encode(Abilities(format=2, artefact="x", models=()))
    assert parse_abilities(other) is None
    with pytest.raises(msgspec.DecodeError):
        parse_abilities('{"format": 1')


def test_what_was_measured_of_another_model_of_that_name_does_not_count() -> None:
    abilities = Abilities(artefact="x", models=(ability_of("a"), ability_of("b")))
    same = ModelCard(name="a", provider="openai", upstream="a-2")
    other = ModelCard(name="b", provider="openai", upstream="b-3")
    assert set(match_abilities(abilities, [same, other])) == {"a"}
    assert match_abilities(None, [same]) == {}


def test_a_model_without_another_name_upstream_is_named_by_its_own() -> None:
    assert identity_of(ModelCard(name="a", provider="scripted")) == "scripted/a"
