"""The last part of `junctor calibrate`: how good the judges of the fusions are, on answers just given."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from junctor.chat import ChatRequest, Model, ModelCard
from junctor.fusion.case import OWN_TOKENS, limit_reply
from junctor.fusion.judge import Judge
from junctor.pool.choice import Policy
from junctor.pool.metered import Metered, Spent, count_prompt_tokens
from junctor.pool.resilient import Resilience, Resilient
from junctor.routing.abilities import Abilities
from junctor.routing.calibration.judges import JudgeSkill, Pair, rate_judge
from junctor.routing.calibration.questions import Question
from junctor.settings import FusionSettings
from junctor.store.ids import new_id

WITHIN_S = 120.0
"For one pair: both orders, and their repairs."
_CALLS = 4
"For one pair, at most: two orders, each with a repair."
_BYTES_PER_TOKEN = 4


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one judge."""

    card: ModelCard
    skill: JudgeSkill | None
    "None: too few verdicts."
    asked: int
    "Pairs that it was shown: the money may have been too little for more."
    failed: str | None
    "Why the last pair without a verdict has none, in words."
    usd: float


class Purse:
    """What may still be spent. Calls in progress are counted with the most that they can cost."""

    def __init__(self, usd: float) -> None:
        self.left_usd = usd

    def take(self, usd: float) -> bool:
        """Set as much aside, if it is there."""
        if usd > self.left_usd:
            return False
        self.left_usd -= usd
        return True

    def give_back(self, usd: float) -> None:
        """What was set aside, and not spent."""
        self.left_usd += usd


def judges_of(fusions: Sequence[FusionSettings], abilities: Abilities) -> set[str]:
    """Who judges: who is named, else the best of the members that were measured."""
    known, judges = {each.model: each.p for each in abilities.models}, set[str]()
    for fusion in fusions:
        measured = [name for name in fusion.members or known if name in known]
        if judge := fusion.judge or max(measured, key=known.__getitem__, default=None):
            judges.add(judge)
    return judges


async def examine(
    judges: Mapping[str, Model], pairs: Sequence[Pair], purse: Purse, policy: Policy, concurrency: int
) -> list[Examined]:
    """Let each judge compare all pairs, in both orders. `judges`: bare models, by name."""
    resilience = Resilience(msgspec.structs.replace(policy, retry_share=1.0, hedge_share=0.0))
    asked = [Resilient([Metered(model, _ignore)], resilience) for model in judges.values()]
    return [await _examine(model, pairs, purse, asyncio.Semaphore(concurrency)) for model in asked]


def _ignore(request_id: str, spent: Spent) -> None:
    """The judge counts what it costs by itself."""


async def _examine(model: Model, pairs: Sequence[Pair], purse: Purse, gate: asyncio.Semaphore) -> Examined:
    judge, verdicts, failures, usd = Judge(model), list[float | None](), list[str](), 0.0

    async def show(pair: Pair) -> None:
        nonlocal usd
        request = _request_of(pair.question)
        most = _most_usd(model.card, request, pair)
        async with gate:
            if not purse.take(most):
                return
            judged = await judge.compare(request, [pair.right, pair.wrong], within_s=WITHIN_S)
            purse.give_back(most - judged.usd)
        usd += judged.usd
        if judged.failed is not None:
            failures.append(judged.failed)
        verdicts.append(None if judged.failed else {0: 1.0, 1: 0.0, None: 0.5}[judged.preferred])

    async with asyncio.TaskGroup() as group:
        for pair in pairs:
            group.create_task(show(pair))
    return Examined(
        card=model.card,
        skill=rate_judge(model.card, verdicts),
        asked=len(verdicts),
        failed=failures[-1] if failures else None,
        usd=usd,
    )


def _request_of(question: Question) -> ChatRequest:
    messages = question.messages
    if messages is None:
        messages = msgspec.Raw(msgspec.json.encode([{"role": "user", "content": question.prompt}]))
    return ChatRequest(model="", messages=messages, id=new_id("req_"))


def _most_usd(card: ModelCard, request: ChatRequest, pair: Pair) -> float:
    if card.price is None:
        return 0.0
    tokens = count_prompt_tokens(request) + len(pair.right + pair.wrong) // _BYTES_PER_TOKEN + OWN_TOKENS
    return _CALLS * card.price.usd(tokens, limit_reply(card))
