"""List prices, read from the package's offline data."""

from __future__ import annotations

import io
from datetime import date
from decimal import Decimal
from types import SimpleNamespace

import genai_prices
import msgspec
import pytest
from genai_prices.types import ModelInfo, ModelPrice, Tier, TieredPrices

from junctor.pool import prices
from junctor.pool.catalog import ListPrice, PriceRef
from junctor.pool.prices import look_up

TODAY = date(2026, 11, 21)


def test_a_known_model_has_its_list_price() -> None:
    """A figure that is on the vendor's page since 2024: $0.15 and $0.60 a million, half for cached input."""
    found = look_up(PriceRef("openai", "gpt-4o-mini"), TODAY)
    assert found is not None
    assert (found.input, found.output, found.cached_input) == (0.15, 0.6, 0.075)
    assert found.window == 128_000
    assert found.source == f"genai-prices {genai_prices.__version__}"


@pytest.mark.parametrize(
    "ref", [PriceRef("openai", "no-such"), PriceRef("nobody", "gpt-4o"), PriceRef("", "")]
)
def test_an_unknown_model_has_none(ref: PriceRef) -> None:
    """Not an error."""
    assert look_up(ref, TODAY) is None


def test_a_price_by_length_is_given_as_its_base_tier() -> None:
    """And the source says so."""
    found = look_up(PriceRef("google", "gemini-2.5-pro"), TODAY)
    assert found is not None
    assert (found.input, found.output) == (1.25, 10.0)
    assert found.source.endswith("(base tier)")


def test_a_price_by_the_hour_is_given_as_the_dearest() -> None:
    """Nobody is billed less than it may have cost."""
    found = look_up(PriceRef("deepseek", "deepseek-chat"), TODAY)
    assert found is not None
    assert found.source.endswith("(peak hours)")
    cheap = genai_prices.calc_price(genai_prices.Usage(), "deepseek-chat", provider_id="deepseek").model
    assert isinstance(cheap.prices, list)
    inputs = [condition.prices.input_mtok for condition in cheap.prices]
    assert found.input == float(max(price for price in inputs if isinstance(price, Decimal)))


def test_a_price_that_will_change_is_looked_up_again_on_that_day() -> None:
    """A list that states a future price must not be cached past it."""
    today = date(2026, 11, 25)
    before = look_up(PriceRef("google", "gemini-4-argon"), today)
    assert before is not None
    assert before.until == date(2026, 12, 1)
    after = look_up(PriceRef("google", "gemini-4-argon"), before.until)
    assert after is not None
    assert (after.input, after.output) != (before.input, before.output)


def test_a_model_without_a_price_for_text_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speech by the minute is no price for a chat; a price for the input alone is one."""
    answer = SimpleNamespace(model=None)
    monkeypatch.setattr(prices.genai_prices, "calc_price", lambda *_, **__: answer)
    answer.model = ModelInfo(id="speech", match=None, prices=ModelPrice())  # pyright: ignore[reportArgumentType]
    assert look_up(PriceRef("x", "speech"), TODAY) is None
    tiers = TieredPrices(base=Decimal(2), tiers=[Tier(start=1000, price=Decimal(4))])
    answer.model = ModelInfo(id="a", match=None, prices=ModelPrice(input_mtok=tiers))  # pyright: ignore[reportArgumentType]
    found = look_up(PriceRef("x", "a"), TODAY)
    assert found is not None
    assert (found.input, found.output, found.cached_input) == (2.0, 0.0, None)


def test_the_program_answers_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A JSON array in, one of the same length out."""
    question = b'[{"provider":"openai","model":"gpt-4o"},{"provider":"x","model":"y"}]'
    output = io.BytesIO()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(question)))
    monkeypatch.setattr("sys.stdout", SimpleNamespace(buffer=output))
    prices.main()
    first, second = msgspec.json.decode(output.getvalue(), type=list[ListPrice | None])
    assert first is not None
    assert first.input == 2.5
    assert second is None
