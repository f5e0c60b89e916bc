"""List prices, offline: `python -m junctor.pool.prices`.

Reads a JSON array of `PriceRef` on stdin and writes an array of `ListPrice` or null on stdout, in the same
order. The one file that imports genai-prices, which brings pydantic; `junctor.pool.catalog` runs it as a
child process, so that a server never carries them (docs/adr/0001).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import NamedTuple

import genai_prices
import msgspec
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

from junctor.pool.catalog import ListPrice, PriceRef

_DAYS_AHEAD = 30
"A price that does not change that soon is looked up again after that many days."


class _Flat(NamedTuple):
    input: float
    output: float
    cached_input: float | None
    cache_write: float | None
    tiered: bool


def look_up(ref: PriceRef, today: date) -> ListPrice | None:
    """The price of one model as of a day (UTC); None when the list does not know it, or no price for text.

    A price that depends on the length of the prompt is given as its base tier, one that depends on the hour
    as its dearest: the source says so.
    """
    try:
        usage = genai_prices.Usage(input_tokens=0, output_tokens=0)
        model = genai_prices.calc_price(usage, ref.model, provider_id=ref.provider).model
    except LookupError:
        return None
    prices = _by_hour(model, today)
    price = _dearest(prices)
    if price is None:
        return None
    remarks = ["base tier"] if price.tiered else []
    remarks += ["peak hours"] if len(set(prices)) > 1 else []
    return ListPrice(
        input=price.input,
        output=price.output,
        cached_input=price.cached_input,
        cache_write=price.cache_write,
        window=model.context_window,
        source=f"genai-prices {genai_prices.__version__}" + (f" ({', '.join(remarks)})" if remarks else ""),
        until=_next_change(model, today, price),
    )


def _by_hour(model: ModelInfo, day: date) -> list[_Flat]:
    hours = (datetime.combine(day, time(hour), UTC) for hour in range(24))
    prices = (_flatten(model.get_prices(hour)) for hour in hours)
    return [price for price in prices if price is not None]


def _dearest(prices: Iterable[_Flat]) -> _Flat | None:
    return max(prices, key=lambda price: price.input + price.output, default=None)


def _next_change(model: ModelInfo, today: date, price: _Flat) -> date:
    days = (today + timedelta(days=ahead) for ahead in range(1, _DAYS_AHEAD))
    last = today + timedelta(days=_DAYS_AHEAD)
    return next((day for day in days if price != _dearest(_by_hour(model, day))), last)


def _flatten(price: ModelPrice) -> _Flat | None:
    fresh, written, cached = price.input_mtok, price.output_mtok, price.cache_read_mtok
    kept = price.cache_write_mtok
    if fresh is None and written is None:
        return None
    return _Flat(
        input=_base(fresh) or 0.0,
        output=_base(written) or 0.0,
        cached_input=_base(cached),
        cache_write=_base(kept),
        tiered=any(isinstance(each, TieredPrices) for each in (fresh, written, cached, kept)),
    )


def _base(price: Decimal | TieredPrices | None) -> float | None:
    if price is None:
        return None
    return float(price.base if isinstance(price, TieredPrices) else price)


def main() -> None:
    """Answer the question on stdin."""
    refs = msgspec.json.decode(sys.stdin.buffer.read(), type=list[PriceRef])
    today = datetime.now(UTC).date()
    sys.stdout.buffer.write(msgspec.json.encode([look_up(ref, today) for ref in refs]))


if __name__ == "__main__":
    main()
