"""Which of two answers is better: a model is asked twice, blind, in both orders.

A judge that likes the first place contradicts itself in the other order, and that counts as a tie (Zheng et
al., "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena", 2023, on position bias and on swapping). The
answers stand in fences that their writers cannot close (pool/fence.py), and of the judge's words nothing is
kept but one of three.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import Literal

import msgspec

from junctor.chat import ChatRequest, JunctorError, Model, collect
from junctor.pool.fence import fence, make_mark

Preference = Literal["ours", "theirs", "tie"]

PROMPT = resources.files("junctor.routing.measuring") / "prompts" / "judge.md"
PATIENCE_S = 60.0
"For each of the two questions."
MOST_TOKENS = 2000
"A judge that reasons needs more than its verdict has."
_TEMPERATURE = {"temperature": msgspec.Raw(b"0")}


class _Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    better: Literal["first", "second", "tie"]


class Judge:
    """A model that compares answers."""

    def __init__(self, model: Model, prompt: str, make_mark: Callable[[], str] = make_mark) -> None:
        """`prompt`: with `{mark}` where the mark is to stand."""
        self.model = model
        self._prompt = prompt
        self._make_mark = make_mark

    async def compare(self, request_id: str, question: str, ours: str, theirs: str) -> Preference | None:
        """Which one it prefers; None: no verdict could be had. Its calls are made for `request_id`."""
        forwards = await self._ask(request_id, question, ours, theirs)
        if forwards is None:
            return None
        backwards = await self._ask(request_id, question, theirs, ours)
        match forwards, backwards:
            case _, None:
                return None
            case "first", "second":
                return "ours"
            case "second", "first":
                return "theirs"
            case _:
                return "tie"

    async def _ask(self, request_id: str, question: str, first: str, second: str) -> str | None:
        mark = self._make_mark()
        messages = [
            {"role": "system", "content": self._prompt.replace("{mark}", mark)},
            {"role": "user", "content": render_case(mark, question, first, second)},
        ]
        request = ChatRequest(
            model=self.model.card.name,
            messages=msgspec.Raw(msgspec.json.encode(messages)),
            max_tokens=MOST_TOKENS,
            passthrough=_TEMPERATURE,
            id=request_id,
            within_s=PATIENCE_S,
        )
        try:
            answer = await collect(self.model.answer(request))
        except JunctorError:
            return None
        return parse_verdict(answer.text)


def render_case(mark: str, question: str, first: str, second: str) -> str:
    """What the judge is shown."""
    parts = (("REQUEST", question), ("FIRST ANSWER", first), ("SECOND ANSWER", second))
    fenced = [fence(name, text, mark) for name, text in parts]
    return "\n\n".join(fenced) + "\n\nWhich answer is better? Reply with the JSON object alone."


def parse_verdict(text: str) -> Literal["first", "second", "tie"] | None:
    """The verdict, where the judge kept to the form; None for anything else."""
    text = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    try:
        return msgspec.json.decode(text, type=_Verdict).better
    except (msgspec.DecodeError, UnicodeError):
        return None
