"""The check behind junctor.toml: lines are found in the forms of TOML that people write."""

from __future__ import annotations

from pathlib import Path

import pytest

from junctor.settings import parse_settings
from junctor.settings_check import SettingsError, suggestion


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[server]\n\n# a comment\n  prot = 1\n", 4),
        ("\nserver.prot = 1\n", 2),
        ('[[models]]\nname = "a"\nprovider = "x"\n\n[[models]]\nname = "b"\nprovider = "x"\nprise = 1\n', 8),
        ('[[models]]\nname = "a"\nprovider = "x"\nprice = { inptu = 1 }\n', 4),
        ("\n[ nothing ]\n", 2),
        ('[[models]]\nname = "a"\nprovider = "x"\nscript = [\n"Hi"]\n', 4),
        ('[[fusions]]\nname = "a"\nreasoning = "low"\n', 3),
    ],
)
def test_a_mistake_carries_its_line(text: str, line: int) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_settings(text, Path("j.toml"))
    first = caught.value.problems[0]
    assert first.startswith(f"line {line}: ")


def test_only_a_near_word_is_suggested() -> None:
    assert suggestion("prot", ["port", "host"]) == "; did you mean `port`?"
    assert suggestion("zzz", ["port", "host"]) == ""
