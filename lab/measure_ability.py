"""Place the local models on the router's scale of ability, by what they solve of grade-school mathematics.

    .venv/bin/python lab/measure_ability.py --data DIR [--questions 40] [--json OUT]

Each model answers the same questions of GSM8K (those of ZeroEval; seeded choice), greedily, 320 tokens each;
its last number counts as its answer. The share it solves is turned into an ability through the models of the
training data that answered the same benchmark: a line, fitted by least squares, from logit(share solved) to
logit(mean p on the reference prompts). One benchmark is a narrow basis; the interval is that of the share
alone. About 12 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import random
import re
from math import exp, log, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from junctor.assemble import weights_dir
from junctor.chat import ChatRequest, collect
from junctor.lasting import ARTEFACT
from junctor.pool.transport import Transport
from junctor.routing.names import canonical_name, short_name
from junctor.routing.predictor import Artefact, parse_artefact
from junctor.serving.card import card_of
from junctor.serving.engine import LlamaEngine
from junctor.serving.llama import LocalModel
from junctor.serving.manifest import shipped
from junctor.serving.weights import installed
from junctor.settings import Settings, read_environment

import msgspec  # isort: skip - the request's raw fields

ASK = "{question}\n\nThink step by step, briefly. End with a line: Answer: <number>"
SEED = 20261121


def number_of(text: str) -> float | None:
    """The last number of a text."""
    found = re.findall(r"-?\d[\d,]*\.?\d*", text)
    return float(found[-1].replace(",", "").rstrip(".")) if found else None


def request_for(question: str) -> ChatRequest:
    messages = msgspec.json.encode([{"role": "user", "content": ASK.format(question=question)}])
    greedy = {"temperature": msgspec.Raw(b"0")}
    return ChatRequest(model="local", messages=msgspec.Raw(messages), max_tokens=320, passthrough=greedy)


async def solve(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Model -> how many of the questions it solved."""
    settings, environment, transport = Settings(), read_environment(), Transport()
    solved: dict[str, int] = {}
    gate = asyncio.Semaphore(2)
    for name, manifest in shipped().items():
        weights = installed(manifest, weights_dir(settings, environment))
        assert weights is not None, f"junctor pull {name}"
        engine = LlamaEngine(weights, name)
        await engine.start()
        model = LocalModel(card_of(manifest, 0.04), engine, transport)

        async def is_right(row: dict[str, Any], model: LocalModel = model) -> bool:
            async with gate:
                answer = await collect(model.answer(request_for(row["question"])))
            return number_of(answer.text) == number_of(str(row["truth"]))

        solved[name] = sum(await asyncio.gather(*map(is_right, rows)))
        print(f"{name}: {solved[name]} of {len(rows)}", flush=True)
        await engine.stop()
    await transport.close()
    return solved


def line_through(rows: list[dict[str, Any]], artefact: Artefact) -> tuple[float, float]:
    """Slope and intercept from logit(share solved) to logit(mean p), over models that the artefact knows."""
    known = {alias: model for model in artefact.models for alias in model.aliases}
    scores: dict[str, list[int]] = {}
    for row in rows:
        for name, answer in row["models"].items():
            scores.setdefault(name, []).append(answer["c"])
    points = [
        (logit(sum(right) / len(right)), logit(model.mean_p))
        for name, right in scores.items()
        if (model := known.get(canonical_name(name)) or known.get(short_name(canonical_name(name))))
        and len(right) == len(rows)
    ]
    slope, intercept = np.polyfit(*zip(*points, strict=True), 1)
    print(f"{len(points)} models; residual of the line {residual(points, slope, intercept):.2f} logits")
    return float(slope), float(intercept)


def residual(points: list[tuple[float, float]], slope: float, intercept: float) -> float:
    return sqrt(sum((y - slope * x - intercept) ** 2 for x, y in points) / len(points))


def logit(p: float) -> float:
    return log(p / (1 - p))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with gzip.open(options.data / "fusion" / "zeroeval_gsm_answers.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    slope, intercept = line_through(rows, parse_artefact(ARTEFACT.read_bytes()))
    chosen = random.Random(SEED).sample(rows, options.questions)
    found = {}
    for name, right in asyncio.run(solve(chosen)).items():
        share, n = right / len(chosen), len(chosen)
        half = 1.96 * sqrt(share * (1 - share) / n)
        low, mid, high = (
            1 / (1 + exp(-(slope * logit(min(0.99, max(0.01, p))) + intercept)))
            for p in (share - half, share, share + half)
        )
        figures = {"ability": round(mid, 3), "low": round(low, 3), "high": round(high, 3)}
        found[name] = {"solved": right, "of": n, **figures}
        print(f"{name}: solves {share:.0%} +- {half:.0%} -> ability {mid:.2f} [{low:.2f}, {high:.2f}]")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
