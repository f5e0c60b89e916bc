"""The routing data sets as arrays. Imported by the routing scripts of lab/; has no command line of its own.

A data set is two parquet files, `<set>.prompts.parquet` and `<set>.outcomes.parquet`: one row per prompt, and
one per (prompt, model) with a score of 0..1. Every set found in the folder is read; one model that occurs in
several sets is one model here.

Columns that are read: of prompts `prompt_id`, `prompt`, `benchmark` (`<set>/<name>`), `prompt_tokens`
(cl100k), `stem_hash` (equal for the same question under different names) and `license`; of outcomes
`prompt_id`, `model`, `score`, `completion_tokens` and `cost_usd` (tokens at list prices of 2024; null where
one is unknown).

Nothing of the data is in this repository. The figures in docs/ come from four public sets, at these commits:

    zeroeval   github.com/WildEval/ZeroEval @8c1485ed, Apache-2.0: gsm and math-l5; 57 models, 0/1 by answer
    mmlupro    github.com/TIGER-AI-Lab/MMLU-Pro @f418b116, Apache-2.0: its eval_results; 15 models, 0/1
    routellm   github.com/lm-sys/RouteLLM @0b64fdaf, Apache-2.0: MMLU and GSM8K; 2 models, 0/1
    llmrouter  github.com/ulab-uiuc/LLMRouter @4e7a7969, MIT: nine tasks; 9 models, 0..1, no tokens
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from junctor.routing.features import BUCKETS, extract_features
from junctor.routing.names import canonical_name
from junctor.routing.views import ENDS, ends_of

EXCLUDED = {
    ("mmlupro", "gemini-1.5-pro-002"): "skips its reasoning in some categories and not in others",
    ("mmlupro", "gemini-1.5-flash-002"): "the same",
    ("mmlupro", "jamba-1.5-large"): "the same",
}
"(set, model) -> why its rows are not used: a router would learn where a run was mis-elicited."

HIDDEN_REASONING = ("o1-mini-2024-09-12", "o1-preview-2024-09-12")
"Their recorded tokens leave out those of reasoning, so they do not train the prediction of length."

BARE_ANSWERS = ("routellm",)
"Sets whose answers were asked for as a bare letter: chats are not, so their lengths are not learnt."

FAMILIES = (
    ("gsm8k", re.compile(r"gsm")),
    ("math", re.compile(r"/math(-l5)?$")),
    ("mmlu", re.compile(r"/mmlu$")),
)
"One benchmark, or one kind, under several names: a leave-one-out takes out all of them."


@dataclass(frozen=True)
class Data:
    """Prompts (n), models (m) and outcomes (rows: one per prompt and model)."""

    ids: list[str]
    texts: list[str]
    prompt_tokens: np.ndarray  # (n,) float32, cl100k
    benchmark: np.ndarray  # (n,) str
    set_index: np.ndarray  # (n,) int, which data set
    family: np.ndarray  # (n,) str
    stem: np.ndarray  # (n,) str: equal for the same question under different names
    models: list[str]
    prompt: np.ndarray  # (rows,) int32, into texts
    model: np.ndarray  # (rows,) int32, into models
    score: np.ndarray  # (rows,) float32, 0..1
    tokens: np.ndarray  # (rows,) float32 completion tokens, nan where unknown
    usd: np.ndarray  # (rows,) float32, nan where unknown
    aliases: dict[str, set[str]]
    digest: str
    sources: dict[str, str]


def load(folder: Path) -> Data:
    """Read every data set of a folder. Raises FileNotFoundError, which says what is missing."""
    names = sorted(path.name.removesuffix(".prompts.parquet") for path in folder.glob("*.prompts.parquet"))
    if not names:
        raise FileNotFoundError(
            f"no *.prompts.parquet in {folder}: the docstring of lab/routing_data.py says what has to lie "
            "there, and which public data it comes from"
        )
    digest = hashlib.sha256()
    ids, texts, prompt_tokens, benchmark, stem, rows, aliases = [], [], [], [], [], [], {}
    sources = {}
    for name in names:
        at: dict[str, int] = {}
        prompts_path, outcomes_path = (folder / f"{name}.{kind}.parquet" for kind in ("prompts", "outcomes"))
        for path in (prompts_path, outcomes_path):
            if not path.is_file():
                raise FileNotFoundError(f"{path} is missing: each set has its prompts and its outcomes")
            digest.update(path.read_bytes())
        prompts = pq.read_table(prompts_path).to_pylist()
        for row in prompts:
            at[row["prompt_id"]] = len(texts)
            ids.append(row["prompt_id"])
            texts.append(row["prompt"])
            prompt_tokens.append(row["prompt_tokens"])
            benchmark.append(row["benchmark"])
            stem.append(row["stem_hash"])
        sources[name] = ", ".join(sorted({row["license"] for row in prompts}))
        for row in pq.read_table(outcomes_path).to_pylist():
            if (name, row["model"]) in EXCLUDED:
                continue
            model = canonical_name(row["model"])
            aliases.setdefault(model, set()).add(row["model"])
            unlike_chat = row["model"] in HIDDEN_REASONING or name in BARE_ANSWERS
            tokens = np.nan if unlike_chat or row["completion_tokens"] is None else row["completion_tokens"]
            usd = np.nan if row["cost_usd"] is None else row["cost_usd"]
            rows.append((at[row["prompt_id"]], model, row["score"], tokens, usd))
    models = sorted(aliases)
    index = {model: at for at, model in enumerate(models)}
    return Data(
        ids=ids,
        texts=texts,
        prompt_tokens=np.array(prompt_tokens, np.float32),
        benchmark=np.array(benchmark),
        set_index=np.unique([name.split("/")[0] for name in benchmark], return_inverse=True)[1],
        family=np.array([_family(name) for name in benchmark]),
        stem=np.array(stem),
        models=models,
        prompt=np.array([row[0] for row in rows], np.int32),
        model=np.array([index[row[1]] for row in rows], np.int32),
        score=np.array([row[2] for row in rows], np.float32),
        tokens=np.array([row[3] for row in rows], np.float32),
        usd=np.array([row[4] for row in rows], np.float32),
        aliases=aliases,
        digest=digest.hexdigest(),
        sources=sources,
    )


def folds_by_stem(data: Data, folds: int, seed: int) -> np.ndarray:
    """(n,) fold of each prompt. The same question under another name gets the same fold, so nothing leaks."""

    def fold(stem: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{seed}/{stem}".encode()).digest()[:4], "big") % folds

    return np.array([fold(stem) for stem in data.stem])


@dataclass(frozen=True)
class Inputs:
    """Features of all prompts: dense, and a sparse 0/1 matrix by rows and by columns."""

    named: np.ndarray  # (n, named)
    bucket: np.ndarray  # (nnz,) by row
    row_start: np.ndarray  # (n + 1,)
    scale: np.ndarray  # (n,) 1 / sqrt(buckets of the prompt)


def extract_ends(texts: list[str]) -> list[Inputs]:
    """Of each end that a second look judges (routing/views.py); a text that is shorter has itself for it."""
    ends = [[end for _, end in ends_of(text)] for text in texts]
    padded = [[text] * (len(ENDS) - len(each)) + each for text, each in zip(texts, ends, strict=True)]
    return [extract([each[at] for each in padded]) for at in range(len(ENDS))]


def extract(texts: list[str]) -> Inputs:
    """The features that serving computes, for every text."""
    all_features = [extract_features(text) for text in texts]
    sizes = np.array([len(features.hashed) for features in all_features])
    bucket = np.fromiter(
        (bucket for features in all_features for bucket in sorted(features.hashed)), np.int32, sizes.sum()
    )
    assert bucket.max(initial=0) < BUCKETS
    return Inputs(
        named=np.array([features.named for features in all_features], np.float32),
        bucket=bucket,
        row_start=np.concatenate([[0], np.cumsum(sizes)]),
        scale=(1 / np.sqrt(np.maximum(sizes, 1))).astype(np.float32),
    )


def _family(benchmark: str) -> str:
    return next((family for family, pattern in FAMILIES if pattern.search(benchmark)), benchmark)
