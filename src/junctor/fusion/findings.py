"""What a judge has said, read strictly: a verdict, or an analysis, or why it is neither. Pure.

Of a reply nothing is believed but the one JSON object that it has to end with. A judge quotes what it reads,
so an object that stands in a reply need not be its own. Therefore it is shown none that could be taken for a
verdict (`disarm`), and where there is more than one in its reply, none counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from junctor.chat import Analysis, Answer, Contradiction, Coverage, Insight, Stance
from junctor.pool.fence import clean
from junctor.wire.json_value import BAD_JSON

TIE = "tie"
MOST_ENTRIES = 12
"Of each list of an analysis; the rest is left out."
MOST_CHARS = 1000
"Of each of its texts."

FaultKind = Literal[
    "judge_upstream_error", "judge_empty_completion", "judge_not_valid_json", "judge_schema_mismatch"
]
"The names are OpenRouter's."

_VERDICT = re.compile(r'\{\s*"best"\s*:\s*"(?:answer\s+)?([a-z]{1,3})"\s*\}[\s`*.]*$', re.IGNORECASE)
_ARMED = re.compile(r'"best"(?=\s*:\s*"(?:answer\s+)?[a-z]{1,3}")', re.IGNORECASE)
_QUOTES = "\"'`\u2018\u2019\u201c\u201d"
_MENTION = re.compile(rf"[{_QUOTES}]best[{_QUOTES}]\s*:|\bbest[{_QUOTES}]\s*:", re.IGNORECASE)
_THOUGHT_BEGINS, _THOUGHT_ENDS = "<think>", "</think>"


class Fault(msgspec.Struct, frozen=True):
    """Why there is no finding."""

    kind: FaultKind
    words: str
    "Completes `the judge ...`."


class _Stance(msgspec.Struct):
    model: str
    stance: str


class _Contradiction(msgspec.Struct):
    topic: str
    stances: list[_Stance]


class _Coverage(msgspec.Struct):
    models: list[str]
    point: str


class _Insight(msgspec.Struct):
    model: str
    insight: str


class _Analysis(msgspec.Struct):
    consensus: list[str]
    contradictions: list[_Contradiction]
    partial_coverage: list[_Coverage]
    unique_insights: list[_Insight]
    blind_spots: list[str]


def disarm(text: str) -> str:
    """Material without anything that `parse_verdict` would take for a verdict, if a judge quoted it."""
    return _ARMED.sub('"[best]"', clean(text))


def read_reply(answer: Answer) -> str | Fault:
    """The judge's words, without thoughts that its server left among them."""
    if answer.reason == "length":
        return Fault("judge_not_valid_json", "was cut off before its reply was complete")
    text = answer.text.strip()
    if text.startswith(_THOUGHT_BEGINS):
        # What it quotes in its thoughts may end them early: then nobody knows where its reply begins.
        if text.count(_THOUGHT_ENDS) != 1:
            return Fault("judge_not_valid_json", "did not say where its thoughts end")
        text = text.partition(_THOUGHT_ENDS)[2].strip()
    return text or Fault("judge_empty_completion", "said nothing")


def parse_verdict(text: str, labels: Sequence[str]) -> str | Fault:
    """One of `labels`, or `TIE`: the one verdict of a reply, which has to end with it."""
    found = _VERDICT.search(text)
    if found is None:
        return Fault("judge_not_valid_json", "did not end its reply with a verdict in the form asked for")
    if len(_MENTION.findall(text)) != 1:
        return Fault("judge_not_valid_json", "wrote more than one verdict, or quoted one")
    said = found[1].upper()
    if said == TIE.upper():
        return TIE
    if said not in labels:
        return Fault("judge_schema_mismatch", f"chose `{said}`, which is none of {', '.join(labels)}")
    return said


def parse_analysis(text: str, names: Mapping[str, str]) -> Analysis | Fault:
    """An analysis. `names`: of the members, by the letters of their answers, which become names again."""
    text = text.removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    try:
        said = msgspec.json.decode(text.encode("utf-8", "replace"), type=_Analysis)
        return _name_members(said, names)
    except msgspec.ValidationError as error:
        return Fault("judge_schema_mismatch", f"replied with JSON of another form: {error}")
    except BAD_JSON as error:
        return Fault("judge_not_valid_json", f"did not reply with JSON alone: {error}")
    except _UnknownLetter:
        letters = ", ".join(names)
        return Fault("judge_schema_mismatch", f"named an answer that is none of {letters}")


class _UnknownLetter(Exception):
    pass


def _name_members(said: _Analysis, names: Mapping[str, str]) -> Analysis:
    """Raises `_UnknownLetter`."""

    def name(letter: str) -> str:
        known = names.get(letter.strip().upper().removeprefix("ANSWER").strip())
        if known is None:
            raise _UnknownLetter
        return known

    return Analysis(
        consensus=_texts(said.consensus),
        contradictions=tuple(
            Contradiction(
                _short(it.topic),
                tuple(Stance(name(one.model), _short(one.stance)) for one in it.stances[:MOST_ENTRIES]),
            )
            for it in said.contradictions[:MOST_ENTRIES]
        ),
        partial_coverage=tuple(
            Coverage(tuple(map(name, it.models[:MOST_ENTRIES])), _short(it.point))
            for it in said.partial_coverage[:MOST_ENTRIES]
        ),
        unique_insights=tuple(
            Insight(name(it.model), _short(it.insight)) for it in said.unique_insights[:MOST_ENTRIES]
        ),
        blind_spots=_texts(said.blind_spots),
    )


def _texts(texts: list[str]) -> tuple[str, ...]:
    return tuple(map(_short, texts[:MOST_ENTRIES]))


def _short(text: str) -> str:
    text = text.strip()
    return text if len(text) <= MOST_CHARS else text[: MOST_CHARS - 1] + "\N{HORIZONTAL ELLIPSIS}"
