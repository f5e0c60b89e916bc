"""A fusion: a Model that asks several, and gives one answer."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping

from junctor.chat import ChatRequest, Decision, Event, Model
from junctor.fusion.billing import Books
from junctor.fusion.panel import check, seat
from junctor.fusion.plan import Plan, for_request, keep_to
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
            self._books,
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

    def _total_s(self, request: ChatRequest) -> float:
        """What all of it may take."""
        limits = [self._resilience.total_s]
        if request.within_s is not None:
            limits.append(request.within_s)
        if request.constraints.max_total_ms is not None:
            limits.append(request.constraints.max_total_ms / 1e3)
        return min(limits)
