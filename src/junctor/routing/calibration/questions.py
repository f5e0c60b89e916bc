"""Checkable questions of our own making, to calibrate a pool with.

Pure, and seeded: the same count and seed give the same questions. Each is a template filled with drawn
values, and its answer is computed from them, so it is right by construction and no model can know it by
heart. Five levels: what a small model does in its head, up to what takes a page of working.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import msgspec

from junctor.routing.calibration.questions_logic import ask_order, ask_truth_tellers
from junctor.routing.calibration.questions_numbers import (
    ask_algebra,
    ask_chance,
    ask_dates,
    ask_sequence,
    ask_units,
    ask_word_problem,
)
from junctor.routing.calibration.questions_text import ask_list, ask_program, ask_string, ask_table

LEVELS = 5
_Ask = Callable[[Random, int], tuple[str, str]]
"Of a source of chance and a level: the question, and its answer."
_KINDS: dict[str, _Ask] = {
    "word problem": ask_word_problem,
    "algebra": ask_algebra,
    "units": ask_units,
    "dates": ask_dates,
    "sequence": ask_sequence,
    "chance": ask_chance,
    "order": ask_order,
    "truth tellers": ask_truth_tellers,
    "string": ask_string,
    "list": ask_list,
    "program": ask_program,
    "table": ask_table,
}
KINDS = tuple(_KINDS)
_ENDINGS = (
    "Put your final answer on the last line, in the form `Answer: ...`.",
    "Work it out, then end with a line that reads `Answer: ...`.",
    "Think as long as you need. The last line must be `Answer: ...`.",
    "Finish with one line of the form `Answer: ...` and nothing after it.",
    "Reason briefly. Close with `Answer: ...` on a line of its own.",
    "Give your reasoning first; the last line is `Answer: ...`.",
)
_MOST_TRIES = 60
"Draws for one new question before its kind counts as used up at this level."


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Something to ask a model, and what is right."""

    prompt: str
    "The whole text to send."
    answer: str | None
    "The right final answer; None: nobody has said."
    kind: str
    "One of `KINDS`; `own` for a user's prompts."
    difficulty: int = 0
    "1 (easy) .. 5; 0: nobody has said."
    messages: msgspec.Raw | None = None
    "To send instead of `prompt`: messages in OpenAI's form."


def make_questions(count: int, seed: int) -> list[Question]:
    """So many, no two alike; kinds and levels take turns, so that any beginning is a fair sample."""
    rng = Random(seed)  # noqa: S311 - for questions, not for secrets
    seen, made = set[str](), list[Question]()
    slots = [(kind, level) for level in range(1, LEVELS + 1) for kind in KINDS]
    while len(made) < count:
        rng.shuffle(slots)
        before = len(made)
        for kind, level in slots[: count - len(made)]:
            question = _draw(rng, kind, level, seen)
            if question is not None:
                made.append(question)
        if len(made) == before:
            raise ValueError(f"there are no more than {len(made)} different questions")
    return made


def _draw(rng: Random, kind: str, level: int, seen: set[str]) -> Question | None:
    for _ in range(_MOST_TRIES):
        text, answer = _KINDS[kind](rng, level)
        if text not in seen:
            seen.add(text)
            prompt = f"{text}\n\n{rng.choice(_ENDINGS)}"
            return Question(prompt=prompt, answer=answer, kind=kind, difficulty=level)
    return None
