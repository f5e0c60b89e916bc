"""What judges and writers are told: the texts in prompts/*.md."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Literal

_FOLDER = resources.files("junctor.fusion") / "prompts"


@cache
def read_instructions(name: Literal["judge", "analysis", "writing", "debate"]) -> str:
    """One of them, with `{mark}`, and in those for writers `{parts}`, where these are to stand.

    Read once, when it is first needed.
    """
    return (_FOLDER / f"{name}.md").read_text(encoding="utf-8").strip()
