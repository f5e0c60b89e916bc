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
        ('[[models]]\nname = "auto"\nprovider = "openai"', "reserved for the router"),
        ('[[models]]\nname = "fusion"\nprovider = "openai"', "reserved for a fusion"),
        ('[[models]]\nname = "a b"\nprovider = "openai"', "letters, digits"),
        (
            '[[models]]\nname = "a"\nprovider = "x"\nfallbacks = ["zz"]',
            "no model is called `zz`; there are: a",
        ),
        ('[[models]]\nname = "a"\nprovider = "x"\nfallbacks = ["a"]', "`a` would fall back on itself"),
        (
            '[[models]]\nname = "a"\nprovider = "x"\n[[fusions]]\nname = "f"\njudge = "zz"',
            "fusions[0].judge: no model is called `zz`; there are: a, auto",
        ),
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


POOL = """
[[models]]
name = "small"
provider = "x"
[[models]]
name = "large"
provider = "x"
[[models]]
name = "vectors"
kind = "embeddings"
provider = "x"
"""


def fusions(*lines: str) -> str:
    return POOL + "".join(f"\n[[fusions]]\n{line}\n" for line in lines)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (['members = ["small"]'], "needs the key `name`"),
        (['name = "auto"'], "`auto` is reserved for the router"),
        (['name = "a b"'], "may hold letters, digits"),
        (['name = "small"'], "a model is called `small`, too"),
        (['name = "f"', 'name = "f"'], "fusions[1].name: `f` stands twice"),
        (['name = "f"\nmembers = ["smal"]'], "no model is called `smal`; did you mean `small`?"),
        (['name = "f"\nmembers = ["vectors"]'], "`vectors` makes embeddings"),
        (['name = "f"\nmembers = ["small", "small", "f"]'], "`f` would ask itself"),
        ([f'name = "f"\nmembers = {["small"] * 9}'], "1 to 8 members; this one has 9"),
        (['name = "f"\nmembers = ["fusion"]'], "with `depth = 2` it can be a member"),
        (
            ['name = "f"\nmembers = ["g"]\ndepth = 2', 'name = "g"\ndepth = 2'],
            "`g` has a depth of 2; a member's",
        ),
        (
            ['name = "f"\nmembers = ["g"]\ndepth = 3', 'name = "g"\nmembers = ["f"]\ndepth = 3'],
            "`f` would ask itself, through `g`",
        ),
        (
            [
                'name = "f"\nmembers = ["g"]\ndepth = 3',
                'name = "g"\nmembers = ["h"]\ndepth = 3',
                'name = "h"\nmembers = ["f"]\ndepth = 3',
            ],
            "fusions[2].members: `h` would ask itself, through `f`",
        ),
        (
            ['name = "f"\njudge = "larg"'],
            "fusions[0].judge: no model is called `larg`; did you mean `large`?",
        ),
        (['name = "f"\njudge = "vectors"'], "`vectors` makes embeddings"),
        (['name = "f"\njudge = "fusion"'], "`fusion` is a fusion; a judge is one model"),
        (['name = "f"\njudge_accuracy = 0.4'], "judge_accuracy: must lie between 0.5 and 1"),
        (['name = "f"\nmode = "best"'], "did you mean `best-of`?"),
        (['name = "f"\nquorum = 3'], "between 1 and the number of members, 2"),
        (['name = "f"\nmembers = ["small"]\nquorum = 2'], "between 1 and the number of members, 1"),
        (['name = "f"\nquorum = 0'], "quorum: must lie between 1"),
        (['name = "f"\ngrace_ms = -1'], "grace_ms: must be 0 or more"),
        (['name = "f"\ndeadline_ms = inf'], "deadline_ms: must be more than 0"),
        (['name = "f"\nmax_usd = 0'], "max_usd: must be more than 0"),
        (['name = "f"\nmax_completion_tokens = 0'], "max_completion_tokens: must be more than 0"),
        (['name = "f"\ntemperature = 2.5'], "temperature: must lie between 0 and 2"),
        (['name = "f"\ntemperature = nan'], "temperature: must lie between 0 and 2"),
        (['name = "f"\ndepth = 4'], "depth: must lie between 1 and 3"),
        (['name = "f"\nreasoning = "low"'], "reasoning: must be a table, is a string"),
    ],
)
def test_a_fusion_that_cannot_be_is_explained(lines: list[str], words: str) -> None:
    problems = problems_of(fusions(*lines))
    assert any(words in problem for problem in problems), problems
    assert all(problem.startswith("line ") for problem in problems)


def test_a_fusion_may_sample_one_model_and_ask_the_router_and_others() -> None:
    text = fusions(
        'name = "three"\nmembers = ["small", "small", "small"]\nquorum = 2\njudge = "auto"',
        'name = "fusion"\nmembers = ["small", "auto"]\nmode = "vote"',
        'name = "all"\nmembers = ["three", "fusion", "large"]\ndepth = 2\nreasoning = { effort = "low" }',
    )
    settings = parse_settings(text, Path("junctor.toml"))
    assert [fusion.name for fusion in settings.fusions] == ["three", "fusion", "all"]
    assert settings.fusions[2].reasoning == {"effort": "low"}


def test_members_wait_for_models_that_are_not_in_the_file() -> None:
    """Without `[[models]]` the pool is of those that are pulled."""
    text = '[[fusions]]\nname = "f"\nmembers = ["qwen", "auto"]\njudge = "qwen"\n'
    assert parse_settings(text, Path("junctor.toml")).fusions[0].members == ("qwen", "auto")
    assert any("would ask itself" in it for it in problems_of(text.replace('"auto"', '"f"')))
