"""Answers of many models to the same prompts. Imported by the fusion scripts of lab/; no command of its own.

A data set is a file `[zeroeval_]NAME_answers.jsonl.gz` or `NAME_votes.jsonl.gz`, or several, packed or not,
one prompt a line:

    {"id": ..., "question": "...", "models": {MODEL: {"a": its answer or null, "c": 0 or 1, "chars": length}}}

`c` says whether it is right; `question` may be missing. `pools.json` names the members of pools: {data set:
{pool: [models]}}. Both lie in the folder itself or in its `fusion/`. Lines and answers that cannot be read
are left out, and counted.

Nothing of the data is in this repository. The figures in docs/ come from parsed answers of public ones:

    gsm, math-l5   github.com/WildEval/ZeroEval @8c1485ed, Apache-2.0: 912 and 503 questions, 43 and 41 models
    mmlupro        github.com/TIGER-AI-Lab/MMLU-Pro @f418b116, Apache-2.0: 6,462 questions, 11 models
"""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from junctor.pool.answers import parse_answer

_FILE = re.compile(r"(?:zeroeval_)?(?P<name>.+)_(?:answers|votes)\.jsonl(?:\.gz)?")
CHARS_PER_TOKEN = 4.0
Pools = dict[str, dict[str, list[str]]]
Pattern = tuple[str | None, ...]


@dataclass(frozen=True)
class Reply:
    """What one model answered."""

    answer: str | None
    right: bool
    chars: float


@dataclass(frozen=True)
class Prompt:
    keys: frozenset[str]
    "Its id and its text, else its line: another prompt that shares one of them is the same."
    replies: dict[str, Reply]


@dataclass
class DataSet:
    name: str
    prompts: list[Prompt] = field(default_factory=list)
    skipped: int = 0
    "Lines that are no prompt."

    @property
    def models(self) -> set[str]:
        return {model for prompt in self.prompts for model in prompt.replies}


@dataclass(frozen=True)
class Table:
    """k members, n prompts that all of them answered."""

    members: tuple[str, ...]
    prompts: Sequence[Prompt]

    @cached_property
    def answers(self) -> list[list[str | None]]:
        return [[prompt.replies[member].answer for prompt in self.prompts] for member in self.members]

    @cached_property
    def right(self) -> np.ndarray:  # (k, n) bool
        rows = [[prompt.replies[member].right for prompt in self.prompts] for member in self.members]
        return np.array(rows, bool).reshape(len(self.members), len(self.prompts))

    @cached_property
    def chars(self) -> np.ndarray:  # (k, n)
        rows = [[prompt.replies[member].chars for prompt in self.prompts] for member in self.members]
        return np.array(rows, float).reshape(len(self.members), len(self.prompts))

    @cached_property
    def patterns(self) -> list[Pattern]:
        """For each prompt who gave equal answers, as `0`, `1` ...: all that a vote sees."""
        return [_number(row) for row in zip(*self.answers, strict=True)]

    @cached_property
    def keys(self) -> frozenset[str]:
        return frozenset(key for prompt in self.prompts for key in prompt.keys)

    def pick(self, which: Iterable[int]) -> Table:
        return Table(self.members, [self.prompts[at] for at in which])

    def without(self, other: Table) -> Table:
        """Those prompts that are not among the other's."""
        return Table(self.members, [prompt for prompt in self.prompts if other.keys.isdisjoint(prompt.keys)])


def make_table(data: DataSet, members: Sequence[str]) -> Table:
    """The prompts that all members answered."""
    wanted = set(members)
    return Table(tuple(members), [prompt for prompt in data.prompts if wanted <= prompt.replies.keys()])


def read_sets(folder: Path, *, may_be_empty: bool = False) -> dict[str, DataSet]:
    """All data sets of a folder, by name. Ends the program where there is none, and says what is missing."""
    found = dict[str, DataSet]()
    for path in _list_files(folder):
        if match := _FILE.fullmatch(path.name):
            data = found.setdefault(match["name"], DataSet(match["name"]))
            for line in _read_lines(path):
                prompt = _parse_line(line)
                if prompt is None:
                    data.skipped += 1
                else:
                    data.prompts.append(prompt)
    if not found and not may_be_empty:
        raise SystemExit(
            f"no *_answers.jsonl[.gz] or *_votes.jsonl[.gz] in {folder}: the docstring of lab/fusion_data.py "
            "says what has to lie there, and which public data it comes from"
        )
    return found


def read_pools(*folders: Path) -> Pools:
    """The pools of the first folder that names any."""
    for folder in folders:
        for path in (folder / "pools.json", folder / "fusion" / "pools.json"):
            if path.is_file():
                told = json.loads(path.read_text(encoding="utf-8"))
                return {name: _parse_pools(pools) for name, pools in told.items() if isinstance(pools, dict)}
    return {}


def _parse_pools(pools: dict[str, Any]) -> dict[str, list[str]]:
    return {
        name: members
        for name, members in pools.items()
        if isinstance(members, list) and members and all(isinstance(member, str) for member in members)
    }


def _list_files(folder: Path) -> list[Path]:
    return [path for each in (folder, folder / "fusion") if each.is_dir() for path in sorted(each.iterdir())]


def _read_lines(path: Path) -> Iterator[bytes]:
    """As far as it can be read: a packed file may have been cut off."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        try:
            yield from file
        except (EOFError, OSError, zlib.error) as error:
            print(f"{path.name}: {error}")


def _parse_line(line: bytes) -> Prompt | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or not isinstance(row.get("models"), dict):
        return None
    replies = {name: reply for name, said in row["models"].items() if (reply := _parse_reply(said))}
    keys = [f"id {row['id']}"] if isinstance(row.get("id"), str | int | float) else []
    if isinstance(row.get("question"), str) and row["question"].strip():
        keys.append("text " + " ".join(row["question"].split()))
    return Prompt(frozenset(keys or [f"line {line!r}"]), replies) if replies else None


def _parse_reply(said: Any) -> Reply | None:
    """None: it does not say whether it is right."""
    if not isinstance(said, dict) or said.get("c") not in (0, 1):
        return None
    chars = said.get("chars")
    is_length = isinstance(chars, int | float) and math.isfinite(chars) and chars > 0
    return Reply(_canonical(json.dumps(said.get("a"))), said["c"] == 1, float(chars) if is_length else 1.0)


@lru_cache(maxsize=100_000)
def _canonical(answer: str) -> str | None:
    """As the product reads a reply that is `{"answer": ...}`."""
    return None if answer == "NaN" else parse_answer(f'{{"answer": {answer}}}')


def _number(answers: Sequence[str | None]) -> Pattern:
    numbers = dict[str, str]()
    return tuple(None if each is None else numbers.setdefault(each, str(len(numbers))) for each in answers)


# Prices.


@dataclass(frozen=True)
class Price:
    """Of a model's tokens, and how many a prompt has on average."""

    usd_in: float
    usd_out: float
    prompt_tokens: float


def read_prices(*folders: Path) -> dict[str, Price]:
    """List prices, found back from what answers cost (`*.outcomes.parquet` in a folder or its `routing/`)."""
    spent = dict[str, list[tuple[float, float, float]]]()
    for folder in dict.fromkeys(each.resolve() for each in folders):
        for path in sorted([*folder.glob("*.outcomes.parquet"), *folder.glob("routing/*.outcomes.parquet")]):
            for row in _read_outcomes(path):
                figures = (row.get("prompt_tokens"), row.get("completion_tokens"), row.get("cost_usd"))
                if None not in figures:
                    spent.setdefault(row["model"], []).append(figures)  # type: ignore[arg-type]
    return {model: price for model, rows in spent.items() if (price := _fit_price(np.array(rows, float)))}


def _read_outcomes(path: Path) -> list[Mapping[str, Any]]:
    wanted = ("model", "prompt_tokens", "completion_tokens", "cost_usd")
    names = set(pq.read_schema(path).names)
    if not names.issuperset(wanted):
        return []
    table: pa.Table = pq.read_table(path, columns=list(wanted))
    return table.to_pylist()


def _fit_price(rows: np.ndarray) -> Price | None:
    per_token, *_ = np.linalg.lstsq(rows[:, :2], rows[:, 2], rcond=None)
    usd_in, usd_out = (max(0.0, float(each)) for each in per_token)
    return Price(usd_in, usd_out, float(rows[:, 0].mean())) if usd_out > 0 else None
