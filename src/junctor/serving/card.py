"""What a local model costs, and its card."""

from __future__ import annotations

from junctor.chat import ModelCard, Price
from junctor.serving.manifest import Manifest


def machine_price(usd_per_hour: float, tokens_per_s: float, prefill_tokens_per_s: float) -> Price:
    """The price of a token as the machine time it takes, USD per million tokens.

    A local answer is not free: the machine is paid by the hour, and while it answers one request it delays
    the others. Counted as if one request had the machine to itself, so what is saved is never overstated.
    Tokens whose key-value cache is still held in a slot cost next to nothing to read again: they count as 0.
    """
    usd_per_s = usd_per_hour / 3600
    return Price(
        input=usd_per_s / prefill_tokens_per_s * 1e6,
        output=usd_per_s / tokens_per_s * 1e6,
        cached_input=0.0,
        source=f"machine time at {usd_per_hour:g} USD/h",
    )


def card_of(manifest: Manifest, usd_per_hour: float, *, window: int = 8192) -> ModelCard:
    """The card of a local model that is given `window` tokens a request, at most those it was trained for."""
    return ModelCard(
        name=manifest.name,
        upstream=manifest.name,
        provider="local",
        price=machine_price(usd_per_hour, manifest.tokens_per_s, manifest.prefill_tokens_per_s),
        window=min(window, manifest.window),
        skills=manifest.skills,
        ability=manifest.ability,
        first_token_ms=_TYPICAL_PROMPT / manifest.prefill_tokens_per_s * 1000,
        tokens_per_s=manifest.tokens_per_s,
        licence=manifest.licence,
    )


_TYPICAL_PROMPT = 60
"Tokens of a short chat with its template: what `first_token_ms` is told for."
