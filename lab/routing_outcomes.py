"""Outcomes with answers, as tables to learn from and to try on. Imported by the routing scripts of lab/.

Scores and costs come from `*.prompts.parquet` and `*.outcomes.parquet` (routing_data.py), what was answered
from `*_answers.jsonl.gz` and `*_votes.jsonl.gz`: JSON lines of `id`, `models{name: {a: answer, c: 0/1}}` and,
where there is one, `question`. A line belongs to the prompt of the same text or, without a text, to the one
whose id ends in the same way. All may lie in one folder, or in `routing/` and `fusion/` below it. Which
public data that is: routing_data.py and fusion_data.py say.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from junctor.routing.calibration.outcomes import Outcomes
from junctor.routing.names import canonical_name
from routing_data import Data, load

COVERED = 0.95
"A model stands in a table when it has a score and a cost for so many of the prompts."
TOKENS_UNKNOWN = 200.0


@dataclass(frozen=True)
class Prompts:
    """Prompts of one folder: m models, n prompts, nan or None where nothing is known."""

    data: Data
    models: list[str]
    score: np.ndarray  # (m, n)
    usd: np.ndarray  # (m, n)
    tokens: np.ndarray  # (m, n)
    answers: np.ndarray  # (m, n) of object

    def where(self, test: Callable[[str, str], bool]) -> np.ndarray:
        """Indices of the prompts whose benchmark and stem pass a test."""
        pairs = zip(self.data.benchmark, self.data.stem, strict=True)
        return np.array([at for at, (benchmark, stem) in enumerate(pairs) if test(benchmark, stem)], int)


def read_prompts(folder: Path) -> Prompts:
    """Everything in a folder. Raises FileNotFoundError, which says what is missing."""
    data = load(folder / "routing" if (folder / "routing").is_dir() else folder)
    shape = (len(data.models), len(data.texts))
    score, usd, tokens = (np.full(shape, np.nan) for _ in range(3))
    score[data.model, data.prompt] = data.score
    usd[data.model, data.prompt] = data.usd
    tokens[data.model, data.prompt] = data.tokens
    answers = np.full(shape, None, object)
    fusion = folder / "fusion" if (folder / "fusion").is_dir() else folder
    find = _finder(data)
    place = {name: at for at, name in enumerate(data.models)}
    for path in sorted([*fusion.glob("*_answers.jsonl.gz"), *fusion.glob("*_votes.jsonl.gz")]):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                _take(row, find(path.name, row), place, score, answers)
    return Prompts(data, data.models, score, usd, tokens, answers)


def _finder(data: Data) -> Callable[[str, dict[str, Any]], int | None]:
    """From a line to its prompt. The benchmark must fit: one question stands in several sets."""
    by_text = {
        (name.split("/")[0], _plain(text)): at
        for at, (name, text) in enumerate(zip(data.benchmark, data.texts, strict=True))
    }
    by_id = {(name.split("/")[0], name.rsplit("/", 1)[-1]): at for at, name in enumerate(data.ids)}

    def find(file: str, row: dict[str, Any]) -> int | None:
        source = file.split("_", 1)[0]
        if "question" in row:
            return by_text.get((source, _plain(row["question"])))
        return by_id.get((source, str(row["id"])))

    return find


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _take(
    row: dict[str, Any], prompt: int | None, place: dict[str, int], score: np.ndarray, answers: np.ndarray
) -> None:
    """An answer whose mark is not the score belongs to another run of the model: it is left out."""
    if prompt is None:
        return
    for name, said in row["models"].items():
        at = place.get(canonical_name(name))
        if at is not None and said["c"] == score[at, prompt]:
            answers[at, prompt] = said["a"]


def make_table(prompts: Prompts, which: np.ndarray, models: list[str]) -> tuple[Outcomes, np.ndarray]:
    """Those prompts at those models, and which of them are whole: a score and a cost for every model."""
    rows = [prompts.models.index(name) for name in models]
    known = ~(np.isnan(prompts.score[rows][:, which]) | np.isnan(prompts.usd[rows][:, which]))
    which = which[known.all(axis=0)]
    table = Outcomes(
        models=tuple(models),
        scores=prompts.score[rows][:, which],
        usd=prompts.usd[rows][:, which],
        tokens=np.nan_to_num(prompts.tokens[rows][:, which], nan=TOKENS_UNKNOWN),
        answers=tuple(tuple(prompts.answers[row, which]) for row in rows),
    )
    return table, which


def covered_models(prompts: Prompts, which: np.ndarray) -> list[str]:
    """Models that were asked nearly all of those prompts, at a known cost."""
    known = ~(np.isnan(prompts.score[:, which]) | np.isnan(prompts.usd[:, which]))
    return [name for name, share in zip(prompts.models, known.mean(axis=1), strict=True) if share >= COVERED]
