"""Features -> for each model the probability of a good answer, and how long the answer will be.

Pure. The model is a many-dimensional item response model whose items are described by features, so that it
speaks about prompts it never saw (after Polo et al., "tinyBenchmarks", 2024, and Song et al., "IRT-Router",
2025; the loadings are a low-rank factorisation as in RouteLLM's, Ong et al. 2024):

    p(good) = sigmoid(temperature * (ability_m - difficulty(x) + loadings_m . topics(x)))
    tokens  = exp(length(x) + verbosity_m)

x is the prompt, m the model. Each function of x is one column: linear in the named features and in the hashed
words, whose weights are kept as one byte each. A model the artefact never saw has the average loadings and an
ability that is declared (`ModelCard.ability`) or estimated from its price; p rises with it for every prompt.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from math import exp, log
from operator import add, itemgetter, mul
from statistics import fmean
from typing import NamedTuple

import msgspec

from junctor.chat import ModelCard
from junctor.routing.abilities import Abilities, Ability, level_of, match_abilities
from junctor.routing.features import BUCKETS, FEATURES_VERSION, NAMES, Features
from junctor.routing.names import canonical_name, short_name

FORMAT = 1
"Layout of the artefact's file. Another one is refused."
BYTE_ZERO = 128
"The byte that stands for weight 0."
NAMED_LIMIT = 4.0
"Named features are clipped to this many standard deviations: a freak prompt moves a prediction only so far."
DIFFICULTY, LENGTH = 0, 1
"Places of the columns; the topics follow."
FIRST_TOPIC = 2
MIN_TOKENS, MAX_TOKENS = 8.0, 4096.0
"Bounds on a predicted length."


class KnownModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model that the artefact was trained on."""

    name: str
    aliases: tuple[str, ...]
    "Names it is found under, as `canonical_name` writes them."
    ability: float
    "On the scale of difficulty (logits)."
    loadings: tuple[float, ...]
    "One for each topic."
    verbosity: float
    "Added to the logarithm of the length."
    mean_p: float
    "Mean predicted probability on the reference prompts: its ability on the scale of `ModelCard.ability`."
    outcomes: int
    "Scored answers it was trained on."


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """Where an artefact comes from."""

    data_digest: str
    "SHA-256 of the data files, in the order of their names."
    seed: int
    prompts: int
    outcomes: int
    licences: dict[str, str]
    "Data set -> licence of its prompts and outcomes, which are facts in here only as weights."
    metrics: dict[str, float]
    "Held-out figures, as printed by the trainer."


class Artefact(msgspec.Struct, frozen=True, kw_only=True):
    """A trained predictor, as kept in its file."""

    format: int
    version: str
    "Names this training: stamped on each decision."
    features_version: int
    buckets: int
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    "Of the named features over the training prompts."
    biases: tuple[float, ...]
    "One for each column."
    named_weights: tuple[tuple[float, ...], ...]
    "For each column, one for each named feature."
    hashed_scales: tuple[float, ...]
    hashed_weights: tuple[bytes, ...]
    "For each column, one byte for each bucket: (byte - 128) * scale."
    models: tuple[KnownModel, ...]
    average_loadings: tuple[float, ...]
    average_verbosity: float
    abilities: tuple[float, ...]
    mean_ps: tuple[float, ...]
    "A rising table: a model of average loadings and this ability has this mean p on the reference prompts."
    price_intercept: float
    price_slope: float
    "Ability of a model = intercept + slope * log(blended price, USD per million tokens); the slope is >= 0."
    lowest_ability: float
    "Of a model about which nothing is known, not even a price."
    temperature: float
    "Below 1: less sure than the training data would allow, because traffic is not the training data."
    training: Training


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the pool, placed on the artefact's scales."""

    name: str
    ability: float
    loadings: tuple[float, ...]
    verbosity: float
    source: str
    "`measured ability`, `artefact`, `declared ability` or `estimated ability`."
    error: float = 0.0
    "Standard error of a measured ability, logits."


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """What is expected of one model for one prompt."""

    name: str
    p_good: float
    "0..1"
    source: str
    output_tokens: float
    p_error: float = 0.0
    "Standard error of `p_good`, as far as a measured ability is uncertain."


class ArtefactError(ValueError):
    """The artefact's file is damaged, or of another version than this code."""


def parse_artefact(data: bytes) -> Artefact:
    """Read an artefact's file (msgpack). Raises `ArtefactError`, which says what to do."""
    try:
        artefact = msgspec.msgpack.decode(data, type=Artefact)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtefactError(
            f"the routing artefact is damaged ({error}); train or install it again"
        ) from error
    if (artefact.format, artefact.features_version) != (FORMAT, FEATURES_VERSION):
        raise ArtefactError(
            f"the routing artefact has format {artefact.format} and features {artefact.features_version}, "
            f"this version reads format {FORMAT} and features {FEATURES_VERSION}; "
            "run lab/train_router.py again"
        )
    if not _has_shape(artefact):
        raise ArtefactError("the routing artefact's parts do not fit together; train or install it again")
    return artefact


def _has_shape(artefact: Artefact) -> bool:
    columns, named, topics = len(artefact.biases), len(NAMES), len(artefact.average_loadings)
    return (
        columns == FIRST_TOPIC + topics == len(artefact.hashed_scales)
        and columns == len(artefact.named_weights) == len(artefact.hashed_weights)
        and artefact.buckets == BUCKETS
        and all(len(column) == BUCKETS for column in artefact.hashed_weights)
        and all(len(column) == named for column in artefact.named_weights)
        and len(artefact.means) == len(artefact.deviations) == named
        and min(artefact.deviations) > 0
        and all(len(model.loadings) == topics for model in artefact.models)
        and len(artefact.abilities) == len(artefact.mean_ps) > 0
    )


def render_artefact(artefact: Artefact) -> bytes:
    """The bytes of an artefact's file; equal artefacts give equal bytes."""
    return msgspec.msgpack.encode(artefact)


class Predictor:
    """An artefact, ready to predict."""

    def __init__(self, artefact: Artefact) -> None:
        self.artefact = artefact
        self._known = {alias: model for model in artefact.models for alias in model.aliases}
        self._bounds = [
            (mean - NAMED_LIMIT * deviation, mean + NAMED_LIMIT * deviation)
            for mean, deviation in zip(artefact.means, artefact.deviations, strict=True)
        ]
        self._columns = [_column(artefact, at) for at in range(len(artefact.biases))]
        self._merged: dict[tuple[float, ...], _Column] = {}

    @property
    def version(self) -> str:
        """Names the training: stamped on each decision."""
        return self.artefact.version

    def place(self, cards: Sequence[ModelCard], measured: Abilities | None = None) -> tuple[Placed, ...]:
        """Put the models of a pool on the artefact's scales; do it once for a pool, not for each prompt.

        The first that applies: its measured ability; the one its card declares; that of the model of its name
        (or upstream name) in the training; one estimated from its price, moved to where the others stand.
        Abilities that were measured on the user's own prompts are levels on these, of all models.
        """
        found = match_abilities(measured, cards)
        is_ours = measured is not None and measured.artefact == self.version
        abilities = {
            card.name: self._told_ability(card, found.get(card.name), is_ours=is_ours) for card in cards
        }
        anchors = [
            ability - self._ability_by_price(price)
            for card in cards
            if (ability := abilities[card.name]) is not None and (price := blended_price(card)) > 0
        ]
        offset = fmean([*anchors, 0.0]) if anchors else 0.0
        placed = tuple(
            self._place(card, abilities[card.name], offset, found.get(card.name)) for card in cards
        )
        if measured is not None and is_ours:
            placed = tuple(_place_on_own(each, measured, found.get(each.name)) for each in placed)
        loadings = {model.loadings for model in placed}
        if self._merges(loadings):
            self._merged = {each: self._merged.get(each) or self._merge(each) for each in loadings}
        return placed

    def predict(self, features: Features, placed: Sequence[Placed]) -> list[Prediction]:
        """Predictions for each placed model, in their order."""
        reading = _read(features, self._bounds)
        length = self._columns[LENGTH].value(reading)
        fits = self._fits({model.loadings for model in placed}, reading)
        temperature = self.artefact.temperature
        predictions: list[Prediction] = []
        for model in placed:
            tokens = max(MIN_TOKENS, exp(min(log(MAX_TOKENS), length + model.verbosity)))
            p = _sigmoid(temperature * (model.ability + fits[model.loadings]))
            p_error = temperature * p * (1 - p) * model.error if model.error else 0.0
            predictions.append(Prediction(model.name, p, model.source, tokens, p_error))
        return predictions

    def _fits(
        self, loadings: Collection[tuple[float, ...]], reading: _Reading
    ) -> dict[tuple[float, ...], float]:
        """For each: loadings . topics(x) - difficulty(x)."""
        merged = self._merged
        if all(each in merged for each in loadings):
            return {each: merged[each].value(reading) for each in loadings}
        difficulty = self._columns[DIFFICULTY].value(reading)
        topics = [column.value(reading) for column in self._columns[FIRST_TOPIC:]]
        return {each: sum(map(mul, each, topics)) - difficulty for each in loadings}

    def _merges(self, loadings: Collection[tuple[float, ...]]) -> bool:
        """Whether one column for each, and the length, are half as many as all columns."""
        return 2 * (len(loadings) + 1) <= len(self._columns)

    def _merge(self, loadings: Sequence[float]) -> _Column:
        """The column of `loadings . topics - difficulty`. Takes 20 ms and half a megabyte."""
        parts = [(-1.0, self._columns[DIFFICULTY]), *zip(loadings, self._columns[FIRST_TOPIC:], strict=True)]
        weights: Iterable[float] = bytes(BUCKETS + 1)
        for factor, column in parts:
            meaning = [factor * column.scale * (byte - column.zero) for byte in range(256)]
            weights = map(add, weights, map(meaning.__getitem__, bytes(column.hashed)))
        return _Column(
            bias=sum(factor * column.bias for factor, column in parts),
            named=[sum(factor * column.named[at] for factor, column in parts) for at in range(len(NAMES))],
            hashed=array("d", weights),
            scale=1.0,
            zero=0,
        )

    def _find(self, card: ModelCard) -> KnownModel | None:
        for name in (card.upstream, card.name):
            canonical = canonical_name(name)
            known = self._known.get(canonical) or self._known.get(short_name(canonical))
            if name and known is not None:
                return known
        return None

    def _told_ability(self, card: ModelCard, measured: Ability | None, *, is_ours: bool) -> float | None:
        """Its ability as measured, as declared or as trained; None when it is none of them."""
        if measured is not None:
            return measured.logits if is_ours else self._ability_of_mean_p(measured.p)
        if card.ability is not None:
            return self._ability_of_mean_p(card.ability)
        known = self._find(card)
        return None if known is None else known.ability

    def _place(self, card: ModelCard, told: float | None, offset: float, measured: Ability | None) -> Placed:
        known = self._find(card)
        source = "estimated ability"
        ability = self._ability_by_price(blended_price(card)) + offset if told is None else told
        if told is not None:
            source = "artefact" if card.ability is None else "declared ability"
        if measured is not None:
            source = "measured ability"
        as_trained = card.ability is None or measured is not None
        return Placed(
            name=card.name,
            ability=ability,
            loadings=known.loadings if known and as_trained else self.artefact.average_loadings,
            verbosity=known.verbosity if known else self.artefact.average_verbosity,
            source=source,
            error=measured.error if measured else 0.0,
        )

    def _ability_by_price(self, price: float) -> float:
        lowest = self.artefact.lowest_ability
        if price <= 0:
            return lowest
        estimate = self.artefact.price_intercept + self.artefact.price_slope * log(price)
        return max(lowest, min(self.artefact.abilities[-1], estimate))

    def _ability_of_mean_p(self, mean_p: float) -> float:
        return _interpolate(mean_p, self.artefact.mean_ps, self.artefact.abilities)


def _place_on_own(placed: Placed, measured: Abilities, its: Ability | None) -> Placed:
    """Where it stands on prompts of the user's own, if those were asked; else where it stood."""
    level, error = level_of(its, measured) if its else (placed.ability - measured.shift, 0.0)
    return msgspec.structs.replace(placed, ability=level, error=error)


class _Reading(NamedTuple):
    """The features of one prompt, as columns take them."""

    named: list[float]
    "Clipped."
    pick: Callable[[bytes | array[float]], tuple[float, ...]]
    "Reads the weights of its buckets off a column, at C speed."
    picked: int
    "How many that gives."
    norm: float


def _read(features: Features, bounds: Sequence[tuple[float, float]]) -> _Reading:
    named = [
        low if value < low else high if value > high else value
        for value, (low, high) in zip(features.named, bounds, strict=True)
    ]
    # Twice a bucket without weight: for a single bucket, `itemgetter` would give no tuple.
    pick = itemgetter(BUCKETS, BUCKETS, *features.hashed)
    count = len(features.hashed)
    return _Reading(named, pick, count + 2, (count or 1) ** -0.5)


class _Column(NamedTuple):
    """A function of a prompt that is linear in its features."""

    bias: float
    named: list[float]
    "Weights of the named features as they are, not in standard deviations."
    hashed: bytes | array[float]
    "Weights of the buckets, and one for none: (weight - zero) * scale."
    scale: float
    zero: int

    def value(self, reading: _Reading) -> float:
        """Of one prompt."""
        hashed = sum(reading.pick(self.hashed)) - self.zero * reading.picked
        return self.bias + sum(map(mul, self.named, reading.named)) + self.scale * reading.norm * hashed


def _column(artefact: Artefact, at: int) -> _Column:
    pairs = zip(artefact.named_weights[at], artefact.deviations, strict=True)
    named = [weight / deviation for weight, deviation in pairs]
    return _Column(
        bias=artefact.biases[at] - sum(map(mul, named, artefact.means)),
        named=named,
        hashed=artefact.hashed_weights[at] + bytes([BYTE_ZERO]),
        scale=artefact.hashed_scales[at],
        zero=BYTE_ZERO,
    )


def mean_p(artefact: Artefact, ability: float) -> float:
    """The mean p on the reference prompts of a model of that ability, by the artefact's table; 0..1."""
    return _interpolate(ability, artefact.abilities, artefact.mean_ps)


def _interpolate(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """At x, in a rising table; its ends hold beyond it."""
    at = bisect_left(xs, x)
    if at in (0, len(xs)):
        return ys[min(at, len(xs) - 1)]
    share = (x - xs[at - 1]) / (xs[at] - xs[at - 1])
    return ys[at - 1] + share * (ys[at] - ys[at - 1])


def blended_price(card: ModelCard) -> float:
    """USD per million tokens at three input tokens to one output token; 0 when unknown."""
    return 0.0 if card.price is None else (3 * card.price.input + card.price.output) / 4


def _sigmoid(logit: float) -> float:
    return 1 / (1 + exp(-max(-30.0, min(30.0, logit))))
