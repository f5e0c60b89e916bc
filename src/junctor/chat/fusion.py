"""A fusion: what a caller may say of it, and the record of what became of it."""

from __future__ import annotations

from typing import Literal

import msgspec

FusionMode = Literal["auto", "vote", "best-of", "merge", "debate"]
"""How several answers become one: counted, judged, written anew, or argued over. `auto`: counted where they
can be compared, and judged where that leaves two; written anew where they cannot."""

OnJudgeFailure = Literal["vote", "best", "error"]
"Without a judge: the vote decides, or the best member's answer is taken, or the request fails."


class FusionOptions(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """What one request says of its fusion. What it leaves out is as the fusion of that name is configured.

    The first six names are those of OpenRouter's fusion plugin.
    """

    analysis_models: tuple[str, ...] = ()
    "The members: names in the pool. A name that comes n times is asked n times."
    model: str | None = None
    "The judge, who also writes what is merged: a name in the pool."
    preset: str | None = None
    "The name of a configured fusion, or `general-high` or `general-budget`."
    max_completion_tokens: int | None = None
    "Most tokens of each member's answer."
    temperature: float | None = None
    "For the members alone; a judge is always asked at 0."
    reasoning: msgspec.Raw | None = None
    "For the members alone: an object, passed on as it is."
    mode: FusionMode | None = None
    quorum: int | None = None
    "Once so many have answered, the others get `grace_ms` more."
    grace_ms: float | None = None
    deadline_ms: float | None = None
    "Who has not answered by then is not waited for, milliseconds from the start."
    max_usd: float | None = None
    "Estimated cost of all calls together, USD, at most."
    on_judge_failure: OnJudgeFailure | None = None
    events: bool = False
    "Whether the stream is to say how the fusion gets on: members done, settled, judging."


class MemberReply(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one member."""

    model: str
    status: Literal["answered", "failed", "cut", "spared", "left_out"]
    """`cut`: too late, or the request ended before; `spared`: its answer could not have changed anything;
    `left_out`: not asked."""
    reason: str | None = None
    "Why it gave no answer, in words."
    answer: str | None = None
    "What is compared: a number, a letter, a tool call, its first 80 characters; None: not comparable."
    cluster: int | None = None
    "Which of `Verdict.clusters` it belongs to."
    weight: float = 0.0
    "Of its vote: logits."
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    "What all its calls cost; of one that was cut, spared or failed, as far as it had come."
    took_ms: float = 0.0


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """Equal answers."""

    answer: str | None
    "None: quoting answers is turned off."
    members: tuple[int, ...]
    "Places in `Verdict.members`."
    p: float
    "Probability that it is right, as the vote sees it, 0..1."


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    """What the judge said to one question, in one order of the candidates."""

    order: tuple[int, ...]
    "The members whose answers it was shown, first to last: places in `Verdict.members`."
    preferred: int | None = None
    "One of them; None: a tie, or no verdict."
    failed: str | None = None
    "Why there is none, in words."
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0
    took_ms: float = 0.0


class Stance(msgspec.Struct, frozen=True):
    """What one member holds."""

    model: str
    stance: str


class Contradiction(msgspec.Struct, frozen=True):
    """Where members contradict each other."""

    topic: str
    stances: tuple[Stance, ...] = ()


class Coverage(msgspec.Struct, frozen=True):
    """A point that only some have made."""

    models: tuple[str, ...]
    point: str


class Insight(msgspec.Struct, frozen=True):
    """What a single member has seen."""

    model: str
    insight: str


class Analysis(msgspec.Struct, frozen=True, kw_only=True):
    """The answers compared, before one is written from them. The keys are OpenRouter's."""

    consensus: tuple[str, ...] = ()
    contradictions: tuple[Contradiction, ...] = ()
    partial_coverage: tuple[Coverage, ...] = ()
    unique_insights: tuple[Insight, ...] = ()
    blind_spots: tuple[str, ...] = ()


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How one answer came of several: the `fusion` block of a reply."""

    fusion: str
    "Its name in the pool."
    mode: FusionMode
    "As asked for."
    path: str = ""
    """What was done: `vote`, `vote+judge`, `best-of`, `merge`, `debate`, `one answer` (a single one came),
    `best member` (nothing could be compared)."""
    members: tuple[MemberReply, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    "Likeliest first."
    chosen: int | None = None
    "The member whose answer is given, a place in `members`; None where a new one was written."
    because: str = ""
    "Why, in words."
    judge: str | None = None
    "Who judged, or wrote; None: nobody had to."
    rulings: tuple[Ruling, ...] = ()
    analysis: Analysis | None = None
    degraded: str | None = None
    "What did not go as it should: a judge failed, the deadline came; None: nothing."
    asked: int = 0
    awaited: int = 0
    "Answers that were waited for."
    saved_answers: int = 0
    "Answers that were called off because they could not have changed the outcome."
    votes: str = ""
    "Where the weights come from: a calibration, or `prior`."
    best_member: str = ""
    "Who is best by what is known: what the cost is compared with."
    usd: float = 0.0
    "All calls together."
    cost_multiple: float | None = None
    "`usd` over what the best member alone would have cost; None where that is nothing or unknown."
