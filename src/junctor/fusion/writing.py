"""What a model is asked that writes one answer from several, or argues for its own. Pure.

The caller's messages stay as they are, byte for byte: their images too. What is added comes after them, and
takes turns with them: some chat templates refuse two messages of the same side in a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from junctor.chat import Analysis, ChatRequest
from junctor.fusion.case import Part, label_answers, render_parts
from junctor.fusion.instructions import read_instructions
from junctor.pool.fence import MOST_CHARS, make_mark
from junctor.wire.json_value import as_object, as_text

_AWAITING = "Drafts of this reply were asked for. I will look at them before I reply."
_NOTHING = "(no text)"


def render_writing(
    request: ChatRequest,
    candidates: Sequence[tuple[str, str]],
    analysis: Analysis | None,
    *,
    most_chars: int = MOST_CHARS,
    make_mark: Callable[[], str] = make_mark,
) -> msgspec.Raw:
    """The messages for the writer of the final answer.

    `candidates`: member and answer; the writer sees letters. `most_chars`: of each of them.
    """
    parts = parts_of(candidates, analysis)
    asked = _user(_fill(read_instructions("writing"), parts, make_mark(), most_chars))
    has_spoken = _last_role(request) == "assistant"
    return _append(request, [asked] if has_spoken else [_assistant(_AWAITING), asked])


def parts_of(candidates: Sequence[tuple[str, str]], analysis: Analysis | None) -> list[Part]:
    """What the writer is shown beside the caller's messages."""
    labels = label_answers(len(candidates))
    parts = [Part(f"DRAFT {label}", text) for label, (_, text) in zip(labels, candidates, strict=True)]
    if analysis is not None:
        parts.append(Part("COMPARISON", _tell_analysis(analysis, candidates, labels)))
    return parts


def render_debate(
    request: ChatRequest,
    own: str,
    others: Sequence[str],
    *,
    most_chars: int = MOST_CHARS,
    make_mark: Callable[[], str] = make_mark,
) -> msgspec.Raw:
    """The messages for a member that is to look at its answer again, beside those that differ from it."""
    parts = [
        Part(f"ANSWER {label}", text) for label, text in zip(label_answers(len(others)), others, strict=True)
    ]
    said = own.encode("utf-8", "replace").decode() if own.strip() else _NOTHING
    asked = _user(_fill(read_instructions("debate"), parts, make_mark(), most_chars))
    return _append(request, [_assistant(said), asked])


def _fill(instructions: str, parts: Sequence[Part], mark: str, most_chars: int) -> str:
    # The parts come last: what stands in them is not filled in.
    return instructions.replace("{mark}", mark).replace("{parts}", render_parts(parts, mark, most_chars))


def _append(request: ChatRequest, added: Sequence[dict[str, str]]) -> msgspec.Raw:
    messages = msgspec.json.decode(request.messages, type=list[msgspec.Raw])
    return msgspec.Raw(msgspec.json.encode([*messages, *added]))


def _last_role(request: ChatRequest) -> str:
    messages = msgspec.json.decode(request.messages, type=list[msgspec.Raw])
    return as_text(as_object(msgspec.json.decode(messages[-1])).get("role")) if messages else ""


def _assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _tell_analysis(analysis: Analysis, candidates: Sequence[tuple[str, str]], labels: Sequence[str]) -> str:
    """The analysis in words, with letters instead of names."""

    def letters(name: str) -> str:
        found = [label for label, (member, _) in zip(labels, candidates, strict=True) if member == name]
        return " or ".join(found) or "one draft"

    lines = [f"Agreed: {text}" for text in analysis.consensus]
    for it in analysis.contradictions:
        stances = "; ".join(f"{letters(stance.model)} holds: {stance.stance}" for stance in it.stances)
        lines.append(f"Contradiction: {it.topic} ({stances})")
    lines += [
        f"Only in {', '.join(map(letters, dict.fromkeys(it.models)))}: {it.point}"
        for it in analysis.partial_coverage
    ]
    lines += [f"Seen by {letters(it.model)} alone: {it.insight}" for it in analysis.unique_insights]
    lines += [f"Missing from all: {text}" for text in analysis.blind_spots]
    return "\n".join(lines) or "Nothing was found worth telling."
