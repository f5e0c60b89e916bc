"""A calibration of the attacked models, with neighbours. Imported by lab/attack_routing.py.

On prompts of both sets that the pools come from, as if they were the user's own: the neighbours' prompts are
those that attackers would like to stand near.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

import msgspec
import numpy as np

from junctor.chat import ModelCard
from junctor.pool.prompt import TEXT_CHARS, sample_text
from junctor.routing.abilities import Abilities, identity_of
from junctor.routing.calibration.ability_fit import read_answered
from junctor.routing.calibration.grading import PRIOR_ERRORS
from junctor.routing.calibration.learn import measure_abilities
from junctor.routing.calibration.prompt_file import OWN
from junctor.routing.calibration.residuals import add_neighbours
from junctor.routing.calibration.study import Studied, Study
from junctor.routing.features import extract_features
from junctor.routing.neighbours import MOST_PROMPTS
from junctor.routing.predictor import Predictor
from routing_data import Data
from routing_tables import grid

SETS = ("zeroeval", "mmlupro")


def calibrate_on(
    data: Data,
    predictor: Predictor,
    names: Sequence[str],
    besides: Collection[str],
    draw: random.Random,
    *,
    neighbours: bool,
) -> Abilities:
    """Abilities of models with these names, from prompts that are none of `besides`."""
    outcomes = grid(data)
    models = [data.models.index(name) for name in names]
    chosen = list[int]()
    for set_name in SETS:
        there = np.isfinite(outcomes.score[:, models]).sum(1) > 1
        inside = np.flatnonzero(there & (outcomes.set_name == set_name)).tolist()
        chosen += draw.sample(
            [at for at in inside if data.texts[at] not in besides], MOST_PROMPTS // len(SETS)
        )
    features = [extract_features(sample_text(data.texts[at], TEXT_CHARS)) for at in chosen]
    cards = [ModelCard(name=name) for name in names]
    nothing = (None,) * len(chosen)
    studied = list[Studied]()
    for card, it, model in zip(cards, predictor.place(cards), models, strict=True):
        average = msgspec.structs.replace(it, ability=0.0)
        p = np.array([predictor.predict(each, [average])[0].p_good for each in features])
        scores = outcomes.score[chosen, model]
        studied.append(
            Studied(
                model=card.name,
                identity=identity_of(card),
                prior=it.ability,
                prior_error=PRIOR_ERRORS[it.source],
                ease=tuple(np.log(p) - np.log1p(-p)),
                scores=tuple(float(score) if np.isfinite(score) else None for score in scores),
                usd=nothing,
                tokens=nothing,
                answers=nothing,
            )
        )
    study = Study(
        models=tuple(studied),
        kinds=(OWN,) * len(chosen),
        artefact=predictor.version,
        temperature=predictor.artefact.temperature,
        abilities_table=predictor.artefact.abilities,
        mean_ps_table=predictor.artefact.mean_ps,
        strongest=None,
        floor=0.98,
        confidence=0.95,
    )
    answered = read_answered(study)
    measured = measure_abilities(study, answered)
    return add_neighbours(measured, [it.named for it in features], answered) if neighbours else measured
