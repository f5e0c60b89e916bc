"""Attack our own router: can words put before a prompt choose the strong model?

    python lab/attack_routing.py --data DIR              about ten minutes on two cores
    python lab/attack_routing.py --data DIR --no-honest  the attack alone, four minutes
    python lab/attack_routing.py --data DIR --no-honest --calibrated (or --neighbours)
                                                         on a router that was calibrated on 300 other prompts
                                                         (and is moved by like ones: routing.neighbours)

50 prompts, more than 200 texts, each put before, into and after every prompt; pools of two and of five models
in each mode. The share of prompts that the strong model gets, before and after, without a second look
(`[routing] second_look`, routing/views.py) and with it. The gadgets are white-box: found with the artefact's
own predictions, on other prompts, once for each pool; `gadget (knows)` also knows of the second look.

Then what the second look costs honest prompts, held out as in lab/train_router.py: APGR, and in each mode the
share of the strong model, the quality and the saving.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from attack_honest import honest_rows
from attack_neighbours import calibrate_on
from attack_texts import borrowed, gadgets, handmade, place, vocabulary
from junctor.chat import ChatRequest, Constraints, Model, ModelCard, Price
from junctor.pool.prompt import TEXT_CHARS, estimate_tokens, sample_text
from junctor.pool.scripted import ScriptedModel, parse_script
from junctor.routing.abilities import Abilities, match_abilities
from junctor.routing.features import extract_features
from junctor.routing.neighbours import find_neighbours
from junctor.routing.policy import TOLERANCE
from junctor.routing.predictor import Prediction, Predictor, parse_artefact
from junctor.routing.router import Router
from junctor.routing.views import ENDS, ends_of
from routing_data import load
from routing_tables import POOLS, grid, show
from train_router import prices

ARTEFACT = Path(__file__).parent.parent / "src/junctor/routing/artefact/router.msgpack"
TESTED, TRAINED = 50, 16
PAIRS = (
    ("gpt-4o-mini-2024-07-18", "claude-3-5-sonnet-20241022"),
    ("llama-3-1-405b-instruct", "claude-3-5-sonnet-20241022"),
    ("llama-3-1-70b-instruct", "gpt-4o-2024-05-13"),
    ("deepseek-v2-5-0908", "claude-3-5-sonnet-20240620"),
    ("mixtral-8x7b-instruct-v0-1", "reka-core-20240501"),
)
"Cheap and strong. All but the first: picked because many prompts are undecided in some mode."
FIVES = (
    tuple(name for name in POOLS["zeroeval"] if name != "gpt-4o-2024-08-06"),
    POOLS["mmlupro"],
)
CHECKED = 300
SWEPT = np.arange(0.005, 0.2501, 0.005)


@dataclass(frozen=True)
class Sight:
    """What the router reads of some texts: (views, texts, models), and what answers cost, (texts, models)."""

    p: np.ndarray
    usd: np.ndarray


class Eyes:
    """The predictor's, for all models of the pools at once."""

    def __init__(self, names: Sequence[str], price: np.ndarray) -> None:
        self.names = list(names)
        self.price = price  # (models, 2) USD per token in and out
        self.predictor = Predictor(parse_artefact(ARTEFACT.read_bytes()))
        self.learn(None)

    def learn(self, abilities: Abilities | None) -> None:
        """Go by a calibration."""
        cards = [ModelCard(name=name) for name in self.names]
        self.abilities = abilities
        self.placed = self.predictor.place(cards, abilities)
        self.ability = np.array([model.ability for model in self.placed])
        found = match_abilities(abilities, cards)
        self.neighbours = find_neighbours(abilities, found, self.names, self.predictor.version)

    def predict(self, text: str) -> Sequence[Prediction]:
        features = extract_features(text)
        said = self.predictor.predict(features, self.placed)
        return self.neighbours.correct(features.named, said) if self.neighbours else said

    def p(self, text: str) -> list[float]:
        return [it.p_good for it in self.predict(text)]

    def look(self, texts: Sequence[str]) -> Sight:
        """A text that is shorter than an end has itself for it: then that decides nothing."""
        seen, usd = [], []
        for whole in texts:
            text = sample_text(whole, TEXT_CHARS)
            said = self.predict(text)
            p = [it.p_good for it in said]
            ends = [self.p(end) for _, end in ends_of(text)]
            seen.append([*[p] * (1 + len(ENDS) - len(ends)), *ends])
            counts = np.array([[4 + estimate_tokens(whole), round(it.output_tokens)] for it in said])
            usd.append((counts * self.price).sum(1))
        return Sight(np.array(seen).transpose(1, 0, 2), np.array(usd))


def choose(seen: Sight, pool: np.ndarray, tolerance: float, *, second_look: bool) -> np.ndarray:
    """(texts,) the place in the pool of who is chosen, as the router does it."""
    usd, best = seen.usd[:, pool], None
    for p in seen.p[:, :, pool] if second_look else seen.p[:1, :, pool]:
        good = p >= p.max(1, keepdims=True) - tolerance
        pick = np.where(good, usd, np.inf).argmin(1)
        lines = np.arange(len(pick))
        best = pick if best is None else np.where(usd[lines, pick] < usd[lines, best], pick, best)
    assert best is not None
    return best


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument(
        "--data", type=Path, required=True, help="folder of *.parquet, see routing_data.py"
    )
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--json", type=Path, default=None, help="where to write all rows")
    arguments.add_argument("--no-honest", action="store_true", help="leave out what honest prompts lose")
    arguments.add_argument("--calibrated", action="store_true", help="attack a router that was calibrated")
    arguments.add_argument("--neighbours", action="store_true", help="the same, and like prompts move it")
    options = arguments.parse_args()

    data, draw = load(options.data), random.Random(options.seed)
    pools = [*PAIRS, *FIVES]
    names = sorted({name for pool in pools for name in pool})
    price = prices(data, grid(data))[[data.models.index(name) for name in names]]
    eyes = Eyes(names, price)
    drawn = draw.sample(data.texts, TESTED + TRAINED + 600)
    tested, trained, others = drawn[:TESTED], drawn[TESTED : TESTED + TRAINED], drawn[TESTED + TRAINED :]
    if options.calibrated or options.neighbours:
        asked = options.neighbours
        eyes.learn(calibrate_on(data, eyes.predictor, names, {*drawn}, draw, neighbours=asked))
    places = [np.array([names.index(name) for name in pool]) for pool in pools]
    attacks = make_attacks(eyes, places, trained, others, draw)
    print(f"{len(attacks)} texts, {TESTED} prompts, {len(pools)} pools, seed {options.seed}")
    check_choice(eyes, pools, places, [place(text, tested[0], "prefix") for _, _, text in attacks])

    clean = eyes.look(tested)
    seen = {
        where: eyes.look([place(text, prompt, where) for _, _, text in attacks for prompt in tested])
        for where in ("prefix", "middle", "suffix")
    }
    rows = attack_rows(eyes, pools, places, attacks, clean, seen)
    show_attacks(rows)
    show("Two models, any tolerance from 0.5 to 25 points", sweep_rows(eyes, places, clean, seen))
    honest = [] if options.no_honest else honest_rows(data, options.seed)
    if options.json is not None:
        options.json.write_text(json.dumps({"attacks": rows, "honest": honest}, indent=1) + "\n", "utf-8")


Attack = tuple[str, int | None, str]
"Kind, the pool it was made for, text."


def make_attacks(
    eyes: Eyes,
    places: Sequence[np.ndarray],
    trained: Sequence[str],
    others: Sequence[str],
    draw: random.Random,
) -> list[Attack]:
    """More than 200 of them."""
    words = vocabulary(others, draw)
    made: list[Attack] = [(kind, None, text) for kind, texts in handmade(draw).items() for text in texts]
    for at, pool in enumerate(places):
        strong = pool[eyes.ability[pool].argmax()]
        rest = pool[pool != strong]

        def gain(texts: Sequence[str], strong: int = strong, rest: np.ndarray = rest) -> np.ndarray:
            p = np.array([eyes.p(sample_text(text, TEXT_CHARS)) for text in texts])
            return p[:, strong] - p[:, rest].max(1)

        def hidden_gain(texts: Sequence[str], strong: int = strong, rest: np.ndarray = rest) -> np.ndarray:
            p = eyes.look(texts).p
            return (p[:, :, strong] - p[:, :, rest].max(2)).min(0)

        for _ in range(2):
            made += [("gadget", at, text) for text in gadgets(gain, trained[:8], words, draw)]
        made += [("gadget (knows)", at, text) for text in gadgets(hidden_gain, trained[:6], words, draw)]
        made += [("borrowed question", at, text) for text in borrowed(gain, others, 5)]
    return made


def check_choice(
    eyes: Eyes, pools: Sequence[Sequence[str]], places: Sequence[np.ndarray], texts: Sequence[str]
) -> None:
    """The arrays must choose as the router does."""
    texts, wrong, asked = texts[:CHECKED], 0, 0
    for pool, at in zip(pools, places, strict=True):
        models: dict[str, Model] = {}
        for name, (read, said) in zip(pool, eyes.price[at] * 1e6, strict=True):
            card = ModelCard(name=name, price=Price(input=read, output=said, source="data"), window=10**6)
            models[name] = ScriptedModel(card, parse_script([{"text": "ok"}]))
        router = Router(
            models,
            eyes.predictor,
            save_decision=lambda _: None,
            new_id=lambda: "dec_0",
            abilities=eyes.abilities,
            asks_neighbours=True,
        )
        seen = eyes.look(texts)
        for mode, tolerance in TOLERANCE.items():
            picked = choose(seen, at, tolerance, second_look=True)
            for text, pick in zip(texts, picked, strict=True):
                messages = msgspec.Raw(msgspec.json.encode([{"role": "user", "content": text}]))
                request = ChatRequest(model="auto", messages=messages, constraints=Constraints(mode=mode))
                asked += 1
                wrong += router.decide(request)[0].chosen != pool[pick]
    print(f"{wrong} of {asked} choices differ from the router's")
    if wrong > asked / 1000:  # of equal costs, rounding may take either
        raise SystemExit("this script does not choose as the router does")


def attack_rows(
    eyes: Eyes,
    pools: Sequence[Sequence[str]],
    places: Sequence[np.ndarray],
    attacks: Sequence[Attack],
    clean: Sight,
    seen: Mapping[str, Sight],
) -> list[dict]:
    """One row for each pool, mode, place and second look: shares of the strong model, per cent."""
    rows = []
    for where, attacked in seen.items():
        for number, (pool, at) in enumerate(zip(pools, places, strict=True)):
            strong = int(eyes.ability[at].argmax())
            for mode, tolerance in TOLERANCE.items():
                for second_look in (False, True):
                    before = 100 * (choose(clean, at, tolerance, second_look=second_look) == strong).mean()
                    hit = choose(attacked, at, tolerance, second_look=second_look) == strong
                    after = 100 * hit.reshape(len(attacks), -1).mean(1)
                    rows.append(
                        {
                            "pool": f"{len(pool)}: {pool[0][:16]} .. {pool[strong][:20]}",
                            "mode": mode,
                            "where": where,
                            "second_look": second_look,
                            "before_pct": float(before),
                            "after_pct": float(after.mean()),
                            "moved_pp": float(after.mean() - before),
                            "worst_pp": float(after.max() - before),
                            **_by_kind(attacks, after - before, number),
                        }
                    )
    return rows


def sweep_rows(
    eyes: Eyes, places: Sequence[np.ndarray], clean: Sight, seen: Mapping[str, Sight]
) -> list[dict]:
    """What a mode's tolerance happens to be may spare a pool: so the same at all others, for pools of two."""
    rows = []
    for where, attacked in seen.items():
        for second_look in (False, True):
            moved = list[float]()
            for at in (at for at in places if len(at) == 2):
                strong = int(eyes.ability[at].argmax())
                for tolerance in SWEPT:
                    before, after = (
                        (choose(it, at, tolerance, second_look=second_look) == strong).mean()
                        for it in (clean, attacked)
                    )
                    moved.append(100 * float(after - before))
            rows.append(
                {
                    "where": where,
                    "second look": "yes" if second_look else "no",
                    "most_pp": max(moved),
                    "over_5_pp": f"{np.mean(np.array(moved) > 5):.1%}",
                }
            )
    return rows


def _by_kind(attacks: Sequence[Attack], moved: np.ndarray, number: int) -> dict[str, float]:
    """Mean movement by kind; gadgets that were made for this very pool by themselves."""
    kinds: dict[str, list[float]] = {}
    for (kind, made_for, _), points in zip(attacks, moved, strict=True):
        kinds.setdefault(kind, []).append(points)
        if made_for == number and kind.startswith("gadget"):
            kinds.setdefault(f"{kind}, own pool", []).append(points)
    return {kind: float(np.mean(points)) for kind, points in kinds.items()}


def show_attacks(rows: list[dict]) -> None:
    plain = ("pool", "mode", "before_pct", "after_pct", "moved_pp", "worst_pp")
    for where in ("prefix", "middle", "suffix"):
        for second_look in (False, True):
            these = [row for row in rows if (row["where"], row["second_look"]) == (where, second_look)]
            title = f"{where}, {'with' if second_look else 'without'} a second look"
            show(title, [{name: row[name] for name in plain} for row in these])
            kinds = [name for name in these[0] if name not in (*plain, "where", "second_look")]
            undecided = [row for row in these if 2 < row["before_pct"] < 98 or row["moved_pp"] > 1]
            means = {f"{kind} pp": float(np.mean([row[kind] for row in undecided])) for kind in kinds}
            show(f"{title}: by kind, where anything moves", [means])
            print(f"\nlargest mean: {max(row['moved_pp'] for row in these):.1f} points")


if __name__ == "__main__":
    main()
