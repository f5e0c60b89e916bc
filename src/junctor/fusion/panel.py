"""Who is asked: those members of a fusion that may answer one request, and what each of them is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from junctor.chat import (
    BadRequest,
    ChatRequest,
    Constraints,
    Joint,
    Model,
    ModelCard,
    NoModelFits,
    UnsupportedByModel,
)
from junctor.fusion.plan import MOST_MEMBERS, Plan
from junctor.fusion.tools import with_tools_as_text
from junctor.fusion.weights import Weights
from junctor.pool.prompt import Prompt

TYPICAL_TOKENS = 500
"Of an answer, where the request states no limit: for estimates."
LIMITS = frozenset({"max_tokens", "max_completion_tokens"})
"As the caller spelt it: `ChatRequest.max_tokens` says the same."
_NOT_FOR_ONE = frozenset({"n", "stream_options", "logprobs", "top_logprobs", "store", "metadata"})
"Fields of the body that make no sense for one answer of several."


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """One member's place."""

    name: str
    request: ChatRequest
    usd: float = 0.0
    "Estimated cost of its answer."
    left_out: str | None = None
    "Why it is not asked, in words."
    tools_as_text: bool = False
    "It cannot call tools, and is told of them in words."


def seat(
    plan: Plan,
    models: Mapping[str, Model],
    request: ChatRequest,
    prompt: Prompt,
    *,
    weights: Weights,
    away: Mapping[str, str],
) -> tuple[Seat, ...]:
    """A seat for each member, in their order, those who are left out too.

    Raises `NoModelFits` where nobody is left to ask.
    """
    seats = list[Seat]()
    for name in plan.members:
        card = models[name].card
        as_text = "tools" in prompt.needs and "tools" not in card.skills
        asked = _request_for(card, plan, request, tools_as_text=as_text)
        why = _objection(card, request.constraints, prompt) or away.get(name)
        usd = estimate_usd(card, prompt.tokens, asked.max_tokens or TYPICAL_TOKENS)
        seats.append(Seat(name=name, request=asked, usd=usd, left_out=why, tools_as_text=as_text))
    if plan.max_usd is not None:
        said = [
            most_usd(models[it.name], it.request, prompt.tokens, it.request.max_tokens or TYPICAL_TOKENS)
            for it in seats
        ]
        seats = _share_out(plan.max_usd, seats, said, weights, is_all=plan.mode == "vote")
    if all(seat.left_out for seat in seats):
        said = "; ".join(f"{seat.name}: {seat.left_out}" for seat in seats)
        raise NoModelFits(f"no member of `{plan.name}` may answer this request. {said}", param="fusion")
    return tuple(seats)


def for_one_answer(request: ChatRequest) -> ChatRequest:
    """The request without fields that make no sense for one answer of several."""
    passthrough = {name: value for name, value in request.passthrough.items() if name not in _NOT_FOR_ONE}
    return replace(request, passthrough=passthrough)


def estimate_usd(card: ModelCard, input_tokens: int, output_tokens: int) -> float:
    """What a call may cost; 0 where no price is known."""
    return 0.0 if card.price is None else card.price.usd(input_tokens, output_tokens)


def most_usd(model: Model, request: ChatRequest, tokens: int, answer_tokens: int) -> float | None:
    """What a call may cost, USD, where the dearest answer it; None: no price is known.

    `tokens`: of the prompt; `answer_tokens`: of each answer that is asked for.
    """
    if isinstance(model, Joint):
        return model.most_usd(request, tokens, answer_tokens)
    price = model.card.price
    return None if price is None else price.usd(tokens, answer_tokens)


def check(plan: Plan, models: Mapping[str, Model], request: ChatRequest) -> None:
    """Raises `BadRequest` where members or judge are no such; `UnsupportedByModel` for what no fusion can."""
    if not 1 <= len(plan.members) <= MOST_MEMBERS:
        raise BadRequest(
            f"a fusion has 1 to {MOST_MEMBERS} members; this one has {len(plan.members)}",
            param="fusion.analysis_models",
        )
    for name, field in [(name, "analysis_models") for name in plan.members] + [(plan.judge, "model")]:
        if name is not None and name not in models:
            known = ", ".join(f"`{each}`" for each in models)
            raise BadRequest(
                f"`{name}` cannot take part in a fusion; these can: {known}", param=f"fusion.{field}"
            )
    if request.refused_elsewhere:
        raise UnsupportedByModel(
            f"a fusion cannot answer a request with {', '.join(request.refused_elsewhere)}: every member "
            "would run it; name one model instead, or leave it out",
            param="tools",
        )


def _objection(card: ModelCard, limits: Constraints, prompt: Prompt) -> str | None:
    """Why a member may not answer this request; None: it may."""
    if limits.only and card.name not in limits.only:
        return "not among those asked for, or that this key may use"
    if card.name in limits.never:
        return "excluded by `never`"
    # Tools can be told in words, and JSON asked for in words: only what the caller states is a limit.
    lacking = (prompt.needs - {"tools", "json"}) | frozenset(limits.needs)
    if missing := sorted(lacking - card.skills):
        return f"lacks {', '.join(missing)}"
    if card.window < max(prompt.tokens, limits.min_window or 0):
        return f"its window of {card.window} tokens is too small"
    return None


def _share_out(
    limit: float, seats: Sequence[Seat], most: Sequence[float | None], weights: Weights, *, is_all: bool
) -> list[Seat]:
    """Leave out who is too dear alone, and the weakest until the rest fit; give these their shares to keep.

    `most`: what each may cost; None: not known. Unless members may have all (`is_all`), half of the limit is
    kept for a judge, a writer, or a second round, where that leaves them what they may cost.
    """
    unknown = "its price is not known, so it cannot keep to max_usd"
    seats = [
        replace(seat, left_out=unknown) if usd is None and seat.left_out is None else seat
        for seat, usd in zip(seats, most, strict=True)
    ]
    costs = [usd or 0.0 for usd in most]
    kept = [at for at, seat in enumerate(seats) if seat.left_out is None and costs[at] <= limit]
    kept.sort(key=lambda at: -weights.ability(seats[at].name))
    while kept and sum(costs[at] for at in kept) > limit:
        kept.pop()
    together = sum(costs[at] for at in kept)
    each = (limit if is_all else max(together, limit / 2)) / together if together else 1.0
    return [
        _with_share(seat, usd * each)
        if at in kept
        else replace(seat, left_out=seat.left_out or _too_dear(usd, limit))
        for at, (seat, usd) in enumerate(zip(seats, costs, strict=True))
    ]


def _too_dear(usd: float, limit: float) -> str:
    if usd > limit:
        return f"it may cost {usd:.2g} USD, more than max_usd ({limit:g})"
    return f"all together may cost more than max_usd ({limit:g})"


def _with_share(seat: Seat, usd: float) -> Seat:
    limits = replace(seat.request.constraints, max_usd=usd)
    return replace(seat, request=replace(seat.request, constraints=limits))


def _request_for(card: ModelCard, plan: Plan, request: ChatRequest, *, tools_as_text: bool) -> ChatRequest:
    """What one member is asked: the caller's request, with what the plan says of members."""
    request = for_one_answer(request)
    dropped = LIMITS if plan.max_completion_tokens is not None else frozenset[str]()
    passthrough = {name: value for name, value in request.passthrough.items() if name not in dropped}
    told: dict[str, msgspec.Raw] = {}
    if plan.temperature is not None:
        told["temperature"] = msgspec.Raw(msgspec.json.encode(plan.temperature))
    if plan.reasoning is not None:
        told |= _render_reasoning(plan.reasoning)
    asked = replace(
        request,
        model=card.name,
        stream=False,
        relay=None,
        constraints=replace(request.constraints, only=(), max_usd=None, needs=(), min_window=None),
        fusion=None,
        max_tokens=plan.max_completion_tokens or request.max_tokens,
        passthrough={**passthrough, **told},
    )
    return with_tools_as_text(asked) if tools_as_text else asked


def _render_reasoning(said: msgspec.Raw) -> dict[str, msgspec.Raw]:
    """OpenRouter's object, as the field that OpenAI's API has for the same where it says nothing else."""
    fields = msgspec.json.decode(said, type=dict[str, msgspec.Raw])
    return {"reasoning_effort": fields["effort"]} if fields.keys() == {"effort"} else {"reasoning": said}
