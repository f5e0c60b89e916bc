"""What a model says while it answers: a stream of `Event`s.

The order every model keeps:

    Routed?  ((Drafted | Settled | Judging)* Routed)?  Started  (Text | Thought | ToolCall | Raw)*  Usage?
    Routed?  Finished

`Started` may come again, for another model, as long as nothing of the first was said; so may `Routed`, with
the same decision as it stands by then: the last one holds. `Drafted`, `Settled` and `Judging` are no part of
the answer.

A stream that ends without `Finished` was cut; models raise an `UpstreamError` instead.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from junctor.chat.fusion import Verdict

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One model as the router saw it, for one request."""

    name: str
    p_good: float
    "Predicted probability of a good answer, 0..1."
    p_source: str
    """Where that comes from: `measured ability` (`..., moved by like prompts`), `declared ability`,
    `artefact`, `estimated ability`; of a fusion's members `ability`."""
    usd: float
    "Estimated cost of the answer, USD."
    cached_tokens: int = 0
    "Tokens of the prompt that are likely in its prompt cache, from the conversation so far; `usd` knows."
    p_error: float | None = None
    "Standard error of `p_good` that comes from a measured ability; None where none was measured."
    first_token_ms: float | None = None
    "Estimated time to the first token, milliseconds; None when nothing is known."
    total_ms: float | None = None
    "Estimated time to the whole answer, milliseconds; None when nothing is known."
    refused_because: str | None = None
    "Why it was not taken, in words; None for the chosen one."
    ruled_out_by: str | None = None
    "The constraint that it does not satisfy (`max_usd`, `needs.vision`, ...); None when it satisfies all."


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What one model answered to a cascade or a fusion."""

    model: str
    answer: str | None = None
    "What is compared: a number, a letter, a tool call, its first 80 characters; None: not comparable."
    failed: str | None = None
    "Why there is no answer, in words."
    output_tokens: int = 0
    usd: float = 0.0
    "What its calls cost; of one that failed or was cut, as far as it had come."
    took_ms: float = 0.0


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a cascade: some models were asked at once, and the vote of all so far was counted."""

    drafts: tuple[Draft, ...]
    leads: str | None = None
    "The first model that gave the likeliest answer; None when no answer can be compared."
    p_top: float = 0.0
    "Probability that this answer is right, 0..1."
    gain: float | None = None
    "What going on was expected to bring, its cost taken off; above 0 it goes on. None: not asked for."


class Escalation(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a request that climbed a cascade, and what is promised for such requests."""

    ladder: str
    "Version of the calibration."
    floor: float
    "Promised: this share of the strongest model's quality ..."
    confidence: float
    "... with this probability."
    prompts: int
    "It was learnt on so many."
    steps: tuple[Step, ...] = ()
    because: str = ""
    "Why this answer was taken, in words."
    degraded: bool = False
    "Whether the rule could not be followed: the strongest model failed, and another answer was taken."
    usd: float = 0.0
    "What all calls together cost: estimated where the answer only begins."


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Which model answers, and why not the others."""

    id: str
    "Starts with `dec_`."
    request_id: str
    candidates: tuple[Candidate, ...]
    "Every model of the pool, best first: the chosen one, then those to fall back on, then the ruled out."
    chosen: str
    rule: str
    "One sentence: why the chosen one was taken."
    mode: str
    floor: float | None
    "The quality floor in force, 0..1; None without one."
    features: dict[str, float]
    "The named features of the prompt that the prediction saw, for reading, not for recomputing."
    path: str
    "The kind of decision: `prompt`, `cascade`, or `fusion`."
    took_us: float
    "Time the decision took, microseconds."
    saved_usd: float
    "Estimated cost of the strongest candidate minus that of the chosen one, USD."
    artefact: str
    "Version of the predictor that was used."
    escalation: Escalation | None = None
    "Of a cascade: which models were asked, and why this answer was taken."
    fusion: Verdict | None = None
    "Of a fusion: its members, their answers, and how one came of them."


class Routed(msgspec.Struct, frozen=True, tag=True):
    """A router has chosen; the answer follows."""

    decision: Decision


class Drafted(msgspec.Struct, frozen=True, tag=True):
    """A model has answered, for comparison: whose answer is taken is not decided yet."""

    draft: Draft
    text: str = ""
    "All that it said."
    round: int = 1
    "In a debate each is asked twice: 1, then 2."


class Settled(msgspec.Struct, frozen=True, tag=True):
    """The answers still to come cannot change the outcome; who has not answered is called off."""

    model: str
    "Whose answer it is."
    awaited: int
    asked: int


class Judging(msgspec.Struct, frozen=True, tag=True):
    """A model is asked to judge the answers, or to write one from them."""

    judge: str
    candidates: int
    "Answers it is shown."


class Started(msgspec.Struct, frozen=True, tag=True):
    """A model has taken the request: from here on it is the one that answers."""

    model: str
    "Its name in the pool."
    left_out: tuple[str, ...] = ()
    "Fields of the request that its dialect cannot carry, though the answer may differ without them."


class Text(msgspec.Struct, frozen=True, tag=True):
    """The next piece of the answer."""

    text: str


class Thought(msgspec.Struct, frozen=True, tag=True):
    """The next piece of the model's reasoning, where the upstream shows it.

    A block of it ends with its proof: `signature`, or all of it is `redacted`. Upstreams that give them want
    them back with the next request, unchanged.
    """

    text: str = ""
    signature: str = ""
    "The upstream's proof that the block is its own; comes after the block's text."
    redacted: str = ""
    "A whole block that the upstream encrypted."


class ToolCall(msgspec.Struct, frozen=True, tag=True):
    """A piece of a tool call. `id` and `name` come with the first piece of a call and are empty after it."""

    index: int
    "Which call of this answer, from 0."
    id: str = ""
    name: str = ""
    arguments: str = ""
    "The next piece of the arguments' JSON text."


class Usage(msgspec.Struct, frozen=True, tag=True):
    """Tokens as the upstream counted them. The last one of a stream holds."""

    input_tokens: int
    "All input tokens, the cached ones included."
    output_tokens: int
    "All output tokens, those of reasoning included."
    cached_tokens: int = 0
    "Those of `input_tokens` that were read from the upstream's prompt cache."
    estimated: bool = False
    "True when we counted, because the upstream did not say."
    cache_written_tokens: int = 0
    "Those of `input_tokens` that were written to the upstream's prompt cache, where that has a price."
    reasoning_tokens: int = 0
    "Those of `output_tokens` that were spent on reasoning, where the upstream says so."


class Finished(msgspec.Struct, frozen=True, tag=True):
    """The answer is complete."""

    reason: FinishReason
    stop_sequence: str | None = None
    "The sequence of the caller's that ended it, where the upstream says so."


class Raw(msgspec.Struct, frozen=True, tag=True):
    """A piece of the answer as the upstream sent it, in the dialect that `ChatRequest.relay` named.

    For a streamed request: the data of one server-sent event. Otherwise: the whole reply body.
    """

    frame: bytes
    has_text: bool = True
    "False for frames that carry no part of the answer (a role, a ping): they do not count as the first text."


Event = Routed | Drafted | Settled | Judging | Started | Text | Thought | ToolCall | Usage | Finished | Raw
