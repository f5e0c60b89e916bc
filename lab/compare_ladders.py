"""What each choice of calibration/rules.py is worth: quality at equal savings, on other halves.

    .venv/bin/python lab/compare_ladders.py --data DIR [--only zeroeval] [--strong MODEL ...] [--splits 10]

For each variant: learn on one half of the questions, climb on the other, both ways round, for `--splits`
random halves. Printed is the difference to the strong model in points where 40, 50, 60 and 70 % of its cost
are saved (between prices of the grid, interpolated), with the mean standard error of one half's difference.
These choices were made with such tables, on ZeroEval: the figures are no held-out result. Those are
lab/evaluate_routing.py's.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from evaluate_routing import STRONG, sides_of
from junctor.routing.calibration import fit, rules
from junctor.routing.calibration.outcomes import Outcomes
from routing_outcomes import covered_models, make_table, read_prompts
from routing_tables import show

MOST_MODELS = 5
SAVED = (0.4, 0.5, 0.6, 0.7)
_choose_steps = rules.choose_steps


def _one_by_one(outcomes: Outcomes, top: int) -> list[list[int]]:
    """The same models, but it is decided after the first answer, too, whether to go on."""
    return [[model] for step in _choose_steps(outcomes, top) for model in step]


VARIANTS: dict[str, dict[str, object]] = {
    "as it is": {},
    "2 cheap models": {"CHEAP_MODELS": 2},
    "5": {"CHEAP_MODELS": 5},
    "7": {"CHEAP_MODELS": 7},
    "caution 0": {"CAUTION": 0.0},
    "caution 0.4": {"CAUTION": 0.4},
    "outcomes alone, not smoothed": {"SMOOTHING": 0.0},
    "the vote's probability alone": {"SMOOTHING": 1.0},
    "rule penalty 20": {"RULE_PENALTY": 20.0},
    "worth of cost 0.1": {"WORTH_OF_COST": 0.1},
    "worth of cost 0.5": {"WORTH_OF_COST": 0.5},
    "models chosen by their results": {"choose_steps": None},
    "one model a rung": {"choose_steps": _one_by_one},
}


def main() -> None:
    """Print one table for each strong model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", default="zeroeval")
    parser.add_argument("--strong", action="append", default=[])
    parser.add_argument("--splits", type=int, default=10)
    wanted = parser.parse_args()
    prompts = read_prompts(wanted.data)
    for strong in wanted.strong or STRONG:
        halves = list[tuple[Outcomes, Outcomes]]()
        for seed in range(wanted.splits):
            sides = sides_of(wanted.only, prompts, prompts, "", seed, halves=True)
            models = covered_models(prompts, np.concatenate([sides.fit, sides.data]))
            one, other = (make_table(prompts, side, models)[0] for side in (sides.fit, sides.data))
            halves += [(one, other), (other, one)]
        rows = [{"variant": name, **try_variant(halves, strong, change)} for name, change in VARIANTS.items()]
        show(f"{strong}: points to it (standard error) at a share of its cost saved", rows)


def try_variant(
    halves: list[tuple[Outcomes, Outcomes]], strong: str, change: dict[str, object]
) -> dict[str, str]:
    """The constants of the modules, changed for a while."""
    before = {name: getattr(_owner(name), name) for name in change}
    for name, value in change.items():
        setattr(_owner(name), name, choose_by_results if value is None else value)
    try:
        return _curve(halves, strong)
    finally:
        for name, value in before.items():
            setattr(_owner(name), name, value)


def _owner(name: str) -> object:
    return fit if hasattr(fit, name) and name.isupper() else rules


def _curve(halves: list[tuple[Outcomes, Outcomes]], strong: str) -> dict[str, str]:
    points = list[list[tuple[float, float, float]]]()
    for learnt, tried in halves:
        points.append(_points(learnt, tried, strong))
    table = np.array(points).mean(axis=0)
    table = table[table[:, 0].argsort()]
    told = {}
    for saved in SAVED:
        delta, error = (float(np.interp(saved, table[:, 0], table[:, at])) for at in (1, 2))
        told[f"{saved:.0%}"] = f"{100 * delta:+.2f} ({100 * error:.2f})"
    return told


def _points(learnt: Outcomes, tried: Outcomes, strong: str) -> list[tuple[float, float, float]]:
    """(saved, difference, its standard error) for each price."""
    top = learnt.models.index(strong)
    steps = rules.choose_steps(learnt, top)
    found = rules.learn_rules(learnt, steps, top)
    counted = rules.count_votes(tried, steps, top, found.votes, rules.CAUTION)
    points = []
    for price in rules.PRICES:
        climbed = counted.climb(found.gains[price])
        difference = climbed.scores - tried.scores[top]
        saved = 1 - climbed.usd.sum() / tried.usd[top].sum()
        points.append(
            (float(saved), float(difference.mean()), float(difference.std() / np.sqrt(len(difference))))
        )
    return points


def choose_by_results(outcomes: Outcomes, top: int) -> list[list[int]]:
    """Greedy: the model that helps most on held-out halves is added, as long as one helps."""
    usd = outcomes.usd.mean(axis=1) / outcomes.usd[top].mean()
    score = outcomes.scores.mean(axis=1)
    cheap = [at for at in range(len(usd)) if at != top and usd[at] <= rules.AFFORDABLE]
    cheap = sorted(cheap, key=lambda at: -float(score[at] - 0.06 * usd[at]))[:6]
    if len(cheap) < 2:
        return []
    pairs = [[[one, other]] for at, one in enumerate(cheap) for other in cheap[at + 1 :]]
    best = max(pairs, key=lambda steps: _worth(outcomes, steps, top))
    value = _worth(outcomes, best, top)
    while sum(map(len, best)) < MOST_MODELS:
        used = {model for step in best for model in step}
        tries = [[*best, [model]] for model in cheap if model not in used]
        values: Callable[[list[list[int]]], float] = lambda steps: _worth(outcomes, steps, top)  # noqa: E731
        better = max(tries, key=values)
        if (found := values(better)) <= value + 0.0005:
            break
        best, value = better, found
    return best


def _worth(outcomes: Outcomes, steps: list[list[int]], top: int) -> float:
    """Quality less a price of 0.05, each half tried with what the other taught."""
    order = np.random.default_rng(0).permutation(outcomes.prompts)
    halves = order[::2], order[1::2]
    total = 0.0
    for train, test in (halves, halves[::-1]):
        found = rules.learn_rules(outcomes.pick(np.sort(train)), steps, top)
        tried = outcomes.pick(np.sort(test))
        climbed = rules.count_votes(tried, steps, top, found.votes, rules.CAUTION).climb(found.gains[0.05])
        total += climbed.scores.sum() - 0.05 * climbed.usd.sum() / outcomes.usd[top].mean()
    return float(total / outcomes.prompts)


if __name__ == "__main__":
    main()
