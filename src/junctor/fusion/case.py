"""What a judge is shown: the request and the answers, each in a fence, as much as its window holds. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase
from typing import NamedTuple

from junctor.chat import Answer, ChatRequest, ModelCard
from junctor.fusion.findings import disarm
from junctor.pool.as_text import render_answer, render_conversation, render_form, render_tools
from junctor.pool.fence import MOST_CHARS, fence, share
from junctor.pool.prompt import estimate_tokens

MOST_TOKENS = 8000
"Of a judge's reply: one that reasons needs more than what it says has."
OWN_TOKENS = 1200
"What instructions, lines of fences and closing words come to, at most."
LEAST_CHARS = 200
"Of each part, where it has more: whoever sees less of it cannot judge it."
_EMPTY = "(nothing)"
_MARGIN = 0.85
"Tokens are estimated: that much of the room is used."
_MOST_CHARS_PER_TOKEN = 4.0


class Part(NamedTuple):
    """A piece of the material."""

    name: str
    "In capitals: what the lines of its fence say."
    text: str


class Material(NamedTuple):
    """The request, what belongs to it, and the answers, in no order."""

    about: tuple[Part, ...]
    "The request, its tools and the form it asks for, where it has any."
    answers: tuple[str, ...]

    def lay_out(self, order: Sequence[int], labels: Sequence[str]) -> tuple[Part, ...]:
        """All parts, with the answers in that order, under those letters."""
        shown = (Part(f"ANSWER {label}", self.answers[at]) for label, at in zip(labels, order, strict=True))
        return (*self.about, *shown)


class TooLong(Exception):
    """The judge's window does not hold enough of the material."""


def label_answers(count: int, *, second: bool = False) -> tuple[str, ...]:
    """The letters of so many answers, in the order in which they are shown.

    The second question shows the reversed order. Where the number is odd its letters begin with B: so no
    answer has the same letter in both, and whoever asks for a letter asks for two different answers.
    """
    begin = count % 2 if second else 0
    return tuple(ascii_uppercase[begin : begin + count])


def render_candidate(answer: Answer) -> str:
    """An answer as a judge or a writer is shown it: its text, and its tool calls in words."""
    return render_answer(answer)


def material_of(request: ChatRequest, answers: Sequence[str]) -> Material:
    """What there is to judge."""
    parts = [Part("REQUEST", render_conversation(request))]
    if tools := render_tools(request):
        parts.append(Part("TOOLS", tools))
    if form := render_form(request):
        parts.append(Part("FORM", form))
    about = tuple(Part(name, disarm(text)) for name, text in parts)
    return Material(about, tuple(disarm(text) or _EMPTY for text in answers))


def render_parts(parts: Sequence[Part], mark: str, most_chars: int = MOST_CHARS) -> str:
    """The parts in their fences."""
    return "\n\n".join(fence(part.name, part.text, mark, most_chars) for part in parts)


def fit(card: ModelCard, parts: Sequence[Part], read_tokens: int = 0) -> int:
    """The most characters of each part, such that a model can read all and reply.

    Raises `TooLong`. All parts have the same limit: no answer is shown more of because of its place.
    `read_tokens`: of what it reads beside the parts.
    """
    sizes = [min(len(part.text), MOST_CHARS) for part in parts]
    sample = "".join(part.text[:MOST_CHARS] for part in parts)
    per_token = min(_MOST_CHARS_PER_TOKEN, len(sample) / max(1, estimate_tokens(sample)))
    tokens = card.window - limit_reply(card) - OWN_TOKENS - read_tokens
    each = share(sizes, int(tokens * per_token * _MARGIN))
    if each < min(LEAST_CHARS, max(sizes)):
        raise TooLong(
            f"the window of `{card.name}`, {card.window:,} tokens, is too small for {len(parts)} parts of "
            f"{max(sizes):,} characters"
        )
    return each


def limit_reply(card: ModelCard) -> int:
    """The most tokens of the judge's reply."""
    return min(MOST_TOKENS, card.window // 4, card.max_output or MOST_TOKENS)
