"""Machine time as a price, and the card of a local model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.serving.card import card_of, machine_price
from junctor.serving.manifest import named, shipped


def test_an_hour_of_tokens_costs_an_hour() -> None:
    """10 tokens/s for an hour are 36,000 tokens: they cost what the hour costs."""
    price = machine_price(0.04, tokens_per_s=10, prefill_tokens_per_s=100)
    assert price.usd(0, 36_000) == pytest.approx(0.04)
    assert price.usd(360_000, 0) == pytest.approx(0.04)
    assert price.usd(360_000, 0, cached_tokens=360_000) == 0
    assert price.source == "machine time at 0.04 USD/h"


@given(st.floats(0, 100), st.floats(0.1, 1e4), st.floats(0.1, 1e4))
def test_a_slower_model_is_never_cheaper(usd: float, speed: float, prefill: float) -> None:
    """Per token, on the same machine."""
    fast, slow = machine_price(usd, speed * 2, prefill), machine_price(usd, speed, prefill)
    assert fast.output <= slow.output


def test_the_card_tells_what_the_manifest_says() -> None:
    """A fact is stated once."""
    manifest = named("qwen2.5-coder-1.5b")
    card = card_of(manifest, 0.04)
    assert card.name == manifest.name
    assert card.provider == "local"
    assert card.ability == manifest.ability
    assert card.skills == {"json"}
    assert card.price is not None
    assert card.price.source.startswith("machine time")


def test_the_window_is_what_the_engine_gives_but_never_more_than_was_trained() -> None:
    """8192 by default, to keep memory small."""
    for manifest in shipped().values():
        assert card_of(manifest, 0.04).window == 8192
        assert card_of(manifest, 0.04, window=1 << 20).window == 32768


def test_the_larger_model_costs_more() -> None:
    """Else a router would have no reason to choose the small one."""
    small, large = (card_of(manifest, 0.04).price for manifest in shipped().values())
    assert small
    assert large
    assert small.output < large.output
