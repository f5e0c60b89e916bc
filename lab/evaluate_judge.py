"""Stored verdicts of real judges, put through the judge of fusions: does it come to the same figures?

    .venv/bin/python lab/evaluate_judge.py --data DIR [--json OUT] [--judge GPT-4/Vanilla ...]

`DIR`, or its `fusion/`, holds llmbar_pairs.jsonl.gz, one pair a line: `subset`, `input`, `output_1`,
`output_2`, `label` (1 or 2: the better output), and `judges`, {"model/prompt": [winner, winner]}: which
output that judge preferred when output 1 was shown first, and when output 2 was; null where it gave no
verdict. The verdicts are those
that LLMBar was published with (Zeng et al., "Evaluating Large Language Models at Evaluating Instruction
Following", 2024; github.com/princeton-nlp/LLMBar, MIT).

Each pair and each judge goes through `Judge.compare` with a model that reads what it is shown, looks up what
the stored judge said of that order, and says so. So what is tested is our harness: letters, orders, ties,
failures and their mapping back; not how good a judge is with our prompt. Then the figures are compared with
the same figures taken from the stored verdicts directly. Exit status 1 if any differs in its third digit.

- accuracy: share of right verdicts over both orders; none is wrong.
- flip: share of pairs whose two verdicts differ.
- agreed: share of pairs with the same verdict in both orders, and `accuracy_agreed` on them.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import re
import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from junctor.chat import ChatRequest, Event, Finished, ModelCard, Started, Text, Usage
from junctor.fusion.judge import Judge, Judgement

FILE = "llmbar_pairs.jsonl.gz"
ALL_PAIRS = {"Natural": 100, "Adversarial": 319, "Processed": 466}
"How many LLMBar has; `Processed` are the pairs with human labels that it took from elsewhere."
PUBLISHED = {
    ("GPT-4/Vanilla", "Natural"): 0.955,
    ("GPT-4/Vanilla", "Adversarial"): 0.810,
    ("GPT-4/Vanilla_NoRules", "Processed"): 0.775,
    ("GPT-4/Metrics_Reference", "Natural"): 0.960,
    ("GPT-4/Metrics_Reference", "Adversarial"): 0.845,
    ("GPT-4/Metrics_Reference", "Processed"): 0.765,
}
"Accuracy on all of LLMBar's pairs, from the verdicts it was published with."
_SHOWN = re.compile(r"^<<<ANSWER (\w) \w+>>>\n\[output (\d)\]", re.MULTILINE)


class Pair(msgspec.Struct, frozen=True):
    """One line of the file."""

    subset: str
    input: str
    output_1: str
    output_2: str
    label: int
    judges: dict[str, tuple[str | None, str | None]]


class Verdicts(NamedTuple):
    """What a judge preferred in each order: 1, 2, or None; and which is right."""

    one: int | None
    two: int | None
    label: int


class Figures(msgspec.Struct, frozen=True):
    """Of one judge on one subset."""

    n: int
    accuracy: float
    flip: float
    agreed: float
    accuracy_agreed: float


class Replayed:
    """A model that says what a stored judge said of the order that it is shown."""

    def __init__(self, verdicts: tuple[str | None, str | None]) -> None:
        self.card = ModelCard(name="stored", window=1_000_000)
        self._verdicts = verdicts

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """A verdict with the letter of the stored winner; words, where there was none."""
        shown = msgspec.json.decode(request.messages)[1]["content"]
        letters = {output: letter for letter, output in _SHOWN.findall(shown)}
        first = next(iter(letters))
        winner = self._verdicts[int(first) - 1]
        yield Started("stored")
        yield Text("I cannot say." if winner is None else f'{{"best": "{letters[winner]}"}}')
        yield Usage(0, 0)
        yield Finished("stop")


def read_pairs(folder: Path) -> list[Pair]:
    found = [path for path in (folder / FILE, folder / "fusion" / FILE) if path.is_file()]
    if not found:
        raise SystemExit(f"there is no {FILE} in {folder}, nor in its fusion/")
    with gzip.open(found[0], "rb") as lines:
        return [msgspec.json.decode(line, type=Pair) for line in lines]


async def replay(pair: Pair, judge: str) -> Verdicts:
    """What the harness makes of a judge's verdicts on a pair."""
    messages = msgspec.json.encode([{"role": "user", "content": pair.input}])
    request = ChatRequest(model="fusion", messages=msgspec.Raw(messages), id="req_replayed")
    candidates = [f"[output 1]\n{pair.output_1}", f"[output 2]\n{pair.output_2}"]
    judgement = await Judge(Replayed(pair.judges[judge])).compare(request, candidates, within_s=60)
    return verdicts_of(judgement, pair)


def verdicts_of(judgement: Judgement, pair: Pair) -> Verdicts:
    """By order; checks on the way that the judgement says the same as its rulings."""
    said = {ruling.order: ruling for ruling in judgement.rulings}
    places = [said[order].preferred for order in ((0, 1), (1, 0))]
    failed = any(ruling.failed for ruling in judgement.rulings)
    agreed = places[0] if places[0] == places[1] else None
    if judgement.preferred != agreed or (judgement.failed is not None) != failed:
        raise RuntimeError(f"the judgement contradicts its rulings: {judgement}")
    one, two = (None if place is None else place + 1 for place in places)
    return Verdicts(one, two, pair.label)


def stored(pair: Pair, judge: str) -> Verdicts:
    """The same, without the harness."""
    one, two = (None if winner is None else int(winner) for winner in pair.judges[judge])
    return Verdicts(one, two, pair.label)


def measure(verdicts: Sequence[Verdicts]) -> Figures:
    n = len(verdicts)
    right = [(it.one == it.label) + (it.two == it.label) for it in verdicts]
    agreed = [it for it in verdicts if it.one is not None and it.one == it.two]
    return Figures(
        n=n,
        accuracy=sum(right) / (2 * n),
        flip=sum(it.one != it.two for it in verdicts) / n,
        agreed=len(agreed) / n,
        accuracy_agreed=sum(it.one == it.label for it in agreed) / max(1, len(agreed)),
    )


def groups_of(pair: Pair) -> list[str]:
    """The subset, and the group that LLMBar reports it in."""
    group = next((name for name in ALL_PAIRS if name in pair.subset), pair.subset)
    return list(dict.fromkeys([group, pair.subset.removeprefix("LLMBar/")]))


async def evaluate(pairs: Sequence[Pair], judges: Sequence[str]) -> list[dict[str, object]]:
    """One row for each judge and group."""
    rows: list[dict[str, object]] = []
    groups = sorted({group for pair in pairs for group in groups_of(pair)})
    for judge in judges:
        heard = {at: await replay(pair, judge) for at, pair in enumerate(pairs) if judge in pair.judges}
        for group in groups:
            here = [at for at in heard if group in groups_of(pairs[at])]
            if here:
                ours = measure([heard[at] for at in here])
                theirs = measure([stored(pairs[at], judge) for at in here])
                same = agree(ours, theirs)
                figures = msgspec.to_builtins(ours) | {"stored_accuracy": theirs.accuracy, "same": same}
                rows.append({"judge": judge, "subset": group, **figures})
    return rows


def agree(ours: Figures, theirs: Figures) -> bool:
    """Whether all figures are the same to three digits."""
    pairs = zip(msgspec.structs.astuple(ours), msgspec.structs.astuple(theirs), strict=True)
    return all(abs(one - two) < 0.0005 for one, two in pairs)


def show(rows: Sequence[dict[str, object]]) -> None:
    figures = ("accuracy", "stored_accuracy", "flip", "agreed", "accuracy_agreed")
    print(f"{'judge':<26}{'subset':<24}{'n':>5}" + "".join(f"{name:>17}" for name in figures))
    for row in rows:
        shown = "".join(f"{row[name]:>17.3f}" for name in figures)
        print(
            f"{row['judge']:<26}{row['subset']:<24}{row['n']:>5}{shown}{'' if row['same'] else '  DIFFERS'}"
        )


def show_published(rows: Sequence[dict[str, object]]) -> None:
    """Beside the figures on all of LLMBar: by how many standard errors a part of it is off."""
    found = {(row["judge"], row["subset"]): row for row in rows}
    for (judge, subset), accuracy in PUBLISHED.items():
        if (row := found.get((judge, subset))) is None:
            continue
        n, here = int(str(row["n"])), float(str(row["accuracy"]))
        error = (accuracy * (1 - accuracy) / n) ** 0.5
        print(
            f"{judge} on {subset}: {here:.3f} on {n} of {ALL_PAIRS[subset]} pairs; "
            f"{accuracy:.3f} on all of them ({(here - accuracy) / error:+.1f} standard errors)"
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--judge", nargs="*", help="model/prompt, as in the file; all without")
    args = parser.parse_args()
    pairs = read_pairs(args.data)
    judges = args.judge or sorted({judge for pair in pairs for judge in pair.judges})
    rows = asyncio.run(evaluate(pairs, judges))
    show(rows)
    print()
    show_published(rows)
    differing = sum(not row["same"] for row in rows)
    print(f"\n{len(rows)} rows, {differing} of them differ from the stored verdicts in the third digit")
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 1 if differing or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
