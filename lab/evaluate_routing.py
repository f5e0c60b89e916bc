"""What routing saves and what it costs in quality, on outcomes that nothing was tuned on.

    .venv/bin/python lab/evaluate_routing.py --fit DIR --data DIR [--json OUT] [--strong MODEL ...]
        [--only zeroeval/] [--floor 0.98] [--confidence 0.95] [--seed 0]
        [--splits 200] [--leave-one-out]

Both folders are in the form of lab/routing_outcomes.py, which says where the data come from.
Policies, pairs, ladders and thresholds are chosen
on `--fit` alone; a prompt of `--fit` whose question stands in `--data`, too, is left out of it. Where the two
are one folder, half of the questions, drawn with `--seed`, is for fitting and the other half for trying.
`--splits N`: N such halves, and how often the promise held. `--leave-one-out`: each benchmark tried with what
the others taught. Without `--strong`: claude-3.5-sonnet-1022 and gpt-4o-0806 where the data have them, else
the model that scored best on `--fit`. Models that beat the strong one on `--fit` are left out of its pool.

The JSON has one row for each data set, strong model and policy: `saved_pct` of the strong model's cost, and
`quality_delta_pp` to it with a paired bootstrap interval of 95 %. `apgr`, `cpt50` and `cpt80` (see
lab/routing_tables.py) where a policy ranks prompts for a pair. docs/routing.md says what the policies are.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from junctor.routing.calibration.outcomes import Outcomes
from routing_data import folds_by_stem
from routing_outcomes import Prompts, covered_models, make_table, read_prompts
from routing_policies import Case, Foresight, Tried, policies
from routing_tables import show

STRONG = ("claude-3-5-sonnet-20241022", "gpt-4o-2024-08-06")
FEWEST = 100
RESAMPLES = 5000


def main() -> None:
    """Evaluate, print, and write."""
    wanted = _parse()
    fit, data = (_read(folder) for folder in (wanted.fit, wanted.data))
    halves = wanted.fit.resolve() == wanted.data.resolve()
    rows: list[dict[str, Any]] = []
    for name in sorted({benchmark.split("/")[0] for benchmark in data.data.benchmark}):
        if not f"{name}/".startswith(wanted.only) and not wanted.only.startswith(f"{name}/"):
            continue
        rows += evaluate_set(name, fit, data, wanted, halves=halves)
    for name in sorted({row["set"] for row in rows}):
        show(f"{name}", [row for row in rows if row["set"] == name])
    report: dict[str, Any] = {"rows": rows}
    if wanted.splits:
        report["splits"] = [row for name in STRONG for row in try_splits(fit, name, wanted)]
        show(f"{wanted.splits} random halves", report["splits"])
    if wanted.leave_one_out:
        report["leave_one_out"] = leave_one_out(fit, wanted)
        show("each benchmark, learnt from the others", report["leave_one_out"])
    if wanted.json:
        wanted.json.write_text(json.dumps(rows if len(report) == 1 else report, indent=1))


def _read(folder: Path) -> Prompts:
    try:
        return read_prompts(folder)
    except FileNotFoundError as error:
        raise SystemExit(str(error)) from None


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fit", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--strong", action="append", default=[])
    parser.add_argument("--only", default="", help="benchmarks whose name begins so")
    parser.add_argument("--floor", type=float, default=0.98)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--splits", type=int, default=0)
    parser.add_argument("--leave-one-out", action="store_true")
    return parser.parse_args()


@dataclass(frozen=True)
class Sides:
    """Indices of the prompts to learn from, and of those to try on."""

    fit: np.ndarray
    data: np.ndarray


def sides_of(name: str, fit: Prompts, data: Prompts, only: str, seed: int, *, halves: bool) -> Sides:
    """The prompts of one data set; of another one where `fit` does not have it."""
    inside = f"{name}/"
    test = data.where(lambda benchmark, _: benchmark.startswith(inside) and benchmark.startswith(only))
    train = fit.where(lambda benchmark, _: benchmark.startswith(inside))
    if halves:
        fold = folds_by_stem(data.data, 2, seed)
        return Sides(train[fold[train] == 0], test[fold[test] == 1])
    if not len(train):
        train = fit.where(lambda *_: True)
    tried = set(data.data.stem[test])
    return Sides(np.array([at for at in train if fit.data.stem[at] not in tried], int), test)


def evaluate_set(
    name: str, fit: Prompts, data: Prompts, wanted: argparse.Namespace, *, halves: bool
) -> list[dict[str, Any]]:
    """Every policy against every strong model."""
    sides = sides_of(name, fit, data, wanted.only, wanted.seed, halves=halves)
    rows = list[dict[str, Any]]()
    for strong in wanted.strong or strongs_of(fit, data, sides):
        case = make_case(fit, data, sides, strong, wanted)
        if case is None:
            continue
        for tried in policies(case):
            rows.append({"set": name, "strong": strong, **describe(case, tried, wanted.seed)})
    return rows


def strongs_of(fit: Prompts, data: Prompts, sides: Sides) -> list[str]:
    """The named ones where the data have them; else the best on `fit`, never on `data`."""
    there = covered_models(data, sides.data)
    named = [name for name in STRONG if name in there]
    if named:
        return named
    learnt = [name for name in covered_models(fit, sides.fit) if name in there]
    if learnt:
        table, _ = make_table(fit, sides.fit, learnt)
        return [learnt[int(table.scores.mean(axis=1).argmax())]]
    table, _ = make_table(data, sides.data, there)
    return [there[int(table.usd.mean(axis=1).argmax())]] if there else []


def make_case(
    fit: Prompts, data: Prompts, sides: Sides, strong: str, wanted: argparse.Namespace
) -> Case | None:
    """The models that both sides know, on both sides; None where the strong one is not among them."""
    there = covered_models(data, sides.data)
    known = covered_models(fit, sides.fit) if len(sides.fit) else []
    pool = [name for name in there if name in known]
    if strong not in there or len(sides.data) < FEWEST:
        return None
    if strong not in pool:
        pool = [strong]
    learnt, learnt_at = make_table(fit, sides.fit, pool) if strong in known else (None, sides.fit[:0])
    if learnt is not None:
        pool = no_stronger(learnt, strong)
        learnt, learnt_at = make_table(fit, sides.fit, pool)
    tried, tried_at = make_table(data, sides.data, pool)
    foresight = None
    if learnt is not None and learnt.prompts >= FEWEST:
        texts = [
            [side.data.texts[at] for at in which] for side, which in ((fit, learnt_at), (data, tried_at))
        ]
        foresight = Foresight(learnt, *texts, wanted.seed)
    return Case(
        strong=strong,
        fit=foresight.fit if foresight else None,
        data=tried,
        foresight=foresight,
        floor=wanted.floor,
        confidence=wanted.confidence,
        seed=wanted.seed,
    )


def no_stronger(learnt: Outcomes, strong: str) -> list[str]:
    """The pool in which that model is the strongest, as far as `fit` tells."""
    scores = learnt.scores.mean(axis=1)
    bar = scores[learnt.models.index(strong)]
    return [name for name, score in zip(learnt.models, scores, strict=True) if score <= bar]


def describe(case: Case, tried: Tried, seed: int) -> dict[str, Any]:
    """One row."""
    reference = case.data.scores[case.top]
    difference = 100 * (tried.scores - reference)
    low, high = bootstrap(difference, seed)
    rounded = {
        "saved_pct": 100 * (1 - tried.usd.sum() / case.data.usd[case.top].sum()),
        "quality_delta_pp": difference.mean(),
        "ci_low_pp": low,
        "ci_high_pp": high,
    }
    extra = {"apgr": tried.apgr, "cpt50": tried.cpt50, "cpt80": tried.cpt80}
    return {
        "policy": tried.policy,
        "n": len(reference),
        **{key: round(float(value), 2) for key, value in rounded.items()},
        **{key: None if value is None else round(float(value), 3) for key, value in extra.items()},
        "models": tried.models,
    }


def bootstrap(difference: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % interval of a mean over prompts, by resampling prompts."""
    rng = np.random.default_rng(seed)
    values, counts = np.unique(difference, return_counts=True)
    drawn = rng.multinomial(len(difference), counts / counts.sum(), RESAMPLES)
    means = drawn @ values / len(difference)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def try_splits(prompts: Prompts, strong: str, wanted: argparse.Namespace) -> list[dict[str, Any]]:
    """Random halves: how often the floor was met on the half that was not learnt from."""
    floors = sorted({0.98, 0.99, wanted.floor})
    found: dict[float, list[tuple[float, ...]]] = {floor: [] for floor in floors}
    for seed in range(wanted.splits):
        sides = sides_of("zeroeval", prompts, prompts, "", seed + 1000, halves=True)
        case = make_case(prompts, prompts, sides, strong, wanted)
        if case is None or case.fit is None:
            continue
        for floor in floors:
            found[floor].append(_try_half(replace(case, floor=floor)))
    return [_summarise(strong, floor, np.array(rows, float)) for floor, rows in found.items()]


def _try_half(case: Case) -> tuple[float, ...]:
    """Saved, difference, its lower end, was the floor met, was it promised, and the share that climbs."""
    assert case.foresight is not None
    junctor = policies(case, only=("junctor",))[0]
    reference = case.data.scores[case.top]
    difference = junctor.scores - reference
    low = difference.mean() - 1.96 * difference.std() / np.sqrt(len(difference))
    saved = 1 - junctor.usd.sum() / case.data.usd[case.top].sum()
    met = junctor.scores.mean() >= case.floor * reference.mean()
    climbs = case.foresight.checkable.mean()
    return saved, difference.mean(), low, met, bool(junctor.models), climbs


def _summarise(strong: str, floor: float, table: np.ndarray) -> dict[str, Any]:
    saved, difference, low, met, promised, climbs = table.T
    return {
        "strong": strong,
        "floor_pct": 100 * floor,
        "splits": len(table),
        "promised_pct": 100 * promised.mean(),
        "met_pct": 100 * met.mean(),
        "saved_pct": 100 * saved.mean(),
        "delta_pp": 100 * difference.mean(),
        "low_above_minus_1pp_pct": 100 * (low >= -0.01).mean(),
        "saved_50_pct": 100 * (saved >= 0.5).mean(),
        "both_pct": 100 * ((low >= -0.01) & (saved >= 0.5)).mean(),
        "climbs_pct": 100 * climbs.mean(),
    }


def leave_one_out(prompts: Prompts, wanted: argparse.Namespace) -> list[dict[str, Any]]:
    """Each benchmark tried with what the others of its set taught, beside the best blind mix at its cost."""
    rows = list[dict[str, Any]]()
    for benchmark in sorted(set(prompts.data.benchmark)):
        name = benchmark.split("/")[0]
        test = prompts.where(lambda other, _, left=benchmark: other == left)
        stems = set(prompts.data.stem[test])
        train = prompts.where(
            lambda other, stem, left=benchmark, inside=name, out=stems: (
                other.startswith(f"{inside}/") and other != left and stem not in out
            )
        )
        if len(train) < FEWEST or len(test) < FEWEST:
            continue
        sides = Sides(train, test)
        for strong in wanted.strong or strongs_of(prompts, prompts, sides):
            case = make_case(prompts, prompts, sides, strong, wanted)
            if case is None:
                continue
            told = {
                tried.policy: describe(case, tried, wanted.seed)
                for tried in policies(case, only=("junctor", "static_mix", "static_mix_hindsight"))
            }
            rows.append(
                {
                    "benchmark": benchmark,
                    "strong": strong,
                    "n": told["junctor"]["n"],
                    "saved_pct": told["junctor"]["saved_pct"],
                    "delta_pp": told["junctor"]["quality_delta_pp"],
                    "low_pp": told["junctor"]["ci_low_pp"],
                    "high_pp": told["junctor"]["ci_high_pp"],
                    "static_mix_delta_pp": told["static_mix"]["quality_delta_pp"],
                    "hindsight_mix_delta_pp": told["static_mix_hindsight"]["quality_delta_pp"],
                }
            )
    return rows


if __name__ == "__main__":
    main()
