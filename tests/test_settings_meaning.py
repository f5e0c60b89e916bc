"""What junctor.toml may not say although its types are right: names that clash, figures out of range."""

from __future__ import annotations

from pathlib import Path

import pytest

from junctor.settings import parse_settings
from junctor.settings_check import SettingsError


def problems_of(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        parse_settings(text, Path("junctor.toml"))
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[server", "is not valid TOML"),
        ("[serve]", "did you mean `server`?"),
        ("server = 3", "must be a table, is a number"),
        ("models = {}", "must be a list"),
        ("[server]\nport = true", "must be a whole number, is true or false"),
        ("[server]\nport = 70000", "between 0 and 65535"),
        ("[timeouts]\nidle_s = 0", "timeouts.idle_s: must be more than 0"),
        ("[timeouts]\ntotal_s = nan", "timeouts.total_s: must be more than 0"),
        ("[local]\nusd_per_hour = -1", "must be 0 or more"),
        ('[[models]]\nname = "a"\nprovider = "x"\nwindow = -5', "models[0].window: must be more than 0"),
        (
            '[[models]]\nname = "a"\nprovider = "x"\nprice = { input = -1, output = nan }',
            "models[0].price.output: must be 0 or more",
        ),
        ("[routing]\nquality = 2.0", "between 0 and 1"),
        ('[[models]]\nname = "auto"\nprovider = "openai"', "reserved"),
        ('[[models]]\nname = "a b"\nprovider = "openai"', "letters, digits"),
        ('[[models]]\nname = "a"\nprovider = "x"\nfallbacks = ["b"]', "no model is called `b`"),
        ('[[models]]\nname = "a"\nprovider = "x"\n[[models]]\nname = "a"\nprovider = "x"', "stands twice"),
        ('[[keys]]\nname = "k"\nsha256 = "short"', "64 hexadecimal digits"),
        ('[[models]]\nname = "a"\nprovider = "x"\napi_key = "sk-1"', "did you mean `api_key_env`?"),
    ],
)
def test_mistakes_are_explained(text: str, words: str) -> None:
    assert any(words in problem for problem in problems_of(text)), problems_of(text)


def test_a_key_written_where_its_name_belongs_is_not_repeated() -> None:
    problems = problems_of('[[models]]\nname = "a"\nprovider = "openai"\napi_key_env = "sk-proj-SECRET"')
    assert "name of an environment variable" in problems[0]
    assert "SECRET" not in problems[0]


@pytest.mark.parametrize(
    ("line", "at"),
    [
        ("[retries]\nshare = 1.5", "retries.share"),
        ("[hedging]\nshare = -0.1", "hedging.share"),
        ("[ejection]\nfailures = 0", "ejection.failures"),
        ("[ejection]\nmax_s = 0", "ejection.max_s"),
    ],
)
def test_what_keeps_an_outage_small_has_sensible_limits(line: str, at: str) -> None:
    assert [problem for problem in problems_of(line) if at in problem]
