"""What an answer cost: `Metered` is a Model around a Model that counts and reports.

`Charged` is a Model around any other, one that has several answer for it included: it hears of every metered
call that is made on the way to its answers. So what a fusion says of its members is what the ledger counts.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from contextvars import ContextVar

import msgspec

from junctor.chat import (
    ChatRequest,
    Event,
    Finished,
    JunctorError,
    Model,
    ModelCard,
    Price,
    Raw,
    Started,
    Text,
    Thought,
    ToolCall,
    UpstreamBroken,
    UpstreamTimeout,
    Usage,
)

OK = "ok"
CLIENT_GONE = "client_gone"
"The reader left before the end."
UNKNOWN_PRICE = "unknown"
"Price source of a model whose price nobody knows; its cost counts as 0."

_BYTES_PER_TOKEN = 4
"English prose in the vocabularies of 2023-2026 comes to about four bytes a token."
_DATA_URL = re.compile(rb'"data:[^",]{1,200};base64,[^"]*"')
_TOKENS_PER_DATA_URL = 1000
"An image or a sound: its base64 says nothing about its tokens. Vendors count some 85 to 1,600 an image."


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What one call of one model came to."""

    model: str
    "Its name in the pool."
    input_tokens: int = 0
    "All input tokens, the cached ones included."
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_written_tokens: int = 0
    usd: float = 0.0
    price_source: str = UNKNOWN_PRICE
    first_token_ms: float | None = None
    "From the call to the first piece of the answer, milliseconds; None when there was none."
    total_ms: float = 0.0
    "From the call to its end, milliseconds."
    outcome: str = OK
    "`ok`, `client_gone`, or the code of a `JunctorError`."
    estimated: bool = False
    "True when some of the tokens are our own count: the upstream gave none, or the answer was cut."
    text_seen: bool = False
    "Whether any piece of an answer was passed on."
    reasoning_tokens: int = 0
    "Those of `output_tokens` that were spent on reasoning, where the upstream says so."


Report = Callable[[str, Spent], None]
"Takes the id of the request and what one call made for it came to. Must not raise."

Pay = Callable[[Spent], None]
"Takes what one call came to. Must not raise."

_payers: ContextVar[tuple[Pay, ...]] = ContextVar("payers", default=())
"Who hears of the calls that begin now. Tasks take it with them: members are asked in tasks of their own."


class Metered:
    """Passes a model's events on untouched, and reports exactly once for each `answer()` that was begun.

    It reports however the answer ends: whole, failed, or left by its reader. A call that was refused, or
    failed before it was sent, cost nothing. For any other the upstream's own count holds; without one, or
    when the answer was cut, see `Meter.spent`.
    """

    def __init__(self, model: Model, report: Report, clock: Callable[[], float] = time.perf_counter) -> None:
        """`clock` gives seconds from any origin."""
        self.card: ModelCard = model.card
        self._model = model
        self._report = report
        self._clock = clock

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """As `Model.answer`. A stream that just stops is reported, and raised, as `UpstreamBroken`."""
        meter, payers = Meter(self.card, request, self._clock), _payers.get()
        try:
            async with aclosing(self._model.answer(request)) as events:
                async for event in events:
                    meter.see(event)
                    yield event
            if not meter.finished:
                raise UpstreamBroken("the answer ended without a finish reason", model=self.card.name)
        except JunctorError as error:
            meter.fail(error)
            raise
        except (GeneratorExit, asyncio.CancelledError):
            meter.abandon()
            raise
        finally:
            spent = meter.spent()
            self._report(request.id, spent)
            for pay in payers:
                pay(spent)


class Charged:
    """Passes a model's events on untouched; `pay` hears of each metered call behind them, as it ends.

    Of calls that others make in turn, too: whoever stands around a router or a fusion hears of all of theirs.
    A call has ended when its events have: after `Finished`, not with it.
    """

    def __init__(self, model: Model, pay: Pay) -> None:
        self.card: ModelCard = model.card
        self._model = model
        self._pay = pay

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """As `Model.answer`."""
        payers = (*_payers.get(), self._pay)
        async with aclosing(self._model.answer(request)) as events:
            while True:
                # Only while the model is at work: the reader of these events makes calls of its own.
                token = _payers.set(payers)
                try:
                    event = await anext(events)
                except StopAsyncIteration:
                    return
                finally:
                    _payers.reset(token)
                yield event


class Meter:
    """Watches one answer."""

    def __init__(self, card: ModelCard, request: ChatRequest, clock: Callable[[], float]) -> None:
        self.outcome = "internal_error"
        "How it ended, unless `Finished` was seen: what no one names is our own fault."
        self.finished = False
        self._card = card
        self._request = request
        self._clock = clock
        self._began = clock()
        self._first: float | None = None
        self._taken = False
        "Whether the upstream has, as far as we know, read the prompt."
        self._usage: Usage | None = None
        self._pieces = 0
        self._bytes = 0
        self._shortest = 0
        self._relayed = False
        "Whether the pieces are frames, each with an envelope."

    def see(self, event: Event) -> None:
        """Note the next event."""
        match event:
            case Raw():
                if event.has_text:
                    self._relayed = True
                    self._count(len(event.frame))
            case Text() | Thought():
                self._count(_size(event.text))
            case ToolCall():
                self._count(_size(event.name) + _size(event.arguments))
            case Usage():
                self._usage = event
            case Started():
                self._taken = True
            case Finished():
                self.finished = True
            case _:
                pass

    def fail(self, error: JunctorError) -> None:
        """The model, or the way to it, failed. One that let us wait too long may have been at work."""
        self.outcome = error.code
        if isinstance(error, UpstreamTimeout) and error.sent:
            self._taken = True

    def abandon(self) -> None:
        """The reader left: before the first sign of the upstream it was most likely at work."""
        self.outcome = CLIENT_GONE
        self._taken = True

    def _count(self, size: int) -> None:
        if self._first is None:
            self._first = self._clock()
            self._shortest = size
        elif size < self._shortest:
            self._shortest = size
        self._pieces += 1
        self._bytes += size

    def spent(self) -> Spent:
        """What it came to, as of now.

        Counted by ourselves, where the upstream did not say: four bytes of UTF-8 are one token, an inline
        image or sound in the prompt is a thousand, and each piece of the answer is at least one. Of raw
        frames, the length of the shortest counts as the envelope that each one carries. An answer that was
        cut counts as what the upstream said or as what came through, whichever is more: some upstreams state
        a first usage at the start.
        """
        usage, price = self._usage_or_count(), self._card.price
        return Spent(
            model=self._card.name,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            cache_written_tokens=usage.cache_written_tokens,
            usd=cost_of(usage, price),
            price_source=price.source if price else UNKNOWN_PRICE,
            first_token_ms=None if self._first is None else (self._first - self._began) * 1e3,
            total_ms=(self._clock() - self._began) * 1e3,
            outcome=OK if self.finished else self.outcome,
            estimated=usage.estimated,
            text_seen=self._first is not None,
            reasoning_tokens=usage.reasoning_tokens,
        )

    def _usage_or_count(self) -> Usage:
        said = self._usage
        if said is not None and self.finished:
            return said
        if said is None:
            if not self._taken:
                return Usage(0, 0)
            return Usage(count_prompt_tokens(self._request), self._count_output_tokens(), estimated=True)
        counted = self._count_output_tokens()
        if counted <= said.output_tokens:
            return said
        return msgspec.structs.replace(said, output_tokens=counted, estimated=True)

    def _count_output_tokens(self) -> int:
        envelope = self._shortest * self._pieces if self._relayed and self._pieces > 1 else 0
        return max(self._pieces, -(-(self._bytes - envelope) // _BYTES_PER_TOKEN))


def cost_of(usage: Usage, price: Price | None) -> float:
    """USD; 0 without a price."""
    if price is None:
        return 0.0
    read, written = usage.cached_tokens, usage.cache_written_tokens
    return price.usd(usage.input_tokens, usage.output_tokens, read, written)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def count_prompt_tokens(request: ChatRequest) -> int:
    """Our own estimate of the input tokens, from the sizes alone."""
    text = bytes(request.messages)
    inline = 0
    if b";base64," in text:
        text, inline = _DATA_URL.subn(b'""', text)
    size = len(text) + (len(bytes(request.tools)) if request.tools is not None else 0)
    return -(-size // _BYTES_PER_TOKEN) + inline * _TOKENS_PER_DATA_URL
