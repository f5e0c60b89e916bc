"""What a calibration on one sort of questions says of another: how far off abilities are, and how surely.

    .venv/bin/python lab/transfer_abilities.py --data DIR [--prompts 300] [--draws 6] [--knacks 0,0.6]
        [--only zeroeval] [--seed 0] [--json OUT]

As lab/calibrate_router.py does it, a third of the models at a time are strangers. The predictor knows nothing
of the benchmarks that are asked, nor of their namesakes; the other benchmarks of the set it has learnt from
other models. Strangers answer K of the ones, alone or with two models that it knows, as if these were
questions of ours; what is told of their ability is compared with their level on all of the others.

That level is a fit to all their answers there, less what these are harder for the models that are known.
`scatter`: how much the levels on the two sorts differ between models, what chance adds taken off. `covered`:
how often the level lies within 1.96 standard errors. Of the models that are known, the predictor has learnt
from their answers to the other benchmarks: they stand there by construction, and are not told.
`--knacks`: values of `Spreads.knack` (calibration/ability_fit.py) to compare. Three minutes.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from calibration_trials import KNOWN, POOL, Exam, Trial, Z, draw_groups, read_exam, train
from junctor.routing.calibration.ability_fit import Answered, Estimates, Spreads, fit_abilities
from junctor.routing.calibration.grading import PRIOR_ERRORS
from routing_data import load
from routing_tables import show

SORTS = (
    ("zeroeval", ("math-l5",)),
    ("zeroeval", ("gsm",)),
    ("mmlupro", ("math", "physics", "chemistry")),
    ("llmrouter", ("gsm8k", "math", "mbpp", "agentverse-logicgrid")),
    ("llmrouter", ("arc_challenge", "commonsense_qa", "mmlu", "natural_qa", "trivia_qa")),
)
"""A set, and the benchmarks of it that are asked; the others of the set tell what is true."""
NOTHING = 1e-3
FREE = 5.0
"A prior error that leaves a level to the answers."


def main() -> None:
    """Print one table for each sort."""
    wanted = _parse()
    folder = wanted.data / "routing"
    data = load(folder if folder.is_dir() else wanted.data)
    rows = list[dict[str, Any]]()
    for set_name, asked in SORTS:
        if set_name.startswith(wanted.only) and set_name in {name.split("/")[0] for name in data.benchmark}:
            exam = read_exam(data, set_name)
            found = try_sort(exam, [f"{set_name}/{name}" for name in asked], wanted)
            show(
                f"{set_name}: {', '.join(asked)} asked, {len(exam.names)} models",
                [_tell(row) for row in found],
            )
            rows += [{"set": set_name, "asked": asked, **row} for row in found]
    if wanted.json:
        wanted.json.write_text(json.dumps(rows, indent=1))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--draws", type=int, default=6)
    parser.add_argument("--knacks", default="0,0.6")
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


@dataclass(frozen=True)
class Miss:
    """What was told of one ability, and what was true. Logits."""

    knack: float
    known: int
    error: float
    stated: float
    tolerance: float
    "Standard error of what counts as true."


def try_sort(exam: Exam, asked: list[str], wanted: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each knack, without known models and with two."""
    rng = np.random.default_rng(wanted.seed)
    misses, scatters = list[Miss](), list[float]()
    for group in draw_groups(exam, rng):
        unseen = np.isin(exam.data.benchmark, asked)
        trial = Trial(exam, group, train(exam, group, wanted.seed + 1, unseen))
        of_asked = unseen[exam.prompts]
        scatters.append(scatter(trial, of_asked))
        if len(trial.known) >= KNOWN:
            truth = true_abilities(trial, np.flatnonzero(~of_asked))
            for _ in range(wanted.draws):
                drawn = rng.permutation(np.flatnonzero(of_asked))[: wanted.prompts]
                misses += try_pools(trial, drawn, truth, wanted, rng)
    return [
        describe([it for it in misses if (it.known, it.knack) == (known, knack)], known, knack, scatters)
        for known in (0, KNOWN)
        for knack in _knacks(wanted)
    ]


def _knacks(wanted: argparse.Namespace) -> list[float]:
    return [float(each) for each in wanted.knacks.split(",")]


def scatter(trial: Trial, of_asked: np.ndarray) -> float:
    """Standard deviation, over strangers, of the level on what is asked less that on the others."""
    one, other = (levels(trial, np.flatnonzero(which)) for which in (of_asked, ~of_asked))
    strangers = trial.group
    spread = (one.logits - other.logits)[strangers].var(ddof=1)
    chance = (one.errors**2 + other.errors**2)[strangers].mean()
    return float(np.sqrt(max(0.0, spread - chance)))


def levels(trial: Trial, prompts: np.ndarray) -> Estimates:
    """Of every model by itself, by its answers to some prompts alone."""
    exam, found = trial.exam, list[Estimates]()
    spreads = Spreads(NOTHING, NOTHING, NOTHING)
    for at, placed in enumerate(trial.predictor.place(exam.cards)):
        ease, scores = trial.ease(placed)[None, prompts], exam.scores[at][None, prompts]
        answered = Answered(ease, scores, np.zeros(len(prompts), np.int64), 1, exam.temperature)
        found.append(fit_abilities(answered, [0.0], [FREE], spreads).levels)
    return Estimates(*(np.concatenate([getattr(it, part) for it in found]) for part in ("logits", "errors")))


def true_abilities(trial: Trial, prompts: np.ndarray) -> Estimates:
    """Levels on the prompts that the predictor knows, moved to where the models that it knows stand."""
    found = levels(trial, prompts)
    stands = np.array([it.ability for it in trial.predictor.place(trial.exam.cards)])
    return Estimates(found.logits + (stands - found.logits)[trial.known].mean(), found.errors)


def try_pools(
    trial: Trial, prompts: np.ndarray, truth: Estimates, wanted: argparse.Namespace, rng: np.random.Generator
) -> list[Miss]:
    """Every stranger once without known models, and once with two."""
    exam, misses = trial.exam, list[Miss]()
    order = rng.permutation(trial.group)
    kinds = np.unique(exam.data.benchmark[exam.prompts[prompts]], return_inverse=True)[1]
    for pool in np.array_split(order, -(-len(order) // POOL)):
        for known in (rng.permutation(trial.known)[:count].astype(int) for count in (0, KNOWN)):
            strangers = [msgspec.structs.replace(exam.cards[at], name=f"stranger {at}") for at in pool]
            placed = trial.predictor.place([*strangers, *(exam.cards[at] for at in known)])
            ease = np.array([trial.ease(it)[prompts] for it in placed])
            scores = exam.scores[np.concatenate([pool, known])][:, prompts]
            answered = Answered(ease, scores, kinds, kinds.max() + 1, exam.temperature)
            priors = [it.ability for it in placed], [PRIOR_ERRORS[it.source] for it in placed]
            for knack in _knacks(wanted):
                told = fit_abilities(answered, *priors, Spreads(knack=max(knack, NOTHING))).abilities
                misses += [
                    Miss(
                        knack,
                        len(known),
                        float(told.logits[place] - truth.logits[at]),
                        float(told.errors[place]),
                        float(truth.errors[at]),
                    )
                    for place, at in enumerate(pool)
                ]
    return misses


def _tell(row: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in row.items()}


def describe(misses: list[Miss], known: int, knack: float, scatters: list[float]) -> dict[str, Any]:
    """One row."""
    error, stated, tolerance = np.array([(it.error, it.stated, it.tolerance) for it in misses]).T
    return {
        "known": known,
        "knack": knack,
        "covered_pct": round(100 * float((np.abs(error) < Z * np.hypot(stated, tolerance)).mean()), 1),
        "rms_error": round(float(np.sqrt((error**2).mean())), 2),
        "stated_error": round(float(stated.mean()), 2),
        "scatter": round(float(np.sqrt(np.mean(np.square(scatters)))), 2),
        "abilities": len(misses),
    }


if __name__ == "__main__":
    main()
