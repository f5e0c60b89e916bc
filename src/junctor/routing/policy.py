"""Which model answers: constraints first, then the cheapest that is good enough.

Pure, total, deterministic. The modes are those of Azure's Model Router ("Balanced" considers models within
1-2 % of the best predicted quality and takes the cheapest, "Cost" within 5-6 %, "Quality" takes the best;
Microsoft Learn, "Model router for Microsoft Foundry", 2026). Here the unit is points of the predicted
probability of a good answer: 2, 6 and 0.

A quality floor rules out what lies below it. Stated without a mode it says what will do, and the cheapest
model that reaches it is taken, however much better another one is.

What is not known does not satisfy a limit: a model without a stated latency is ruled out by `max_total_ms`,
one without a price by `max_usd`. Among the others a model without a price counts as the dearest, not as free.

Limits bind a model that a request names, too: `keep_to_limits`. It is refused, or keeps what is stated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from junctor.chat import Candidate, Constraints, Mode, ModelCard, Skill
from junctor.routing.predictor import Prediction
from junctor.routing.refusals import (
    NEEDS,
    STRONGEST_SHARE,
    UNKNOWN,
    Verdict,
    check_names,
    does_not_fit,
    no_model_fits,
)

TOLERANCE: Mapping[Mode, float] = {"balanced": 0.02, "cost": 0.06, "quality": 0.0}
"How far below the best a model may be, in p_good."
FLOOR = "floor"
"Stands for the mode where the floor alone decides."


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What one request demands of the model that answers it."""

    tokens: int
    "Estimated input tokens."
    max_tokens: int | None = None
    needs: frozenset[Skill] = frozenset()
    "Skills: those the request shows and those its constraints name."
    constraints: Constraints = Constraints()
    mode: Mode | None = "balanced"
    "None: what reaches the floor will do."
    floor: float | None = None
    "Quality floor in force, 0..1."
    cached: Mapping[str, int] = {}
    "Tokens of the prompt that are in a model's prompt cache, by its name."
    withheld: Mapping[str, str] = {}
    "Models that the caller's key may not have now: name -> why, in words."

    @property
    def tolerance(self) -> float:
        """How far below the best a model may be, in p_good."""
        return 1.0 if self.mode is None else TOLERANCE[self.mode]

    @property
    def mode_name(self) -> str:
        """The mode, or `floor`."""
        return self.mode or FLOOR


class Ranking(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome."""

    candidates: tuple[Candidate, ...]
    "All of the pool: the chosen one, those to fall back on in their order, then the ruled out by name."
    chosen: Candidate
    rule: str
    "Why, in one sentence."
    saved_usd: float
    "Estimated: what the best of the models that can take the request would cost more."

    @property
    def order(self) -> tuple[str, ...]:
        """Names of the models that may answer, the chosen one first."""
        return tuple(candidate.name for candidate in self.candidates if candidate.ruled_out_by is None)


class _Offer(msgspec.Struct, frozen=True):
    """A model, with what it is expected to do for the request."""

    card: ModelCard
    candidate: Candidate
    output_tokens: float
    fresh_usd: float
    "As `Candidate.usd`, with nothing in a prompt cache."

    @property
    def cost_order(self) -> tuple[bool, float, float, str]:
        """Cheapest first; a model without a price last; then the better one; then by name."""
        candidate = self.candidate
        return self.card.price is None, candidate.usd, -candidate.p_good, candidate.name

    @property
    def fresh_cost_order(self) -> tuple[bool, float, float, str]:
        """The same, as if nothing was in a prompt cache."""
        return self.card.price is None, self.fresh_usd, -self.candidate.p_good, self.candidate.name


def decide(demand: Demand, cards: Sequence[ModelCard], predictions: Sequence[Prediction]) -> Ranking:
    """Choose. `predictions` are in the order of `cards`.

    Raises `NoModelFits`, which names for each model the constraint that ruled it out, and `BadRequest` for
    names in `only` and `never` that the pool does not hold.
    """
    if demand.constraints.only or demand.constraints.never:
        check_names(demand.constraints, [card.name for card in cards])
    offers = [_offer(demand, card, said) for card, said in zip(cards, predictions, strict=True)]
    fitting, ruled_out, able = list[_Offer](), list[tuple[_Offer, Verdict]](), list[_Offer]()
    for offer in offers:
        unable = _lacks_skill_or_room(demand, offer)
        if unable is None:
            able.append(offer)
        verdict = _is_unwanted(demand, offer) or unable or _breaks_limit(demand, offer)
        if verdict is None:
            fitting.append(offer)
        else:
            ruled_out.append((offer, verdict))
    if not fitting:
        raise no_model_fits(
            [(offer.card.name, verdict) for offer, verdict in ruled_out],
            demand.constraints,
            demand.max_tokens,
        )
    ranked = _rank(fitting, demand.tolerance)
    chosen, best = ranked[0], _strongest(ranked)
    others = [_explain_loser(offer, chosen.candidate, best.candidate, demand) for offer in ranked[1:]]
    return Ranking(
        candidates=(chosen.candidate, *others, *_explain_ruled_out(ruled_out)),
        chosen=chosen.candidate,
        rule=_explain_winner(ranked, best.candidate, demand, [verdict[0] for _, verdict in ruled_out]),
        saved_usd=_saved_usd(best if len(able) == len(ranked) else _strongest(able), chosen),
    )


def keep_to_limits(
    demand: Demand, cards: Sequence[ModelCard], predictions: Sequence[Prediction]
) -> tuple[str, ...]:
    """For a request that names the first of these models: it, and those of the others that keep its limits.

    No limits but those that the request states: what is too long for a model, its upstream knows better than
    our estimate. Raises `NoModelFits` where the first one does not keep them, with the limit and its figure.
    """
    kept: list[str] = []
    for card, said in zip(cards, predictions, strict=True):
        offer = _offer(demand, card, said)
        verdict = (
            _is_unwanted(demand, offer)
            or _lacks_skill(demand, card)
            or _is_too_small(demand, card)
            or _breaks_limit(demand, offer)
        )
        if verdict is None:
            kept.append(card.name)
        elif not kept:
            raise does_not_fit(card.name, verdict, demand.constraints, demand.max_tokens)
    return tuple(kept)


def pass_over(ranking: Ranking, away: Mapping[str, str]) -> Ranking:
    """The same, but models that are set aside (name -> why, in words) come after those that are not.

    They stay in the order: when nobody else answers, one of them may be asked all the same.
    """
    replace = msgspec.structs.replace
    fitting = [candidate for candidate in ranking.candidates if candidate.ruled_out_by is None]
    ready = [candidate for candidate in fitting if candidate.name not in away]
    aside = [replace(c, refused_because=away[c.name]) for c in fitting if c.name in away]
    if not ready or not aside:
        return ranking
    ruled_out = ranking.candidates[len(fitting) :]
    if ready[0].name == ranking.chosen.name:
        return replace(ranking, candidates=(*ready, *aside, *ruled_out))
    chosen = replace(ready[0], refused_because=None)
    best = ranking.chosen
    return Ranking(
        candidates=(chosen, *ready[1:], *aside, *ruled_out),
        chosen=chosen,
        rule=f"the next in the ranking, because {best.name} is {away[best.name]}",
        saved_usd=ranking.saved_usd + best.usd - chosen.usd,
    )


def put_first(ranking: Ranking, name: str, why: str) -> Ranking:
    """The same with this model as the choice, where it may answer. `why`: in words."""
    replace = msgspec.structs.replace
    found = [it for it in ranking.candidates if it.name == name and it.ruled_out_by is None]
    if not found or ranking.chosen.name == name:
        return ranking
    passed = replace(ranking.chosen, refused_because=f"{why}, and {name} is the strongest")
    chosen = replace(found[0], refused_because=None)
    others = [it for it in ranking.candidates if it.name not in (name, passed.name)]
    return Ranking(
        candidates=(chosen, passed, *others),
        chosen=chosen,
        rule=f"{why}: the strongest model answers",
        saved_usd=ranking.saved_usd + passed.usd - chosen.usd,
    )


def _offer(demand: Demand, card: ModelCard, said: Prediction) -> _Offer:
    limits = [said.output_tokens, demand.max_tokens, card.max_output]
    output_tokens = min(limit for limit in limits if limit is not None)
    usd = fresh_usd = card.price.usd(demand.tokens, round(output_tokens)) if card.price else 0.0
    cached = min(demand.cached.get(card.name, 0), demand.tokens) if demand.cached else 0
    if cached and card.price is not None:
        usd = card.price.usd(demand.tokens, round(output_tokens), cached)
    total_ms = None
    if card.first_token_ms is not None and card.tokens_per_s:
        total_ms = card.first_token_ms + output_tokens / card.tokens_per_s * 1e3
    candidate = Candidate(
        name=card.name,
        p_good=said.p_good,
        p_source=said.source,
        p_error=said.p_error or None,
        usd=usd,
        cached_tokens=cached if usd < fresh_usd else 0,
        first_token_ms=card.first_token_ms,
        total_ms=total_ms,
    )
    return _Offer(card, candidate, output_tokens, fresh_usd)


def _explain_ruled_out(ruled_out: Sequence[tuple[_Offer, Verdict]]) -> list[Candidate]:
    candidates = [
        msgspec.structs.replace(offer.candidate, ruled_out_by=verdict[0], refused_because=verdict[1])
        for offer, verdict in ruled_out
    ]
    return sorted(candidates, key=lambda candidate: candidate.name)


def _is_unwanted(demand: Demand, offer: _Offer) -> Verdict | None:
    limits, name = demand.constraints, offer.card.name
    if limits.only and name not in limits.only:
        return "only", f"not among the models asked for ({', '.join(limits.only)})"
    if name in limits.never:
        return "never", "excluded by the request"
    if name in demand.withheld:
        return STRONGEST_SHARE, demand.withheld[name]
    return None


def _lacks_skill_or_room(demand: Demand, offer: _Offer) -> Verdict | None:
    card, window = offer.card, offer.card.window
    if (lacking := _lacks_skill(demand, card)) is not None:
        return lacking
    if demand.max_tokens is not None and card.max_output is not None and demand.max_tokens > card.max_output:
        return "max_tokens", f"writes at most {card.max_output} tokens < max_tokens of {demand.max_tokens}"
    wanted = demand.max_tokens if demand.max_tokens is not None else round(offer.output_tokens)
    if demand.tokens + wanted > window:
        return "window", f"window of {window} tokens < about {demand.tokens} to read + {wanted} to write"
    return _is_too_small(demand, card)


def _lacks_skill(demand: Demand, card: ModelCard) -> Verdict | None:
    lacking = min((skill for skill in demand.needs if skill not in card.skills), default=None)
    return None if lacking is None else (f"{NEEDS}{lacking}", f"lacks the skill {lacking}")


def _is_too_small(demand: Demand, card: ModelCard) -> Verdict | None:
    least = demand.constraints.min_window
    if least is None or card.window >= least:
        return None
    return "min_window", f"window of {card.window} tokens < {least}"


def _breaks_limit(demand: Demand, offer: _Offer) -> Verdict | None:
    limits, candidate = demand.constraints, offer.candidate
    usd = candidate.usd if offer.card.price else None
    for name, value, limit, unit in (
        ("max_usd", usd, limits.max_usd, "USD"),
        ("max_first_token_ms", candidate.first_token_ms, limits.max_first_token_ms, "ms"),
        ("max_total_ms", candidate.total_ms, limits.max_total_ms, "ms"),
    ):
        if limit is None:
            continue
        if value is None:
            return name, f"{name} is {limit:g} {unit}, and {UNKNOWN[name]} in junctor.toml"
        if value > limit:
            return name, f"estimated {value:.3g} {unit} > {name} of {limit:g} {unit}"
    if demand.floor is not None and candidate.p_good < demand.floor:
        return "quality", f"predicted quality {candidate.p_good:.1%} < the floor of {demand.floor:.1%}"
    return None


def _rank(offers: Sequence[_Offer], tolerance: float) -> list[_Offer]:
    """The choice, then the choice among the rest, and so on."""
    rest, ranked = list(offers), list[_Offer]()
    while rest:
        best = max(offer.candidate.p_good for offer in rest)
        good_enough = [offer for offer in rest if offer.candidate.p_good >= best - tolerance]
        chosen = min(good_enough, key=lambda offer: offer.cost_order)
        ranked.append(chosen)
        rest.remove(chosen)
    return ranked


def _strongest(offers: Sequence[_Offer]) -> _Offer:
    return min(offers, key=lambda offer: (-offer.candidate.p_good, *offer.cost_order))


def _saved_usd(strongest: _Offer, chosen: _Offer) -> float:
    """0 where a price is unknown: nothing can be compared."""
    if strongest.card.price is None or chosen.card.price is None:
        return 0.0
    return strongest.candidate.usd - chosen.candidate.usd


def _explain_winner(
    ranked: Sequence[_Offer], best: Candidate, demand: Demand, ruled_out_by: Sequence[str]
) -> str:
    chosen, points, mode = ranked[0].candidate, demand.tolerance * 100, demand.mode_name
    if len(ranked) == 1:
        if not ruled_out_by:
            return "the only model of the pool"
        constraints = ", ".join(sorted(set(ruled_out_by)))
        return f"the only one left, at {chosen.p_good:.1%}; the others are ruled out by {constraints}"
    if (stay := _explain_stay(ranked, demand.tolerance)) is not None:
        return f"{mode}: {stay}"
    if demand.mode is None:
        return (
            f"floor: cheapest whose predicted quality, {chosen.p_good:.1%}, reaches {demand.floor or 0:.1%}"
        )
    if mode == "quality":
        return f"quality: the best predicted quality, {best.p_good:.1%}"
    if best.name == chosen.name:
        return f"{mode}: best predicted quality, {best.p_good:.1%}; nothing cheaper within {points:g} points"
    gap = (best.p_good - chosen.p_good) * 100
    return (
        f"{mode}: cheapest within {points:g} points of the best "
        f"({chosen.p_good:.1%}, {gap:.1f} below {best.name})"
    )


def _explain_stay(ranked: Sequence[_Offer], tolerance: float) -> str | None:
    """Where a prompt cache has decided: what would be lost without it; None where it has not."""
    chosen = ranked[0]
    if not chosen.candidate.cached_tokens:
        return None
    best = max(offer.candidate.p_good for offer in ranked)
    good_enough = [offer for offer in ranked if offer.candidate.p_good >= best - tolerance]
    fresh = min(good_enough, key=lambda offer: offer.fresh_cost_order)
    if fresh is chosen:
        return None
    cache, switch = chosen.fresh_usd - chosen.candidate.usd, chosen.fresh_usd - fresh.fresh_usd
    return (
        f"stays with {chosen.card.name}: its prompt cache saves {cache:.3g} USD, the switch to "
        f"{fresh.card.name} would save {switch:.3g}"
    )


def _explain_loser(offer: _Offer, chosen: Candidate, best: Candidate, demand: Demand) -> Candidate:
    candidate = offer.candidate
    gap = (candidate.p_good - chosen.p_good) * 100
    below_best = (best.p_good - candidate.p_good) * 100
    quality = f"{abs(gap):.1f} points {'better' if gap >= 0 else 'worse'}"
    allowed = demand.tolerance * 100
    if below_best > allowed:
        why = f"predicted {below_best:.1f} points below the best; {demand.mode_name} allows {allowed:g}"
    elif offer.card.price is None:
        why = f"{quality}, but its price is not known"
    elif chosen.usd > 0:
        why = f"{quality}, at {candidate.usd / chosen.usd:.1f}x the cost"
    else:
        why = f"{quality}, at {candidate.usd:.6f} USD more"
    return msgspec.structs.replace(candidate, refused_because=why)
