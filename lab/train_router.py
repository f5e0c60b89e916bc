"""Train the router's predictor and write its artefact.

    python lab/train_router.py --data DIR --out src/junctor/routing/artefact/router.msgpack

About five minutes on two cores, most of it evaluation (`--out /dev/null` evaluates alone). The same data and
seed give the same bytes on the same machine and numpy.

What is printed, all of it held out:
- seen benchmarks: five folds; the same question under another name is in the same fold;
- unseen benchmarks: each benchmark (and its namesakes in other sets) predicted by a fit that saw none of it;
- calibration of p(good) on both, and of the length in tokens;
- pairs and pools, beside random routing, always-cheap and the best static mix.

The pulls (L2) were chosen on three folds of another split (seed 0), nothing was chosen on the tables below.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from pathlib import Path

import msgspec
import numpy as np

from junctor.chat import ModelCard
from junctor.pool.prompt import TEXT_CHARS, sample_text
from junctor.routing.features import BUCKETS, FEATURES_VERSION, extract_features
from junctor.routing.names import short_name
from junctor.routing.predictor import (
    BYTE_ZERO,
    DIFFICULTY,
    FIRST_TOPIC,
    FORMAT,
    LENGTH,
    Artefact,
    KnownModel,
    Predictor,
    Training,
    parse_artefact,
    render_artefact,
)
from routing_data import Data, Inputs, extract, folds_by_stem, load
from routing_fit import Fit, columns_of, fit, logits, served_bias, sigmoid
from routing_tables import Grid, calibration, fit_temperature, grid, log_loss, pair_rows, pool_rows, show

SPLIT_SEED = 7
ABILITY_GRID = np.linspace(-5, 5, 101)
FEWEST_BENCHMARKS = 2
"A model seen on fewer trains the prompts' side, but is not served: one benchmark does not place it."
LOWEST_QUANTILE = 0.1


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument(
        "--data", type=Path, required=True, help="folder with *.prompts.parquet, *.outcomes.parquet"
    )
    arguments.add_argument("--out", type=Path, required=True, help="where to write the artefact")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--folds", type=int, default=5)
    options = arguments.parse_args()

    started = time.perf_counter()
    data = load(options.data)
    inputs = extract([sample_text(text, TEXT_CHARS) for text in data.texts])
    outcomes = grid(data)
    print(
        f"{len(data.texts)} prompts, {len(data.score)} outcomes, {len(data.models)} models, "
        f"seed {options.seed}"
    )

    seen, seen_tokens = cross_validate(data, inputs, options.folds, options.seed)
    unseen = leave_one_out(data, inputs, options.seed)
    temperature = fit_temperature(np.concatenate([seen, unseen]), np.concatenate([outcomes.score] * 2))
    length_shift = mean_length_shift(data, seen_tokens)
    metrics = report(data, outcomes, seen, unseen, seen_tokens + length_shift, temperature, options.seed)

    fitted = fit(data, inputs, np.ones(len(data.texts), bool), options.seed)
    artefact = named(export(data, inputs, fitted, temperature, length_shift, options.seed, metrics))
    packed = render_artefact(artefact)
    check_served(data, inputs, fitted, parse_artefact(packed))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(packed)
    print(
        f"\n{artefact.version}: {len(packed)} bytes -> {options.out}, {time.perf_counter() - started:.0f} s"
    )


def cross_validate(data: Data, inputs: Inputs, folds: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Held-out logits and log tokens, (prompts, models)."""
    fold = folds_by_stem(data, folds, SPLIT_SEED)
    held_out = np.full((len(data.texts), len(data.models)), np.nan, np.float32)
    log_tokens = held_out.copy()
    for at in range(folds):
        inside = np.flatnonzero(fold == at)
        if inside.size and (fold != at).any():
            fitted = fit(data, inputs, fold != at, seed)
            columns = columns_of(fitted, inputs, inside)
            held_out[inside] = logits(fitted, columns)
            log_tokens[inside] = columns[:, [LENGTH]] + fitted.verbosity
    return held_out, log_tokens


def leave_one_out(data: Data, inputs: Inputs, seed: int) -> np.ndarray:
    """Held-out logits, each benchmark predicted by a fit without it, its namesakes and its questions."""
    held_out = np.full((len(data.texts), len(data.models)), np.nan, np.float32)
    for family in sorted(set(data.family)):
        inside = data.family == family
        train = ~inside & ~np.isin(data.stem, data.stem[inside])
        if train.any():
            fitted = fit(data, inputs, train, seed)
            held_out[inside] = logits(fitted, columns_of(fitted, inputs, np.flatnonzero(inside)))
    return held_out


def mean_length_shift(data: Data, log_tokens: np.ndarray) -> float:
    """What to add to log tokens so that their mean is right: costs add up, logarithms do not (Duan, 1983)."""
    predicted = log_tokens[data.prompt, data.model]
    timed = np.isfinite(data.tokens) & (data.tokens > 0) & np.isfinite(predicted)
    if not timed.any():
        return 0.0
    return float(np.log(data.tokens[timed].sum() / np.exp(predicted[timed]).sum()))


def report(
    data: Data,
    outcomes: Grid,
    seen: np.ndarray,
    unseen: np.ndarray,
    log_tokens: np.ndarray,
    temperature: float,
    seed: int,
) -> dict[str, float]:
    """Print every table; return the figures that go into the artefact."""
    base = np.broadcast_to(np.nanmean(outcomes.score, 0), outcomes.score.shape)
    metrics = {"log_loss_model_means": log_loss(base, outcomes.score)}
    tokens = np.full(outcomes.score.shape, np.nan, np.float32)
    tokens[data.prompt, data.model] = data.tokens
    timed = np.isfinite(tokens) & (tokens > 0) & np.isfinite(log_tokens)
    metrics["tokens_log_error"] = float(np.std(np.log(tokens[timed]) - log_tokens[timed]))
    metrics["tokens_bias"] = float(np.exp(log_tokens[timed]).sum() / tokens[timed].sum())
    index_usd = expected_usd(data, outcomes, log_tokens)
    for name, held_out in (("seen", seen), ("unseen", unseen)):
        p = sigmoid(temperature * held_out)
        error, bins = calibration(p, outcomes.score)
        metrics[f"log_loss_{name}"] = log_loss(p, outcomes.score)
        metrics[f"calibration_error_{name}"] = error
        metrics[f"calibration_error_{name}_at_temperature_1"] = calibration(
            sigmoid(held_out), outcomes.score
        )[0]
        pairs = pair_rows(data, outcomes, p, seed)
        show(f"Pairs, {name} benchmarks", pairs)
        metrics[f"apgr_mean_{name}"] = float(np.mean([float(row["apgr"]) for row in pairs])) if pairs else 0.5
        show(f"Pools, {name} benchmarks", pool_rows(data, outcomes, p, index_usd))
        rows = [{"predicted": low, "observed": high, "count": count} for low, high, count in bins]
        show(f"Calibration, {name} benchmarks (expected calibration error {error:.3f})", rows)
    print(f"\ntemperature {temperature}")
    for name, value in metrics.items():
        print(f"{name} {value:.4f}")
    return {name: round(value, 4) for name, value in metrics.items()}


def prices(data: Data, outcomes: Grid) -> np.ndarray:
    """(models, 2) USD per token in and out, from the recorded costs; nan where there are too few."""
    tokens = np.full(outcomes.score.shape, np.nan, np.float32)
    tokens[data.prompt, data.model] = data.tokens
    found = np.full((len(data.models), 2), np.nan)
    for at in range(len(data.models)):
        ok = np.isfinite(outcomes.usd[:, at]) & np.isfinite(tokens[:, at])
        if ok.sum() > FEWEST_BENCHMARKS:
            counts = np.stack([data.prompt_tokens[ok], tokens[ok, at]], 1)
            found[at] = np.linalg.lstsq(counts, outcomes.usd[ok, at], rcond=None)[0]
    return found


def expected_usd(data: Data, outcomes: Grid, log_tokens: np.ndarray) -> np.ndarray:
    """(prompts, models) the cost that would be predicted before the answer."""
    price = prices(data, outcomes)
    return data.prompt_tokens[:, None] * price[:, 0] + np.exp(log_tokens) * price[:, 1]


def export(
    data: Data,
    inputs: Inputs,
    fitted: Fit,
    temperature: float,
    length_shift: float,
    seed: int,
    metrics: dict[str, float],
) -> Artefact:
    """The fitted model as an artefact: topics centred on the reference prompts, hashed weights in bytes.

    The reference prompts are all training prompts, each benchmark weighing the same.
    """
    columns = columns_of(fitted, inputs, np.arange(len(data.texts)))
    weight = reference_weights(data)
    centre = weight @ columns[:, FIRST_TOPIC:]
    ability = fitted.ability + fitted.loadings @ centre
    bias = served_bias(fitted).astype(float)
    bias[LENGTH] += length_shift
    bias[FIRST_TOPIC:] -= centre
    topics = columns[:, FIRST_TOPIC:] - centre

    benchmarks = [set(data.benchmark[data.prompt[data.model == at]]) for at in range(len(data.models))]
    served = [at for at, names in enumerate(benchmarks) if len(names) >= FEWEST_BENCHMARKS]
    timed = [at for at in served if np.isfinite(data.tokens[data.model == at]).any()] or served
    average_loadings = fitted.loadings[served].mean(0)
    average = -columns[:, DIFFICULTY] + topics @ average_loadings
    mean_p = weight @ sigmoid(-columns[:, DIFFICULTY][:, None] + topics @ fitted.loadings.T + ability)
    table = [float(weight @ sigmoid(average + at)) for at in ABILITY_GRID]
    price = np.array([0.75, 0.25]) @ prices(data, grid(data)).T * 1e6
    intercept, slope = price_line(price[served], ability[served])
    scales = np.maximum(np.abs(fitted.hashed).max(0), 1e-9) / 127
    bytes_ = np.clip(np.rint(fitted.hashed / scales), -127, 127).astype(int) + BYTE_ZERO
    verbosity = float(fitted.verbosity[timed].mean())
    return Artefact(
        format=FORMAT,
        version="",
        features_version=FEATURES_VERSION,
        buckets=BUCKETS,
        means=_rounded(fitted.means),
        deviations=_rounded(fitted.deviations),
        biases=_rounded(bias),
        named_weights=tuple(_rounded(column) for column in fitted.named.T),
        hashed_scales=tuple(float(f"{scale:.6g}") for scale in scales),
        hashed_weights=tuple(bytes(column.tolist()) for column in bytes_.T),
        models=known_models(data, served, ability, fitted, mean_p, verbosity),
        average_loadings=_rounded(average_loadings),
        average_verbosity=round(verbosity, 6),
        abilities=_rounded(ABILITY_GRID),
        mean_ps=_rounded(np.array(table)),
        price_intercept=round(intercept, 6),
        price_slope=round(slope, 6),
        lowest_ability=round(float(np.quantile(ability[served], LOWEST_QUANTILE)), 6),
        temperature=temperature,
        training=Training(
            data_digest=data.digest,
            seed=seed,
            prompts=len(data.texts),
            outcomes=len(data.score),
            licences=data.sources,
            metrics=metrics,
        ),
    )


def named(artefact: Artefact) -> Artefact:
    """The artefact with a version that stands for all of its content."""
    digest = hashlib.sha256(render_artefact(artefact)).hexdigest()
    return msgspec.structs.replace(artefact, version=f"router-{FORMAT}-{digest[:8]}")


def reference_weights(data: Data) -> np.ndarray:
    """(prompts,) summing to 1, each benchmark the same."""
    names, at, count = np.unique(data.benchmark, return_inverse=True, return_counts=True)
    return 1 / (len(names) * count[at])


def known_models(
    data: Data, served: list[int], ability: np.ndarray, fitted: Fit, mean_p: np.ndarray, verbosity: float
) -> tuple[KnownModel, ...]:
    """The served models. A short name goes to the one of the most outcomes, then to the latest."""
    outcomes = np.bincount(data.model, minlength=len(data.models))
    owner: dict[str, int] = {}
    for at in sorted(served, key=lambda at: (outcomes[at], data.models[at])):
        owner[short_name(data.models[at])] = at
    owner.update({data.models[at]: at for at in served})
    timed = np.bincount(data.model[np.isfinite(data.tokens)], minlength=len(data.models)) > 0
    return tuple(
        KnownModel(
            name=data.models[at],
            aliases=tuple(sorted(alias for alias, model in owner.items() if model == at)),
            ability=round(float(ability[at]), 6),
            loadings=_rounded(fitted.loadings[at]),
            verbosity=round(float(fitted.verbosity[at]) if timed[at] else verbosity, 6),
            mean_p=round(float(mean_p[at]), 4),
            outcomes=int(outcomes[at]),
        )
        for at in served
    )


def price_line(price: np.ndarray, ability: np.ndarray) -> tuple[float, float]:
    """Intercept and slope of ability over log(blended price); a slope below zero becomes zero."""
    ok = np.isfinite(price) & (price > 0)
    if ok.sum() < FEWEST_BENCHMARKS:
        return float(np.mean(ability)), 0.0
    slope, intercept = np.polyfit(np.log(price[ok]), ability[ok], 1)
    return (float(intercept), float(slope)) if slope > 0 else (float(ability[ok].mean()), 0.0)


def check_served(data: Data, inputs: Inputs, fitted: Fit, artefact: Artefact) -> None:
    """The code that serves must say what the code that trained says, up to the rounding to bytes."""
    predictor = Predictor(artefact)
    placed = predictor.place([ModelCard(name=model.name) for model in artefact.models])
    at = [data.models.index(model.name) for model in artefact.models]
    prompts = np.arange(0, len(data.texts), max(1, len(data.texts) // 200))
    wanted = sigmoid(artefact.temperature * logits(fitted, columns_of(fitted, inputs, prompts))[:, at])
    got = [
        [
            p.p_good
            for p in predictor.predict(extract_features(sample_text(data.texts[i], TEXT_CHARS)), placed)
        ]
        for i in prompts
    ]
    gap = np.abs(wanted - np.array(got)).max()
    print(f"\nlargest difference between trainer and server: {100 * gap:.2f} points of p")
    if gap > 0.03:
        raise SystemExit(
            "the served predictions differ from the trained ones: rounding to bytes is too coarse"
        )


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)


if __name__ == "__main__":
    main()
