"""How long a fusion takes beside its members, and what it costs the processor.

    .venv/bin/python lab/bench_fusion.py --data DIR [--pool gsm/mid5] [--prompts 300] [--speed 10]
        [--at-once 20] [--seed 0] [--json OUT]

Scripted members give stored answers (lab/fusion_data.py) and take as long as their real lengths would
(`simulate` in lab/fusion_replay.py), all of it `--speed` times faster; the figures are in real seconds again.
Three questions:

- latency: the real fusion, in the mode `vote`, as many prompts at a time as `--at-once` says. Its time over
  that of the slowest member it waited for (bar: 1.2 times, and 20 ms), and the 95th percentile of its times
  over that of waiting for all (bar: 0.5).
- a hung member: one more member, that never answers and outweighs all others. The time over the deadline.
- processor: a fusion of five members, over those members asked one after the other (bar: 2 ms).

Times of the machine are in the first: what the fusion adds is multiplied by `--speed`, too.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import uvloop

from fusion_data import Table, make_table, read_pools, read_sets
from fusion_replay import simulate
from junctor.chat import (
    ChatRequest,
    Decision,
    Event,
    Finished,
    Model,
    ModelCard,
    Price,
    Started,
    Text,
    Verdict,
    collect,
)
from junctor.fusion.fusion import Fusion
from junctor.fusion.plan import Plan
from junctor.fusion.weights import Weights
from junctor.pool.choice import Policy
from junctor.pool.metered import Metered
from junctor.pool.resilient import Resilience

PROCESSOR_RUNS = 2000
NO_ANSWER = "I cannot say, and here is why, at some length."
MESSAGES = msgspec.Raw(b'[{"role":"user","content":"How many?"}]')


class Recorded:
    """Answers prompt number n, named by the request's id, as and when it was recorded."""

    def __init__(self, name: str, answers: Sequence[str | None], seconds: np.ndarray, speed: float) -> None:
        self.card = ModelCard(name=name, price=Price(input=1, output=1, source="bench"), window=32_000)
        self._answers = answers
        self._seconds = seconds
        self._speed = speed

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        at = int(request.id)
        await asyncio.sleep(float(self._seconds[at]) / self._speed)
        said = self._answers[at]
        yield Started(self.card.name)
        yield Text(
            "I cannot say, and here is why, at some length." if said is None else f"The answer is {said}."
        )
        yield Finished("stop")


class Hung:
    """Never answers."""

    card = ModelCard(name="hung", window=32_000)

    async def answer(self, _: ChatRequest) -> AsyncGenerator[Event, None]:
        await asyncio.sleep(3600)
        yield Text("")


def make_fusion(
    models: Sequence[Model], abilities: Mapping[str, float], save: list[Decision], **plan: Any
) -> Fusion:
    names = tuple(model.card.name for model in models)
    return Fusion(
        Plan(name="fusion", members=names, mode="vote", **plan),
        {model.card.name: Metered(model, lambda _, spent: None) for model in models},
        Resilience(Policy(attempts=1)),
        presets={},
        weights=Weights(abilities),
        save_decision=save.append,
        new_id=lambda: "dec_bench",
    )


def request(at: int) -> ChatRequest:
    return ChatRequest(
        model="fusion", id=str(at), messages=msgspec.Raw(b'[{"role":"user","content":"How many?"}]')
    )


async def time_fusion(fusion: Fusion, at: int, saved: list[Decision]) -> tuple[float, Verdict]:
    began = time.perf_counter()
    await collect(fusion.answer(request(at)))
    took = time.perf_counter() - began
    decision = next(each for each in reversed(saved) if each.request_id == str(at))
    assert decision.fusion is not None
    return took, decision.fusion


async def measure_latency(table: Table, wanted: argparse.Namespace) -> dict[str, float]:
    seconds = simulate(table.chars, wanted.seed).last
    models = [
        Recorded(name, row, times, wanted.speed)
        for name, row, times in zip(table.members, table.answers, seconds, strict=True)
    ]
    saved, gate = list[Decision](), asyncio.Semaphore(wanted.at_once)
    abilities = dict(zip(table.members, map(float, table.right.mean(axis=1)), strict=True))
    fusion = make_fusion(models, abilities, saved)

    async def one(at: int) -> tuple[float, float, int]:
        async with gate:
            took, verdict = await time_fusion(fusion, at, saved)
        awaited = [k for k, it in enumerate(verdict.members) if it.status == "answered"]
        return took * wanted.speed, float(seconds[awaited, at].max()), len(awaited)

    rows = np.array(await asyncio.gather(*(one(at) for at in range(seconds.shape[1]))))
    took, slowest, awaited = rows.T
    added_ms = (took - slowest) / wanted.speed * 1e3
    return {
        "prompts": float(len(took)),
        "awaited": float(awaited.mean()),
        "ratio_to_slowest_awaited_p50": float(np.median(took / slowest)),
        "ratio_to_slowest_awaited_max": float((took / slowest).max()),
        "added_ms_p50": float(np.median(added_ms)),
        "added_ms_p99": float(np.quantile(added_ms, 0.99)),
        "within_bar_pct": float(100 * (took <= 1.2 * slowest + 0.020 * wanted.speed).mean()),
        "p50_s": float(np.median(took)),
        "p95_s": float(np.quantile(took, 0.95)),
        "wait_for_all_p95_s": float(np.quantile(seconds.max(axis=0), 0.95)),
        "p95_over_wait_for_all": float(np.quantile(took, 0.95) / np.quantile(seconds.max(axis=0), 0.95)),
    }


async def measure_hung(table: Table, wanted: argparse.Namespace) -> dict[str, float]:
    """Deadlines are real ones here: the recorded members answer at once."""
    none = np.zeros(table.chars.shape[1])
    models: list[Model] = [
        Recorded(name, row, none, 1.0) for name, row in zip(table.members, table.answers, strict=True)
    ]
    saved = list[Decision]()
    abilities = dict.fromkeys(table.members, 0.5) | {"hung": 0.99}
    fusion = make_fusion([*models, Hung()], abilities, saved, deadline_ms=200.0)
    late = [
        ((await time_fusion(fusion, at, saved))[0] - 0.2) * 1e3 for at in range(min(20, len(table.prompts)))
    ]
    return {"over_the_deadline_ms_p50": float(np.median(late)), "over_the_deadline_ms_max": max(late)}


async def measure_processor(table: Table) -> dict[str, float]:
    none = np.zeros(table.chars.shape[1])
    models = [Recorded(name, row, none, 1.0) for name, row in zip(table.members, table.answers, strict=True)]
    saved = list[Decision]()
    fusion = make_fusion(models, dict.fromkeys(table.members, 0.8), saved)
    prompts = len(table.prompts)

    async def fused(at: int) -> None:
        await collect(fusion.answer(request(at % prompts)))
        saved.clear()

    async def alone(at: int) -> None:
        for model in models:
            await collect(model.answer(request(at % prompts)))

    figures = dict[str, float]()
    for name, ask in (("fusion_ms", fused), ("members_alone_ms", alone)):
        for at in range(200):
            await ask(at)
        began = time.process_time()
        for at in range(PROCESSOR_RUNS):
            await ask(at)
        figures[name] = (time.process_time() - began) / PROCESSOR_RUNS * 1e3
    return figures | {"own_ms": figures["fusion_ms"] - figures["members_alone_ms"]}


async def measure(wanted: argparse.Namespace) -> dict[str, dict[str, float]]:
    name, _, pool = wanted.pool.partition("/")
    table = make_table(read_sets(wanted.data)[name], read_pools(wanted.data)[name][pool])
    rng = np.random.default_rng(wanted.seed)
    some = table.pick(sorted(rng.permutation(len(table.prompts))[: wanted.prompts]))
    gc.collect()
    gc.freeze()  # the bench's own tables would cost the garbage collector some 40 ms now and then
    return {
        "processor": await measure_processor(some),
        "hung member": await measure_hung(some, wanted),
        "latency": await measure_latency(some, wanted),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pool", default="gsm/mid5")
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--at-once", type=int, default=20)
    parser.add_argument("--speed", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    figures = uvloop.run(measure(wanted))
    for part, values in figures.items():
        print(part)
        for name, value in values.items():
            print(f"  {name:32} {value:.3f}")
    if wanted.json:
        wanted.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
