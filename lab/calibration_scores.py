"""Simple ways to predict scores, and how good predictions are. Imported by lab/calibration_trials.py."""

from __future__ import annotations

import numpy as np

from routing_tables import recovered

Z = 1.96
APART = 0.02
"Two models are apart whose true means differ by more."

Bounded = tuple[np.ndarray, np.ndarray, np.ndarray]
"(m, n) probabilities, and (m,) bounds of their mean at 95 %; nan where there are none."


def recovered_gaps(p: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(m,) APGR with the models that are better by more than `APART`, on average; nan where there is none."""
    means = truth.mean(1)
    gaps = np.full(len(p), np.nan)
    for weak in range(len(p)):
        strong = np.flatnonzero(means > means[weak] + APART)
        if len(strong):
            curves = [recovered(p[it] - p[weak], truth[[weak, it]].T) for it in strong]
            gaps[weak] = np.mean(curves)
    return gaps


def mean_of(scores: np.ndarray, rest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean score so far, with Wilson's interval (1927)."""
    count = scores.shape[1]
    mean = scores.mean(1)
    middle = (mean + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z * np.sqrt(mean * (1 - mean) / count + Z**2 / (4 * count**2)) / (1 + Z**2 / count)
    luck = Z * np.sqrt(middle * (1 - middle) / rest)
    return np.repeat(mean[:, None], rest, 1), *widen(mean, middle - half, middle + half, luck)


def widen(
    mean: np.ndarray, low: np.ndarray, high: np.ndarray, luck: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of an expectation -> bounds of the mean of finitely many outcomes."""
    return mean - np.hypot(mean - low, luck), mean + np.hypot(high - mean, luck)


def score_of_nearest(scores: np.ndarray, nearest: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean score of the nearest prompts, with two more that stand for the mean of all."""
    mean = (scores.sum(1, keepdims=True) + 1) / (scores.shape[1] + 2)
    p = (scores[:, nearest].sum(2) + 2 * mean) / (nearest.shape[1] + 2)
    return p, np.full(len(p), np.nan), np.full(len(p), np.nan)


def log_losses(p: np.ndarray, truth: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-3, 1 - 1e-3)
    return -(truth * np.log(p) + (1 - truth) * np.log(1 - p))
