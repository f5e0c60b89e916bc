"""The policies that lab/evaluate_routing.py compares. Each is chosen on `Case.fit` and tried on `Case.data`.

- `always_strong`, `always_cheap`: one model; the cheap one is the better of the two that a ladder asks first.
- `static_mix`: the two models, and the share of each, that were best on `fit` for what `junctor` costs; which
  prompt goes to which is left to chance. `static_mix_hindsight` picks the two on `data`: nobody can.
- `prompt_router`: cheap or strong by the prompt alone; the threshold keeps 99 % of the strong one on `fit`.
- `cascade`: the pair of cheap models which, returned where they agree, saved most on `fit` and lost nothing.
- `junctor`: what `auto` does once it is calibrated on `fit`, in the mode `balanced`. A prompt that looks
  checkable climbs the ladder, or goes to the strong model where there is no promise. Another one, and every
  one where no ladder can be made, goes by the prompt: to the cheapest model within two points of the best, as
  predicted by the whole text or by one of its ends (routing/views.py). Where `fit` says nothing of the strong
  model, that answers.
- `oracle`: the cheapest model that is right, known beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np

from junctor.routing.calibration.calibrate import AFFORDABLE, TooFewOutcomes, calibrate, choose_steps, climb
from junctor.routing.calibration.outcomes import Outcomes
from junctor.routing.features import extract_features
from junctor.routing.ladder import models_of
from junctor.routing.policy import TOLERANCE
from junctor.routing.predictor import parse_artefact
from junctor.routing.wording import is_checkable
from routing_data import Data, Inputs, extract, extract_ends
from routing_fit import Fit, columns_of, logits, sigmoid
from routing_fit import fit as fit_predictor
from routing_tables import recovered

KEPT = 0.99
ARTEFACT = Path(__file__).parent.parent / "src/junctor/routing/artefact/router.msgpack"
TEMPERATURE = parse_artefact(ARTEFACT.read_bytes()).temperature


@dataclass(frozen=True, eq=False)
class Foresight:
    """What the predictor that serves says of prompts, trained on `fit` alone."""

    fit: Outcomes
    fit_texts: list[str]
    data_texts: list[str]
    seed: int

    @cached_property
    def p(self) -> tuple[np.ndarray, np.ndarray]:
        """p(good) for the prompts of `fit` and of `data`, (n, models) each."""
        fitted, inputs = self._fitted
        p, count = _predict(fitted, inputs), self.fit.prompts
        return p[:count], p[count:]

    @cached_property
    def views(self) -> list[np.ndarray]:
        """p(good) for the prompts of `data`, by the whole text and by each of its ends."""
        fitted, _ = self._fitted
        return [self.p[1], *(_predict(fitted, end) for end in extract_ends(self.data_texts))]

    @cached_property
    def _fitted(self) -> tuple[Fit, Inputs]:
        texts = [*self.fit_texts, *self.data_texts]
        inputs, learnt = extract(texts), np.arange(len(texts)) < self.fit.prompts
        return fit_predictor(_as_data(self.fit, texts), inputs, learnt, self.seed), inputs

    @cached_property
    def checkable(self) -> np.ndarray:
        """(n,) of `data`: whether the server would let the prompt climb, by its words."""
        judged = [is_checkable(text, extract_features(text).named, ()) for text in self.data_texts]
        return np.array(judged, bool)


def _predict(fitted: Fit, inputs: Inputs) -> np.ndarray:
    prompts = np.arange(len(inputs.named))
    return sigmoid(TEMPERATURE * logits(fitted, columns_of(fitted, inputs, prompts)))


@dataclass(frozen=True)
class Case:
    """One strong model, what may be learnt from, and what is tried."""

    strong: str
    fit: Outcomes | None
    "None: nothing is known of these models."
    data: Outcomes
    foresight: Foresight | None
    "None where `fit` is."
    floor: float
    confidence: float
    seed: int

    @property
    def top(self) -> int:
        """The strong model's row; the models of both tables are the same."""
        return self.data.models.index(self.strong)


@dataclass(frozen=True)
class Tried:
    """What a policy came to on the prompts of `Case.data`."""

    policy: str
    scores: np.ndarray  # (n,)
    usd: np.ndarray  # (n,)
    models: str = ""
    apgr: float | None = None
    cpt50: float | None = None
    cpt80: float | None = None


def policies(case: Case, only: Sequence[str] = ()) -> list[Tried]:
    """All of them, or some."""
    junctor = try_junctor(case)
    makers: dict[str, Callable[[], Tried | None]] = {
        "always_cheap": lambda: _one(case, _cheap(case), "always_cheap"),
        "always_strong": lambda: _one(case, case.top, "always_strong"),
        "static_mix": lambda: try_mix(case, float(junctor.usd.mean())),
        "static_mix_hindsight": lambda: try_mix(case, float(junctor.usd.mean()), hindsight=True),
        "prompt_router": lambda: try_prompt_router(case),
        "cascade": lambda: try_cascade(case),
        "junctor": lambda: junctor,
        "oracle": lambda: try_oracle(case),
    }
    tried = (make() for name, make in makers.items() if not only or name in only)
    return [found for found in tried if found is not None]


def _one(case: Case, model: int, policy: str) -> Tried:
    return Tried(policy, case.data.scores[model], case.data.usd[model], case.data.models[model])


def _cheap(case: Case) -> int:
    """The better of the two that a ladder asks first; the cheapest where nothing was learnt."""
    steps = choose_steps(case.fit, case.top) if case.fit else []
    if case.fit is None or not steps:
        return int(case.data.usd.mean(axis=1).argmin())
    scores = case.fit.scores.mean(axis=1)
    return max(steps[0], key=lambda at: float(scores[at]))


def try_junctor(case: Case) -> Tried:
    """The ladder, learnt and promised on `fit`; for prompts that do not look checkable, the prompt alone."""
    if case.fit is None or case.foresight is None:
        return Tried("junctor", case.data.scores[case.top], case.data.usd[case.top])
    alone = _by_prompt(case, case.foresight)
    try:
        ladder = calibrate(
            case.fit, case.strong, floor=case.floor, confidence=case.confidence, seed=case.seed
        )
    except TooFewOutcomes:
        return Tried("junctor", *alone)
    climbs = case.foresight.checkable
    scores, usd, models = case.data.scores[case.top], case.data.usd[case.top], ""
    if "balanced" in ladder.promises:
        climbed = climb(ladder, case.data, "balanced")
        scores, usd, models = climbed.scores, climbed.usd, " > ".join(models_of(ladder))
    return Tried("junctor", np.where(climbs, scores, alone[0]), np.where(climbs, usd, alone[1]), models)


def _by_prompt(case: Case, foresight: Foresight) -> tuple[np.ndarray, np.ndarray]:
    """Scores and costs of the cheapest models that any view predicts to be close enough to the best."""
    assert case.fit is not None
    usd = case.fit.usd.mean(axis=1)
    chosen = np.full(case.data.prompts, int(usd.argmax()))
    for p in foresight.views:
        enough = p >= p.max(axis=1, keepdims=True) - TOLERANCE["balanced"]
        said = np.where(enough, usd, np.inf).argmin(axis=1)
        chosen = np.where(usd[said] < usd[chosen], said, chosen)
    at = np.arange(case.data.prompts)
    return case.data.scores[chosen, at], case.data.usd[chosen, at]


def try_mix(case: Case, usd: float, *, hindsight: bool = False) -> Tried:
    """The best blind mix of two models for that money on average."""
    known = case.data if hindsight or case.fit is None else case.fit
    quality, cost = known.scores.mean(axis=1), known.usd.mean(axis=1)
    real = case.data.usd.mean(axis=1)
    best, chosen = -1.0, (case.top, case.top, 0.0)
    for one in range(len(cost)):
        for other in range(len(cost)):
            if not real[one] <= usd <= real[other] or cost[one] > cost[other]:
                continue
            span = real[other] - real[one]
            share = (usd - real[one]) / span if span > 0 else 0.0
            expected = (1 - share) * quality[one] + share * quality[other]
            if expected > best:
                best, chosen = expected, (one, other, share)
    one, other, share = chosen
    mixed = [
        (1 - share) * values[one] + share * values[other] for values in (case.data.scores, case.data.usd)
    ]
    names = f"{1 - share:.0%} {case.data.models[one]}, {share:.0%} {case.data.models[other]}"
    return Tried("static_mix_hindsight" if hindsight else "static_mix", *mixed, names)


def try_prompt_router(case: Case) -> Tried | None:
    """The predictor that serves, trained on `fit` alone, between the cheap model and the strong one."""
    if case.fit is None or case.foresight is None:
        return None
    cheap = _cheap(case)
    learnt, tried = (p[:, case.top] - p[:, cheap] for p in case.foresight.p)
    fit_scores = case.fit.scores[[cheap, case.top]]
    order = np.argsort(-learnt, kind="stable")
    step = (fit_scores[1] - fit_scores[0])[order]
    kept = fit_scores[0].sum() + np.concatenate([[0.0], np.cumsum(step)])
    enough = kept >= KEPT * fit_scores[1].sum()
    calls = int(np.argmax(enough)) if enough.any() else len(learnt)
    threshold = np.inf if calls == 0 else learnt[order][calls - 1]
    goes = tried >= threshold
    return Tried(
        "prompt_router",
        np.where(goes, case.data.scores[case.top], case.data.scores[cheap]),
        np.where(goes, case.data.usd[case.top], case.data.usd[cheap]),
        f"{case.data.models[cheap]} > {case.strong}",
        *_ranked(tried, case.data.scores[cheap], case.data.scores[case.top]),
    )


def _as_data(fit: Outcomes, texts: list[str]) -> Data:
    """The outcomes of `fit` as the trainer reads them; its prompts are the first of `texts`."""
    models, count = len(fit.models), fit.prompts
    return Data(
        ids=texts,
        texts=texts,
        prompt_tokens=np.zeros(len(texts), np.float32),
        benchmark=np.full(len(texts), "fit"),
        set_index=np.zeros(len(texts), int),
        family=np.full(len(texts), "fit"),
        stem=np.array(texts),
        models=list(fit.models),
        prompt=np.tile(np.arange(count, dtype=np.int32), models),
        model=np.repeat(np.arange(models, dtype=np.int32), count),
        score=fit.scores.ravel().astype(np.float32),
        tokens=fit.tokens.ravel().astype(np.float32),
        usd=fit.usd.ravel().astype(np.float32),
        aliases={},
        digest="",
        sources={},
    )


def _ranked(gain: np.ndarray, cheap: np.ndarray, strong: np.ndarray) -> tuple[float, float, float]:
    """APGR, CPT50, CPT80 of a ranking; ties count as their mean order."""
    curve = recovered(gain, np.column_stack([cheap, strong]))
    calls = [100 * float(np.argmax(curve >= part)) / len(gain) for part in (0.5, 0.8)]
    return float(curve.mean()), *calls


def try_cascade(case: Case) -> Tried | None:
    """Two cheap models; their answer where they agree, else the strong model's."""
    if case.fit is None:
        return None
    share = case.fit.usd.mean(axis=1) / case.fit.usd[case.top].mean()
    cheap = [at for at in range(len(share)) if at != case.top and share[at] <= AFFORDABLE]
    best = (False, -np.inf, -np.inf)
    chosen: tuple[int, int] | None = None
    for pair in combinations(cheap, 2):
        scores, usd = _agree(case.fit, pair, case.top)
        change, cost = (scores - case.fit.scores[case.top]).mean(), usd.sum()
        value = (bool(change >= 0), -cost if change >= 0 else change, -cost)
        if value > best:
            best, chosen = value, pair
    if chosen is None:
        return None
    scores, usd = _agree(case.data, chosen, case.top)
    names = " = ".join(case.data.models[at] for at in chosen)
    return Tried("cascade", scores, usd, f"{names} > {case.strong}")


def _agree(outcomes: Outcomes, pair: tuple[int, int], top: int) -> tuple[np.ndarray, np.ndarray]:
    one, other = pair
    answers = zip(outcomes.answers[one], outcomes.answers[other], strict=True)
    agree = np.array([left is not None and left == right for left, right in answers])
    usd = outcomes.usd[one] + outcomes.usd[other] + np.where(agree, 0, outcomes.usd[top])
    return np.where(agree, outcomes.scores[one], outcomes.scores[top]), usd


def try_oracle(case: Case) -> Tried:
    """For each prompt the cheapest model of the best score, among those that cost no more than the strong."""
    mean = case.data.usd.mean(axis=1)
    allowed = np.flatnonzero(mean <= mean[case.top])
    scores, usd = case.data.scores[allowed], case.data.usd[allowed]
    best = scores.max(axis=0)
    cost = np.where(scores >= best, usd, np.inf)
    taken = cost.argmin(axis=0)
    at = np.arange(case.data.prompts)
    return Tried("oracle", scores[taken, at], usd[taken, at])
