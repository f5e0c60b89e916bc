"""A fusion: a Model that asks several, and gives one answer."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping

from msgspec.structs import replace

from junctor.chat import ChatRequest, Decision, Event, Model
from junctor.fusion.bench import VERDICT_TOKENS
from junctor.fusion.billing import Books
from junctor.fusion.case import OWN_TOKENS
from junctor.fusion.panel import check, most_usd, seat
from junctor.fusion.plan import Plan, for_request, keep_to
from junctor.fusion.purse import Purse, on_a_budget
from junctor.fusion.record import begin
from junctor.fusion.sitting import Sitting
from junctor.fusion.weights import Weights
from junctor.pool.metered import count_prompt_tokens
from junctor.pool.pool import joint_card
from junctor.pool.prompt import parse_prompt
from junctor.pool.resilient import Resilience


class Fusion:
    """Answers as several models do together, and says how it came to that."""

    def __init__(
        self,
        plan: Plan,
        models: Mapping[str, Model],
        resilience: Resilience,
        *,
        presets: Mapping[str, Plan],
        weights: Weights,
        save_decision: Callable[[Decision], None],
        new_id: Callable[[], str],
        keeps_answers: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`models`: those that may be members or judges, by name. `presets`: what a request may name instead
        of this plan. Without `keeps_answers` decisions say who agreed, and not on what."""
        self._plan = plan
        self._models = models
        self._books = Books(models, resilience)
        self._resilience = resilience
        self._presets = presets
        self._weights = weights
        self._save_decision = save_decision
        self._new_id = new_id
        self._keeps_answers = keeps_answers
        self._clock = clock
        self.card = joint_card(plan.name, [self._books.cards[name] for name in plan.members])

    def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """As `Model.answer`. Raises `BadRequest` and `NoModelFits` before anybody is asked."""
        began = time.perf_counter()
        plan = for_request(self._plan, self._presets, request.fusion)
        check(plan, self._models, request)
        plan = keep_to(plan, request.constraints)
        total_s = self._total_s(request)
        prompt = parse_prompt(request)
        seats = seat(
            plan,
            self._models,
            request,
            prompt,
            weights=self._weights,
            away=self._resilience.set_aside(),
        )
        decision = begin(
            plan,
            seats,
            self._weights,
            decision_id=self._new_id(),
            request_id=request.id,
            prompt_tokens=prompt.tokens,
            took_us=(time.perf_counter() - began) * 1e6,
        )
        sitting = Sitting(
            plan,
            seats,
            self._books_for(plan),
            self._weights,
            prompt,
            decision=decision,
            prompt_tokens=count_prompt_tokens(request),
            total_s=total_s,
            save=self._save_decision,
            keeps_answers=self._keeps_answers,
            clock=self._clock,
        )
        return sitting.answer(request)

    def _books_for(self, plan: Plan) -> Books:
        """Where the cost is limited, all that this request asks is paid for from one purse."""
        if plan.max_usd is None:
            return self._books
        return Books(on_a_budget(self._models, Purse(plan.max_usd)), self._resilience)

    def most_usd(self, request: ChatRequest, tokens: int, answer_tokens: int) -> float | None:
        """As `Joint.most_usd`: all members together, and the judge, who reads what they say."""
        plan = keep_to(self._plan, request.constraints)
        asked = replace(request, constraints=replace(request.constraints, only=(), max_usd=None))
        said = plan.max_completion_tokens or answer_tokens
        members = [name for name in plan.members if name not in request.constraints.never]

        def cost(name: str, read: int, written: int) -> float | None:
            return most_usd(self._models[name], asked, read, written)

        known = [usd for name in members if (usd := cost(name, tokens, said)) is not None]
        if not known:
            return None
        read, usd = tokens + len(members) * said + OWN_TOKENS, sum(known)
        if plan.mode == "debate":
            usd += sum(cost(name, read, said) or 0.0 for name in members)
        elif plan.mode != "vote" and len(members) > 1:
            usd += max(
                max(
                    4 * (cost(judge, read, VERDICT_TOKENS) or 0.0),
                    2 * (cost(judge, read, VERDICT_TOKENS) or 0.0) + (cost(judge, read, said) or 0.0),
                )
                for judge in ([plan.judge] if plan.judge else members)
            )
        return usd if plan.max_usd is None else min(usd, plan.max_usd)

    def _total_s(self, request: ChatRequest) -> float:
        """What all of it may take."""
        limits = [self._resilience.total_s]
        if request.within_s is not None:
            limits.append(request.within_s)
        if request.constraints.max_total_ms is not None:
            limits.append(request.constraints.max_total_ms / 1e3)
        return min(limits)
