"""`make demo` for real: both models, a real server, the official SDK."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from junctor.cli.demo import PROMPTS
from junctor.settings import read_environment


@pytest.mark.models
@pytest.mark.xdist_group("models")
@pytest.mark.timeout(600)
def test_the_demo_shows_both_models_their_reasons_and_the_saving(tmp_path: Path) -> None:
    """Weights come from the user's cache (pulled the first time); the database is a fresh one."""
    variables = {**read_environment().variables, "DEMO_EXIT": "1", "COLUMNS": "160"}
    variables["JUNCTOR_DATA_DIR"] = str(tmp_path)
    command = [sys.executable, "-m", "junctor", "demo"]
    done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(PROMPTS) >= 8
    shown = " ".join(done.stdout.split())
    assert "qwen2.5-coder-0.5b" in shown
    assert "qwen2.5-coder-1.5b" in shown
    assert "floor: cheapest" in shown
    saved = re.search(r"Saved: (\d+)%", shown)
    assert saved
    assert 0 < int(saved.group(1)) < 100
    fused = shown[shown.index("12 * 12") :]
    assert "2 of 2 answers agree" in fused
    assert "scripted 144" in fused
    assert re.search(r"called off: qwen2.5-coder-\d.5b, whose answer could not have changed that", fused)
    assert re.search(r"cost: \d+\.\d µUSD, \d+\.\d times qwen2.5-coder-1.5b alone", fused)
    decision = re.search(r"junctor why (dec_\w+)", shown)
    assert decision
    why = subprocess.run(
        [sys.executable, "-m", "junctor", "why", decision.group(1)],
        env=variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "was chosen" in why.stdout
    assert "machine time" in why.stdout
