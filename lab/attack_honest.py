"""What a second look costs prompts that nobody attacks. Imported by lab/attack_routing.py.

Held out as in lab/train_router.py: five folds, the same question under another name in the same fold. The
fit has seen whole texts; ends are judged by it as they are in serving.
"""

from __future__ import annotations

import numpy as np

from junctor.pool.prompt import TEXT_CHARS, sample_text
from junctor.routing.policy import TOLERANCE
from routing_data import Data, extract, extract_ends, folds_by_stem
from routing_fit import LENGTH, columns_of, fit, logits, sigmoid
from routing_tables import FEWEST, PAIRS, POOLS, Grid, fit_temperature, grid, pair_row, show
from train_router import SPLIT_SEED, expected_usd

FOLDS = 5


def honest_rows(data: Data, seed: int) -> list[dict]:
    """Pairs and pools without and with a second look."""
    views, log_tokens = _held_out(data, seed)
    outcomes = grid(data)
    temperature = fit_temperature(views[0], outcomes.score)
    p = sigmoid(temperature * views)
    expected = expected_usd(data, outcomes, log_tokens)
    pairs = _pair_rows(data, outcomes, p, seed)
    show("Pairs, honest prompts, held out", pairs)
    pools = _mode_rows(data, outcomes, p, expected)
    show("Modes, honest prompts, held out", pools)
    return [*pairs, *pools]


def _held_out(data: Data, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits, (views, prompts, models), and log tokens by the whole text, (prompts, models)."""
    texts = [sample_text(text, TEXT_CHARS) for text in data.texts]
    inputs = [extract(texts), *extract_ends(texts)]
    fold = folds_by_stem(data, FOLDS, SPLIT_SEED)
    views = np.full((len(inputs), len(texts), len(data.models)), np.nan, np.float32)
    log_tokens = views[0].copy()
    for at in range(FOLDS):
        inside = np.flatnonzero(fold == at)
        fitted = fit(data, inputs[0], fold != at, seed)
        for view, its in enumerate(inputs):
            columns = columns_of(fitted, its, inside)
            views[view, inside] = logits(fitted, columns)
            if view == 0:
                log_tokens[inside] = columns[:, [LENGTH]] + fitted.verbosity
    return views, log_tokens


def _pair_rows(data: Data, outcomes: Grid, p: np.ndarray, seed: int) -> list[dict]:
    index = {name: at for at, name in enumerate(data.models)}
    rows = []
    for set_name, cheap, strong in PAIRS:
        low, high = index[cheap], index[strong]
        ok = (outcomes.set_name == set_name) & np.isfinite(outcomes.score[:, [low, high]]).all(1)
        scores, usd = outcomes.score[ok][:, [low, high]], outcomes.usd[ok][:, [low, high]]
        gains = (p[:, :, high] - p[:, :, low])[:, ok]
        row: dict = {"pair": f"{set_name}: {cheap} -> {strong}"}
        for name, gain in (("whole", gains[0]), ("second look", gains.min(0))):
            its = pair_row(gain, scores, usd, seed)
            row[f"apgr {name}"] = its["apgr"]
            row[f"interval {name}"] = f"{its['apgr_low']:.3f}-{its['apgr_high']:.3f}"
            row[f"{name} saved at 99 pct"] = its["saved_pct"]
        rows.append(row)
    return rows


def _mode_rows(data: Data, outcomes: Grid, p: np.ndarray, expected: np.ndarray) -> list[dict]:
    """By mode: the strong model's share, and quality and saving against always the strongest."""
    index = {name: at for at, name in enumerate(data.models)}
    pools = [(set_name, (cheap, strong)) for set_name, cheap, strong in PAIRS] + list(POOLS.items())
    rows = []
    for set_name, names in pools:
        at = np.array([index[name] for name in names])
        ok = (outcomes.set_name == set_name) & np.isfinite(outcomes.score[:, at]).all(1)
        ok &= np.isfinite(outcomes.usd[:, at]).all(1) & np.isfinite(expected[:, at]).all(1)
        if ok.sum() < FEWEST:
            continue
        score, usd, costs = outcomes.score[ok][:, at], outcomes.usd[ok][:, at], expected[ok][:, at]
        strongest, lines = int(score.mean(0).argmax()), np.arange(int(ok.sum()))
        for mode, tolerance in TOLERANCE.items():
            row: dict = {"pool": f"{set_name}: {len(names)}, {names[0]} ..", "mode": mode}
            pick = None
            for view in p[:, ok][:, :, at]:
                good = view >= view.max(1, keepdims=True) - tolerance
                its = np.where(good, costs, np.inf).argmin(1)
                first = pick is None
                pick = its if first else np.where(costs[lines, its] < costs[lines, pick], its, pick)
                if first:
                    row |= _mode_row("whole", pick, strongest, score, usd)
            assert pick is not None
            rows.append(row | _mode_row("second look", pick, strongest, score, usd))
    return rows


def _mode_row(name: str, pick: np.ndarray, strongest: int, score: np.ndarray, usd: np.ndarray) -> dict:
    lines = np.arange(len(pick))
    return {
        f"{name}: strong pct": 100 * float((pick == strongest).mean()),
        f"{name}: quality pp": 100 * float(score[lines, pick].mean() - score[:, strongest].mean()),
        f"{name}: saved pct": 100 * float(1 - usd[lines, pick].sum() / usd[:, strongest].sum()),
    }
