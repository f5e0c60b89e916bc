"""The trainer: from data files to an artefact that the server reads, the same bytes every time."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from junctor.chat import ModelCard
from junctor.routing.features import extract_features
from junctor.routing.predictor import Predictor, parse_artefact

ROOT = Path(__file__).resolve().parents[2]
SOLVES = {"weak-1b-instruct": 0.1, "strong-70b-instruct": 0.8}
"How often each model answers a hard question; both answer the easy ones."


def write_set(folder: Path, name: str, prompts: int, seed: int) -> None:
    """A small data set: sums are easy, integrals are hard."""
    draw = random.Random(seed)
    prompt_rows, outcome_rows = [], []
    for at in range(prompts):
        hard = at % 2 == 1
        text = f"Evaluate the integral of x^{at} over [0, {at}]" if hard else f"What is {at} plus {at + 1}?"
        prompt_rows.append(
            {
                "prompt_id": f"{name}/{at}",
                "benchmark": f"{name}/{'hard' if hard else 'easy'}",
                "prompt": text,
                "prompt_tokens": len(text) // 4,
                "stem_hash": hashlib.sha256(text.encode()).hexdigest(),
                "license": "Apache-2.0",
            }
        )
        for model, chance in SOLVES.items():
            tokens = draw.randint(20, 40) * (5 if hard else 1)
            solved = draw.random() < (chance if hard else 0.95)
            outcome_rows.append(
                {
                    "prompt_id": f"{name}/{at}",
                    "model": model,
                    "score": float(solved),
                    "completion_tokens": tokens,
                    "cost_usd": (len(text) // 4 + 4 * tokens) * (9e-6 if "strong" in model else 1e-7),
                }
            )
    pq.write_table(pa.Table.from_pylist(prompt_rows), folder / f"{name}.prompts.parquet")
    pq.write_table(pa.Table.from_pylist(outcome_rows), folder / f"{name}.outcomes.parquet")


def train(data: Path, out: Path, *more: str) -> str:
    """Run the script as its docstring says; what it printed."""
    run = subprocess.run(
        [sys.executable, "lab/train_router.py", "--data", data, "--out", out, "--folds", "2", *more],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """(folder of the data, the artefact, what was printed)."""
    folder = tmp_path_factory.mktemp("routing")
    write_set(folder, "one", 240, seed=1)
    write_set(folder, "two", 160, seed=2)
    return folder, folder / "a.msgpack", train(folder, folder / "a.msgpack")


def test_the_same_data_and_seed_give_the_same_bytes(trained: tuple[Path, Path, str]) -> None:
    """And another seed gives others: the artefact can be made again by anybody who has the data."""
    folder, artefact, _ = trained
    train(folder, folder / "b.msgpack")
    train(folder, folder / "c.msgpack", "--seed", "2")
    assert artefact.read_bytes() == (folder / "b.msgpack").read_bytes()
    assert artefact.read_bytes() != (folder / "c.msgpack").read_bytes()


def test_the_server_reads_what_the_trainer_learnt(trained: tuple[Path, Path, str]) -> None:
    """Hard questions are harder, the strong model is stronger, long answers are longer, names are found."""
    predictor = Predictor(parse_artefact(trained[1].read_bytes()))
    placed = predictor.place([ModelCard(name="weak-1b"), ModelCard(name="strong-70b")])
    assert {model.source for model in placed} == {"artefact"}
    easy = predictor.predict(extract_features("What is 500 plus 501?"), placed)
    hard = predictor.predict(extract_features("Evaluate the integral of x^500 over [0, 500]"), placed)
    assert hard[0].p_good < 0.45 < 0.55 < hard[1].p_good
    assert min(easy[0].p_good, easy[1].p_good) > 0.65
    assert hard[0].output_tokens > 2 * easy[0].output_tokens


def test_the_tables_show_calibration_on_seen_and_unseen_benchmarks(trained: tuple[Path, Path, str]) -> None:
    """Held-out figures are printed before the artefact is written."""
    printed = trained[2]
    for line in (
        "Calibration, seen benchmarks",
        "Calibration, unseen benchmarks",
        "temperature",
        "router-1-",
    ):
        assert line in printed


def test_without_data_it_says_what_is_missing(tmp_path: Path) -> None:
    """No artefact is written."""
    with pytest.raises(subprocess.CalledProcessError) as failed:
        train(tmp_path, tmp_path / "x.msgpack")
    assert "parquet" in failed.value.stderr
    assert not (tmp_path / "x.msgpack").exists()
