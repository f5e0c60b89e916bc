"""The reference pages say what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_every_setting_route_event_and_error_is_documented_as_it_is() -> None:
    done = subprocess.run(
        [sys.executable, "lab/write_reference.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_every_setting_has_words() -> None:
    """No row of the settings page lacks its meaning."""
    text = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    assert "|  |\n" not in text.replace("| | ", "")
