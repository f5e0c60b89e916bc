"""What a fusion's vote is worth: beside its best member, a majority, and what the pool knows between them.

    .venv/bin/python lab/evaluate_fusion.py --fit DIR --data DIR [--json OUT] [--pool NAME=a,b,c ...]
        [--seed 0] [--splits N] [--labels 200]

Both folders are in the form of lab/fusion_data.py, which says where the data come from.
Evaluated are the pools of `pools.json` (from --data, else
from --fit) whose members all stand in --data; `--pool NAME=a,b,c` adds one to each data set that has its
members, or changes the one of that name; `--pool SET/NAME=a,b,c` to one data set alone.

A vote is learnt from 200 prompts of --fit, drawn with --seed; these are left out of --data. A pool for
which --fit has no labels is fitted on 200 prompts of --data, and tried on the others. Where prompts for
both have to come from fewer than 400, half are for fitting. `--splits N`: N such draws, and how often each
bar is met. All is counted by the product's own code, without a judge.

The JSON has one row for each pool. In per cent: `best_single` (the member that was right most often on the
labels), `majority` (ties: the better member's), `junctor`, `oracle` (any member is right), and of junctor
less best_single `gain_low` and `gain_high` (paired bootstrap, 95 %). `answers_used`: answers waited for.
`early_equal`: share of prompts on which stopping early gave the answer of waiting for all.
`awaited_p95_ratio`: 95th percentile of the time to the vote's end, over that of waiting for all, in
simulated time. `cost_multiple`: of all calls over the best member's alone, at `prices` (`list`: those of
2024, where all members have one; else `equal`: by length).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fusion_data import DataSet, Pattern, Price, Table, make_table, read_pools, read_prices, read_sets
from fusion_replay import elect, multiply_cost, replay, simulate
from junctor.fusion.ballot import Ballot
from junctor.pool.vote import Vote
from junctor.pool.vote_fit import FittedVote, fit_weights

LABELS = 200
FEWEST = 20
"Prompts; a pool with fewer is not evaluated."
FLOOR = 0.5
"Points that junctor may stay below the best member."
BARS = {"gsm/mid5": 95.7, "math-l5/mid5": 62.5, "math-l5/frontier4": 65.5, "mmlupro/mid5": 54.5}
MOST_USED = {"gsm/mid5": 3.2}
P95_RATIO = 0.5
RESAMPLES = 10_000
SHOWN = ("pool", "n", "best_single", "majority", "junctor", "oracle", "gain_low", "gain_high")
SHOWN_COSTS = ("answers_used", "early_equal", "awaited_p95_ratio", "cost_multiple", "prices")


@dataclass(frozen=True)
class Pool:
    """One pool on one data set."""

    name: str
    labelled: Table | None
    "Prompts of --fit; None: it has none for this pool."
    data: Table


@dataclass(frozen=True)
class Trial:
    """A vote, and prompts it was not learnt from."""

    labels: int
    fitted: FittedVote
    test: Table


def main() -> None:
    wanted = _parse()
    fit, data = read_sets(wanted.fit, may_be_empty=True), read_sets(wanted.data)
    prices = read_prices(wanted.data, wanted.data.parent, wanted.fit, wanted.fit.parent)
    pools = list(find_pools(wanted, fit, data))
    rows = [row for pool in pools if (row := evaluate(pool, wanted.labels, wanted.seed, prices))]
    for name, each in data.items():
        print(f"{name}: {len(each.prompts)} prompts, {each.skipped} lines that are none")
    show(rows, SHOWN)
    show(rows, ("pool", *SHOWN_COSTS))
    print(*check_bars(rows), sep="\n")
    if wanted.splits:
        splits = [try_splits(pool, wanted.labels, wanted.seed, wanted.splits) for pool in pools]
        print(f"\n{wanted.splits} draws of {wanted.labels} labels")
        show([each for each in splits if each], None)
    if wanted.json:
        wanted.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--fit", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pool", action="append", default=[], metavar="NAME=a,b,c")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--splits", type=int, default=0)
    parser.add_argument("--labels", type=int, default=LABELS)
    return parser.parse_args()


def find_pools(
    wanted: argparse.Namespace, fit: dict[str, DataSet], data: dict[str, DataSet]
) -> Iterator[Pool]:
    """Those that --data can fill."""
    told = read_pools(wanted.data, wanted.fit)
    for name, each in data.items():
        pools = {**told.get(name, {}), **_read_options(wanted.pool, name, each)}
        for pool, members in pools.items():
            if missing := set(members) - each.models:
                print(f"{name}/{pool}: left out, no answers of {', '.join(sorted(missing))}")
                continue
            table = make_table(each, members)
            labelled = make_table(fit[name], members) if name in fit else None
            yield Pool(f"{name}/{pool}", labelled if labelled and labelled.prompts else None, table)


def _read_options(options: Sequence[str], name: str, data: DataSet) -> dict[str, list[str]]:
    pools = dict[str, list[str]]()
    for option in options:
        full, _, members = option.partition("=")
        of_set, _, pool = full.rpartition("/")
        named = [member.strip() for member in members.split(",") if member.strip()]
        if not pool or not named:
            raise SystemExit(f"--pool {option}: wanted is NAME=a,b,c")
        if of_set == name or (not of_set and data.models.issuperset(named)):
            pools[pool] = named
    return pools


def draw(pool: Pool, labels: int, seed: int) -> Trial | None:
    """Learn a vote from some prompts, drawn at random; None: too few."""
    source = pool.labelled or pool.data
    is_apart = source.keys.isdisjoint(pool.data.keys)
    count = labels if is_apart or len(source.prompts) >= 2 * labels else len(source.prompts) // 2
    order = np.random.default_rng(seed).permutation(len(source.prompts))
    train = source.pick(order[:count])
    test = pool.data.without(train)
    if min(len(train.prompts), len(test.prompts)) < FEWEST:
        print(
            f"{pool.name}: left out, {len(train.prompts)} prompts to learn from, {len(test.prompts)} to try"
        )
        return None
    return Trial(len(train.prompts), fit_weights(train.answers, train.right), test)


def evaluate(pool: Pool, labels: int, seed: int, prices: dict[str, Price]) -> dict[str, Any] | None:
    trial = draw(pool, labels, seed)
    if trial is None:
        return None
    test, best = trial.test, trial.fitted.best
    taken = take(trial.fitted.vote, test, best)
    run = replay(trial.fitted.vote, test, simulate(test.chars, seed))
    multiple, source = multiply_cost(test, best, run, prices)
    low, high = bootstrap(taken, test.right[best], seed)
    return {
        "pool": pool.name,
        "n": len(test.prompts),
        "best_single": _percent(test.right[best]),
        "majority": _percent(take_majority(test, trial.fitted)),
        "junctor": _percent(taken),
        "oracle": _percent(test.right.any(axis=0)),
        "gain_low": low,
        "gain_high": high,
        "answers_used": round(float(run.awaited.mean()), 3),
        "early_equal": float(run.equal.mean()),
        "awaited_p95_ratio": round(_p95(run.seconds) / _p95(run.all_seconds), 3),
        "cost_multiple": round(multiple, 2),
        "prices": source,
        "members": list(test.members),
        "best_member": test.members[best],
        "labels": trial.labels,
        "labels_from": "fit" if pool.labelled else "data",
        "weights": [round(weight, 3) for weight in trial.fitted.vote.weights],
    }


def take(vote: Vote, table: Table, best: int) -> np.ndarray:
    """(n,) bool: whether the answer that is taken is right."""
    return _read(table, {pattern: _elect(vote, pattern, best) for pattern in set(table.patterns)}, best)


def _elect(vote: Vote, pattern: Pattern, best: int) -> int:
    ballot = Ballot(vote, may_be_open=False)
    for at, answer in enumerate(pattern):
        ballot.put(at, answer)
    return elect(ballot, best)


def take_majority(table: Table, fitted: FittedVote) -> np.ndarray:
    """The answer that most members gave; of several, the one of the member that is best on the labels."""
    ranked = sorted(range(len(table.members)), key=lambda at: -fitted.shrunk.abilities[at])

    def top(pattern: Pattern) -> int | None:
        given = [at for at in ranked if pattern[at] is not None]
        return max(given, key=lambda at: pattern.count(pattern[at]), default=None)

    return _read(table, {pattern: top(pattern) for pattern in set(table.patterns)}, fitted.best)


def _read(table: Table, tops: dict[Pattern, int | None], best: int) -> np.ndarray:
    picked = [best if (top := tops[pattern]) is None else top for pattern in table.patterns]
    return table.right[picked, np.arange(len(picked))]


def bootstrap(one: np.ndarray, other: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % of the difference of two shares on the same prompts, points."""
    n = len(one)
    shares = [float(np.mean(one & ~other)), float(np.mean(other & ~one))]
    rng = np.random.default_rng(seed)
    won, lost, _ = rng.multinomial(n, [*shares, 1 - sum(shares)], size=RESAMPLES).T
    low, high = np.percentile((won - lost) / n * 100, [2.5, 97.5])
    return round(float(low), 2), round(float(high), 2)


def _percent(right: np.ndarray) -> float:
    return round(float(right.mean()) * 100, 2)


def _p95(seconds: np.ndarray) -> float:
    return float(np.percentile(seconds, 95))


# Bars.


def check_bars(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Each bar, and whether it is met."""
    for row in rows:
        name, gain = row["pool"], row["junctor"] - row["best_single"]
        yield _verdict(f"{name}: best single {gain:+.2f}, at least -{FLOOR}", gain >= -FLOOR)
        if name in BARS:
            yield _verdict(f"{name}: {row['junctor']}, at least {BARS[name]}", row["junctor"] >= BARS[name])
        if name in MOST_USED:
            used = row["answers_used"]
            yield _verdict(f"{name}: {used} answers used, at most {MOST_USED[name]}", used <= MOST_USED[name])
            ratio = row["awaited_p95_ratio"]
            yield _verdict(f"{name}: p95 {ratio} of waiting for all, at most {P95_RATIO}", ratio <= P95_RATIO)
        if row["early_equal"] < 1:
            yield _verdict(f"{name}: early stop changes {1 - row['early_equal']:.2%} of answers", False)


def _verdict(text: str, met: bool) -> str:
    return f"{'met   ' if met else 'NOT MET'} {text}"


def try_splits(pool: Pool, labels: int, seed: int, splits: int) -> dict[str, Any] | None:
    """The same over many draws of labels: how good, how often good enough."""
    best, majority, junctor, used, equal, ratios = [], [], [], [], [], []
    for at in range(splits):
        trial = draw(pool, labels, seed * splits + at)
        if trial is None:
            return None
        best.append(_percent(trial.test.right[trial.fitted.best]))
        majority.append(_percent(take_majority(trial.test, trial.fitted)))
        junctor.append(_percent(take(trial.fitted.vote, trial.test, trial.fitted.best)))
        run = replay(trial.fitted.vote, trial.test, simulate(trial.test.chars, at))
        used.append(run.awaited.mean())
        equal.append(run.equal.mean())
        ratios.append(_p95(run.seconds) / _p95(run.all_seconds))
    gains, bar, most = np.array(junctor) - np.array(best), BARS.get(pool.name), MOST_USED.get(pool.name)
    return {
        "pool": pool.name,
        "best": np.mean(best),
        "majority": np.mean(majority),
        "junctor": np.mean(junctor),
        "lowest": min(junctor),
        "gain": gains.mean(),
        "lowest gain": gains.min(),
        f">= best - {FLOOR} %": _percent(gains >= -FLOOR),
        "bar": bar,
        "bar met %": None if bar is None else _percent(np.array(junctor) >= bar),
        "used": np.mean(used),
        "most": max(used),
        "few %": None if most is None else _percent(np.array(used) <= most),
        "early equal": min(equal),
        "p95 ratio": np.mean(ratios),
        "highest": max(ratios),
    }


def show(rows: Sequence[dict[str, Any]], columns: Sequence[str] | None) -> None:
    """A table."""
    if not rows:
        return
    columns = columns or list(rows[0])
    cells = [list(columns), *([_render(row[column]) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()


def _render(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
