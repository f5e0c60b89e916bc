"""The benchmark runs on made-up data, and its figures mean what they say."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path

import pytest

LAB = Path(__file__).resolve().parents[2] / "lab"
sys.path.insert(0, str(LAB))

from bench_fusion import measure_hung, measure_latency  # noqa: E402
from fusion_data import make_table, read_sets  # noqa: E402

pytestmark = pytest.mark.anyio


async def test_all_agree_so_two_of_three_are_waited_for_and_a_hung_one_until_the_deadline(
    tmp_path: Path,
) -> None:
    row = {name: {"a": "42", "c": 1, "chars": 40} for name in "abc"}
    lines = [json.dumps({"id": at, "models": row}) for at in range(6)]
    (tmp_path / "toy_answers.jsonl").write_text("\n".join(lines), encoding="utf-8")
    table = make_table(read_sets(tmp_path)["toy"], ["a", "b", "c"])
    wanted = Namespace(seed=0, speed=200.0, at_once=6)
    latency = await measure_latency(table, wanted)
    assert (latency["prompts"], latency["awaited"]) == (6, 2)
    assert latency["ratio_to_slowest_awaited_p50"] >= 1
    hung = await measure_hung(table, wanted)
    assert hung["over_the_deadline_ms_p50"] > 0
