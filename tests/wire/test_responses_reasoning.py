"""Proofs of reasoning: wrapped for callers, unwrapped for those who can read them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.wire.responses_reasoning import (
    NATIVE,
    SEAL,
    parse_reasoning,
    render_reasoning,
    seal,
    text_of,
    unseal,
)

BLOCKS = st.fixed_dictionaries(
    {"type": st.just("thinking"), "thinking": st.text(max_size=50), "signature": st.text(max_size=50)}
) | st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": st.text(max_size=50)})


@given(BLOCKS)
def test_a_sealed_block_comes_back(block: dict[str, str]) -> None:
    assert unseal(seal(block)) == block


@given(st.text(max_size=50))
def test_what_somebody_made_up_is_no_block(text: str) -> None:
    unseal(SEAL + text)
    assert unseal(text) is None or text.startswith(SEAL)


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"type": "thinking"},
        {"type": "thinking", "thinking": 1, "signature": ""},
        {"type": []},
        {"type": "x"},
    ],
)
def test_what_is_sealed_must_be_a_block(content: Any) -> None:
    assert unseal(SEAL + base64.urlsafe_b64encode(json.dumps(content).encode()).decode()) is None


def test_a_responses_upstreams_own_proof_returns_to_it_with_its_id() -> None:
    item = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "Hm."}],
        "encrypted_content": "a:b",
        "id": "rs_1",
    }
    block = parse_reasoning(item)
    assert block == {"type": "thinking", "thinking": "Hm.", "signature": f"{NATIVE}rs_1:a:b"}
    assert render_reasoning(block) == item


def test_another_apis_proof_is_not_shown_to_a_responses_upstream() -> None:
    assert render_reasoning({"type": "thinking", "thinking": "Hm.", "signature": "abc"}) is None
    assert render_reasoning({"type": "redacted_thinking", "data": "x"}) is None


def test_what_a_reasoning_item_shows() -> None:
    summary = [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]
    assert text_of({"summary": summary}) == "a\n\nb"
    assert text_of({"summary": [], "content": [{"type": "reasoning_text", "text": "c"}]}) == "c"
    assert text_of({"summary": "odd", "content": [1]}) == ""
    assert parse_reasoning({"summary": summary}) is None
