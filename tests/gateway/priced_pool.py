"""A pool of models with prices, for tests of what a request may ask for and what it may cost."""

from __future__ import annotations

from typing import Any

import msgspec

from junctor.chat import ChatRequest, Constraints, ModelCard, Price


def card(name: str, price: Price | None, **more: int) -> ModelCard:
    return ModelCard(name=name, price=price, **more)


CHEAP = card("cheap", Price(input=1, output=2, source="test"))
DEAR = card("dear", Price(input=10, output=20, source="test"), max_output=100)
UNKNOWN = card("unknown", None)
CACHING = card("caching", Price(input=10, output=0, cache_write=12.5, source="test"))
NAMED = {
    "cheap": [CHEAP],
    "dear": [DEAR],
    "unknown": [UNKNOWN],
    "caching": [CACHING],
    "safe": [CHEAP, DEAR],
}
ROUTED = {"auto": [CHEAP, DEAR, UNKNOWN]}


def request(model: str = "auto", max_tokens: int | None = None, **limits: Any) -> ChatRequest:
    return ChatRequest(
        model=model,
        messages=msgspec.Raw(b'[{"role":"user","content":"Hi"}]'),
        max_tokens=max_tokens,
        constraints=Constraints(**limits),
    )
