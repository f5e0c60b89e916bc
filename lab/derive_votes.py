"""What votes are worth before anything is learnt: derives `PRIOR` of pool/vote_prior.py, and tries it.

    .venv/bin/python lab/derive_votes.py --data DIR [--pools 150] [--trials 85] [--seed 0]

The folder is in the form of lab/fusion_data.py, which says where the data come from.
For each data set: random pools of 3 to 5 models, none of
them in `pools.json`; a vote of the terms alone (no weights of single members) is fitted to each on all
prompts. The prior is the mean over data sets of their means.

Then ways of taking an answer are tried on other random pools, with votes learnt from 200 prompts and tried
on the rest: `gain` over the best member on the labels, in points, the worst of all pools, and the share of
pools that stay within half a point of it. `prior of the other sets`: learnt with a prior that the data set
had no part in. `no labels`: by abilities alone, known from the 200 prompts, or with an error of 0.4 logits;
or nothing is known, and of equal numbers the first member's win. `ratings`: what callers said of answers of
such a vote (lab/vote_ratings_trial.py).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import exp
from pathlib import Path

import numpy as np

from evaluate_fusion import FLOOR, LABELS, show, take, take_majority
from fusion_data import DataSet, Pools, Table, make_table, read_pools, read_sets
from junctor.pool.vote import Vote
from junctor.pool.vote_fit import fit_logit, fit_weights, read_ballots
from junctor.pool.vote_prior import PRIOR, Terms, prior_weights
from vote_ratings_trial import learn_from

TERMS = ("two", "three", "count", "slope", "none")
PENALTIES = (0.3, 0.3, 0.1, 0.1, 0.1)
"Of TERMS: almost free, but for what a pool cannot tell."
MOST_PROMPTS = 2000
COVERED = 0.98
"A model that answered a smaller share of the prompts is in no random pool."
NOISE = 0.4


def main() -> None:
    wanted = _parse()
    data, named = read_sets(wanted.data), read_pools(wanted.data)
    rng = np.random.default_rng(wanted.seed)
    fits = {
        name: np.array([fit_terms(table) for table in draw_pools(each, named, wanted.pools, rng)])
        for name, each in data.items()
    }
    means = {name: each.mean(axis=0) for name, each in fits.items()}
    for name, each in fits.items():
        print(f"{name:8} mean {_render(means[name])}; standard deviation {_render(each.std(axis=0))}")
    print(f"prior    {_render(np.mean(list(means.values()), axis=0))}; in use: {PRIOR}\n")
    gains = {"all": defaultdict[str, list[float]](list)}
    for name, each in data.items():
        others = _terms_of(np.mean([mean for other, mean in means.items() if other != name], axis=0))
        for table in draw_pools(each, named, wanted.trials, rng):
            for method, gain in try_pool(table, others, rng).items():
                gains["all"][method].append(gain)
                gains.setdefault(name, defaultdict(list))[method].append(gain)
    for name, tried in gains.items():
        print(name)
        show([_summarise(method, values) for method, values in tried.items()], None)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pools", type=int, default=150)
    parser.add_argument("--trials", type=int, default=85)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def draw_pools(data: DataSet, named: Pools, count: int, rng: np.random.Generator) -> Iterator[Table]:
    """Random pools that nobody has named."""
    known = {frozenset(members) for members in named.get(data.name, {}).values()}
    prompts = [data.prompts[at] for at in rng.permutation(len(data.prompts))[:MOST_PROMPTS]]
    covered = [
        model
        for model in sorted(data.models)
        if sum(model in prompt.replies for prompt in prompts) >= COVERED * len(prompts)
    ]
    while count:
        members = rng.choice(covered, int(rng.integers(3, 6)), replace=False).tolist()
        if frozenset(members) not in known:
            count -= 1
            yield make_table(DataSet(data.name, prompts), members)


def fit_terms(table: Table) -> np.ndarray:
    """The terms of a vote in which no member has a weight of its own."""
    ballots = read_ballots(table.answers, table.right)
    p = (table.right.sum(axis=1) + 1) / (len(table.prompts) + 2)
    abilities = np.log(p / (1 - p))
    abilities -= abilities.mean()
    counts, size = ballots.counts, len(table.members)
    features = [*np.moveaxis(ballots.agreement[:, :, size:], 2, 0), counts, ballots.same @ abilities]
    return fit_logit(
        ballots.counts,
        ballots.rights,
        np.stack(features, axis=2),
        centre=np.zeros(len(TERMS)),
        penalties=np.array(PENALTIES),
    )


def _terms_of(values: Sequence[float]) -> Terms:
    return Terms(**dict(zip(TERMS, map(float, values), strict=True)))


def try_pool(table: Table, others: Terms, rng: np.random.Generator) -> Mapping[str, float]:
    """For each method its gain over the best member, points."""
    order = rng.permutation(len(table.prompts))
    train, test = table.pick(order[:LABELS]), table.pick(order[LABELS:])
    fitted = fit_weights(train.answers, train.right)
    p = (train.right.sum(axis=1) + 1) / (len(train.prompts) + 2)
    noisy = [1 / (1 + exp(-logit)) for logit in np.log(p / (1 - p)) + rng.normal(0, NOISE, len(p))]
    taken = {
        "majority": take_majority(test, fitted),
        "conditional logit": take(fit_plainly(train), test, fitted.best),
        "junctor": take(fitted.vote, test, fitted.best),
    }
    votes = {
        "junctor, prior of the other sets": fit_weights(train.answers, train.right, others).vote,
        "junctor, 50 labels": fit_weights(*_head(train, 50)).vote,
        "no labels, known abilities": prior_weights(p.tolist()),
        "no labels, noisy abilities": prior_weights(noisy, [NOISE * each * (1 - each) for each in noisy]),
        "no labels, nothing known": prior_weights([0.5] * len(p)),
    }
    rated = ("no labels, noisy abilities", "no labels, nothing known")
    own = rng.spawn(1)[0]  # the pools to come stay the same
    votes |= {f"{name}; {LABELS} ratings": learn_from(train, votes[name], own) for name in rated}
    taken |= {name: take(vote, test, fitted.best) for name, vote in votes.items()}
    alone = test.right[fitted.best].mean()
    return {name: float(right.mean() - alone) * 100 for name, right in taken.items()}


def _head(table: Table, count: int) -> tuple[list[list[str | None]], np.ndarray]:
    few = table.pick(range(count))
    return few.answers, few.right


def fit_plainly(train: Table) -> Vote:
    """A weight for each member and the bonuses, drawn to nothing by a ridge of 1."""
    ballots, size = read_ballots(train.answers, train.right), len(train.members)
    weights = fit_logit(
        ballots.counts,
        ballots.rights,
        ballots.agreement,
        centre=np.zeros(size + 3),
        penalties=np.ones(size + 3),
    )
    return Vote(tuple(weights[:size].tolist()), *weights[size:].tolist())


def _summarise(method: str, values: Sequence[float]) -> dict[str, object]:
    gains = np.array(values)
    return {
        "method": method,
        "pools": len(gains),
        "gain": float(gains.mean()),
        "worst": float(gains.min()),
        "1st percentile": float(np.percentile(gains, 1)),
        f">= best - {FLOOR} %": float((gains >= -FLOOR).mean()) * 100,
    }


def _render(values: Sequence[float]) -> str:
    return " ".join(f"{name} {value:.2f}" for name, value in zip(TERMS, values, strict=True))


if __name__ == "__main__":
    main()
