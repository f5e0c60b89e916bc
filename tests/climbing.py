"""A request on its way up a ladder, for tests: the cascade, the models it asks, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

from junctor.chat import Candidate, ChatRequest, Decision, Event, Model, ModelCard
from junctor.pool.choice import Policy
from junctor.pool.metered import Metered, Spent
from junctor.pool.prompt import parse_prompt
from junctor.pool.resilient import Resilience
from junctor.routing.cascade import Cascade, Plan
from junctor.routing.ladder import Ladder
from ladders import CHEAP, STRONG, a_ladder, request_of, scripted


def decision_over(names: Sequence[str], usd: float = 0.001) -> Decision:
    candidates = tuple(Candidate(name=name, p_good=0.8, p_source="test", usd=usd) for name in names)
    return Decision(
        id="dec_1",
        request_id="req_1",
        candidates=candidates,
        chosen=names[0],
        rule="balanced: cheapest",
        mode="balanced",
        floor=None,
        features={"tokens": 10.0},
        path="prompt",
        took_us=100.0,
        saved_usd=0.0,
        artefact="test",
    )


class Climb:
    """A cascade over some models, and what it leaves behind."""

    def __init__(self, *models: Model, ladder: Ladder | None = None, **more: object) -> None:
        self.saved = list[Decision]()
        self.spent = list[Spent]()
        self.resilience = Resilience(Policy(attempts=1))
        metered = [Metered(model, lambda _, spent: self.spent.append(spent)) for model in models]
        watched = {model.card.name: self.resilience.watch(model) for model in metered}
        self.ladder = ladder or a_ladder()
        order = tuple(model.card.name for model in models)
        self.cascade = Cascade(
            Plan(
                ladder=self.ladder,
                mode="balanced",
                decision=decision_over(order),
                order=order,
                question=parse_prompt(request_of()).text,
            ),
            watched,
            self.resilience,
            ModelCard(name="auto"),
            save=self.saved.append,
            **more,  # pyright: ignore[reportArgumentType]
        )

    async def events(self, request: ChatRequest | None = None) -> list[Event]:
        async with aclosing(self.cascade.answer(request or request_of())) as events:
            return [event async for event in events]

    @property
    def decision(self) -> Decision:
        (decision,) = self.saved
        return decision

    @property
    def asked(self) -> list[list[str]]:
        assert self.decision.escalation is not None
        return [[draft.model for draft in step.drafts] for step in self.decision.escalation.steps]


def pool(**said: object) -> list[Model]:
    """Four models; what is not said is 42. A text, or steps."""
    models = list[Model]()
    for name in (*CHEAP, STRONG):
        steps = said.get(name.replace("-", "_"), "42")
        models.append(scripted(name, {"text": steps}) if isinstance(steps, str) else scripted(name, *steps))  # pyright: ignore[reportGeneralTypeIssues]
    return models
