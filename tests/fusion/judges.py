"""Judges for tests: models that read what they are shown and reply by a rule."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from typing import NamedTuple

import msgspec

from hostile_answers import Part, read_case
from junctor.chat import ChatRequest, Event, Finished, FinishReason, ModelCard, Price, Started, Text, Usage

PRICE = Price(input=1.0, output=10.0, source="test")
_FORMS = re.compile(r'\{"best": "(\w+)"\}')


class Case(NamedTuple):
    """What a judge was shown."""

    answers: dict[str, str]
    "By letter, in the order in which they stand."
    parts: list[Part]
    outside: list[str]
    "Lines outside of all fences."
    is_repair: bool


class RuleJudge:
    """Replies what `rule` makes of the case."""

    def __init__(
        self, rule: Callable[[Case], str], reason: FinishReason = "stop", window: int = 200_000
    ) -> None:
        self.card = ModelCard(name="judge", price=PRICE, window=window)
        self.requests: list[ChatRequest] = []
        self.cases: list[Case] = []
        self._rule = rule
        self._reason: FinishReason = reason

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Read, and reply."""
        self.requests.append(request)
        case = open_case(request)
        self.cases.append(case)
        await asyncio.sleep(0)
        yield Started("judge")
        yield Text(self._rule(case))
        yield Usage(100, 10)
        yield Finished(self._reason)


def open_case(request: ChatRequest) -> Case:
    """What stands in a judge's request."""
    system, user = msgspec.json.decode(request.messages)
    assert (system["role"], user["role"]) == ("system", "user")
    parts, outside = read_case(user["content"])
    answers = {it.name.removeprefix("ANSWER "): it.text for it in parts if it.name.startswith("ANSWER ")}
    is_repair = any("You were asked this before" in line for line in outside)
    return Case(answers, parts, outside, is_repair)


def verdict(best: str) -> str:
    return f'{{"best": "{best}"}}'


def choosing(wanted: str, *, otherwise: str = "tie") -> Callable[[Case], str]:
    """A rule: the answer that holds some words."""

    def rule(case: Case) -> str:
        found = [letter for letter, text in case.answers.items() if wanted in text]
        return f"I worked it out.\n{verdict(found[0] if found else otherwise)}"

    return rule
