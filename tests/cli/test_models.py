"""`junctor models`: the pool, its prices and where they come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from command import Junctor

CONFIG = """
[[models]]
name = "listed"
provider = "openai"
model = "gpt-4o-mini"
[[models]]
name = "own"
provider = "vllm"
price = { input = 0.1, output = 0.3 }
ability = 0.7
"""


def test_each_price_says_where_it_comes_from(
    home: Path, junctor: Junctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    (home / "junctor.toml").write_text(CONFIG)
    shown = junctor("models").stdout
    assert "0.15 / 0.6" in shown
    assert "genai-prices" in shown
    assert "0.1 / 0.3" in shown
    assert "junctor.toml" in shown
    assert "sk-test" not in shown


def test_an_empty_pool_says_what_to_do(junctor: Junctor) -> None:
    done = junctor("models")
    assert done.exit_code == 0
    assert "The pool is empty" in done.stderr
    assert "junctor pull qwen2.5-coder-0.5b" in done.stdout


def test_providers_say_which_keys_are_set_and_never_what_they_are(
    junctor: Junctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    shown = junctor("models", "--providers").stdout
    assert "OPENAI_API_KEY (set)" in shown
    assert "ANTHROPIC_API_KEY (not set)" in shown
    assert "sk-test" not in shown


FUSIONS = """
[[fusions]]
name = "thrice"
members = ["own", "own", "own"]
mode = "vote"
judge = "listed"
[[fusions]]
name = "pick"
members = ["listed", "own"]
mode = "best-of"
[[fusions]]
name = "count"
members = ["listed", "own"]
mode = "vote"
"""


def test_fusions_are_shown_with_their_members_and_the_presets(
    home: Path, junctor: Junctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is always there, too, and where the weights of the votes come from."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    (home / "junctor.toml").write_text(CONFIG + FUSIONS)
    shown = [" ".join(line.split()) for line in junctor("models").stdout.splitlines()]
    assert "fusion auto listed, own the best uninvolved member prior" in shown
    assert "thrice vote own x 3 listed prior" in shown
    assert "pick best-of listed, own the best that answers prior" in shown
    assert "count vote listed, own none prior" in shown
    assert "Presets beside these: general-high: listed, own; general-budget: own, listed" in shown


def test_where_nothing_chats_there_is_no_fusion(home: Path, junctor: Junctor) -> None:
    (home / "junctor.toml").write_text('[[models]]\nname = "v"\nkind = "embeddings"\nprovider = "scripted"\n')
    shown = junctor("models").stdout
    assert "The pool" in shown
    assert "Fusions" not in shown
