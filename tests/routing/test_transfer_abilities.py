"""lab/transfer_abilities.py on data of our own: nine models, of which some have a knack for what is asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

LAB = Path(__file__).parents[2] / "lab"
PROMPTS = 150


def write_set(folder: Path, name: str, benchmarks: tuple[str, ...], knacks: np.ndarray, seed: int) -> None:
    """`knacks`: what models are better at the first benchmark, logits."""
    rng = np.random.default_rng(seed)
    rows, outcomes = [], []
    for benchmark in benchmarks:
        for at in range(PROMPTS):
            prompt = f"{name}/{benchmark}/{at}"
            rows.append(
                {
                    "prompt_id": prompt,
                    "prompt": f"Item {at} of {benchmark}, {seed}.",
                    "benchmark": f"{name}/{benchmark}",
                    "prompt_tokens": 20,
                    "stem_hash": prompt,
                    "license": "-",
                }
            )
            for model, knack in enumerate(knacks):
                able = -1 + model / 4 + (knack if benchmark == benchmarks[0] else 0.0)
                outcomes.append(
                    {
                        "prompt_id": prompt,
                        "model": f"maker{model}-model",
                        "score": float(rng.random() < 1 / (1 + np.exp(-able))),
                        "completion_tokens": 40,
                        "cost_usd": 1e-5,
                    }
                )
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.prompts.parquet")
    pq.write_table(pa.Table.from_pylist(outcomes), folder / f"{name}.outcomes.parquet")


def rows_for(folder: Path, knacks: np.ndarray) -> list[dict[str, float]]:
    write_set(folder, "zeroeval", ("math-l5", "gsm"), knacks, 1)
    write_set(folder, "other", ("one", "two"), np.zeros(9), 2)
    out = folder / "out.json"
    words = ("--data", folder, "--prompts", "100", "--draws", "2", "--knacks", "0,0.6", "--json", out)
    command = [sys.executable, LAB / "transfer_abilities.py", *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "zeroeval: math-l5 asked, 9 models" in done.stdout
    rows = json.loads(out.read_text())
    assert [row["asked"] for row in rows] == [["math-l5"]] * 4 + [["gsm"]] * 4
    return rows


@pytest.mark.parametrize("knack", [0.0, 1.5])
def test_models_with_a_knack_for_what_is_asked_scatter_and_are_covered_less(
    tmp_path: Path, knack: float
) -> None:
    """Without one the scatter is chance, which is taken off."""
    rows = rows_for(tmp_path, knack * np.array([1, -1, 1, -1, 0, 1, -1, 1, -1]))
    assert {(row["known"], row["knack"]) for row in rows} == {(0, 0.0), (0, 0.6), (2, 0.0), (2, 0.6)}
    assert all(row["abilities"] == 18 for row in rows)
    assert (rows[0]["scatter"] > 0.8) is (knack > 0)
    without, with_knacks = (
        row["covered_pct"] for row in rows if row["known"] == 2 and row["asked"] == ["gsm"]
    )
    assert with_knacks >= without
    if knack:
        assert without < 80
    else:
        assert without > 80
