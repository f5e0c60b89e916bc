"""How well a short calibration places models that the artefact never saw; and a ladder out of a folder.

    .venv/bin/python lab/calibrate_router.py --data DIR [--set zeroeval] [--prompts 25,50,100,200,400]
        [--training seen,unseen] [--draws 10] [--seed 0] [--json OUT]
    .venv/bin/python lab/calibrate_router.py --data DIR --set zeroeval --out LADDER.json
        [--strong MODEL] [--floor 0.98] [--confidence 0.95] [--provider openai]

The folder is in the form of lab/routing_outcomes.py. Evaluated are the models that answered the whole set, a
third of them at a time being strangers (lab/calibration_trials.py): the predictor is trained on everything
but them, they answer K random prompts in pools of up to four, and the other prompts of the set are predicted.
`--training seen`: other models' answers to these prompts were trained on; `unseen`: nothing of the set, its
namesakes and its questions was. About 20 s for each third and training.

- `price alone`, `constant`: no calibration; the mean of the models that are not strangers, on the same set.
- `mean of K`: its mean score on the K prompts, no model. `kNN`: its score on the most alike of them.
- `junctor`: levels as `junctor calibrate` fits them, predictions as the router makes them with these.
- `no shift fitted`: as if these prompts were as hard as predicted; abilities make up for it.
- `abilities alone`: what is thought to hold for prompts of any sort, which is not meant for these.
- `neighbours`: what `junctor calibrate` keeps of the K prompts moves predictions, where it does (`kept`).
- `2 known`: two models that the artefact does know answer the K prompts, too.

Intervals: bootstrap over models, of means over draws. Of two models with a true difference of more than two
points on the predicted prompts, `ranked` is the share in which the better one is predicted to be better.

With `--out` nothing is evaluated: the ladder is learnt from all prompts of the set, and written as `junctor
calibrate` stores it, its models named as the data name them, under one provider.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from calibration_scores import APART
from calibration_trials import (
    APGR,
    COLUMNS,
    EXPECTED,
    HIGH,
    KEPT,
    LOSS,
    LOW,
    METHODS,
    POOL_ID,
    TRUTH,
    Exam,
    Trial,
    choose_neighbours,
    draw_groups,
    read_exam,
    train,
)
from junctor.chat import ModelCard
from junctor.routing.abilities import identity_of
from junctor.routing.calibration.calibrate import calibrate
from junctor.routing.calibration.store import StoredLadder
from junctor.routing.ladder import models_of
from routing_data import load
from routing_outcomes import covered_models, make_table, read_prompts
from routing_tables import show

FEWEST = 100
RESAMPLES = 1000
PAIRED = (("junctor, neighbours", "junctor"), ("junctor, neighbours, 2 known", "junctor, 2 known"))
"Compared model by model."
TRAININGS = ("seen", "unseen")


def main() -> None:
    """Evaluate and print, or learn a ladder and write it."""
    wanted = _parse()
    try:
        if wanted.out:
            write_ladder(wanted)
        else:
            rows = evaluate(wanted)
            print_tables(rows)
            if wanted.json:
                wanted.json.write_text(json.dumps(rows, indent=1))
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(str(error)) from error


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", default="zeroeval")
    parser.add_argument("--prompts", default="25,50,100,200,400")
    parser.add_argument("--training", default=",".join(TRAININGS))
    parser.add_argument(
        "--elsewhere",
        action="store_true",
        help="calibrate on one half of the set's benchmarks, predict the other half",
    )
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--strong", help="left out: the highest score")
    parser.add_argument("--floor", type=float, default=0.98)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--provider", default="openai", help="that serves the models of the ladder")
    wanted = parser.parse_args()
    if unknown := set(wanted.training.split(",")) - set(TRAININGS):
        parser.error(f"--training {', '.join(sorted(unknown))}: there are {', '.join(TRAININGS)}")
    return wanted


def evaluate(wanted: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each training, number of prompts and method."""
    folder = wanted.data / "routing"
    exam = read_exam(load(folder if folder.is_dir() else wanted.data), wanted.set)
    counts = [int(each) for each in wanted.prompts.split(",")]
    counts = [count for count in counts if 0 < count <= len(exam.prompts) - FEWEST]
    if not counts:
        raise ValueError(f"{wanted.set} has {len(exam.prompts)} prompts; {FEWEST} are kept to predict")
    rows = list[dict[str, Any]]()
    for training in wanted.training.split(","):
        tables = try_all(
            exam, counts, wanted.draws, wanted.seed, unseen=training == "unseen", elsewhere=wanted.elsewhere
        )
        for count in counts:
            for at, method in enumerate(METHODS):
                told = describe(tables[count][:, at], wanted.seed)
                if told:
                    told |= compare(tables[count], method, wanted.seed)
                    rows.append(
                        {"set": wanted.set, "training": training, "prompts": count, "method": method, **told}
                    )
    return rows


def try_all(
    exam: Exam, counts: list[int], draws: int, seed: int, *, unseen: bool, elsewhere: bool = False
) -> dict[int, np.ndarray]:
    """For each number of prompts (draws, methods, m, columns): each model is a stranger once in each draw."""
    rng = np.random.default_rng(seed)
    tables = {count: np.full((draws, len(METHODS), len(exam.names), COLUMNS), np.nan) for count in counts}
    for number, group in enumerate(draw_groups(exam, rng)):
        trial = Trial(exam, group, train(exam, group, seed + 1, exam.inside & unseen))
        for count in counts:
            neighbours = choose_neighbours(exam, trial.others, count, rng)
            for draw in range(draws):
                table = trial.run(count, rng, neighbours, elsewhere=elsewhere)
                table[..., POOL_ID] += 1000 * number
                tables[count][draw][:, group] = table[:, group]
    return tables


def describe(table: np.ndarray, seed: int) -> dict[str, Any]:
    """Of one method, (draws, m, columns): means over models with bootstrap intervals."""
    there = np.isfinite(table[..., EXPECTED]).all(0)
    table = table[:, there]
    if not there.any():
        return {}
    models = int(there.sum())
    weights = np.random.default_rng(seed).multinomial(models, np.full(models, 1 / models), RESAMPLES)
    error = 100 * np.abs(table[..., EXPECTED] - table[..., TRUTH])
    inside = (table[..., LOW] <= table[..., TRUTH]) & (table[..., TRUTH] <= table[..., HIGH])
    told = {
        "models": models,
        "draws": len(table),
        **_interval("error_pp", error.mean(0), weights),
        **_interval("log_loss", table[..., LOSS].mean(0), weights),
        **_interval("apgr", _over_draws(table[..., APGR]), weights),
        **_rank(table, weights),
    }
    if np.isfinite(table[..., LOW]).all():
        told |= _interval("covered_pct", 100 * inside.mean(0), weights)
        told["half_width_pp"] = round(50 * float((table[..., HIGH] - table[..., LOW]).mean()), 2)
    return told


def compare(tables: np.ndarray, method: str, seed: int) -> dict[str, Any]:
    """What neighbours change, model by model: (draws, methods, m, columns)."""
    plain = dict(PAIRED).get(method)
    if plain is None:
        return {}
    new, old = (tables[:, METHODS.index(each)] for each in (method, plain))
    models = new.shape[1]
    weights = np.random.default_rng(seed).multinomial(models, np.full(models, 1 / models), RESAMPLES)
    kept = new[..., KEPT]
    return {
        **_interval("log_loss_change", _over_draws(new[..., LOSS] - old[..., LOSS]), weights),
        **_interval("apgr_change", _over_draws(new[..., APGR] - old[..., APGR]), weights),
        "kept_pct": round(100 * float(kept[np.isfinite(kept)].mean()), 1),
    }


def _over_draws(values: np.ndarray) -> np.ndarray:
    """(draws, m) -> (m,), of those that are there; nan where none is."""
    there = np.isfinite(values)
    counts = there.sum(0)
    return np.where(counts > 0, np.where(there, values, 0).sum(0) / np.maximum(counts, 1), np.nan)


def _interval(name: str, by_model: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Of models without a value nothing is told."""
    there = np.isfinite(by_model)
    weights, by_model = weights[:, there], by_model[there]
    if not there.any():
        return {}
    counted = weights.sum(1)
    low, high = np.percentile((weights @ by_model)[counted > 0] / counted[counted > 0], (2.5, 97.5))
    return {
        name: round(float(by_model.mean()), 4),
        f"{name}_low": round(float(low), 4),
        f"{name}_high": round(float(high), 4),
    }


def _rank(table: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """Of pairs in a pool whose true means are apart, how many are predicted in order; a tie is half right."""
    truth, expected = table[..., TRUTH], table[..., EXPECTED]
    pool = table[..., POOL_ID]
    apart = (truth[:, :, None] - truth[:, None, :] > APART) & (pool[:, :, None] == pool[:, None, :])
    step = np.sign(np.round(expected[:, :, None] - expected[:, None, :], 9))
    right = np.where(apart, (1 + step) / 2, 0.0).sum(0)
    pairs = apart.sum(0)
    if not pairs.any():
        return {}
    counted = np.einsum("ri,ij,rj->r", weights, pairs, weights)
    shares = 100 * np.einsum("ri,ij,rj->r", weights, right, weights)[counted > 0] / counted[counted > 0]
    low, high = np.percentile(shares, (2.5, 97.5))
    return {
        "ranked_pct": round(100 * float(right.sum() / pairs.sum()), 2),
        "ranked_pct_low": round(float(low), 2),
        "ranked_pct_high": round(float(high), 2),
        "pairs": int(pairs.sum()),
    }


TITLES = {
    "error_pp": ("error of the mean score, points", 1),
    "covered_pct": ("true mean inside the stated 95 % interval, % (its half width, points)", 0),
    "log_loss": ("log loss per prompt", 3),
    "log_loss_change": ("what neighbours change: log loss, paired by model", 3),
    "apgr": ("APGR: share of the gap to a better model recovered; random routing gets 0.5", 3),
    "apgr_change": ("what neighbours change: APGR, paired by model", 3),
    "ranked_pct": ("of two models more than 2 points apart, ranked right, %", 0),
}


def print_tables(rows: list[dict[str, Any]]) -> None:
    """One table for each training and measure: methods by numbers of prompts."""
    for training in dict.fromkeys(row["training"] for row in rows):
        inside = [row for row in rows if row["training"] == training]
        head = f"{inside[0]['set']}, {training} in training, {inside[0]['models']} models"
        for measure, (title, digits) in TITLES.items():
            lines = dict[str, dict[str, str]]()
            for row in inside:
                if measure in row:
                    line = lines.setdefault(row["method"], {"method": row["method"]})
                    line[f"K = {row['prompts']}"] = _tell(row, measure, digits)
            show(f"{head}: {title}", list(lines.values()))


def _tell(row: dict[str, Any], measure: str, digits: int) -> str:
    value, low, high = (f"{row[f'{measure}{end}']:.{digits}f}" for end in ("", "_low", "_high"))
    width = f" (+-{row['half_width_pp']:.1f})" if measure == "covered_pct" else ""
    width += f" (kept {row['kept_pct']:.0f} %)" if measure.endswith("_change") else ""
    return f"{value} [{low}, {high}]{width}"


def write_ladder(wanted: argparse.Namespace) -> None:
    """Learn it from every prompt of the set that all its models answered."""
    prompts = read_prompts(wanted.data)
    which = prompts.where(lambda benchmark, _: benchmark.split("/")[0] == wanted.set)
    if not len(which):
        raise ValueError(f"no set {wanted.set} in {wanted.data}")
    table, _ = make_table(prompts, which, covered_models(prompts, which))
    if not table.models:
        raise ValueError(f"no model has a score and a cost for all of {wanted.set}")
    strong = wanted.strong or table.models[int(table.scores.mean(axis=1).argmax())]
    if strong not in table.models:
        raise ValueError(f"--strong {strong}: with scores and costs there are {', '.join(table.models)}")
    ladder = calibrate(table, strong, floor=wanted.floor, confidence=wanted.confidence, seed=wanted.seed)
    cards = [ModelCard(name=name, provider=wanted.provider) for name in models_of(ladder)]
    stored = StoredLadder(
        ladder=msgspec.Raw(msgspec.json.encode(ladder)),
        identities={card.name: identity_of(card) for card in cards},
    )
    wanted.out.write_bytes(msgspec.json.encode(stored))
    rows = [
        {
            "mode": mode,
            "saved_pct": 100 * promise.saved,
            "quality_pct": 100 * promise.quality,
            "strongest_pct": 100 * promise.strongest_quality,
            "low_pp": 100 * promise.low,
        }
        for mode, promise in ladder.promises.items()
    ]
    print(f"{ladder.version}: {' > '.join(models_of(ladder))}, {ladder.prompts} prompts -> {wanted.out}")
    if rows:
        show(f"promised: {wanted.floor:.0%} of the strongest, at {wanted.confidence:.0%}", rows)
    else:
        print("no promise: the strongest model would answer")


if __name__ == "__main__":
    main()
