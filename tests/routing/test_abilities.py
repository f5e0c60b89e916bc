"""Abilities that were measured, found again for the models that they were measured of."""

from __future__ import annotations

import msgspec
import pytest

from junctor.chat import ModelCard
from junctor.routing.abilities import Abilities, Ability, identity_of, match_abilities, parse_abilities


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
