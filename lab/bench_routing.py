"""How long the router takes to decide.

    python lab/bench_routing.py                  20,000 decisions for each size of pool, on one core; and the
                                                 same without the second look (`routing.second_look = false`);
                                                 both again with 300 calibration prompts to compare with
    python lab/bench_routing.py --json out.json  the same, and the figures as JSON

A decision is everything between the parsed request and the `Routed` event: reading the messages, features,
predictions, constraints, ranking, the words of every reason. Nothing is saved and no model is asked. Prompts
are of about 500 tokens and all different; garbage collection is on. One process is bound to one core.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import random
import time
from pathlib import Path

import msgspec

from junctor.chat import ChatRequest, Constraints, Model, ModelCard, Price
from junctor.pool.scripted import ScriptedModel, parse_script
from junctor.routing.abilities import Abilities, Ability, identity_of
from junctor.routing.features import extract_features
from junctor.routing.neighbours import MOST_PROMPTS, describe_prompts
from junctor.routing.predictor import Predictor, parse_artefact
from junctor.routing.router import Router

ARTEFACT = Path(__file__).parent.parent / "src/junctor/routing/artefact/router.msgpack"
WARM_UP = 500
LONG_CHARS = 1_000_000
WORDS = (  # noqa: SIM905
    "the of and to in is that for with as on be are this from by an which or at have not was can if then "
    "function return value list given number compute equation suppose probability energy market price law "
    "customer please write explain summarise code test error server request answer model token data table "
    "select where group history country water cell protein force velocity theorem proof integral sum x y n"
).split()


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--decisions", type=int, default=20_000)
    arguments.add_argument("--core", type=int, default=None, help="the core to use; left out: the last one")
    arguments.add_argument("--json", type=Path, default=None)
    options = arguments.parse_args()
    core = max(os.sched_getaffinity(0)) if options.core is None else options.core
    os.sched_setaffinity(0, {core})

    began = time.perf_counter()
    predictor = Predictor(parse_artefact(ARTEFACT.read_bytes()))
    load_ms = (time.perf_counter() - began) * 1e3
    results = {
        "python": platform.python_version(),
        "core": core,
        "gc": gc.isenabled(),
        "artefact_bytes": ARTEFACT.stat().st_size,
        "artefact_load_ms": round(load_ms, 2),
        "runs": [],
    }
    requests = [_request(_prose(seed, 2000)) for seed in range(400)]
    for size in (2, 5, 14):
        for prompt, looks_again, neighbours in (
            ("500 tokens", True, 0),
            ("500 tokens, one look", False, 0),
            ("500 tokens, neighbours", True, MOST_PROMPTS),
            ("500 tokens, neighbours, one look", False, MOST_PROMPTS),
        ):
            router = _router(predictor, size, looks_again=looks_again, neighbours=neighbours)
            results["runs"].append(
                {"pool": size, "prompt": prompt, **_time(router, requests, options.decisions)}
            )
    router = _router(predictor, 5)
    few = max(100, options.decisions // 20)
    for name, request in _hard_requests().items():
        results["runs"].append({"pool": 5, "prompt": name, **_time(router, [request], few)})

    _show(results)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def _time(router: Router, requests: list[ChatRequest], decisions: int) -> dict[str, float]:
    for at in range(WARM_UP if decisions > WARM_UP else 10):
        router.decide(requests[at % len(requests)])
    clock = time.perf_counter_ns
    took = []
    for at in range(decisions):
        request = requests[at % len(requests)]
        began = clock()
        router.decide(request)
        took.append(clock() - began)
    took.sort()
    return {
        "decisions": decisions,
        "tokens": round(router.decide(requests[0])[0].features["tokens"]),
        **{
            f"p{share}_us": round(took[min(decisions - 1, decisions * share // 100)] / 1e3, 1)
            for share in (50, 90, 99)
        },
        "p99_9_us": round(took[min(decisions - 1, decisions * 999 // 1000)] / 1e3, 1),
        "max_us": round(took[-1] / 1e3, 1),
    }


def _router(predictor: Predictor, size: int, *, looks_again: bool = True, neighbours: int = 0) -> Router:
    """A pool of the artefact's models and of unknown ones, every third without a latency."""
    known = [model.name for model in predictor.artefact.models]
    models: dict[str, Model] = {}
    for at in range(size):
        name = known[at * 3 % len(known)] if at % 4 else f"unknown-{at}"
        card = ModelCard(
            name=name,
            price=Price(input=0.1 * (at + 1), output=0.4 * (at + 1), source="bench"),
            window=4_000_000,
            skills=frozenset({"tools", "json"}),
            first_token_ms=None if at % 3 == 0 else 300.0,
            tokens_per_s=80.0,
        )
        models[name] = ScriptedModel(card, parse_script([{"text": "ok"}]))
    return Router(
        models,
        predictor,
        save_decision=lambda _: None,
        new_id=lambda: "dec_0",
        looks_again=looks_again,
        asks_neighbours=True,
        abilities=_measured(predictor, [model.card for model in models.values()], neighbours),
    )


def _measured(predictor: Predictor, cards: list[ModelCard], prompts: int) -> Abilities | None:
    """As a calibration would leave it that found every model where it was: so choices stay about the same."""
    if not prompts:
        return None
    draw = random.Random(0)
    named = [extract_features(_prose(100_000 + at, 2000)).named for at in range(prompts)]
    return Abilities(
        artefact=predictor.version,
        models=tuple(
            Ability(
                model=card.name,
                identity=identity_of(card),
                logits=it.ability,
                error=0.1,
                p=0.5,
                p_error=0.1,
                score=0.5,
                prompts=prompts,
                level=it.ability,
                level_error=0.1,
                residuals=tuple(round(draw.uniform(-0.5, 0.5), 3) for _ in range(prompts)),
            )
            for card, it in zip(cards, predictor.place(cards), strict=True)
        ),
        neighbourhood=describe_prompts(named),
    )


def _request(text: str, **more: object) -> ChatRequest:
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": text},
    ]
    return ChatRequest(
        model="auto",
        id="req_0",
        messages=msgspec.Raw(msgspec.json.encode(messages)),
        constraints=Constraints(max_usd=1.0),
        **more,  # pyright: ignore[reportArgumentType]
    )


def _hard_requests() -> dict[str, ChatRequest]:
    turns = [{"role": ("user", "assistant")[at % 2], "content": _prose(at, 400)} for at in range(2001)]
    return {
        "4,000 characters": _request(_prose(1, 4000)),
        "1 MB of text": _request(_prose(2, LONG_CHARS)),
        "1 MB of Chinese": _request("路由器选择模型。" * (LONG_CHARS // 24)),
        "2,001 turns": ChatRequest(model="auto", messages=msgspec.Raw(msgspec.json.encode(turns))),
        "one word": _request("Hi"),
    }


def _prose(seed: int, chars: int) -> str:
    """Reproducible text with the marks of real prompts: sentences, numbers, code, choices."""
    draw = random.Random(seed)
    pieces: list[str] = []
    size = 0
    while size < chars:
        kind = draw.random()
        if kind < 0.85:
            piece = " ".join(draw.choices(WORDS, k=draw.randint(5, 14))).capitalize() + draw.choice(".?!")
        elif kind < 0.95:
            piece = f"{draw.randint(1, 9999)} {draw.choice('+-*/=')} {draw.random():.3f}\n"
        else:
            piece = f"\n({draw.choice('ABCD')}) {draw.choice(WORDS)}\n"
        pieces.append(piece)
        size += len(piece) + 1
    return " ".join(pieces)[:chars]


def _show(results: dict) -> None:
    print(json.dumps({name: value for name, value in results.items() if name != "runs"}))
    columns = list(results["runs"][0])
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for run in results["runs"]:
        print("| " + " | ".join(str(run[name]) for name in columns) + " |")


if __name__ == "__main__":
    main()
