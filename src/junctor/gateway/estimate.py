"""What a request may come to before it is answered, by the models that may be asked for it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import inf
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from junctor.chat import ChatRequest, Constraints, ModelCard
from junctor.gateway.fused import (
    Fused,
    Path,
    as_asked,
    judges_asked,
    label_of,
    members_asked,
    paths_of_judging,
)
from junctor.gateway.keys import NANO

TYPICAL_ANSWER_TOKENS = 500
"For rates, of a request that states no limit: answers to everyday prompts have some 200 to 700."
LONG_ANSWER_TOKENS = 4000
"""For budgets, of a request that states no limit: few answers are longer. Too much costs nobody anything, it
only lets fewer requests of one key go at the same time."""
_NANO_PER_TOKEN = NANO / 1_000_000
"At one USD for a million."
_ENVELOPE_TOKENS = 100
"Of a small prompt, what our count (from its size as JSON) may take for tokens that are none."


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a request may come to, before it is answered. Money is in 1e-9 USD, of one call of a model."""

    model: str
    "The name in the pool that it asks for; what its cost is remembered under."
    tokens: int
    "Read and written."
    prompt_nano: int
    "The prompt."
    stated_nano: int
    "The answer, where the request states a limit for it; else 0."
    least_nano: int
    "What the prompt costs even if we count twice too much, and `stated_nano`."
    most_nano: int
    "The prompt, and a long answer where no limit is stated. 0: nothing of it costs anything."
    group: str = ""
    """Of names whose cost becomes known one after the other, as callers make them up: fusions with members of
    the request's own. Empty: `model` stands for itself."""
    calls: int = 1
    "Models that may be asked at the same time: 2 where the request may be hedged. A fusion is one sum: 1."

    @property
    def all_nano(self) -> int:
        """Of all calls at the most."""
        return self.calls * self.most_nano


class Tariff:
    """What the names of one pool cost."""

    def __init__(
        self,
        named: Mapping[str, Sequence[ModelCard]],
        routed: Mapping[str, Sequence[ModelCard]],
        *,
        hedges: bool = False,
        together: Mapping[str, Collection[str]] | None = None,
        fused: Mapping[str, Fused] | None = None,
        presets: Mapping[str, Fused] | None = None,
    ) -> None:
        """As `Menu` has it."""
        self._hedges = hedges
        self._together = {name: frozenset(models) for name, models in (together or {}).items()}
        self._named = {name: [_rate_of(card) for card in cards] for name, cards in named.items()}
        self._routed = {name: [_rate_of(card) for card in cards] for name, cards in routed.items()}
        self._fused = fused or {}
        self._presets = presets or {}

    def estimate(self, name: str, request: ChatRequest, prompt_tokens: int) -> Estimate:
        """At the dearest model that may answer; where several are asked for one answer, at all of them."""
        if name in self._fused:
            return self._estimate_fusion(name, request, prompt_tokens)
        return self._estimate_one(name, self._rates_of(name, request.constraints), request, prompt_tokens)

    def _rates_of(self, name: str, limits: Constraints) -> Sequence[_Rate]:
        return self._named.get(name) or [
            rate
            for rate in self._routed.get(name, ())
            if rate.model not in limits.never and (not limits.only or rate.model in limits.only)
        ]

    def _estimate_one(
        self, name: str, rates: Sequence[_Rate], request: ChatRequest, prompt_tokens: int
    ) -> Estimate:
        limit, together = request.max_tokens, self._together.get(name, frozenset())
        surely_read = max(0, prompt_tokens - _ENVELOPE_TOKENS) // 2
        prompt = stated = least = most = all_most = 0.0
        for rate in rates:
            read = prompt_tokens * rate.input
            said = min(limit or 0, rate.max_output) * rate.output
            long = said if limit else min(LONG_ANSWER_TOKENS, rate.max_output) * rate.output
            prompt, stated, most = max(prompt, read), max(stated, said), max(most, read + long)
            least = max(least, surely_read * rate.input + said)
            all_most += (read + long) * (rate.model in together)
        calls = 2 if self._hedges and len(rates) > 1 and request.constraints.max_usd is None else 1
        if together.issubset(rate.model for rate in rates):
            most = max(most, all_most / calls)
        return Estimate(
            model=name,
            tokens=prompt_tokens + (TYPICAL_ANSWER_TOKENS if limit is None else limit),
            prompt_nano=round(prompt),
            stated_nano=round(stated),
            least_nano=round(least),
            most_nano=round(most),
            calls=calls,
        )

    # Fusions.

    def _estimate_fusion(self, name: str, request: ChatRequest, prompt_tokens: int) -> Estimate:
        """All members, whether they are called off or not, and the judge, who reads what they say."""
        fused = as_asked(self._fused[name], self._presets, request.fusion)
        names = members_asked(fused, request.constraints)
        limit = fused.max_completion_tokens or request.max_tokens
        asked = replace(request, max_tokens=limit, constraints=Constraints(), fusion=None)
        members = [self._estimate_member(member, asked, prompt_tokens) for member in names]
        most = sum(each.all_nano for each in members)
        tokens = sum(each.tokens for each in members)
        if fused.mode == "debate":
            argued = prompt_tokens + len(names) * (limit or LONG_ANSWER_TOKENS)
            most += sum(self._estimate_member(member, asked, argued).all_nano for member in names)
            tokens += tokens + len(names) ** 2 * (limit or TYPICAL_ANSWER_TOKENS)
        most += max(
            (
                self._judge_nano(judge, path, asked, request.max_tokens)
                for judge in judges_asked(fused, request.constraints)
                for path in paths_of_judging(
                    fused.mode, len(names), prompt_tokens, limit or LONG_ANSWER_TOKENS
                )
            ),
            default=0,
        )
        typical = paths_of_judging(fused.mode, len(names), prompt_tokens, limit or TYPICAL_ANSWER_TOKENS)
        tokens += max((_typical_tokens(path, request.max_tokens) for path in typical), default=0)
        # No more than `max_usd` is needed, but more may be reserved: an upstream may write more than it was
        # asked to, and our count of a prompt may be wrong.
        limits = (fused.max_usd, request.constraints.max_usd)
        cap = min((usd * NANO for usd in limits if usd is not None), default=inf)
        return Estimate(
            model=label_of(name, fused, request.fusion),
            group="" if request.fusion is None else name,
            tokens=tokens,
            prompt_nano=sum(each.prompt_nano for each in members),
            stated_nano=_capped(sum(each.stated_nano for each in members), cap),
            least_nano=_capped(sum(each.least_nano for each in members), cap),
            most_nano=most,
        )

    def _estimate_member(self, name: str, request: ChatRequest, prompt_tokens: int) -> Estimate:
        """A model is asked by itself, without its fallbacks."""
        if name in self._named:
            return self._estimate_one(name, self._named[name][:1], request, prompt_tokens)
        return self.estimate(name, request, prompt_tokens)

    def _judge_nano(self, judge: str, path: Path, asked: ChatRequest, limit: int | None) -> int:
        """`limit`: of the answer to the caller."""
        return sum(
            each.times
            * self._estimate_member(
                judge, replace(asked, max_tokens=each.words or limit), each.reads
            ).all_nano
            for each in path
        )


def _typical_tokens(path: Path, limit: int | None) -> int:
    words = limit or TYPICAL_ANSWER_TOKENS
    return sum(each.usually * (each.reads + min(each.words or words, TYPICAL_ANSWER_TOKENS)) for each in path)


def _capped(nano: float, cap: float) -> int:
    return round(min(nano, cap))


class _Rate(NamedTuple):
    """What a model takes for a token, 1e-9 USD."""

    model: str
    input: float
    "As if the prompt was written to the model's cache, where that is dearer."
    output: float
    max_output: float


def _rate_of(card: ModelCard) -> _Rate:
    most = inf if card.max_output is None else card.max_output
    if card.price is None:
        return _Rate(card.name, 0.0, 0.0, most)
    price = card.price
    read = max(price.input, price.cache_write or 0.0)
    return _Rate(card.name, read * _NANO_PER_TOKEN, price.output * _NANO_PER_TOKEN, most)
