"""Rates and budgets of callers: reserved before a model is asked, settled once the answer's cost is known.

    account = limits.account_of(caller)          # None: nothing of this caller's is limited
    lease = await account.reserve(estimate)      # RateLimited | BudgetExhausted, or a wait in line
    ...
    lease.settle(receipt, whole=...)             # exactly once, whatever became of the request

Spent is what the ledger says, read once for each key and counted on in memory; what is reserved lives in
memory alone, so that a crash leaves nothing reserved.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal

import msgspec

from junctor.chat import BudgetExhausted, RateLimited
from junctor.gateway.budget import Budget, Hold
from junctor.gateway.estimate import Estimate
from junctor.gateway.keys import NOBODY, Caller
from junctor.gateway.rate import Bucket, render_duration
from junctor.pool.ledger import Receipt
from junctor.pool.ledger_store import parse_usd
from junctor.pool.ration import Rations

LATELY_S = 600.0
"A cost counts as of lately for this long, and for at most twice as long."
MOST_WAITING = 1000
"Requests of one key in line; more of them would take the server's places from other keys."


class Spendings(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger says of one key, 1e-9 USD."""

    today: int = 0
    this_month: int = 0
    dearest: Mapping[str, int] = {}
    "The largest cost of a whole answer of lately, by the model that was asked for."


MOST_REMEMBERED = 1000
"Costs of so many models, and of fusions of members that requests name, are remembered of one key."
_WaitFor = Literal["money", "knowledge"]
LoadSpendings = Callable[[str, datetime], Awaitable[Spendings]]
"Takes a key's id and the time. Raises `StoreFailed`."


class Limits:
    """The accounts of all callers. One for the process: a reload changes limits, not accounts."""

    def __init__(
        self,
        load: LoadSpendings,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        rations: Rations | None = None,
    ) -> None:
        """`clock`: seconds, never backwards; `now`: wall-clock time, UTC; `rations`: for routers."""
        self.rations = rations or Rations()
        self._load = load
        self._clock = clock
        self._now = now
        self._accounts: dict[str, Account] = {}

    def account_of(self, caller: Caller) -> Account | None:
        """The account of a caller, from now on with the limits that this caller has."""
        if not caller.is_held:
            self.rations.lift(caller.key_id)
            return None
        account = self._accounts.get(caller.key_id)
        if account is None:
            account = self._accounts[caller.key_id] = Account(
                lambda now: self._load(caller.key_id, now), self._clock, self._now, self.rations
            )
        if account.caller is not caller:
            account.change(caller)
        return account


class Lease:
    """What is reserved for one request."""

    __slots__ = ("_account", "_estimate", "_hold", "_settled")

    def __init__(self, account: Account, estimate: Estimate, hold: Hold | None) -> None:
        self._account = account
        self._estimate = estimate
        self._hold = hold
        self._settled = False

    def settle(self, receipt: Receipt, *, whole: bool) -> None:
        """Give it back, and count what the request came to. A second call does nothing.

        `whole`: whether the answer was given to its end, so that its cost says what such answers cost.
        """
        if self._settled:
            return
        self._settled = True
        tokens = receipt.input_tokens + receipt.output_tokens
        self._account.settle(self._estimate, self._hold, tokens, parse_usd(receipt.usd), whole=whole)


class Account:
    """One key's rates, budget, and the line of requests that wait for others to be settled.

    Three rules keep a burst from overspending, and a budget from being refused while it lasts:

    - A request is refused when less is left than it needs: what answers of this model have lately cost this
      key at most, and what the request itself makes sure (the limit it states, a longer prompt than before).
    - What is reserved is more cautious: our estimate with a long answer, but no less than it needs. Where
      that does not fit beside what others have reserved, it waits; if nobody has, it takes what is there.
    - While nothing is known of a model's cost, one request for it goes ahead, and the others wait for what it
      comes to: our estimate may be wrong, and a hundred wrong ones add up. Fusions of members that requests
      name become known one after the other: whoever names new ones each time gains nothing by it.
    """

    def __init__(
        self,
        load: Callable[[datetime], Awaitable[Spendings]],
        clock: Callable[[], float],
        now: Callable[[], datetime],
        rations: Rations,
    ) -> None:
        self.caller = NOBODY
        self._rations = rations
        self._load_spendings = load
        self._clock = clock
        self._now = now
        self._requests: Bucket | None = None
        self._tokens: Bucket | None = None
        self._budget: Budget | None = None
        self._loading: asyncio.Task[Budget] | None = None
        self._history: dict[str, History] = {}
        self._in_flight = Counter[str]()
        "Requests that money is reserved for, by model."
        self._learning = dict[str, str]()
        "By group of names: the one whose cost was not known when its request went ahead."
        self._line: dict[asyncio.Future[Hold], Estimate] = {}
        "Those that wait, the first one first."

    def change(self, caller: Caller) -> None:
        """Go by these limits from now on."""
        self.caller = caller
        self._requests = _bucket(self._requests, caller.requests_per_minute)
        self._tokens = _bucket(self._tokens, caller.tokens_per_minute)
        if caller.strongest_share is None:
            self._rations.lift(caller.key_id)
        self._advance()

    @property
    def reserved_nano(self) -> int:
        """Reserved of this day's money, 1e-9 USD."""
        return self._budget.day.reserved if self._budget else 0

    async def reserve(self, estimate: Estimate) -> Lease:
        """Reserve what a request may need.

        Raises `RateLimited` and `BudgetExhausted`; waits, first come, first served, while other requests hold
        what it needs. Raises `StoreFailed` when what was spent cannot be read: nothing is spent blindly.
        """
        if (share := self.caller.strongest_share) is not None:
            await self._rations.open(self.caller.key_id, share)
        self._take_rates(estimate.tokens)
        if not self.caller.has_budget:
            return Lease(self, estimate, None)
        try:
            return Lease(self, estimate, await self._hold(estimate))
        except BaseException:
            self._return_tokens(estimate.tokens)
            raise

    def settle(self, estimate: Estimate, hold: Hold | None, tokens: int, nano: int, *, whole: bool) -> None:
        """What a request came to: for `Lease`."""
        self._return_tokens(estimate.tokens - tokens)
        if hold is None:
            return
        Budget.settle(hold, nano)
        self._leave(estimate)
        if whole or estimate.model in self._history:
            self._history.setdefault(estimate.model, History()).note(
                nano, estimate.prompt_nano, self._clock()
            )
            if len(self._history) > MOST_REMEMBERED:
                del self._history[next(iter(self._history))]
        self._advance()

    def render_headers(self) -> Iterator[tuple[str, str]]:
        """`x-ratelimit-*`, as OpenAI has them, for the rates that are limited."""
        now = self._clock()
        for what, bucket in (("requests", self._requests), ("tokens", self._tokens)):
            if bucket is not None:
                yield f"x-ratelimit-limit-{what}", str(bucket.per_minute)
                yield f"x-ratelimit-remaining-{what}", str(bucket.left(now))
                yield f"x-ratelimit-reset-{what}", render_duration(bucket.empty_after_s(now))

    def _take_rates(self, tokens: int) -> None:
        now = self._clock()
        shares = (
            (self._requests, "requests", 1),
            (self._tokens, "tokens", tokens),
        )
        for bucket, what, share in shares:
            if bucket is not None and (wait_s := bucket.wait_s(share, now)) > 0:
                raise RateLimited(
                    f"this API key may use {bucket.per_minute} {what} a minute, and this request would go "
                    f"beyond that; try again in {render_duration(wait_s)}",
                    retry_after_s=wait_s,
                )
        for bucket, _, share in shares:
            if bucket is not None:
                bucket.pour(share, now)

    def _return_tokens(self, tokens: int) -> None:
        if self._tokens is not None:
            self._tokens.pour(-tokens, self._clock())

    async def _hold(self, estimate: Estimate) -> Hold:
        budget = self._budget or await self._load()
        if estimate.most_nano == 0:
            return self._enter(budget, estimate, 0)  # what costs nothing is never refused for money
        nano = self._afford(budget, estimate)
        if isinstance(nano, int) and not self._line:
            return self._enter(budget, estimate, nano)
        if len(self._line) >= MOST_WAITING:
            raise RateLimited(
                f"{MOST_WAITING} requests of this API key wait already for its budget; try again in a second",
                retry_after_s=1.0,
            )
        place: asyncio.Future[Hold] = asyncio.get_running_loop().create_future()
        self._line[place] = estimate
        self._advance()
        try:
            return await place
        except asyncio.CancelledError:
            self._give_up(place, estimate)
            raise

    async def _load(self) -> Budget:
        """Read what was spent, once for all who ask meanwhile."""
        if self._loading is None:
            self._loading = asyncio.create_task(self._read())
        loading = self._loading
        try:
            return await asyncio.shield(loading)
        finally:
            if loading.done():
                self._loading = None

    async def _read(self) -> Budget:
        now = self._now()
        said = await self._load_spendings(now)
        for model, nano in said.dearest.items():
            self._history.setdefault(model, History()).note(nano, 0, self._clock())
        self._budget = Budget(now, spent_today=said.today, spent_this_month=said.this_month)
        return self._budget

    def _afford(self, budget: Budget, estimate: Estimate) -> int | _WaitFor:
        """How much to reserve, or what to wait for. Raises `BudgetExhausted`."""
        now = self._now()
        budget.roll(now)
        history = self._history.get(estimate.model)
        known = history.needs(estimate, self._clock()) if history else None
        needs = estimate.calls * max(1, estimate.least_nano if known is None else known)
        if budget.lacks(self.caller, needs):
            raise BudgetExhausted(budget.explain(self.caller, needs, now))
        if known is None and (estimate.model in self._in_flight or _group_of(estimate) in self._learning):
            return "knowledge"
        wanted, room = max(needs, estimate.calls * estimate.most_nano), budget.room(self.caller)
        if wanted <= room:
            return wanted
        return room if budget.is_idle else "money"

    def _enter(self, budget: Budget, estimate: Estimate, nano: int) -> Hold:
        model, history = estimate.model, self._history.get(estimate.model)
        is_known = history is not None and history.needs(estimate, self._clock()) is not None
        if not is_known and estimate.most_nano:
            self._learning.setdefault(_group_of(estimate), model)
        self._in_flight[model] += 1
        return budget.hold(nano)

    def _leave(self, estimate: Estimate) -> None:
        model, group = estimate.model, _group_of(estimate)
        self._in_flight[model] -= 1
        if self._in_flight[model]:
            return
        del self._in_flight[model]
        if self._learning.get(group) == model:
            del self._learning[group]

    def _give_up(self, place: asyncio.Future[Hold], estimate: Estimate) -> None:
        """Whoever waited has left, perhaps at the moment when its turn came."""
        self._line.pop(place, None)
        if not place.cancelled() and place.exception() is None:
            Budget.settle(place.result(), 0)
            self._leave(estimate)
        self._advance()

    def _advance(self) -> None:
        """Serve the line as far as it goes; who waits to know a model's cost lets those for others pass."""
        if not self._line or self._budget is None:
            return
        unknown = set[str]()
        for place, estimate in [*self._line.items()]:
            if estimate.model in unknown:
                continue
            if not place.done():
                try:
                    nano = self._afford(self._budget, estimate)
                except BudgetExhausted as error:
                    place.set_exception(error)
                else:
                    if nano == "money":
                        return
                    if nano == "knowledge":
                        unknown.add(estimate.model)
                        continue
                    place.set_result(self._enter(self._budget, estimate, nano))
            del self._line[place]


def _group_of(estimate: Estimate) -> str:
    """One request of it at a time is of unknown cost."""
    return estimate.group or estimate.model


class History:
    """What whole answers of one model have lately cost one key."""

    __slots__ = ("_costs", "_prompts")

    def __init__(self) -> None:
        self._costs = Recent()
        self._prompts = Recent()

    def note(self, nano: int, prompt_nano: int, now: float) -> None:
        """One more: what it cost, and what we took its prompt for."""
        self._costs.note(nano, now)
        self._prompts.note(prompt_nano, now)

    def needs(self, estimate: Estimate, now: float) -> int | None:
        """What a request needs to be left of the budget; None when nothing is known of lately."""
        cost, prompt = self._costs.most(now), self._prompts.most(now)
        if cost is None:
            return None
        longer = max(0, estimate.prompt_nano - prompt) if prompt else 0
        return max(cost + longer, estimate.stated_nano)


class Recent:
    """The largest of the latest figures: of this span and of the one before."""

    __slots__ = ("_before", "_began", "_now")

    def __init__(self) -> None:
        self._now: int | None = None
        self._before: int | None = None
        self._began = 0.0

    def note(self, figure: int, now: float) -> None:
        """One more."""
        self._roll(now)
        self._now = figure if self._now is None else max(self._now, figure)

    def most(self, now: float) -> int | None:
        """The largest; None when there was none lately."""
        self._roll(now)
        return max((it for it in (self._now, self._before) if it is not None), default=None)

    def _roll(self, now: float) -> None:
        if now - self._began < LATELY_S:
            return
        self._before = self._now if now - self._began < 2 * LATELY_S else None
        self._now = None
        self._began = now


def _bucket(before: Bucket | None, per_minute: int | None) -> Bucket | None:
    """A bucket of this size that holds what the one before held."""
    if per_minute is None:
        return None
    bucket = before or Bucket(per_minute)
    bucket.per_minute = per_minute
    return bucket
