"""Whom to ask next for a request, or how long to wait first: the policy, free of I/O.

First the candidates in their order, but those that are set aside (`outlier.py`), and again one that failed in
a way that may pass, as long as the budget for retries lasts. Then a slow one: it still answers. Then one that
asked for a short pause, after it. Then, by one request at a time, a failing one: the last is never ejected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import inf

import msgspec

from junctor.chat import (
    ChatRequest,
    JunctorError,
    Model,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamUnavailable,
)
from junctor.pool.outlier import Call, Ejection, Health, Why
from junctor.pool.retry_budget import RetryBudget

BASE_S = 0.25
"The first wait is at most this long; each further one at most twice the one before."
CAP_S = 4.0
"No wait of our own choosing is longer."
PATIENCE_S = 10.0
"Upstreams that ask for longer waits (`Retry-After`), all in all, are not waited for."
POLL_S = 0.05
"No wait for an upstream that asked for a pause is shorter: another request may be probing it."
SOON_S = 5.0
"Who is refused because every model is set aside is asked to come back after 1 s to so many."


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How hard to try."""

    attempts: int = 3
    "Calls of one model for one request, the first included."
    retry_share: float = 0.2
    "Retries at most, as a share of the requests."
    hedge_share: float = 0.0
    "Hedges at most, as a share of the requests; 0: none."
    first_text_s: float = 120.0
    "For the first text; no whole answer gets less."
    total_s: float = 600.0
    "For the whole answer: further tries get what is left of it."
    ejection: Ejection = Ejection()


class Counts:
    """What has been done so far, for metrics. Labels are names of models and the three reasons."""

    def __init__(self) -> None:
        self.retries = 0
        self.retries_denied = 0
        "For lack of budget."
        self.fallbacks = 0
        "Calls of another model after a failure."
        self.hedges = 0
        self.hedges_won = 0
        self.refused = 0
        "Requests for which nobody was asked: every model was set aside."
        self.set_aside: Counter[tuple[str, Why]] = Counter()
        "By model and reason."

    def count_set_aside(self, name: str, why: Why) -> None:
        """A model has been set aside."""
        self.set_aside[name, why] += 1


class Watched:
    """A model, and what is known of its health."""

    __slots__ = ("health", "model")

    def __init__(self, model: Model, health: Health) -> None:
        self.model = model
        self.health = health


class Visit:
    """One request on its way through the models that may answer it."""

    __slots__ = (
        "asked",
        "candidates",
        "deadline",
        "failures",
        "ready_at",
        "request",
        "spent",
        "tries",
        "waited_s",
    )

    def __init__(self, candidates: Sequence[Watched], request: ChatRequest, deadline: float) -> None:
        self.candidates = candidates
        self.request = request
        self.deadline = deadline
        self.asked = False
        self.tries: dict[Watched, int] = {}
        "Failed calls."
        self.spent: set[Watched] = set()
        "Those that are not asked again."
        self.failures: dict[str, JunctorError] = {}
        "The last failure of each."
        self.ready_at = 0.0
        "When the backoff is over."
        self.waited_s = 0.0
        "For upstreams that asked for a pause."

    def ask(self, watched: Watched, call: Call, policy: Policy, clock: Callable[[], float]) -> ChatRequest:
        """The request as a model gets it: with the time that it may take.

        The first has all of it, the next ones what is left. But an answer that is not streamed gives no sign
        until it is whole: a model that hangs would use up all of the time. So, where another one could answer
        and its history says what is late for it, that is all it gets, and at least half of the time.
        """
        left_s = self.deadline - clock()
        limit_s = left_s if self.asked else inf
        self.asked = True
        if not self.request.stream and call.late_after_s < inf and self._has_another(watched):
            fair_s = max(policy.first_text_s, call.late_after_s, left_s / 2)
            limit_s = fair_s if fair_s < left_s else limit_s
        if limit_s == inf:
            return self.request
        return msgspec.structs.replace(self.request, within_s=max(0.0, limit_s))

    def _has_another(self, watched: Watched) -> bool:
        return any(
            other is not watched and other not in self.tries and other.health.state == "ok"
            for other in self.candidates
        )


Chosen = tuple[Watched, Call]
"A model, and a call of it that its health has noted."


class Chooser:
    """Applies the policy to one request after the other."""

    def __init__(
        self, policy: Policy, counts: Counts, clock: Callable[[], float], jitter: Callable[[], float]
    ) -> None:
        self._attempts = policy.attempts
        self._counts = counts
        self._clock = clock
        self._jitter = jitter
        self._retries = RetryBudget(policy.retry_share, clock)

    def begin(self) -> None:
        """A request has come in."""
        self._retries.request()

    def failed(self, visit: Visit, watched: Watched, error: JunctorError) -> None:
        """A call for it failed."""
        visit.failures[watched.model.card.name] = error
        tries = visit.tries[watched] = visit.tries.get(watched, 0) + 1
        if tries >= self._attempts or not error.transient:
            visit.spent.add(watched)
        visit.ready_at = self._clock() + self._jitter() * min(CAP_S, BASE_S * 2 ** (tries - 1))

    def choose(self, visit: Visit) -> Chosen | float:
        """Whom to ask, or how many seconds to wait before choosing again.

        Raises the request's last error when nobody is left, or no time.
        """
        now = self._clock()
        if not visit.failures or now < visit.deadline:
            chosen = self._choose(visit, now)
            if chosen is not None and (isinstance(chosen, tuple) or now + chosen < visit.deadline):
                return chosen
        raise self._give_up(visit)

    def _choose(self, visit: Visit, now: float) -> Chosen | float | None:
        """Whom to ask, or how many seconds to wait before choosing again; None: nobody is left."""
        chosen = self._choose_in_order(visit, now)
        if chosen is None:
            chosen = self._choose_slow(visit)
        if chosen is None:
            chosen = self._wait_for_limited(visit, now)
        if chosen is None and not visit.failures:
            chosen = self._choose_last(visit)
        return chosen

    def _choose_in_order(self, visit: Visit, now: float) -> Chosen | float | None:
        for watched in visit.candidates:
            if watched in visit.spent:
                continue
            again = watched in visit.tries
            if again and not self._retries.has_room():
                self._counts.retries_denied += 1
                visit.spent.add(watched)
                continue
            if again and now < visit.ready_at and watched.health.away_because is None:
                return visit.ready_at - now
            call = watched.health.admit(visit.request)
            if call is None:
                continue
            if again:
                self._retries.take()
                self._counts.retries += 1
            elif visit.failures:
                self._counts.fallbacks += 1
            return watched, call
        return None

    def _choose_slow(self, visit: Visit) -> Chosen | None:
        """A slow model still answers: better than none."""
        for watched in visit.candidates:
            if watched not in visit.tries and watched.health.state == "slow":
                return watched, watched.health.ask_anyway(visit.request)
        return None

    def _wait_for_limited(self, visit: Visit, now: float) -> float | None:
        """Seconds until the first of those that asked for a pause may be asked, if that is not too long."""
        until = min(
            (
                w.health.until
                for w in visit.candidates
                if w not in visit.spent and w.health.state == "limited"
            ),
            default=inf,
        )
        wait_s = max(0.0, until - now) + POLL_S + self._jitter() * BASE_S
        if visit.waited_s + wait_s > PATIENCE_S:
            return None
        visit.waited_s += wait_s
        return wait_s

    def _choose_last(self, visit: Visit) -> Chosen | None:
        """The last host is never ejected (Envoy's `always_eject_one_host`, the other way round).

        Of the failing models the one that would be asked first is probed now, by one request at a time.
        """
        failing = [watched for watched in visit.candidates if watched.health.state == "failing"]
        if not failing:
            return None
        watched = min(failing, key=lambda each: each.health.until)
        call = watched.health.probe(visit.request)
        return None if call is None else (watched, call)

    def _give_up(self, visit: Visit) -> JunctorError:
        """What to tell a caller whom nobody answers."""
        away = {
            watched.model.card.name: why
            for watched in visit.candidates
            if watched not in visit.tries and (why := watched.health.away_because) is not None
        }
        if not visit.failures:
            self._counts.refused += 1
            return self._unavailable(visit, away)
        error = list(visit.failures.values())[-1]
        said = [f"{name}: {each.message}" for name, each in visit.failures.items()]
        said += [f"{name}: {why}" for name, why in away.items()]
        if len(said) > 1:
            error.message = f"all {len(said)} models failed. " + "; ".join(said)
            error.args = (error.message,)
            error.said = None
        return error

    def _unavailable(self, visit: Visit, away: Mapping[str, str]) -> UpstreamError:
        now = self._clock()
        message = "no model can answer now; try again later. " + "; ".join(
            f"{name}: {why}" for name, why in away.items()
        )
        name = visit.candidates[0].model.card.name
        if all(watched.health.state == "limited" for watched in visit.candidates):
            wait_s = min(watched.health.until for watched in visit.candidates) - now
            return UpstreamRateLimited(message, model=name, retry_after_s=max(1.0, wait_s))
        wait_s = 1.0 + self._jitter() * (SOON_S - 1.0)
        return UpstreamUnavailable(message, model=name, retry_after_s=wait_s)
