"""Tables of how well predictions route. Imported by lab/train_router.py.

Terms (Ong et al., "RouteLLM", 2024): the strong model is called for the prompts with the largest predicted
gain. APGR is the share of the quality gap between the two models that is recovered, averaged over all shares
of strong calls: 0.5 is what random routing gets, 1.0 would be all of it at once. CPT50 and CPT80 are the
strong calls, in per cent, that recover 50 and 80 % of the gap (random: 50 and 80).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from routing_data import Data
from routing_fit import sigmoid

PAIRS = (
    ("zeroeval", "gpt-4o-mini-2024-07-18", "claude-3-5-sonnet-20241022"),
    ("zeroeval", "gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06"),
    ("zeroeval", "llama-3-1-8b-instruct", "gpt-4o-2024-08-06"),
    ("zeroeval", "claude-3-haiku-20240307", "claude-3-5-sonnet-20240620"),
    ("routellm", "mixtral-8x7b-instruct-v0-1", "gpt-4-1106-preview"),
    ("mmlupro", "llama-3-1-8b-instruct", "llama-3-1-70b-instruct"),
    ("llmrouter", "mistral-7b-instruct-v0-3", "llama-3-1-nemotron-51b-instruct"),
)
POOLS = {
    "zeroeval": (
        "llama-3-1-8b-instruct",
        "gpt-4o-mini-2024-07-18",
        "deepseek-v2-5-0908",
        "claude-3-5-haiku-20241022",
        "gpt-4o-2024-08-06",
        "claude-3-5-sonnet-20241022",
    ),
    "mmlupro": (
        "phi-3-mini-4k-instruct",
        "llama-3-1-8b-instruct",
        "mixtral-8x7b-instruct-v0-1",
        "qwen1-5-72b-chat",
        "llama-3-1-70b-instruct",
    ),
}
SLACK = {"quality": 0.0, "balanced": 0.02, "cost": 0.06}
FEWEST = 100
RESAMPLES = 200


@dataclass(frozen=True)
class Grid:
    """Outcomes as (prompts, models), nan where a model was not asked."""

    score: np.ndarray
    usd: np.ndarray
    set_name: np.ndarray  # (prompts,)


def grid(data: Data) -> Grid:
    shape = (len(data.texts), len(data.models))
    score, usd = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    score[data.prompt, data.model] = data.score
    usd[data.prompt, data.model] = data.usd
    return Grid(score, usd, np.array([name.split("/")[0] for name in data.benchmark]))


def log_loss(p: np.ndarray, score: np.ndarray) -> float:
    ok = np.isfinite(score) & np.isfinite(p)
    p, score = np.clip(p[ok], 1e-6, 1 - 1e-6), score[ok]
    return float(-(score * np.log(p) + (1 - score) * np.log(1 - p)).mean())


def calibration(
    p: np.ndarray, score: np.ndarray, bins: int = 10
) -> tuple[float, list[tuple[float, float, int]]]:
    """(expected calibration error, rows of mean predicted, mean observed, count), ten bins of equal width."""
    ok = np.isfinite(score) & np.isfinite(p)
    p, score = p[ok], score[ok]
    bin_of = np.minimum((p * bins).astype(int), bins - 1)
    rows = []
    for at in range(bins):
        inside = bin_of == at
        if inside.any():
            rows.append((float(p[inside].mean()), float(score[inside].mean()), int(inside.sum())))
    error = sum(abs(predicted - observed) * count for predicted, observed, count in rows) / len(p)
    return float(error), rows


def fit_temperature(logit: np.ndarray, score: np.ndarray) -> float:
    """The temperature of least log loss, to two digits."""
    choices = np.arange(0.2, 1.51, 0.02)
    return float(
        choices[np.argmin([log_loss(sigmoid(choice * logit), score) for choice in choices])].round(2)
    )


def pair_rows(data: Data, outcomes: Grid, p: np.ndarray, seed: int) -> list[dict[str, float | str]]:
    """One row for each pair that has enough prompts with predictions."""
    index = {name: at for at, name in enumerate(data.models)}
    rows = []
    for set_name, cheap, strong in PAIRS:
        if cheap not in index or strong not in index:
            continue
        low, high = index[cheap], index[strong]
        ok = outcomes.set_name == set_name
        for values in (outcomes.score[:, low], outcomes.score[:, high], p[:, low], p[:, high]):
            ok = ok & np.isfinite(values)
        if ok.sum() < FEWEST:
            continue
        gain = (p[:, high] - p[:, low])[ok]
        scores = outcomes.score[ok][:, [low, high]]
        usd = outcomes.usd[ok][:, [low, high]]
        rows.append({"pair": f"{set_name}: {cheap} -> {strong}", **pair_row(gain, scores, usd, seed)})
    return rows


def pair_row(gain: np.ndarray, scores: np.ndarray, usd: np.ndarray, seed: int) -> dict[str, float]:
    curve = recovered(gain, scores)
    random = np.random.default_rng(seed)
    resampled = []
    for _ in range(RESAMPLES):
        drawn = random.integers(0, len(gain), len(gain))
        resampled.append(float(recovered(gain[drawn], scores[drawn]).mean()))
    mean_usd = usd.mean(0) if np.isfinite(usd).all() else np.array([0.0, 1.0])
    quality = scores.mean(0)
    cheap_quality = float(quality[0] / quality[1])
    static_share = max(0.0, (0.99 - cheap_quality) / (1 - cheap_quality)) if cheap_quality < 1 else 0.0
    price_step = 1 - mean_usd[0] / mean_usd[1]
    kept, saved = _honest_99(
        gain, scores, usd if np.isfinite(usd).all() else np.tile([0.0, 1.0], (len(gain), 1))
    )
    return {
        "n": len(gain),
        "cheap": float(quality[0]),
        "strong": float(quality[1]),
        "apgr": float(curve.mean()),
        "apgr_low": float(np.quantile(resampled, 0.025)),
        "apgr_high": float(np.quantile(resampled, 0.975)),
        "cpt50": 100 * float(np.argmax(curve >= 0.5)) / len(gain),
        "cpt80": 100 * float(np.argmax(curve >= 0.8)) / len(gain),
        "kept_pct": 100 * kept,
        "saved_pct": 100 * saved,
        "mix_saved_pct": 100 * float((1 - static_share) * price_step),
        "cheap_kept_pct": 100 * cheap_quality,
        "cheap_saved_pct": 100 * float(price_step),
    }


def recovered(gain: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Share of the gap recovered when the k prompts of largest predicted gain go to the strong model."""
    order = np.argsort(-gain, kind="stable")
    step = (scores[:, 1] - scores[:, 0])[order]
    gap = step.sum()
    return np.concatenate([[0.0], np.cumsum(step)]) / (gap if abs(gap) > 1e-9 else 1e-9)


def _honest_99(gain: np.ndarray, scores: np.ndarray, usd: np.ndarray) -> tuple[float, float]:
    """(quality kept, cost saved) with the threshold for 99 % read off one half and applied to the other."""
    half = np.arange(len(gain)) % 2 == 0
    quality, cost = 0.0, 0.0
    for fit, use in ((half, ~half), (~half, half)):
        curve = recovered(gain[fit], scores[fit])
        cheap, strong = scores[fit].mean(0)
        enough = cheap + curve * (strong - cheap) >= 0.99 * strong
        share = int(np.argmax(enough)) if enough.any() else fit.sum()
        threshold = np.inf if share == 0 else np.sort(gain[fit])[::-1][share - 1]
        escalate = gain[use] >= threshold
        quality += np.where(escalate, scores[use, 1], scores[use, 0]).sum()
        cost += np.where(escalate, usd[use, 1], usd[use, 0]).sum()
    return float(quality / scores[:, 1].sum()), float(1 - cost / usd[:, 1].sum())


def pool_rows(
    data: Data, outcomes: Grid, p: np.ndarray, expected_usd: np.ndarray
) -> list[dict[str, float | str]]:
    """What each mode would have done with a pool, beside every single model and the best static mix."""
    index = {name: at for at, name in enumerate(data.models)}
    rows = []
    for set_name, names in POOLS.items():
        if any(name not in index for name in names):
            continue
        at = np.array([index[name] for name in names])
        ok = (outcomes.set_name == set_name) & np.isfinite(outcomes.score[:, at]).all(1)
        ok &= np.isfinite(p[:, at]).all(1) & np.isfinite(outcomes.usd[:, at]).all(1)
        if ok.sum() < FEWEST:
            continue
        score, usd = outcomes.score[ok][:, at], outcomes.usd[ok][:, at]
        strongest = int(score.mean(0).argmax())
        for mode, slack in SLACK.items():
            chance = p[ok][:, at]
            within = chance >= chance.max(1, keepdims=True) - slack
            pick = np.where(within, expected_usd[ok][:, at], np.inf).argmin(1)
            lines = np.arange(len(pick))
            quality, cost = float(score[lines, pick].mean()), float(usd[lines, pick].mean())
            mix = _best_mix(score.mean(0), usd.mean(0), cost)
            rows.append(_pool_row(set_name, f"auto, {mode}", quality, cost, score, usd, strongest, mix))
        for place, name in enumerate(names):
            quality, cost = float(score[:, place].mean()), float(usd[:, place].mean())
            rows.append(_pool_row(set_name, f"always {name}", quality, cost, score, usd, strongest, None))
    return rows


def _pool_row(
    set_name: str,
    policy: str,
    quality: float,
    cost: float,
    score: np.ndarray,
    usd: np.ndarray,
    strongest: int,
    mix: float | None,
) -> dict[str, float | str]:
    row: dict[str, float | str] = {
        "pool": set_name,
        "policy": policy,
        "quality": quality,
        "usd_per_1000": 1000 * cost,
        "quality_delta_pp": 100 * (quality - float(score[:, strongest].mean())),
        "saved_pct": 100 * (1 - cost / float(usd[:, strongest].mean())),
    }
    if mix is not None:
        row["mix_quality_same_cost"] = mix
    return row


def _best_mix(quality: np.ndarray, usd: np.ndarray, budget: float) -> float:
    """Quality of the best blind mix of two models (or one) that costs no more than the budget on average."""
    best = max((q for q, cost in zip(quality, usd, strict=True) if cost <= budget * (1 + 1e-9)), default=0.0)
    for q1, c1 in zip(quality, usd, strict=True):
        for q2, c2 in zip(quality, usd, strict=True):
            if c1 <= budget < c2:
                best = max(best, q1 + (q2 - q1) * (budget - c1) / (c2 - c1))
    return float(best)


def show(title: str, rows: list[dict[str, float | str]]) -> None:
    """Print rows as a Markdown table."""
    print(f"\n### {title}\n")
    if not rows:
        print("(no pair or pool of this table is in the data)")
        return
    columns = list(dict.fromkeys(name for row in rows for name in row))
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        print("| " + " | ".join(_cell(name, row.get(name, "")) for name in columns) + " |")


def _cell(column: str, value: float | str | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, str) or column in ("n", "count", "splits"):
        return str(value)
    return f"{value:.1f}" if column.endswith(("pct", "pp")) or column.startswith("cpt") else f"{value:.3f}"
