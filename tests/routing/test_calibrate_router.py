"""lab/calibrate_router.py on a small data set of our own, in the form it reads."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from junctor.routing.calibration.store import StoredLadder
from junctor.routing.ladder import models_of, parse_ladder

LAB = Path(__file__).parents[2] / "lab"
MODELS = {
    f"maker{at}-model": (ability, 0.1 * 1.8**at) for at, ability in enumerate(np.linspace(-1.5, 2.5, 9))
}
"Name -> ability in logits, USD per million tokens: price tells something."
PROMPTS = 180


def write_set(folder: Path, name: str, seed: int, ease: float) -> None:
    """Harder prompts say so; each model answers all. Answers stand beside the first benchmark's prompts."""
    rng = np.random.default_rng(seed)
    rows, outcomes, lines = [], [], []
    for at in range(PROMPTS):
        hard = bool(rng.random() < 0.5)
        text = f"{'Prove the difficult theorem' if hard else 'Say hello to item'} {at} of {seed}."
        benchmark = f"{name}/part{at % 2}"
        said = {}
        for model, (ability, usd) in MODELS.items():
            right = bool(rng.random() < 1 / (1 + np.exp(-(ability + ease + (-1.5 if hard else 1.5)))))
            said[model] = {"a": 0 if right else int(rng.integers(1, 9)), "c": int(right)}
            outcomes.append(
                {
                    "prompt_id": f"{benchmark}/{at}",
                    "model": model,
                    "score": float(right),
                    "completion_tokens": 40 + at % 20,
                    "cost_usd": usd * (60 + at % 20) / 1e6,
                }
            )
        stem = {"prompt_tokens": 20, "stem_hash": f"{seed}-{at}", "license": "-"}
        rows.append({"prompt_id": f"{benchmark}/{at}", "prompt": text, "benchmark": benchmark, **stem})
        lines.append({"id": at, "question": text, "models": said})
    for part in ("routing", "fusion"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "routing" / f"{name}.prompts.parquet")
    pq.write_table(pa.Table.from_pylist(outcomes), folder / "routing" / f"{name}.outcomes.parquet")
    with gzip.open(folder / "fusion" / f"{name}_sums_answers.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(map(json.dumps, lines)))


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, LAB / "calibrate_router.py", *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("data")
    write_set(made, "toy", 1, -1.0)
    write_set(made, "other", 2, 0.5)
    return made


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[dict[str, object]]:
    out = folder / "out.json"
    done = run("--data", folder, "--set", "toy", "--prompts", "10,80,999", "--draws", "3", "--json", out)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "| method | K = 10 | K = 80 |" in done.stdout
    return json.loads(out.read_text())


def of(rows: list[dict[str, object]], method: str, measure: str, count: int, training: str = "seen") -> float:
    """One figure."""
    (row,) = [
        row for row in rows if (row["method"], row["prompts"], row["training"]) == (method, count, training)
    ]
    return float(str(row[measure]))


def test_every_method_is_tried_with_every_model_as_a_stranger(rows: list[dict[str, object]]) -> None:
    """999 prompts are more than there are: no row. Every other row speaks of all nine models."""
    kinds = {(row["training"], row["prompts"]) for row in rows}
    assert kinds == {(training, count) for training in ("seen", "unseen") for count in (10, 80)}
    assert {row["models"] for row in rows} == {len(MODELS)}
    assert len({row["method"] for row in rows}) == 11
    assert len(rows) == 11 * 4


def test_a_calibration_beats_what_knows_nothing_and_more_prompts_help(rows: list[dict[str, object]]) -> None:
    few, many = (of(rows, "junctor", "error_pp", count) for count in (10, 80))
    assert many < few
    assert many < 0.6 * of(rows, "constant", "error_pp", 80)
    assert of(rows, "junctor", "log_loss", 80) < of(rows, "mean of K", "log_loss", 80) - 0.05
    assert of(rows, "constant", "ranked_pct", 80) == 50
    assert of(rows, "junctor", "ranked_pct", 80) > 80


def test_what_a_new_set_is_harder_is_learnt(rows: list[dict[str, object]]) -> None:
    """`toy` is harder than its words say, which abilities for prompts of any sort do not know."""
    levels, alone = (of(rows, name, "error_pp", 80, "unseen") for name in ("junctor", "abilities alone"))
    assert levels < 0.7 * alone
    for method in ("junctor", "junctor, 2 known", "junctor, no shift fitted"):
        assert of(rows, method, "covered_pct", 80, "unseen") > 80


def test_neighbours_are_tried_beside_levels_alone(rows: list[dict[str, object]]) -> None:
    """All that is to know of `toy` stands in the words, so they change little there; 10 are too few."""
    for training in ("seen", "unseen"):
        few, many = (
            of(rows, "junctor, neighbours", "log_loss_change", count, training) for count in (10, 80)
        )
        assert few == 0
        assert abs(many) < 0.03
        assert 0 <= of(rows, "junctor, neighbours", "kept_pct", 80, training) <= 100
        assert -1 < of(rows, "junctor", "apgr", 80, training) < 2
    assert not [row for row in rows if "kept_pct" in row and "neighbours" not in str(row["method"])]


def test_half_of_the_benchmarks_can_tell_of_the_other_half(folder: Path) -> None:
    out = folder / "elsewhere.json"
    done = run(
        *("--data", folder, "--set", "toy", "--prompts", "60", "--draws", "1", "--training", "seen"),
        *("--elsewhere", "--json", out),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(out.read_text())
    assert {row["prompts"] for row in rows} == {60}
    assert of(rows, "junctor, neighbours", "log_loss", 60) < of(rows, "price alone", "log_loss", 60)


def test_intervals_stand_around_their_figures_and_cover(rows: list[dict[str, object]]) -> None:
    assert of(rows, "mean of K", "covered_pct", 80) > 80
    assert of(rows, "junctor", "covered_pct", 80) > 80
    low, mid, high = (of(rows, "junctor", f"error_pp{end}", 80) for end in ("_low", "", "_high"))
    assert low < mid < high


def test_a_ladder_is_written_as_the_command_stores_it(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "ladder.json"
    done = run("--data", folder, "--set", "toy", "--out", out, "--strong", "maker8-model", "--floor", "0.8")
    assert done.returncode == 0, done.stderr[-2000:]
    stored = msgspec.json.decode(out.read_bytes(), type=StoredLadder)
    ladder = parse_ladder(bytes(stored.ladder))
    assert ladder is not None
    assert (ladder.strongest, ladder.floor, ladder.prompts) == ("maker8-model", 0.8, PROMPTS)
    assert stored.identities == {name: f"openai/{name}" for name in models_of(ladder)}
    assert ladder.version in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "toy", "--prompts", "900"), "are kept to predict"),
        (("--set", "toy", "--out", "x.json", "--strong", "nobody"), "--strong nobody"),
    ],
)
def test_what_cannot_be_done_is_said(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run("--data", folder, *arguments)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
