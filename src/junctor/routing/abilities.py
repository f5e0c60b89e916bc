"""Measured abilities: how good each model of a pool was on prompts whose answers are known.

Pure. On the artefact's scale, with standard errors, so that the predictor can place a model by what was
measured instead of by its name, its price or what its card declares. `calibration/ability_fit.py` measures
them.

An ability holds for prompts of any sort. Where the prompts were the user's own, the sort of the traffic is
known as well: then each model also has a level on these prompts, which is what the router goes by, and models
that were not asked are moved by as much as these prompts are harder than predicted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import hypot

import msgspec

from junctor.chat import ModelCard

FORMAT = 1
"Layout of stored abilities. Another one is not used."


class Neighbourhood(msgspec.Struct, frozen=True, kw_only=True):
    """The prompts of a calibration, as far as another prompt can be compared with them (`neighbours.py`)."""

    features_version: int
    "That of `features.FEATURES_VERSION`; with another one it is not used."
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    "Of the named features (`features.NAMES`) over these prompts."
    prompts: tuple[bytes, ...]
    """For each, one byte for each named feature: 8 more than its distance from the mean, in steps of half a
    standard deviation, at most 8 to either side. There are no words in it, nor hashes of any."""


class Ability(msgspec.Struct, frozen=True, kw_only=True):
    """Of one model."""

    model: str
    "Its name in the pool."
    identity: str
    "What answers under that name, as `identity_of` writes it: the measurement holds for nothing else."
    logits: float
    "On the artefact's scale of ability."
    error: float
    "Its standard error, logits."
    p: float
    "Mean probability of a good answer on the artefact's reference prompts, 0..1."
    p_error: float
    "Its standard error."
    score: float
    "Mean score on the prompts of the calibration, 0..1."
    prompts: int
    "Prompts that it answered."
    level: float | None = None
    "Its ability on prompts like those of the calibration, where they were the user's own; on the same scale."
    level_error: float = 0.0
    "Its standard error, logits."
    residuals: tuple[float | None, ...] = ()
    """Its score less what was predicted, for each prompt of the neighbourhood; None where it gave no answer.
    Empty where there is no neighbourhood, or where this model was not asked for it."""


class Abilities(msgspec.Struct, frozen=True, kw_only=True):
    """Of a pool, as stored."""

    format: int = FORMAT
    artefact: str
    "Version of the predictor whose scale `logits` are on; on another one's scale `p` places the model."
    models: tuple[Ability, ...]
    shift: float = 0.0
    "What prompts of the user's own are harder than predicted, logits; 0 where the prompts were not theirs."
    shift_error: float = 0.0
    "Its standard error."
    neighbourhood: Neighbourhood | None = None
    "Of prompts of the user's own, where they helped to predict others of them."
    judged_by_strongest: int = 0
    "For how many of the prompts what the strongest model said counted as right: scores are agreement there."


def level_of(ability: Ability, abilities: Abilities) -> tuple[float, float]:
    """What a model is expected to be able to do in traffic, and its standard error. Logits."""
    if ability.level is not None:
        return ability.level, ability.level_error
    return ability.logits - abilities.shift, hypot(ability.error, abilities.shift_error)


def parse_abilities(data: bytes | str) -> Abilities | None:
    """Stored abilities; None when they are of another layout. Raises `msgspec.DecodeError` when damaged."""
    abilities = msgspec.json.decode(data, type=Abilities)
    return abilities if abilities.format == FORMAT else None


def identity_of(card: ModelCard) -> str:
    """Who answers under a card's name."""
    return f"{card.provider}/{card.upstream or card.name}"


def unchanged(identities: Mapping[str, str], cards: Sequence[ModelCard]) -> set[str]:
    """Who of these models is still what it was. `identities`: what that was, by name."""
    return {card.name for card in cards if identities.get(card.name) == identity_of(card)}


def match_abilities(abilities: Abilities | None, cards: Sequence[ModelCard]) -> Mapping[str, Ability]:
    """Those of models that are still what they were, by name."""
    found = {each.model: each for each in abilities.models} if abilities else {}
    return {
        card.name: found[card.name]
        for card in cards
        if card.name in found and found[card.name].identity == identity_of(card)
    }
