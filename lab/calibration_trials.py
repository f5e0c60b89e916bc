"""Short calibrations of models that the predictor never saw, tried. Imported by lab/calibrate_router.py.

A pool of strangers answers K prompts of a data set; the product's own code places them; predicted are the
other prompts. A stranger, its other versions (`short_name`) and all their rows in other sets are left out of
the training, and it stands in the pool under a name that tells nothing: only its price is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import msgspec
import numpy as np

from calibration_scores import Z, log_losses, mean_of, recovered_gaps, score_of_nearest, widen
from junctor.chat import ModelCard, Price
from junctor.lasting import ARTEFACT
from junctor.pool.prompt import TEXT_CHARS, sample_text
from junctor.routing.abilities import Abilities, identity_of, match_abilities
from junctor.routing.calibration.ability_fit import Estimates, Spreads, fit_abilities, read_answered
from junctor.routing.calibration.grading import PRIOR_ERRORS
from junctor.routing.calibration.learn import compare_neighbours, measure_abilities
from junctor.routing.calibration.prompt_file import OWN
from junctor.routing.calibration.residuals import add_neighbours, move_all
from junctor.routing.calibration.study import Studied, Study
from junctor.routing.features import BUCKETS, extract_features
from junctor.routing.names import short_name
from junctor.routing.neighbours import Neighbours, find_neighbours
from junctor.routing.predictor import (
    Placed,
    Predictor,
    parse_artefact,
    render_artefact,
)
from routing_data import Data, Inputs, extract
from routing_fit import Words, fit, sigmoid
from routing_outcomes import COVERED
from routing_tables import grid
from train_router import export, named, prices

METHODS = (
    "price alone",
    "constant",
    "mean of K",
    "kNN",
    "junctor",
    "junctor, 2 known",
    "junctor, neighbours",
    "junctor, neighbours, 2 known",
    "junctor, no shift fitted",
    "abilities alone",
    "abilities alone, 2 known",
)
GROUPS, POOL, KNOWN = 3, 4, 2
NEIGHBOURS = (5, 10, 20, 40, 80)
PROJECTED = 256
"Words are projected to so many dimensions to find neighbours (Johnson and Lindenstrauss, 1984)."
EXPECTED, LOW, HIGH, LOSS, TRUTH, POOL_ID, APGR, KEPT = range(8)
"APGR: mean over the models of its pool that are better by more than `APART`. KEPT: neighbours were, 0 or 1."
COLUMNS = 8


@dataclass(frozen=True)
class Exam:
    """A data set with the models that answered all of it: m models, n prompts."""

    data: Data
    inputs: Inputs
    set_name: str
    prompts: np.ndarray  # (n,) into data.texts
    names: list[str]  # (m,)
    scores: np.ndarray  # (m, n)
    cards: list[ModelCard]  # (m,)
    temperature: float

    @property
    def inside(self) -> np.ndarray:
        """Which prompts of the data are of this set, also those that not all models answered."""
        return np.array([name.split("/")[0] == self.set_name for name in self.data.benchmark])

    @cached_property
    def likeness(self) -> np.ndarray:
        """(n, n) of the prompts, by the features that the predictor reads: words, and named ones."""
        chosen = self.inputs.named[self.prompts]
        named_part = (chosen - chosen.mean(0)) / np.maximum(chosen.std(0), 1e-3)
        projection = np.random.default_rng(0).standard_normal((BUCKETS, PROJECTED)).astype(np.float32)
        words = Words(self.inputs, self.prompts).times(projection)
        parts = [
            each / np.linalg.norm(each, axis=1, keepdims=True).clip(1e-6) for each in (words, named_part)
        ]
        return parts[0] @ parts[0].T + parts[1] @ parts[1].T


def read_exam(data: Data, set_name: str) -> Exam:
    """Raises ValueError when no set has that name, or too few models answered all of it."""
    outcomes = grid(data)
    inside = outcomes.set_name == set_name
    if not inside.any():
        raise ValueError(f"no set {set_name}; there are: {', '.join(sorted(set(outcomes.set_name)))}")
    models = np.flatnonzero(np.isfinite(outcomes.score[inside]).mean(0) >= COVERED)
    whole = inside & np.isfinite(outcomes.score[:, models]).all(1)
    names = [data.models[at] for at in models]
    if len({short_name(name) for name in names}) < 2 * GROUPS:
        raise ValueError(f"{len(names)} models answered all of {set_name}; {2 * GROUPS} are the least")
    price = prices(data, outcomes)[models] * 1e6
    return Exam(
        data=data,
        inputs=extract([sample_text(text, TEXT_CHARS) for text in data.texts]),
        set_name=set_name,
        prompts=np.flatnonzero(whole),
        names=names,
        scores=outcomes.score[whole][:, models].T.astype(float),
        cards=[_card(name, usd) for name, usd in zip(names, price, strict=True)],
        temperature=parse_artefact(ARTEFACT.read_bytes()).temperature,
    )


def _card(name: str, usd: np.ndarray) -> ModelCard:
    known = np.isfinite(usd).all()
    price = Price(input=max(0.0, usd[0]), output=max(0.0, usd[1]), source="recorded costs") if known else None
    return ModelCard(name=name, price=price)


def draw_groups(exam: Exam, rng: np.random.Generator) -> list[np.ndarray]:
    """The models in so many groups, versions of one model in the same one."""
    families = sorted({short_name(name) for name in exam.names})
    group_of = dict(zip(rng.permutation(families), np.arange(len(families)) % GROUPS, strict=True))
    of_model = np.array([group_of[short_name(name)] for name in exam.names])
    return [np.flatnonzero(of_model == at) for at in range(GROUPS)]


def train(exam: Exam, group: np.ndarray, seed: int, unseen: np.ndarray) -> Predictor:
    """Learnt without a group, and without the prompts where `unseen`, their namesakes and their like."""
    families = {short_name(exam.names[at]) for at in group}
    held = [at for at, name in enumerate(exam.data.models) if short_name(name) in families]
    data, inputs = exam.data, exam.inputs
    rows = ~np.isin(data.model, held)
    data = replace(
        data,
        **{name: getattr(data, name)[rows] for name in ("prompt", "model", "score", "tokens", "usd")},
    )
    if unseen.any():
        data = _without(data, unseen)
        inputs = extract([sample_text(text, TEXT_CHARS) for text in data.texts])
    fitted = fit(data, inputs, np.ones(len(data.texts), bool), seed)
    artefact = named(export(data, inputs, fitted, exam.temperature, 0.0, seed, {}))
    return Predictor(parse_artefact(render_artefact(artefact)))


def _without(data: Data, inside: np.ndarray) -> Data:
    out = np.isin(data.family, data.family[inside]) | np.isin(data.stem, data.stem[inside])
    if out.all():
        raise ValueError("there is nothing else to learn from; leave out --training unseen")
    kept, rows = np.flatnonzero(~out), ~out[data.prompt]
    place = np.cumsum(~out) - 1
    return replace(
        data,
        ids=[data.ids[at] for at in kept],
        texts=[data.texts[at] for at in kept],
        set_index=np.unique(data.set_index[kept], return_inverse=True)[1],
        **{name: getattr(data, name)[kept] for name in ("prompt_tokens", "benchmark", "family", "stem")},
        prompt=place[data.prompt[rows]].astype(np.int32),
        **{name: getattr(data, name)[rows] for name in ("model", "score", "tokens", "usd")},
    )


class Trial:
    """One group of strangers, and a predictor that knows none of them."""

    def __init__(self, exam: Exam, group: np.ndarray, predictor: Predictor) -> None:
        self.exam, self.group, self.predictor = exam, group, predictor
        self._features = [
            extract_features(sample_text(exam.data.texts[at], TEXT_CHARS)) for at in exam.prompts
        ]
        self._ease: dict[tuple[float, ...], np.ndarray] = {}
        self._kept = dict[str, float]()
        others = np.setdiff1d(np.arange(len(exam.names)), group)
        self.others = others
        placed = predictor.place([exam.cards[at] for at in others])
        self.known = [at for at, it in zip(others, placed, strict=True) if it.source == "artefact"]

    def ease(self, placed: Placed) -> np.ndarray:
        """(n,) predicted log odds of a model of ability 0 with those loadings."""
        if placed.loadings not in self._ease:
            average = msgspec.structs.replace(placed, ability=0.0)
            p = [self.predictor.predict(each, [average])[0].p_good for each in self._features]
            self._ease[placed.loadings] = np.log(p) - np.log1p(-np.array(p))
        return self._ease[placed.loadings]

    def run(
        self, count: int, rng: np.random.Generator, neighbours: int, *, elsewhere: bool = False
    ) -> np.ndarray:
        """Calibrate on `count` prompts, predict the others: (methods, m, columns), nan outside the group.

        `elsewhere`: calibrate on prompts of one half of the set's benchmarks, predict the other half.
        """
        seen, rest = self._draw(count, rng, elsewhere=elsewhere)
        table = np.full((len(METHODS), len(self.exam.names), COLUMNS), np.nan)
        nearest = np.argsort(-self.exam.likeness[np.ix_(rest, seen)], axis=1)[:, :neighbours]
        order = rng.permutation(self.group)
        for pool_id, pool in enumerate(np.array_split(order, -(-len(order) // POOL))):
            known = rng.permutation(self.known)[:KNOWN] if len(self.known) >= KNOWN else None
            for method, (p, low, high) in self._predict(pool, known, seen, rest, nearest).items():
                kept = self._kept.get(method, np.nan)
                gaps = recovered_gaps(p, self.exam.scores[pool][:, rest])
                for at, model in enumerate(pool):
                    truth = self.exam.scores[model, rest]
                    mean, loss = p[at].mean(), log_losses(p[at], truth).mean()
                    row = [mean, low[at], high[at], loss, truth.mean(), pool_id, gaps[at], kept]
                    table[METHODS.index(method), model] = row
        return table

    def _draw(
        self, count: int, rng: np.random.Generator, *, elsewhere: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Prompts to calibrate on, and to predict."""
        drawn = rng.permutation(len(self.exam.prompts))
        if not elsewhere:
            return drawn[:count], drawn[count:]
        benchmark = self.exam.data.benchmark[self.exam.prompts[drawn]]
        names = rng.permutation(np.unique(benchmark))
        inside = np.isin(benchmark, names[: len(names) // 2])
        return drawn[inside][:count], drawn[~inside]

    def _predict(
        self,
        pool: np.ndarray,
        known: np.ndarray | None,
        seen: np.ndarray,
        rest: np.ndarray,
        nearest: np.ndarray,
    ) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """For each method (pool, rest) probabilities, and (pool,) bounds of the mean over the rest."""
        scores = self.exam.scores[pool][:, seen]
        found = {
            "constant": self._constant(len(pool), len(rest)),
            "mean of K": mean_of(scores, len(rest)),
            "kNN": score_of_nearest(scores, nearest),
            **self._calibrate("", pool, np.array([], int), seen, rest),
        }
        if known is not None:
            found |= self._calibrate(", 2 known", pool, known, seen, rest)
        return found

    def _calibrate(
        self, name: str, pool: np.ndarray, known: np.ndarray, seen: np.ndarray, rest: np.ndarray
    ) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """As `junctor calibrate` does with prompts of the user's own, and as the router then predicts."""
        cards = [msgspec.structs.replace(self.exam.cards[at], name=f"stranger {at}") for at in pool]
        cards += [self.exam.cards[at] for at in known]
        before = self.predictor.place(cards)
        eases = [self.ease(it) for it in before]
        study = self._study(cards, before, eases, np.concatenate([pool, known]), seen)
        measured = measure_abilities(study, read_answered(study))
        near = self._neighbours(study, cards, measured, seen)
        self._kept[f"junctor, neighbours{name}"] = float(near is not None)
        found = {
            f"junctor{name}": self._expect(cards, eases, measured, len(pool), rest),
            f"junctor, neighbours{name}": self._expect(cards, eases, measured, len(pool), rest, near),
            f"abilities alone{name}": self._expect(cards, eases, _without_levels(measured), len(pool), rest),
        }
        if not len(known):
            ease = np.array([each[rest] for each in eases])
            priors = np.array([[it.prior, it.prior_error] for it in study.models]).T
            level = fit_without_shifts(study)
            found["price alone"] = self._bounded(ease, *priors)
            found["junctor, no shift fitted"] = self._bounded(ease, level.logits, level.errors)
        return found

    def _expect(
        self,
        cards: Sequence[ModelCard],
        eases: Sequence[np.ndarray],
        abilities: Abilities,
        models: int,
        rest: np.ndarray,
        near: Neighbours | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the router expects of the first models after a calibration."""
        placed = self.predictor.place(cards, abilities)[:models]
        ease = np.array([each[rest] for each in eases[:models]])
        levels, errors = (np.array([getattr(it, name) for it in placed]) for name in ("ability", "error"))
        return self._bounded(ease, levels, errors, near, rest)

    def _neighbours(
        self, study: Study, cards: Sequence[ModelCard], measured: Abilities, seen: np.ndarray
    ) -> Neighbours | None:
        """As `junctor calibrate` keeps them, if it does."""
        named = tuple(self._features[at].named for at in seen)
        study = msgspec.structs.replace(study, named=named)
        tried = compare_neighbours(study, read_answered(study))
        if tried is None or tried.new <= tried.old:
            return None
        measured = add_neighbours(measured, named, read_answered(study))
        found = match_abilities(measured, cards)
        return find_neighbours(measured, found, [card.name for card in cards], study.artefact)

    def _bounded(
        self,
        ease: np.ndarray,
        ability: np.ndarray,
        error: np.ndarray,
        near: Neighbours | None = None,
        rest: Sequence[int] | np.ndarray = (),
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Probabilities, and where the mean score on as many prompts lies at 95 %, by the stated errors."""
        slope = self.exam.temperature
        named = [self._features[at].named for at in rest]

        def expect(ability: np.ndarray) -> np.ndarray:
            return move_all(near, named, sigmoid(ease + slope * ability[:, None]))

        p = expect(ability)
        low, high = (expect(ability + z * error).mean(1) for z in (-Z, Z))
        luck = Z * np.sqrt((p * (1 - p)).sum(1)) / ease.shape[1]
        return p, *widen(p.mean(1), low, high, luck)

    def _study(
        self,
        cards: Sequence[ModelCard],
        placed: Sequence[Placed],
        eases: Sequence[np.ndarray],
        models: np.ndarray,
        seen: np.ndarray,
    ) -> Study:
        nothing = (None,) * len(seen)
        artefact = self.predictor.artefact
        return Study(
            models=tuple(
                Studied(
                    model=card.name,
                    identity=identity_of(card),
                    prior=it.ability,
                    prior_error=PRIOR_ERRORS[it.source],
                    ease=tuple(ease[seen]),
                    scores=tuple(self.exam.scores[at, seen]),
                    usd=nothing,
                    tokens=nothing,
                    answers=nothing,
                )
                for card, it, ease, at in zip(cards, placed, eases, models, strict=True)
            ),
            kinds=(OWN,) * len(seen),
            artefact=artefact.version,
            temperature=artefact.temperature,
            abilities_table=artefact.abilities,
            mean_ps_table=artefact.mean_ps,
            strongest=None,
            floor=0.98,
            confidence=0.95,
        )

    def _constant(self, models: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The mean of the models that are not strangers; bounds by their spread."""
        means = self.exam.scores[self.others].mean(1)
        spread = Z * means.std(ddof=1)
        p = np.full((models, count), means.mean())
        return p, p[:, 0] - spread, p[:, 0] + spread


def _without_levels(measured: Abilities) -> Abilities:
    """What holds for prompts of any sort: all that questions of ours would leave."""
    models = tuple(msgspec.structs.replace(each, level=None) for each in measured.models)
    return msgspec.structs.replace(measured, models=models, shift=0.0)


def fit_without_shifts(study: Study) -> Estimates:
    """Abilities that take up all of what these questions are harder than predicted: levels on this sort."""
    priors, errors = zip(*((it.prior, it.prior_error) for it in study.models), strict=True)
    return fit_abilities(read_answered(study), priors, errors, Spreads(1e-3, 1e-3, 1e-3)).abilities


def choose_neighbours(exam: Exam, others: np.ndarray, count: int, rng: np.random.Generator) -> int:
    """How many neighbours predict the models that are not strangers best."""
    drawn = rng.permutation(len(exam.prompts))
    seen, rest = drawn[:count], drawn[count:]
    nearest = np.argsort(-exam.likeness[np.ix_(rest, seen)], axis=1)
    known, truth = exam.scores[others][:, seen], exam.scores[others][:, rest]
    choices = [k for k in NEIGHBOURS if k < count] or [count]
    return min(
        choices, key=lambda k: float(log_losses(score_of_nearest(known, nearest[:, :k])[0], truth).mean())
    )
