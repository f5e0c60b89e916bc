"""`junctor check`: is junctor.toml right?"""

from __future__ import annotations

from pathlib import Path

import pytest

from command import Junctor

GOOD = """
[[models]]
name = "a"
provider = "scripted"
script = [{ text = "Hi" }]
price = { input = 1, output = 2 }
first_token_ms = 10
tokens_per_s = 50
[[models]]
name = "b"
provider = "scripted"
script = [{ text = "Hi" }]
"""


def test_a_good_file_is_ok_and_advice_is_not_an_error(home: Path, junctor: Junctor) -> None:
    (home / "junctor.toml").write_text(GOOD)
    done = junctor("check")
    assert done.exit_code == 0
    assert "ok: junctor.toml: 2 model(s)" in done.stdout
    assert "b: no price is known" in done.stdout
    assert "a: " not in done.stdout


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('members = ["a", "a"]\ntemperature = 0', "says the same each time"),
        ('members = ["a"]', "name a itself"),
        ('members = ["a", "b"]\nmode = "vote"\njudge = "a"', "asks no judge"),
        ('members = ["a", "b"]\nquorum = 2', "`grace_ms` does nothing"),
        ('members = ["a", "b"]\nmax_usd = 1', "takes b for free"),
        ('members = ["a", "b"]', "the abler one wins every vote"),
        ('members = ["a", "b"]\nmode = "vote"', "the abler one wins every vote"),
    ],
)
def test_fusions_that_do_less_than_they_seem_to_are_noted(
    home: Path, junctor: Junctor, lines: str, words: str
) -> None:
    (home / "junctor.toml").write_text(f'{GOOD}[[fusions]]\nname = "f"\n{lines}\n')
    done = junctor("check")
    assert done.exit_code == 0
    assert "note: f: " in done.stdout
    assert words in done.stdout
    assert "2 model(s), 1 fusion(s), 0 key(s)" in done.stdout


@pytest.mark.parametrize(
    ("speed", "lines", "noted"),
    [
        (11, 'judge = "a"', True),
        (11, 'judge = "b"', False),  # whose speed nobody knows
        (11, "", False),  # b may judge
        (11, 'judge = "a"\nmode = "vote"', False),
        (60, 'judge = "a"', False),
    ],
)
def test_a_judge_that_is_too_slow_to_be_heard_is_noted(
    home: Path, junctor: Junctor, speed: int, lines: str, noted: bool
) -> None:
    """A model on a processor takes a minute for a verdict, and has failed by then."""
    config = GOOD.replace("tokens_per_s = 50", f"tokens_per_s = {speed}")
    (home / "junctor.toml").write_text(
        f'{config}[[fusions]]\nname = "f"\nmembers = ["a", "a", "b"]\n{lines}\n'
    )
    done = junctor("check")
    assert done.exit_code == 0
    assert (f"note: f: a ({speed} tokens/s) would judge" in done.stdout) == noted


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('name = "a"', 'nmae = "a"'), "line 3: models[0].nmae: unknown key; did you mean `name`?"),
        (('provider = "scripted"', 'provider = "opnai"'), "did you mean `openai`?"),
        (('provider = "scripted"', 'provider = "openai"'), "OPENAI_API_KEY is not set"),
        (('provider = "scripted"', 'provider = "local"'), "no local model is named `a`"),
        (('script = [{ text = "Hi" }]\nprice', "price"), "needs a `script`"),
        (('{ text = "Hi" }', '{ txet = "Hi" }'), "did you mean `text`?"),
        (("[[models]]", '[[fusions]]\nname = "f"\nmembers = ["aa"]\n[[models]]'), "did you mean `a`?"),
    ],
)
def test_a_mistake_ends_with_status_1_and_says_what_to_change(
    home: Path, junctor: Junctor, change: tuple[str, str], words: str
) -> None:
    (home / "junctor.toml").write_text(GOOD.replace(*change, 1))
    done = junctor("check")
    assert done.exit_code == 1
    assert words in done.stderr.replace("\n", " ").replace("  ", " ")
    assert "Traceback" not in done.stderr


def test_a_local_model_that_is_not_pulled_says_how(home: Path, junctor: Junctor) -> None:
    (home / "junctor.toml").write_text(
        '[[models]]\nname = "q"\nprovider = "local"\nmodel = "qwen2.5-coder-0.5b"'
    )
    assert "junctor pull qwen2.5-coder-0.5b" in junctor("check").stderr


def test_without_a_file_it_says_what_would_be_served(junctor: Junctor) -> None:
    done = junctor("check")
    assert done.exit_code == 0
    assert "No junctor.toml here" in done.stdout


def test_a_named_file_that_is_missing_is_an_error(junctor: Junctor) -> None:
    done = junctor("check", "--config", "nowhere.toml")
    assert done.exit_code == 1
    assert "nowhere.toml: cannot be read" in done.stderr.replace("\n", " ")


def test_what_only_the_surroundings_show_has_its_line_too(home: Path, junctor: Junctor) -> None:
    """A script, a provider, a variable: found when the models are put together, and told with their lines."""
    (home / "junctor.toml").write_text(
        '[[models]]\nname = "a"\nprovider = "scripted"\n[[models]]\nname = "b"\nprovider = "opnai"\n'
        '[[models]]\nname = "c"\nprovider = "scripted"\nscript = [{ txet = "x" }]\n'
        '[[models]]\nname = "d"\nprovider = "openai"\nmodel = "x"\n'
    )
    done = junctor("check")
    assert done.exit_code == 1
    told = " ".join(done.stderr.split())
    for words in (
        "line 1: models[0].script: provider scripted needs a `script`",
        "line 6: models[1].provider: provider `opnai` is not in the catalogue and has no base_url; did",
        "line 10: models[2].script:",
        "line 13: models[3].provider: the environment variable OPENAI_API_KEY is not set",
    ):
        assert words in told


def test_what_serve_refuses_is_no_ok(home: Path, junctor: Junctor) -> None:
    """A server that others can reach wants a key: of the file, or of the database."""
    (home / "junctor.toml").write_text(f'[server]\nhost = "0.0.0.0"\n{GOOD}')
    done = junctor("check")
    assert done.exit_code == 1
    assert "line 2: server.host: 0.0.0.0 can be reached" in " ".join(done.stderr.split())
    assert junctor("keys", "create", "ann").exit_code == 0
    assert junctor("check").exit_code == 0


def test_a_key_for_a_model_that_is_not_there_is_noted(home: Path, junctor: Junctor) -> None:
    key = f'[[keys]]\nname = "k"\nsha256 = "{"ab" * 32}"\nmodels = ["a", "auto", "panl", "general-high"]\n'
    (home / "junctor.toml").write_text(f'{GOOD}[[fusions]]\nname = "panel"\nmembers = ["a", "b", "b"]\n{key}')
    done = junctor("check")
    assert done.exit_code == 0
    noted = [line for line in done.stdout.splitlines() if line.startswith("note: key")]
    assert noted == [
        "note: key k: the key has no use of `panl` so far: nothing here is called so; did you mean `panel`?"
    ]
