"""What a person may write into junctor.toml, and what they read when it is wrong."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.settings import (
    Settings,
    add_lines,
    find_config,
    parse_settings,
    read_environment,
    read_settings,
)
from junctor.settings_check import SettingsError

WHERE = Path("junctor.toml")
CHOICES = "must be one of tools, vision, json, audio"


def problems_of(text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        parse_settings(text, WHERE)
    return caught.value.problems


def test_an_empty_file_gives_the_defaults() -> None:
    assert parse_settings("", WHERE) == Settings()
    assert read_settings(None) == Settings()


def test_a_full_file_is_read() -> None:
    settings = parse_settings(
        """
        [server]
        port = 9000
        [[keys]]
        name = "team"
        sha256 = "%s"
        [[models]]
        name = "small"
        provider = "openai"
        model = "gpt-4o-mini"
        price = { input = 1, output = 2.5 }
        skills = ["tools", "json"]
        fallbacks = ["large"]
        [[models]]
        name = "large"
        provider = "anthropic"
        [store]
        path = "~/x.db"
        [routing]
        mode = "cost"
        """
        % ("ab" * 32),
        WHERE,
    )
    small = settings.models[0]
    assert small.price is not None
    assert small.price.input == 1.0
    assert small.skills == ("tools", "json")
    assert settings.store.path == Path.home() / "x.db"
    assert settings.routing.mode == "cost"


def test_every_mistake_is_named_at_once_with_its_line_and_a_suggestion() -> None:
    problems = problems_of(
        '[server]\nprot = 1\n[[models]]\nname = "a"\nprovider = "openai"\n[models.price]\ninput = "x"\n'
        '[[models]]\nname = "b"\nskills = ["toolz"]\n'
    )
    assert problems == [
        "line 2: server.prot: unknown key; did you mean `port`?",
        "line 6: models[0].price: needs the key `output`",
        "line 7: models[0].price.input: must be a number, is a string",
        "line 8: models[1]: needs the key `provider`",
        f'line 10: models[1].skills[0]: {CHOICES}; is "toolz"; did you mean `tools`?',
    ]


def test_what_types_cannot_say_is_named_beside_what_they_can() -> None:
    """Nobody mends one mistake to hear of the next."""
    problems = problems_of(
        '[[models]]\nname = "a"\nprovider = "openai"\nskills = ["tool"]\nability = 72\n'
        '[[fusions]]\nname = "f"\nmembers = ["a", "b", "a"]\nmode = "bestof"\nquorum = 5\ndeadline_ms = -4\n'
    )
    assert [problem.split(": ")[:2] for problem in problems] == [
        ["line 4", "models[0].skills[0]"],
        ["line 5", "models[0].ability"],
        ["line 8", "fusions[0].members"],
        ["line 9", "fusions[0].mode"],
        ["line 10", "fusions[0].quorum"],
        ["line 11", "fusions[0].deadline_ms"],
    ]


def test_a_mistake_in_a_name_is_not_followed_by_others_that_come_of_it() -> None:
    """Where it is open which models there are, nobody is told that one is missing."""
    rest = (
        'provider = "x"\nfallbacks = ["b"]\n[[fusions]]\nname = "f"\nmembers = ["a", "auto"]\njudge = "a"\n'
    )
    for first in ("[[models]]\nname = 5\n", '[[models]]\nnmae = "a"\n', '[[modles]]\nname = "a"\n'):
        problems = problems_of(first + rest + "[server]\nport = 70000\n")
        assert not [problem for problem in problems if "no model is called" in problem], problems
        assert problems[-1].startswith("line 10: server.port: must lie between"), "the rest is checked"


def test_lines_are_found_for_mistakes_that_others_find(tmp_path: Path) -> None:
    file = tmp_path / "junctor.toml"
    file.write_text('[[models]]\nname = "a"\nprovider = "opnai"\n', encoding="utf-8")
    error = SettingsError(
        WHERE, ["as it was"], [("models[0].script", "is missing"), ("models[0].provider", "no")]
    )
    found = add_lines(error, file)
    assert (found.path, found.problems) == (
        file,
        ["line 1: models[0].script: is missing", "line 3: models[0].provider: no"],
    )
    for nowhere in (None, tmp_path / "gone.toml"):
        assert add_lines(error, nowhere).problems == ["as it was"]
    assert add_lines(SettingsError(WHERE, ["no places"]), file).problems == ["no places"]


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(tmp_path / "nowhere.toml")
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(tmp_path / "bad.toml")


@given(st.text(alphabet='[]{}=."\n abcmodelsrv13', max_size=120))
def test_no_text_can_crash_the_reader(text: str) -> None:
    """Whatever a person leaves in the file, the answer is settings or a list of problems."""
    with suppress(SettingsError):
        parse_settings(text, WHERE)


def test_the_configuration_is_found_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config() is None
    (tmp_path / "junctor.toml").touch()
    assert find_config() == Path("junctor.toml")
    assert find_config(Path("other.toml")) == Path("other.toml")


def test_directories_follow_the_environment() -> None:
    env = read_environment({"HOME": "/h", "XDG_CACHE_HOME": "/c", "JUNCTOR_DATA_DIR": "/d"})
    assert env.cache_dir == Path("/c/junctor")
    assert env.data_dir == Path("/d")
    assert read_environment({"HOME": "/h"}).data_dir == Path("/h/.local/share/junctor")


def test_package_indexes_are_pips_own(tmp_path: Path) -> None:
    """Weights come from where pip would take packages: its variables first, then its files."""
    (tmp_path / ".config/pip").mkdir(parents=True)
    (tmp_path / ".config/pip/pip.conf").write_text(
        "[global]\nindex-url = https://a.example/simple\nextra-index-url = https://b.example/%simple\n"
    )
    urls = read_environment({"HOME": str(tmp_path)}).index_urls
    assert urls[:2] == ("https://a.example/simple", "https://b.example/%simple")
    urls = read_environment({"HOME": str(tmp_path), "PIP_INDEX_URL": "https://c.example/simple"}).index_urls
    assert urls[0] == "https://c.example/simple"


def test_secrets_are_read_by_name_and_empty_is_none() -> None:
    env = read_environment({"HOME": "/h", "A_KEY": "s3cret", "EMPTY": ""})
    assert env.secret("A_KEY") == "s3cret"
    assert env.secret("EMPTY") is None
    assert env.secret("MISSING") is None
