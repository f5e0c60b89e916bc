"""Fit the predictor's model (its formula stands in routing/predictor.py). Imported by lab/train_router.py.

Full-batch Adam on the penalised log loss: 20 thousand prompts fit into memory, there is nothing to sample, so
nothing but the seed of the start can vary. The matrix of hashed words is a list of buckets; products with it
are gathers and `np.add.reduceat`, which keeps numpy the only dependency.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from junctor.routing.features import BUCKETS
from junctor.routing.predictor import (
    DIFFICULTY,
    FIRST_TOPIC,
    LENGTH,
    NAMED_LIMIT,
)
from routing_data import Data, Inputs

TOPICS = 4
STEPS = 120
RATE = 0.08
PULL_HASHED, PULL_NAMED, PULL_BIAS = 15.0, 3.0, 0.1
"L2 pulls to zero, for the whole sum over prompts: chosen on folds of seed 0, where the loss is flat in them."
PULL_TOPICS = 20.0
"Times the above, for the weights of topics."
PULL_LOADINGS, PULL_ABILITY = 100.0, 0.5
"A strong pull on loadings keeps what a model is able to do in its ability: that transfers to other prompts."
PULL_SET = 1.0
"""Each set asked and scored in its own way. Left to the words, that would pass for an ability of the models
that only this set knows (seen: Mixtral, asked for bare letters in one set, was preferred for all questions
with choices). So each set has its own offset in training, and serving takes their mean."""
TRUST = 0.5
"""Loadings are halved after the fit. Choosing the best of several picks the luckiest error too: with whole
loadings, a choice by quality alone was worse than always the strongest model; with half it is not, and pairs
route as well as before (folds 0-2 of seed 0)."""
SAME_PROMPT = 0.1
"Answers to one prompt are correlated: k of them weigh as much as k / (1 + 0.1 (k - 1)) independent ones."

Parameters = dict[str, np.ndarray]


@dataclass(frozen=True)
class Fit:
    """A fitted model, not yet in bytes."""

    means: np.ndarray  # (named,)
    deviations: np.ndarray  # (named,)
    bias: np.ndarray  # (columns,)
    named: np.ndarray  # (named, columns)
    hashed: np.ndarray  # (buckets, columns)
    ability: np.ndarray  # (models,)
    loadings: np.ndarray  # (models, topics)
    verbosity: np.ndarray  # (models,)
    by_set: np.ndarray  # (sets, columns): how a set asked and scored; known in training, not in serving


class Words:
    """The hashed words of some prompts as a sparse matrix, rows scaled to unit length."""

    def __init__(self, inputs: Inputs, prompts: np.ndarray) -> None:
        sizes = np.diff(inputs.row_start)[prompts]
        self.empty = sizes == 0
        self.start = np.concatenate([[0], np.cumsum(sizes)])[:-1]
        spans = [inputs.bucket[inputs.row_start[at] : inputs.row_start[at + 1]] for at in prompts]
        self.bucket = np.concatenate([*spans, np.zeros(1, np.int32)])
        self.scale = inputs.scale[prompts][:, None]
        rows = np.repeat(np.arange(len(prompts), dtype=np.int32), sizes)
        order = np.argsort(self.bucket[:-1], kind="stable")
        self.row_by_bucket = rows[order]
        self.present, self.present_start = np.unique(self.bucket[:-1][order], return_index=True)

    def times(self, weights: np.ndarray) -> np.ndarray:
        """(prompts, columns) from weights of (buckets, columns)."""
        out = np.add.reduceat(weights[self.bucket], self.start, axis=0)
        out[self.empty] = 0
        return out * self.scale

    def transposed_times(self, gradient: np.ndarray) -> np.ndarray:
        """(buckets, columns) from a gradient of (prompts, columns)."""
        out = np.zeros((BUCKETS, gradient.shape[1]), np.float32)
        out[self.present] = np.add.reduceat(
            (gradient * self.scale)[self.row_by_bucket], self.present_start, axis=0
        )
        return out


def sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(logit, -30, 30)))


def fit(data: Data, inputs: Inputs, chosen: np.ndarray, seed: int) -> Fit:
    """Fit to the prompts where `chosen` (n,) is true."""
    prompts = np.flatnonzero(chosen)
    place = np.full(len(chosen), -1)
    place[prompts] = np.arange(len(prompts))
    words = Words(inputs, prompts)
    means = inputs.named[prompts].mean(0)
    deviations = np.maximum(inputs.named[prompts].std(0), 1e-3)
    named = _standardised(inputs.named[prompts], means, deviations)

    set_of = data.set_index[prompts]
    used = chosen[data.prompt]
    row, model, score, tokens = (
        place[data.prompt[used]],
        data.model[used],
        data.score[used],
        data.tokens[used],
    )
    count = np.bincount(row, minlength=len(prompts))
    weight = (1 / (1 + SAME_PROMPT * (count - 1)))[row].astype(np.float32)
    timed = np.isfinite(tokens) & (tokens > 0)
    log_tokens = np.where(timed, np.log(np.where(timed, tokens, 1)), 0).astype(np.float32)

    state = _start(len(data.models), named.shape[1], int(data.set_index.max()) + 1, seed)
    optimiser = _Adam(state)
    pull = np.ones(FIRST_TOPIC + TOPICS, np.float32)
    pull[FIRST_TOPIC:] = PULL_TOPICS
    for step in range(STEPS):
        columns = words.times(state["hashed"]) + np.einsum("ij,jk->ik", named, state["named"]) + state["bias"]
        columns += state["by_set"][set_of]
        gradient, by_model = _gradients(state, columns, row, model, score, log_tokens, timed, weight)
        slopes = {
            "hashed": words.transposed_times(gradient) + PULL_HASHED * pull * state["hashed"],
            "named": np.einsum("ij,ik->jk", named, gradient) + PULL_NAMED * pull * state["named"],
            "bias": gradient.sum(0) + PULL_BIAS * state["bias"],
            "by_set": _sum_by(set_of, gradient, len(state["by_set"])) + PULL_SET * state["by_set"],
            **by_model,
        }
        optimiser.step(state, slopes, RATE * (0.5 + 0.5 * np.cos(np.pi * step / STEPS) + 0.02))
    state["loadings"] *= TRUST
    return Fit(means=means, deviations=deviations, **state)


def columns_of(fitted: Fit, inputs: Inputs, prompts: np.ndarray) -> np.ndarray:
    """(prompts, columns): difficulty, length, topics; for prompts of no set, as in serving."""
    named = _standardised(inputs.named[prompts], fitted.means, fitted.deviations)
    return Words(inputs, prompts).times(fitted.hashed) + named @ fitted.named + served_bias(fitted)


def served_bias(fitted: Fit) -> np.ndarray:
    """(columns,) for a prompt of no set: the mean over the sets."""
    return fitted.bias + fitted.by_set.mean(0)


def logits(fitted: Fit, columns: np.ndarray) -> np.ndarray:
    """(prompts, models), before temperature and shift."""
    distance = fitted.ability[None, :] - columns[:, DIFFICULTY][:, None]
    return distance + columns[:, FIRST_TOPIC:] @ fitted.loadings.T


def _standardised(named: np.ndarray, means: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    return np.clip((named - means) / deviations, -NAMED_LIMIT, NAMED_LIMIT).astype(np.float32)


def _start(models: int, named: int, sets: int, seed: int) -> Parameters:
    """Zeros, but for the topics: those need a push to become different from each other."""
    random = np.random.default_rng(seed)
    columns = FIRST_TOPIC + TOPICS
    state = {
        "hashed": np.zeros((BUCKETS, columns), np.float32),
        "named": np.zeros((named, columns), np.float32),
        "bias": np.zeros(columns, np.float32),
        "by_set": np.zeros((sets, columns), np.float32),
        "ability": np.zeros(models, np.float32),
        "loadings": 0.3 * random.standard_normal((models, TOPICS)).astype(np.float32),
        "verbosity": np.zeros(models, np.float32),
    }
    state["hashed"][:, FIRST_TOPIC:] = 0.05 * random.standard_normal((BUCKETS, TOPICS))
    state["named"][:, FIRST_TOPIC:] = 0.05 * random.standard_normal((named, TOPICS))
    state["bias"][LENGTH] = 5.0
    return state


def _gradients(
    state: Parameters,
    columns: np.ndarray,
    row: np.ndarray,
    model: np.ndarray,
    score: np.ndarray,
    log_tokens: np.ndarray,
    timed: np.ndarray,
    weight: np.ndarray,
) -> tuple[np.ndarray, Parameters]:
    """Of log loss (score) plus half squared error (log tokens): by column of each prompt, and by model."""
    prompts, models = len(columns), len(state["ability"])
    topics = columns[row, FIRST_TOPIC:]
    logit = state["ability"][model] - columns[row, DIFFICULTY]
    logit += np.einsum("ij,ij->i", state["loadings"][model], topics)
    error = (sigmoid(logit) - score) * weight
    miss = (columns[row, LENGTH] + state["verbosity"][model] - log_tokens) * timed * weight

    gradient = np.zeros_like(columns)
    gradient[:, DIFFICULTY] = np.bincount(row, -error, minlength=prompts)
    gradient[:, LENGTH] = np.bincount(row, miss, minlength=prompts)
    by_topic = []
    for topic in range(TOPICS):
        pushed = error * state["loadings"][model, topic]
        gradient[:, FIRST_TOPIC + topic] = np.bincount(row, pushed, minlength=prompts)
        by_topic.append(np.bincount(model, error * topics[:, topic], minlength=models))
    by_model = {
        "ability": np.bincount(model, error, minlength=models) + PULL_ABILITY * state["ability"],
        "loadings": np.stack(by_topic, 1) + PULL_LOADINGS * state["loadings"],
        "verbosity": np.bincount(model, miss, minlength=models) + PULL_ABILITY * state["verbosity"],
    }
    return gradient, by_model


def _sum_by(group: np.ndarray, values: np.ndarray, groups: int) -> np.ndarray:
    """Sums of rows by group, (groups, columns)."""
    return np.stack([np.bincount(group, column, minlength=groups) for column in values.T], 1)


class _Adam:
    """Kingma and Ba (2015), with beta2 = 0.98 for these few steps."""

    def __init__(self, state: Parameters) -> None:
        self.mean = {name: np.zeros_like(value) for name, value in state.items()}
        self.square = {name: np.zeros_like(value) for name, value in state.items()}
        self.steps = 0

    def step(self, state: Parameters, slopes: Parameters, rate: float) -> None:
        self.steps += 1
        for name, value in state.items():
            slope = slopes[name].astype(np.float32)
            self.mean[name] += 0.1 * (slope - self.mean[name])
            self.square[name] += 0.02 * (slope * slope - self.square[name])
            mean = self.mean[name] / (1 - 0.9**self.steps)
            square = self.square[name] / (1 - 0.98**self.steps)
            value -= np.float32(rate) * mean / (np.sqrt(square) + 1e-8)
