"""The one idea: anything that can answer a chat is a `Model`.

An upstream is a Model; a router is a Model that answers by choosing one; retry and metering are Models around
Models. Whoever wants an answer calls `pool[name].answer(request)` and reads events.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Protocol, runtime_checkable

import msgspec

from junctor.chat.events import Event
from junctor.chat.request import ChatRequest, Dialect, Skill


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """USD per million tokens."""

    input: float
    output: float
    cached_input: float | None = None
    "For input tokens read from the upstream's prompt cache; None: as `input`."
    cache_write: float | None = None
    "For input tokens written to the upstream's prompt cache; None: as `input`."
    source: str
    "Where the price comes from, with its version: stamped on every cost row."

    def usd(
        self, input_tokens: int, output_tokens: int, cached_tokens: int = 0, cache_written_tokens: int = 0
    ) -> float:
        """Cost of one answer in USD. `input_tokens` includes the cached ones, read and written."""
        read_price = self.input if self.cached_input is None else self.cached_input
        write_price = self.input if self.cache_write is None else self.cache_write
        fresh_tokens = max(0, input_tokens - cached_tokens - cache_written_tokens)
        read, written = cached_tokens * read_price, cache_written_tokens * write_price
        return (fresh_tokens * self.input + read + written + output_tokens * self.output) / 1e6


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model: facts as data, so that no code asks for a model by name."""

    name: str
    "Its name in the pool."
    upstream: str = ""
    "Its name at the upstream."
    provider: str = ""
    "Who serves it: a name of the catalogue, `local`, `scripted`, or a host."
    dialect: Dialect = "openai_chat"
    price: Price | None = None
    "None: unknown. The ledger counts its cost as 0, source `unknown`; the router takes it for the dearest."
    window: int = 8192
    "Tokens it can read and write in all."
    max_output: int | None = None
    "Tokens it can write at most; None: as the window allows."
    skills: frozenset[Skill] = frozenset()
    ability: float | None = None
    "Mean probability of a good answer on the predictor's reference prompts, 0..1; None: ask the artefact."
    first_token_ms: float | None = None
    "Typical time to the first token, milliseconds."
    tokens_per_s: float | None = None
    "Typical output speed."
    licence: str = ""


class Model(Protocol):
    """Anything that can answer a chat."""

    @property
    def card(self) -> ModelCard:
        """What is known of it."""
        ...

    def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Answer as a stream of events, in the order that `chat.events` describes.

        Raises a `JunctorError`: before the first text it may be tried elsewhere, after it the answer is cut.
        Whoever stops reading early closes the generator (`contextlib.aclosing`), which cancels the upstream.
        """
        ...


@runtime_checkable
class Joint(Protocol):
    """What a Model can say, too, that has others answer for it."""

    def most_usd(self, request: ChatRequest, tokens: int, answer_tokens: int) -> float | None:
        """What an answer may cost within the request's limits, USD, where the dearest give it.

        `tokens`: of the prompt; `answer_tokens`: of each answer that is asked for. None: no price is known.
        """
        ...


Pool = Mapping[str, Model]
"The models by name; routers and fusions stand in it beside the upstreams."
