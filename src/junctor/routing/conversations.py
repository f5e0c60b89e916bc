"""Which model has the beginning of a conversation in its prompt cache.

    before, now = fingerprint(request, begun)
    memory.recall(before)                  model -> tokens of the prompt that it has read before
    memory.expect(request.id, model, now)  a call of this model begins, which will have read all of it
    memory.note(request.id, spent)         a call for the request has ended: `Metered` reports it

Calls that nobody expects say nothing: a fusion's judge, say, is asked under the same id, and reads another
prompt.

A conversation comes back with everything said so far: what stood before the last answer is the prompt that
this answer was given to. So its hash finds the model that gave it, and what a change of model would lose can
be priced. Nothing of the text is kept; hashes are, of no more prompts than `capacity`, and for `seconds`: so
long OpenAI and Anthropic keep a prompt ("Prompt caching" in both documentations, 2025: five minutes).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from hashlib import sha256
from typing import TypeVar

import msgspec

from junctor.chat import ChatRequest, Event, Model, ModelCard
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


class Reading:
    """A Model around a Model: each call of it reads a whole prompt, and is expected to."""

    def __init__(self, model: Model, conversations: Conversations, now: bytes) -> None:
        """`now`: the prompt's fingerprint."""
        self.card: ModelCard = model.card
        self._model = model
        self._conversations = conversations
        self._now = now

    def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """As `Model.answer`."""
        self._conversations.expect(request.id, self.card.name, self._now)
        return self._model.answer(request)


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
        self._expected = OrderedDict[tuple[str, str], list[bytes]]()
        "By request and model: the prompts of calls that are still to be reported, in their order."
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

    def expect(self, request_id: str, model: str, now: bytes) -> None:
        """A call of this model begins, for this request, with the prompt of this fingerprint."""
        if model in self._saving:
            prompts = self._expected.get((request_id, model), [])
            _put(self._expected, (request_id, model), [*prompts, now], self._capacity)

    def note(self, request_id: str, spent: Spent) -> None:
        """A call has ended. Never raises."""
        prompts = self._expected.get((request_id, spent.model))
        if prompts is None:
            return
        prompt = prompts.pop(0)
        if not prompts:
            del self._expected[request_id, spent.model]
        if not spent.text_seen:
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
