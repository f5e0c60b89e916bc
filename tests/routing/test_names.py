"""One spelling for a model's name."""

from __future__ import annotations

from junctor.routing.names import canonical_name, short_name


def test_names_have_one_spelling() -> None:
    """And a short form without date, tuning and quantisation."""
    assert canonical_name("meta-llama/Meta-Llama-3.1-8B-Instruct") == "llama-3-1-8b-instruct"
    assert canonical_name("Llama-3.1-405B-Inst@sambanova") == "llama-3-1-405b-instruct"
    assert short_name("claude-3-5-sonnet-20241022") == "claude-3-5-sonnet"
    assert short_name("qwen2-5-7b-instruct-q4-k-m") == "qwen2-5-7b"
    assert short_name("gpt-4o-2024-08-06") == "gpt-4o"
