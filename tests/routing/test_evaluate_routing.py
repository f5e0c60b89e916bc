"""lab/evaluate_routing.py on a small data set of our own, in the form it reads."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

LAB = Path(__file__).parents[2] / "lab"
MODELS = {"tiny-a": (0.8, 0.01), "tiny-b": (0.8, 0.012), "tiny-c": (0.7, 0.02), "big": (0.86, 1.0)}
POLICIES = {
    "always_cheap",
    "always_strong",
    "static_mix",
    "static_mix_hindsight",
    "prompt_router",
    "cascade",
    "junctor",
    "oracle",
}


SUM = "How much is {} plus {}?"


def write_set(folder: Path, prompts: int, seed: int, *, answers: bool = True, asks: str = SUM) -> None:
    """`toy/sums`: what each model answered, whether it was right, what it cost."""
    rng = np.random.default_rng(seed)
    rows, outcomes, lines = [], [], []
    for at in range(prompts):
        ease, text = rng.normal(0, 1.3), f"{asks.format(seed, at)} {'Think twice. ' * (at % 7)}"
        said = {}
        for model, (accuracy, usd) in MODELS.items():
            logit = 1.4 * np.log(accuracy / (1 - accuracy)) + ease
            right = bool(rng.random() < 1 / (1 + np.exp(-logit)))
            said[model] = {"a": 0 if right else int(rng.integers(1, 9)), "c": int(right), "chars": 80}
            outcomes.append(
                {
                    "prompt_id": f"toy/sums/{seed}-{at}",
                    "model": model,
                    "score": float(right),
                    "completion_tokens": 50,
                    "cost_usd": usd,
                }
            )
        stem = {"benchmark": "toy/sums", "prompt_tokens": "20", "stem_hash": f"{seed}-{at}", "license": "-"}
        rows.append({"prompt_id": f"toy/sums/{seed}-{at}", "prompt": text, **stem})
        lines.append({"id": at, "question": text, "models": said})
    (folder / "routing").mkdir(parents=True)
    (folder / "fusion").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "routing" / "toy.prompts.parquet")
    pq.write_table(pa.Table.from_pylist(outcomes), folder / "routing" / "toy.outcomes.parquet")
    if answers:
        with gzip.open(folder / "fusion" / "toy_sums_answers.jsonl.gz", "wt", encoding="utf-8") as file:
            file.write("\n".join(map(json.dumps, lines)))


def evaluate(*arguments: str | Path) -> list[dict[str, object]]:
    """The JSON that the command writes."""
    out = Path(arguments[1]).parent / "out.json"
    command = [sys.executable, LAB / "evaluate_routing.py", *arguments, "--json", out]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(out.read_text())


def by_policy(rows: list[dict[str, object]]) -> dict[str, dict[str, object]]:
    return {str(row["policy"]): row for row in rows}


def test_every_policy_has_a_row_and_a_good_pool_saves(tmp_path: Path) -> None:
    write_set(tmp_path / "fit", 400, 1)
    write_set(tmp_path / "data", 500, 2)
    rows = by_policy(evaluate("--fit", tmp_path / "fit", "--data", tmp_path / "data"))
    assert set(rows) == POLICIES
    assert {row["strong"] for row in rows.values()} == {"big"}
    assert rows["always_strong"]["saved_pct"] == rows["always_strong"]["quality_delta_pp"] == 0
    junctor, oracle = rows["junctor"], rows["oracle"]
    assert 30 < float(str(junctor["saved_pct"])) < float(str(oracle["saved_pct"]))
    assert float(str(junctor["ci_low_pp"])) < float(str(junctor["quality_delta_pp"]))
    assert float(str(oracle["quality_delta_pp"])) > float(str(junctor["quality_delta_pp"]))
    assert rows["prompt_router"]["apgr"] is not None


def test_prompts_that_do_not_look_checkable_never_climb(tmp_path: Path) -> None:
    """What the ladder learnt from others saves nothing on them: one model answers, chosen by the prompt."""
    write_set(tmp_path / "fit", 400, 1)
    write_set(tmp_path / "data", 500, 2, asks="Write a story about {} and {} hens.")
    rows = by_policy(evaluate("--fit", tmp_path / "fit", "--data", tmp_path / "data"))
    assert float(str(rows["cascade"]["saved_pct"])) > 30
    assert float(str(rows["junctor"]["saved_pct"])) < 10
    assert "tiny-a" in str(rows["junctor"]["models"]), "there is a promise, for others"


def test_without_answers_nothing_can_agree_and_the_strong_model_answers(tmp_path: Path) -> None:
    write_set(tmp_path / "fit", 200, 1, answers=False)
    write_set(tmp_path / "data", 200, 2, answers=False)
    rows = by_policy(evaluate("--fit", tmp_path / "fit", "--data", tmp_path / "data"))
    assert rows["junctor"]["saved_pct"] == rows["junctor"]["quality_delta_pp"] == 0


def test_questions_of_the_data_are_not_learnt_from(tmp_path: Path) -> None:
    """All of `fit` stands in `data`: nothing is left to learn from, so nothing is promised."""
    write_set(tmp_path / "fit", 150, 1)
    write_set(tmp_path / "data", 300, 1)
    rows = by_policy(evaluate("--fit", tmp_path / "fit", "--data", tmp_path / "data"))
    assert rows["junctor"]["saved_pct"] == 0


def test_one_folder_is_halved_and_halves_can_be_repeated(tmp_path: Path) -> None:
    write_set(tmp_path / "data", 600, 3)
    folder = tmp_path / "data"
    rows = evaluate("--fit", folder, "--data", folder, "--strong", "big")
    assert {row["n"] for row in rows} == {rows[0]["n"]}
    assert 250 < int(str(rows[0]["n"])) < 350


def test_a_folder_without_data_is_an_error(tmp_path: Path) -> None:
    command = [sys.executable, LAB / "evaluate_routing.py", "--fit", tmp_path / "none", "--data", tmp_path]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "no *.prompts.parquet" in done.stderr
    assert "the docstring of lab/routing_data.py says what has to lie there" in done.stderr
    assert "Traceback" not in done.stderr


def test_prompts_without_outcomes_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    write_set(tmp_path / "data", 20, 1)
    (tmp_path / "data" / "routing" / "toy.outcomes.parquet").unlink()
    folder = tmp_path / "data"
    command = [sys.executable, LAB / "evaluate_routing.py", "--fit", folder, "--data", folder]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "toy.outcomes.parquet is missing" in done.stderr
