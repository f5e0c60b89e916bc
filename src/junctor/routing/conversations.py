"""Which model has the beginning of a conversation in its prompt cache.

    before, now = fingerprint(request, begun)
    memory.recall(before)                  model -> tokens of the prompt that it has read before
    memory.expect(request.id, now)         what is asked for this request will have read all of it
    memory.note(request.id, spent)         a call for it has ended: `Metered` reports it

A conversation comes back with everything said so far: what stood before the last answer is the prompt that
this answer was given to. So its hash finds the model that gave it, and what a change of model would lose can
be priced. Nothing of the text is kept; hashes are, of no more prompts than `capacity`, and for `seconds`: so
long OpenAI and Anthropic keep a prompt ("Prompt caching" in both documentations, 2025: five minutes).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import sha256
from typing import TypeVar

import msgspec

from junctor.chat import ChatRequest, ModelCard
from junctor.pool.metered import Spent

CAPACITY = 10_000
SECONDS = 300.0
SHORTEST_PROMPT = 1024
"Tokens. OpenAI and Anthropic cache no prompt that is shorter."

_NOTHING: Mapping[str, int] = {}
K = TypeVar("K")
V = TypeVar("V")


class Fingerprints(msgspec.Struct, frozen=True, gc=False):
    """Of one request."""

    now: bytes
    "All of its messages."
    before: bytes | None = None
    "Those before the last answer of a model; None where there is none."


class _Spoken(msgspec.Struct, gc=False):
    """A message, as far as its speaker."""

    role: str


_split = msgspec.json.Decoder(list[msgspec.Raw])
_spoken = msgspec.json.Decoder(_Spoken)


class _Cached(msgspec.Struct, gc=False):
    """What is known of one prompt."""

    until: float
    tokens: dict[str, int]
    "By the model that read it."


def fingerprint(request: ChatRequest, *, begun: bool) -> Fingerprints:
    """Hashes of a request's messages as they came, with its tools and the key that asks.

    The messages have been read before, so they are in order. `begun`: whether a model has spoken.
    """
    messages = _split.decode(request.messages)
    last = _last_answer(messages) if begun else None
    # Twice as fast as BLAKE2 where processors have instructions for it. JSON has no byte 0.
    digest = sha256(b"\0".join((request.caller.encode(), bytes(request.tools or b""), *messages[:last])))
    if last is None:
        return Fingerprints(digest.digest())
    before = digest.digest()
    digest.update(b"\0" + b"\0".join(messages[last:]))
    return Fingerprints(digest.digest(), before)


def _last_answer(messages: Sequence[msgspec.Raw]) -> int | None:
    for at in range(len(messages) - 1, -1, -1):
        if _spoken.decode(messages[at]).role == "assistant":
            return at
    return None


class Conversations:
    """Remembers who has read which prompt. Lives in one event loop."""

    def __init__(
        self,
        cards: Collection[ModelCard],
        *,
        capacity: int = CAPACITY,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`cards`: of the pool; `clock`: seconds, never backwards."""
        self._cached = OrderedDict[bytes, _Cached]()
        "The one that was used last stands last."
        self._expected = OrderedDict[str, bytes]()
        "Fingerprints by request: calls for it are still to be reported."
        self._capacity = capacity
        self._seconds = seconds
        self._clock = clock
        prices = {card.name: card.price for card in cards if card.price is not None}
        self._saving = {
            name
            for name, price in prices.items()
            if price.cached_input is not None and price.cached_input < price.input
        }
        self._told = {name for name in self._saving if prices[name].cache_write is not None}
        """Models that take money for writing to their cache: they write what they are asked to write, and say
        how much. The others cache of their own accord all that they read."""

    @property
    def matters(self) -> bool:
        """Whether there is anything to lose: a model that reads from its cache for less."""
        return bool(self._saving) and self._capacity > 0 and self._seconds > 0

    def __len__(self) -> int:
        return len(self._cached)

    def recall(self, before: bytes | None) -> Mapping[str, int]:
        """The models that have read this prompt lately: how much of it is in their caches, tokens."""
        cached = None if before is None else self._cached.get(before)
        if before is None or cached is None:
            return _NOTHING
        if cached.until < self._clock():
            del self._cached[before]
            return _NOTHING
        self._cached.move_to_end(before)
        return cached.tokens

    def expect(self, request_id: str, now: bytes) -> None:
        """Calls for this request will have read the prompt of this fingerprint."""
        _put(self._expected, request_id, now, self._capacity)

    def note(self, request_id: str, spent: Spent) -> None:
        """A call has ended. Never raises."""
        prompt = self._expected.get(request_id)
        if prompt is None or spent.model not in self._saving or not spent.text_seen:
            return
        tokens = spent.input_tokens
        if spent.model in self._told:
            tokens = spent.cached_tokens + spent.cache_written_tokens
        if tokens < SHORTEST_PROMPT:
            return
        cached = self._cached.get(prompt)
        until = self._clock() + self._seconds
        if cached is None or cached.until < self._clock():
            cached = _Cached(until, {})
        cached.until = until
        cached.tokens[spent.model] = tokens
        _put(self._cached, prompt, cached, self._capacity)


def _put(kept: OrderedDict[K, V], key: K, value: V, capacity: int) -> None:
    """As the newest; the oldest makes room for it."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > capacity:
        kept.popitem(last=False)
