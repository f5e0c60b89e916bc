"""Every example runs, against a real server, and prints something."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from running import running

EXAMPLES = sorted((Path(__file__).resolve().parent.parent / "examples").glob("*.py"))
CONFIG = """
[[models]]
name = "small"
provider = "scripted"
price = { input = 1, output = 2 }
ability = 0.6
script = [{ text = "Bon" }, { text = "jour." }]
[[models]]
name = "large"
provider = "scripted"
price = { input = 10, output = 20 }
ability = 0.9
script = [{ text = "Good day." }]
"""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(path: Path, tmp_path: Path) -> None:
    with running(CONFIG, tmp_path) as server:
        done = subprocess.run(
            [sys.executable, path, server.url], capture_output=True, text=True, check=False, timeout=60
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert done.stderr == ""
