"""The judge of a fusion: which answer is best, and what the answers agree on and where they differ.

Blind: it sees letters, given in random order, and no names. In both orders at once: a judge that likes a
place contradicts itself when the order is reversed, and that counts as a tie (Zheng et al., "Judging
LLM-as-a-Judge with MT-Bench and Chatbot Arena", 2023). Told rules, and to work out the request itself, which
is worth more than the second order (Zeng et al., "Evaluating Large Language Models at Evaluating Instruction
Following", 2024: LLMBar). The answers are hostile data: they stand in fences (pool/fence.py), and of the
reply nothing counts but one JSON object (findings.py). A reply without it is asked for once more.

What is certain of that, and what depends on the model: docs/judging.md.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial, reduce
from operator import add
from typing import Generic, NamedTuple, TypeVar

import msgspec

from junctor.chat import Analysis, ChatRequest, JunctorError, Model, Ruling, collect
from junctor.fusion.billing import Bill, billed
from junctor.fusion.case import (
    Material,
    Part,
    TooLong,
    fit,
    label_answers,
    limit_reply,
    material_of,
    render_parts,
)
from junctor.fusion.findings import TIE, Fault, FaultKind, parse_analysis, parse_verdict, read_reply
from junctor.fusion.instructions import read_instructions
from junctor.fusion.plan import who_may
from junctor.pool.fence import make_mark

FEWEST, MOST = 2, 8
"Answers that can be compared."
ASKED = 2
"Times for each verdict: a reply that is not in the form asked for has one repair."
_TEMPERATURE = {"temperature": msgspec.Raw(b"0")}
_JSON = msgspec.Raw(b'{"type":"json_object"}')
_shuffle: Callable[[list[int]], None] = random.SystemRandom().shuffle
_CALLED_OFF = Fault("judge_upstream_error", "was called off: the other order had failed")

T = TypeVar("T")


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What came of comparing answers."""

    rulings: tuple[Ruling, ...]
    "One for each order; `order` and `preferred` are places among the answers that were given."
    preferred: int | None = None
    "The answer that was preferred in both orders; None: a tie, or it failed."
    failed: str | None = None
    "Why there is no judgement, in words: one order alone without a verdict is enough. None: there is one."
    usd: float = 0.0


class Analysed(msgspec.Struct, frozen=True, kw_only=True):
    """What came of analysing answers."""

    analysis: Analysis | None = None
    "With the names of the members; None: it failed."
    failed: str | None = None
    "Why, in words."
    failure: FaultKind | None = None
    ruling: Ruling
    "What it took: the order in which the answers were shown, tokens, cost, time. It prefers nobody."


class _Heard(NamedTuple, Generic[T]):
    """What came of one question, its repair included."""

    found: T | Fault
    bill: Bill
    took_ms: float


class _Question(NamedTuple, Generic[T]):
    """What a judge is asked."""

    request: ChatRequest
    "On whose behalf."
    instructions: str
    parts: tuple[Part, ...]
    closing: str
    parse: Callable[[str], T | Fault]
    is_json: bool
    ends_at: float


class _Recall:
    """Ends questions that are under way."""

    def __init__(self) -> None:
        self._limits = set[asyncio.Timeout]()
        self._is_off = False

    async def wait_for(self, work: Awaitable[T]) -> T:
        """What comes of it. Raises `TimeoutError` once it is called off."""
        async with asyncio.timeout(0 if self._is_off else None) as limit:
            self._limits.add(limit)
            try:
                return await work
            finally:
                self._limits.discard(limit)

    def call_off(self) -> None:
        """Of those that wait, and of those that are still to come."""
        self._is_off = True
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            limit.reschedule(now)


class Judge:
    """A model that judges answers. It needs no state: any number of questions may be under way."""

    def __init__(
        self,
        model: Model,
        *,
        make_mark: Callable[[], str] = make_mark,
        shuffle: Callable[[list[int]], None] = _shuffle,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`model`: metered, for what it costs. `shuffle`: in place. `clock`: seconds, never backwards."""
        self.model = model
        self._make_mark = make_mark
        self._shuffle = shuffle
        self._clock = clock

    async def compare(self, request: ChatRequest, candidates: Sequence[str], *, within_s: float) -> Judgement:
        """Which of 2 to 8 answers serves the request best. Never raises a `JunctorError`.

        Two questions at once, each with one repair, all within `within_s`, and on the account of `request`.
        One that fails settles it: the other is called off.
        """
        order = self._draw_order(candidates)
        material, ends_at = material_of(request, candidates), self._clock() + within_s
        recall = _Recall()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._rule(request, material, order, ends_at, recall, second=False)),
                group.create_task(self._rule(request, material, order[::-1], ends_at, recall, second=True)),
            ]
        one, two = rulings = tasks[0].result(), tasks[1].result()
        return Judgement(
            rulings=rulings,
            preferred=one.preferred if one.preferred == two.preferred else None,
            failed=_tell_failure(rulings),
            usd=one.usd + two.usd,
        )

    async def analyse(
        self, request: ChatRequest, candidates: Sequence[tuple[str, str]], *, within_s: float
    ) -> Analysed:
        """What 1 to 8 answers agree on and where they differ, in OpenRouter's form. Never raises a
        `JunctorError`.

        `candidates`: member and answer. The judge sees letters; the names come back in the result.
        """
        order = self._draw_order(candidates, fewest=1)
        labels = label_answers(len(order))
        names = {label: candidates[at][0] for label, at in zip(labels, order, strict=True)}
        question = _Question(
            request=request,
            instructions=read_instructions("analysis"),
            parts=material_of(request, [text for _, text in candidates]).lay_out(order, labels),
            closing=f"The answers are {', '.join(labels)}. Reply with the JSON object alone.",
            parse=partial(parse_analysis, names=names),
            is_json=True,
            ends_at=self._clock() + within_s,
        )
        heard = await self._ask(question, _Recall())
        fault = heard.found if isinstance(heard.found, Fault) else None
        failed = None if fault is None else f"it {fault.words}"
        return Analysed(
            analysis=None if isinstance(heard.found, Fault) else heard.found,
            failed=failed,
            failure=fault.kind if fault else None,
            ruling=_render_ruling(heard, order, None, failed),
        )

    def _draw_order(self, candidates: Sequence[object], fewest: int = FEWEST) -> tuple[int, ...]:
        if not fewest <= len(candidates) <= MOST:
            raise ValueError(f"a judge takes {fewest} to {MOST} answers, not {len(candidates)}")
        order = list(range(len(candidates)))
        self._shuffle(order)
        return tuple(order)

    async def _rule(
        self,
        request: ChatRequest,
        material: Material,
        order: tuple[int, ...],
        ends_at: float,
        recall: _Recall,
        *,
        second: bool,
    ) -> Ruling:
        labels = label_answers(len(order), second=second)
        forms = [f'{{"best": "{label}"}}' for label in (*labels, TIE)]
        question = _Question(
            request=request,
            instructions=read_instructions("judge"),
            parts=material.lay_out(order, labels),
            closing=f"Which answer is best? Work it out; then end with one of {', '.join(forms)}.",
            parse=partial(parse_verdict, labels=labels),
            is_json=False,
            ends_at=ends_at,
        )
        heard = await self._ask(question, recall)
        if isinstance(heard.found, Fault):
            recall.call_off()
            return _render_ruling(heard, order, None, f"it {heard.found.words}")
        preferred = None if heard.found == TIE else order[labels.index(heard.found)]
        return _render_ruling(heard, order, preferred, None)

    async def _ask(self, question: _Question[T], recall: _Recall) -> _Heard[T]:
        """What it says, and what that took; of one that is called off, as far as it had come."""
        began, bills = self._clock(), [Bill()]
        found: T | Fault = _CALLED_OFF
        with suppress(TimeoutError):
            found = await recall.wait_for(self._find(question, billed(self.model, bills.append)))
        return _Heard(found, reduce(add, bills), (self._clock() - began) * 1e3)

    async def _find(self, question: _Question[T], model: Model) -> T | Fault:
        """Ask, and once more where the reply is not in the form asked for."""
        found: T | Fault = Fault("judge_upstream_error", "had no time left")
        for _ in range(ASKED):
            if (left_s := question.ends_at - self._clock()) <= 0:
                break
            try:
                answer = await collect(model.answer(self._render(question, left_s)))
            except (JunctorError, TooLong) as error:
                return Fault("judge_upstream_error", f"failed: {error}")
            text = read_reply(answer)
            found = text if isinstance(text, Fault) else question.parse(text)
            if not isinstance(found, Fault):
                break
            question = _with_repair(question, answer.text, found)
        return found

    def _render(self, question: _Question[T], left_s: float) -> ChatRequest:
        """The question as a request. Raises `TooLong`."""
        mark, card = self._make_mark(), self.model.card
        shown = render_parts(question.parts, mark, fit(card, question.parts))
        messages = [
            {"role": "system", "content": question.instructions.replace("{mark}", mark)},
            {"role": "user", "content": f"{shown}\n\n{question.closing}"},
        ]
        return ChatRequest(
            model=card.name,
            messages=msgspec.Raw(msgspec.json.encode(messages)),
            response_format=_JSON if question.is_json and "json" in card.skills else None,
            max_tokens=limit_reply(card),
            passthrough=_TEMPERATURE,
            id=question.request.id,
            caller=question.request.caller,
            within_s=left_s,
            constraints=who_may(question.request),
        )


def _tell_failure(rulings: Sequence[Ruling]) -> str | None:
    failures = [ruling.failed for ruling in rulings if ruling.failed is not None]
    if not failures:
        return None
    brought = "neither order" if len(failures) == len(rulings) else "only one of the two orders"
    why = next(each for each in failures if each != f"it {_CALLED_OFF.words}")
    return f"{brought} brought a verdict: {why}"


def _with_repair(question: _Question[T], said: str, fault: Fault) -> _Question[T]:
    """The question once more. What it said stands in a fence, too: it may quote what it has read."""
    closing = (
        f"You were asked this before, and your reply could not be used: you {_in_second_person(fault)}. "
        f"{question.closing} Reply with the JSON object alone this time, without anything before it."
    )
    earlier = (Part("YOUR EARLIER REPLY", said),) if said.strip() else ()
    return question._replace(parts=(*question.parts, *earlier), closing=closing)


def _in_second_person(fault: Fault) -> str:
    return {"judge_empty_completion": "said nothing", "judge_schema_mismatch": "used another form"}.get(
        fault.kind, "did not keep to the form"
    )


def _render_ruling(
    heard: _Heard[T], order: tuple[int, ...], preferred: int | None, failed: str | None
) -> Ruling:
    return Ruling(
        order=order,
        preferred=preferred,
        failed=failed,
        input_tokens=heard.bill.usage.input_tokens,
        output_tokens=heard.bill.usage.output_tokens,
        usd=heard.bill.usd,
        took_ms=heard.took_ms,
    )
