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
