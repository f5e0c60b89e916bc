"""The prompts are in the package, and have the places that are filled in."""

from __future__ import annotations

import subprocess
import sys

import pytest

from junctor.fusion.instructions import read_instructions


@pytest.mark.parametrize(
    ("name", "has_parts"), [("judge", False), ("analysis", False), ("writing", True), ("debate", True)]
)
def test_they_have_their_places(name: str, has_parts: bool) -> None:
    text = read_instructions(name)  # type: ignore[arg-type]
    assert "{mark}" in text
    assert ("{parts}" in text) is has_parts
    assert not [line for line in text.splitlines() if line.startswith("<<<")], "only fences begin so"


def test_none_is_read_at_import() -> None:
    code = (
        "from junctor.fusion import judge, writing, instructions;"
        "print(instructions.read_instructions.cache_info().misses)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "0"
