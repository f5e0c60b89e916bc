"""The check behind junctor.toml: lines are found in the forms of TOML that people write."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from junctor.settings import PriceSettings, Settings, parse_settings
from junctor.settings_check import SettingsError, mend_tables, suggestion, suggestion_or_all


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
    assert suggestion_or_all("prot", ["port", "host"]) == "; did you mean `port`?"
    assert suggestion_or_all("zzz", ["port", "host"]) == "; there are: port, host"
    assert suggestion_or_all("zzz", []) == ""


def test_what_is_mended_can_be_decoded_and_keeps_what_was_right() -> None:
    """Tables that are no such field, or not of its type, go; what has to be there is made up."""
    tables = {
        "servr": 1,
        "server": {"port": "x", "host": "h"},
        "models": [3, {"name": "b", "skills": ["tool", "json"], "price": {"input": "x"}}],
        "keys": "none",
    }
    settings = msgspec.convert(mend_tables(tables, Settings), Settings)
    assert (settings.server.host, settings.server.port, settings.keys) == ("h", 8400, ())
    assert [model.name for model in settings.models] == ["", "b"], "each in its place"
    assert settings.models[1].skills == ("json",)
    assert settings.models[1].price == PriceSettings(input=0.0, output=0.0)
