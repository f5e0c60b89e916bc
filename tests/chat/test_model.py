"""Prices: what an answer costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.chat import Price


def test_cached_tokens_are_billed_at_their_own_price() -> None:
    price = Price(input=1.0, output=4.0, cached_input=0.1, cache_write=1.25, source="test")
    assert price.usd(1_000_000, 0, 0, 400_000) == pytest.approx(0.6 * 1.0 + 0.4 * 1.25)
    assert price.usd(1_000_000, 500_000, cached_tokens=400_000) == pytest.approx(0.6 + 0.04 + 2.0)


def test_without_a_cache_price_cached_tokens_cost_as_much_as_others() -> None:
    price = Price(input=1.0, output=4.0, source="test")
    assert price.usd(1000, 10, cached_tokens=900) == price.usd(1000, 10)


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7))
def test_a_cost_is_never_negative(input_tokens: int, output_tokens: int, cached: int) -> None:
    """Even when an upstream reports more cached tokens than input tokens."""
    assert (
        Price(input=3, output=15, cached_input=0.3, source="test").usd(input_tokens, output_tokens, cached)
        >= 0
    )
