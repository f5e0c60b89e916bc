"""lab/evaluate_fusion.py and lab/derive_votes.py on small data sets of our own, in the form they read."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

LAB = Path(__file__).parents[2] / "lab"
MODELS = {"weak-a": 0.35, "strong": 0.9, "weak-b": 0.3, "weak-c": 0.3, "fair": 0.75}
UNEVEN = ["weak-a", "strong", "weak-b", "weak-c"]
COLUMNS = {"pool", "n", "best_single", "majority", "junctor", "oracle", "answers_used", "cost_multiple"}

Lines = list[dict[str, Any]]


def make_lines(count: int, seed: int, *, first: int = 0) -> Lines:
    """Weak models share two wrong answers, so that they often agree on one."""
    rng = np.random.default_rng(seed)

    def say(accuracy: float, at: int) -> dict[str, Any]:
        right = bool(rng.random() < accuracy)
        lure = float(at + int(rng.integers(1, 3)))
        return {"a": float(at) if right else lure, "c": int(right), "chars": int(rng.integers(40, 900))}

    return [
        {
            "id": f"q{at}",
            "question": f"What is {at} plus zero?",
            "models": {name: say(accuracy, at) for name, accuracy in MODELS.items()},
        }
        for at in range(first, first + count)
    ]


def write(folder: Path, lines: Lines, name: str = "zeroeval_toy_answers", *, junk: bytes = b"") -> Path:
    (folder / "fusion").mkdir(parents=True)
    text = "".join(json.dumps(line) + "\n" for line in lines).encode() + junk
    with gzip.open(folder / "fusion" / f"{name}.jsonl.gz", "wb") as file:
        file.write(text)
    pools = {"toy": {"uneven": UNEVEN, "not here": ["strong", "unknown"]}, "other": {"x": ["strong"]}}
    (folder / "fusion" / "pools.json").write_text(json.dumps(pools))
    return folder


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, str(LAB / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def evaluate(tmp_path: Path) -> Callable[..., dict[str, dict[str, Any]]]:
    """Rows by pool."""

    def call(fit: Path, data: Path, *more: object) -> dict[str, dict[str, Any]]:
        out = tmp_path / "rows.json"
        run("evaluate_fusion.py", "--fit", fit, "--data", data, "--json", out, *more)
        return {row["pool"]: row for row in json.loads(out.read_text())}

    return call


Evaluate = Callable[..., dict[str, dict[str, Any]]]


def test_an_uneven_pool_keeps_to_its_best_member(tmp_path: Path, evaluate: Evaluate) -> None:
    """The majority loses; the vote does not, and stops early without changing an answer."""
    folder = write(tmp_path / "all", make_lines(1200, 1))
    row = evaluate(folder, folder)["toy/uneven"]
    assert row.keys() >= COLUMNS
    assert row["n"] == 1000
    assert row["majority"] < row["best_single"] - 5
    assert row["junctor"] >= row["best_single"] - 0.5
    assert row["best_member"] == "strong"
    assert row["oracle"] >= row["junctor"]
    assert row["gain_low"] <= row["junctor"] - row["best_single"] <= row["gain_high"]
    assert row["early_equal"] == 1
    assert row["answers_used"] < 4
    assert row["cost_multiple"] > 1
    assert row["prices"] == "equal"


def test_labels_come_from_fit_and_are_left_out_of_data(tmp_path: Path, evaluate: Evaluate) -> None:
    """By their ids, or by their texts under other ids."""
    lines = make_lines(700, 2)
    renamed = [{**line, "id": f"other {line['id']}"} for line in lines[:200]]
    fit, data = write(tmp_path / "fit", renamed), write(tmp_path / "data", lines)
    row = evaluate(fit, data)["toy/uneven"]
    assert (row["labels_from"], row["labels"], row["n"]) == ("fit", 100, 600)
    apart = write(tmp_path / "apart", make_lines(250, 3, first=5000))
    row = evaluate(apart, data)["toy/uneven"]
    assert (row["labels_from"], row["labels"], row["n"]) == ("fit", 200, 700)


def test_without_labels_in_fit_some_of_data_are_used(tmp_path: Path, evaluate: Evaluate) -> None:
    fit = write(tmp_path / "fit", make_lines(300, 4), name="zeroeval_sums_answers")
    data = write(tmp_path / "data", make_lines(500, 5))
    row = evaluate(fit, data)["toy/uneven"]
    assert (row["labels_from"], row["labels"], row["n"]) == ("data", 200, 300)
    small = write(tmp_path / "small", make_lines(100, 6))
    row = evaluate(fit, small)["toy/uneven"]
    assert (row["labels_from"], row["labels"], row["n"]) == ("data", 50, 50)


def test_pools_can_be_named(tmp_path: Path, evaluate: Evaluate) -> None:
    """For a data set that pools.json does not know; for all, for one; in the place of one that it knows."""
    folder = write(tmp_path / "new", make_lines(450, 7), name="brandnew_votes")
    rows = evaluate(folder, folder, "--pool", "mine=strong,fair", "--pool", "toy/absent=strong,fair")
    assert list(rows) == ["brandnew/mine"]
    assert rows["brandnew/mine"]["members"] == ["strong", "fair"]
    known = write(tmp_path / "known", make_lines(450, 7))
    rows = evaluate(known, known, "--pool", "toy/uneven=strong,fair")
    assert rows["toy/uneven"]["members"] == ["strong", "fair"]


def test_pools_may_stand_in_the_folder_of_labels_alone(tmp_path: Path, evaluate: Evaluate) -> None:
    fit, data = write(tmp_path / "fit", make_lines(250, 8)), write(tmp_path / "data", make_lines(300, 9))
    (data / "fusion" / "pools.json").unlink()
    assert "toy/uneven" in evaluate(fit, data / "fusion")


def test_odd_lines_are_counted_and_left_out(tmp_path: Path) -> None:
    """No JSON, no object, no models, a missing model, answers of every type, no lengths, other columns."""
    lines = make_lines(430, 10)
    del lines[0]["models"]["strong"]
    lines[1]["models"] = dict.fromkeys(MODELS)
    lines[2]["models"]["strong"]["c"] = "yes"
    for at, odd in enumerate([None, float("nan"), ["x", 1], {"y": []}, True, "", "x" * 100_000, 1e300], 3):
        lines[at]["models"]["weak-a"] = {"a": odd, "c": 0, "chars": None, "more": [1]}
    lines[20]["models"]["weak-a"]["chars"] = -5
    lines[21]["models"]["weak-a"]["chars"] = float("inf")
    del lines[22]["question"], lines[23]["question"], lines[23]["id"], lines[24]["id"]
    junk = b'not json\n[1, 2]\n{"id": 1}\n{"models": {"strong": {"a": 1, "c": 1}}}\n\xff\xfe\n{"id": "cut'
    folder = write(tmp_path / "odd", lines, junk=junk)
    (folder / "fusion" / "empty_answers.jsonl").write_bytes(b"")
    (folder / "fusion" / "broken_answers.jsonl.gz").write_bytes(b"\x1f\x8bnot gzip at all")
    out = tmp_path / "rows.json"
    said = run("evaluate_fusion.py", "--fit", folder, "--data", folder, "--json", out, "--splits", 2)
    assert "toy: 430 prompts, 6 lines that are none" in said
    assert "empty: 0 prompts" in said
    assert "toy/not here: left out, no answers of unknown" in said
    row = json.loads(out.read_text())[0]
    assert (row["labels"], row["n"]) == (200, 227)


def test_the_same_seed_gives_the_same_rows(tmp_path: Path, evaluate: Evaluate) -> None:
    folder = write(tmp_path / "all", make_lines(500, 11))
    assert evaluate(folder, folder, "--seed", 3) == evaluate(folder, folder, "--seed", 3)
    assert evaluate(folder, folder, "--seed", 3) != evaluate(folder, folder, "--seed", 4)


def test_a_prior_is_derived_and_tried(tmp_path: Path) -> None:
    folder = write(tmp_path / "all", make_lines(450, 12))
    write(tmp_path / "more", make_lines(450, 13), name="sums_votes")
    (tmp_path / "more" / "fusion" / "sums_votes.jsonl.gz").rename(folder / "fusion" / "sums_votes.jsonl.gz")
    said = run("derive_votes.py", "--data", folder, "--pools", 3, "--trials", 3)
    assert "prior    two" in said
    assert "junctor, prior of the other sets" in said


@pytest.mark.parametrize("script", ["derive_votes.py", "evaluate_fusion.py"])
def test_a_folder_without_data_is_an_error_that_says_where_they_come_from(
    tmp_path: Path, script: str
) -> None:
    fit = ["--fit", tmp_path] if script == "evaluate_fusion.py" else []
    command = [sys.executable, LAB / script, *fit, "--data", tmp_path / "none"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "the docstring of lab/fusion_data.py says what has to lie there" in done.stderr
