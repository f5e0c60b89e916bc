"""Ask every model of a pool the same questions, once each, within a limit on the cost.

Question by question, so that wherever a run ends, most questions have been answered by all. A call that fails
is tried again as the pool does it, and once more at the end of the run; what fails even then is left out. A
model that refuses a question has answered it wrongly: it would have refused it any day.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from junctor.chat import (
    Answer,
    ChatRequest,
    JunctorError,
    Model,
    ModelCard,
    UnsupportedByModel,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamUnauthorised,
    WindowExceeded,
    collect,
)
from junctor.pool.answers import answer_of
from junctor.pool.choice import Policy
from junctor.pool.metered import Metered, Spent, count_prompt_tokens
from junctor.pool.prompt import parse_prompt
from junctor.pool.resilient import Resilience, Resilient
from junctor.routing.abilities import identity_of
from junctor.routing.calibration.answer_log import AnswerLog, Said, key_of
from junctor.routing.calibration.questions import Question
from junctor.routing.errors import CannotCalibrate
from junctor.store.ids import new_id

PATIENCE = 5
"So many calls of a model in a row without an answer, beyond those at once: it is not asked any more."
PAUSES = 5
"How often a call waits for an upstream that asks to slow down."
_NEVER = 1_000_000
"Failures after which a model is set aside: here, who is silent is told to the user instead."
_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 60.0
_REFUSALS = (UpstreamRefused, WindowExceeded, UnsupportedByModel)
_GREEDY = {"temperature": msgspec.Raw(b"0")}


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How a survey is made."""

    max_usd: float
    "What all answers may cost, those kept from an earlier run included."
    max_tokens: int
    "Of one answer."
    concurrency: int
    keep_going: bool
    "Go on without a model that does not answer, instead of ending."


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One question to one model."""

    model: str
    question: Question
    request: ChatRequest
    most_usd: float
    "What it can cost at most; 0 without a price."


class Survey:
    """One run. `run` asks; what came of it stands in the log."""

    def __init__(
        self,
        models: Mapping[str, Model],
        questions: Sequence[Question],
        log: AnswerLog,
        terms: Terms,
        policy: Policy,
        *,
        tell: Callable[[Said | None], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`models`: bare ones. `tell` is called after each call, with None when it brought no answer."""
        never = msgspec.structs.replace(policy.ejection, failures=_NEVER)
        policy = msgspec.structs.replace(policy, retry_share=1.0, hedge_share=0.0, ejection=never)
        resilience = Resilience(policy)
        self._models = {
            name: Resilient([Metered(model, self._report)], resilience) for name, model in models.items()
        }
        self._cards = {name: model.card for name, model in models.items()}
        self._log, self._terms, self._tell, self._sleep = log, terms, tell, sleep
        self._spent = defaultdict[str, list[Spent]](list)
        self._flying = dict[str, float]()
        "What calls in progress can cost at most, by request."
        self._landed = asyncio.Condition()
        self._silent = dict.fromkeys(models, 0)
        "Calls in a row without an answer."
        self._warm = set[str]()
        "Models that refuse to be asked at a temperature."
        self.usd = sum(said.usd for said in log.said.values())
        "What the answers have cost so far, an earlier run's included."
        self.dropped: dict[str, str] = {}
        "Models that are not asked any more, and why."
        self.is_out_of_money = False
        self.replies: dict[tuple[str, str], str] = {}
        "By model and `key_of` a question: what was said in this run, whole. Nowhere kept."
        self.calls = [
            self._plan(name, question)
            for question in questions
            for name in models
            if (name, identity_of(self._cards[name]), key_of(question)) not in log.said
        ]
        "Those that are to be made."

    def _plan(self, name: str, question: Question) -> Call:
        messages = question.messages
        if messages is None:
            messages = msgspec.Raw(msgspec.json.encode([{"role": "user", "content": question.prompt}]))
        request = ChatRequest(
            model=name,
            messages=messages,
            max_tokens=self._most_tokens(self._cards[name]),
            passthrough=_GREEDY,
            id=new_id("req_"),
        )
        price = self._cards[name].price
        most = price.usd(count_prompt_tokens(request), request.max_tokens or 0) if price else 0.0
        return Call(model=name, question=question, request=request, most_usd=most)

    def _most_tokens(self, card: ModelCard) -> int:
        return min(self._terms.max_tokens, card.max_output or self._terms.max_tokens, card.window // 2)

    async def run(self) -> None:
        """Make all calls, those that failed once more.

        Raises `CannotCalibrate` when a model does not answer, unless the terms say to go on.
        """
        for calls in (self.calls, None):
            waiting = deque(self._missing() if calls is None else calls)
            workers = [self._work(waiting) for _ in range(self._terms.concurrency)]
            try:
                async with asyncio.TaskGroup() as tasks:
                    for worker in workers:
                        tasks.create_task(worker)
            except ExceptionGroup as group:
                raise group.exceptions[0] from None

    def _missing(self) -> list[Call]:
        """Calls that brought no answer, each as a new request."""
        return [
            msgspec.structs.replace(call, request=msgspec.structs.replace(call.request, id=new_id("req_")))
            for call in self.calls
            if self._key(call) not in self._log.said
        ]

    def _key(self, call: Call) -> tuple[str, str, str]:
        return call.model, identity_of(self._cards[call.model]), key_of(call.question)

    async def _work(self, waiting: deque[Call]) -> None:
        while waiting and not self.is_out_of_money:
            call = waiting.popleft()
            if call.model in self.dropped or not await self._may_fly(call):
                continue
            try:
                await self._make(call)
            finally:
                async with self._landed:
                    self._flying.pop(call.request.id, None)
                    self._landed.notify_all()

    async def _may_fly(self, call: Call) -> bool:
        """Whether there is money for the dearest answer; waits for calls that may not need all of theirs."""
        async with self._landed:
            while self.usd + sum(self._flying.values()) + call.most_usd > self._terms.max_usd:
                if not self._flying or self.is_out_of_money:
                    self.is_out_of_money = True
                    return False
                await self._landed.wait()
            self._flying[call.request.id] = call.most_usd
            return True

    async def _make(self, call: Call) -> None:
        said, failure = None, None
        try:
            said = await self._ask(call)
        except _REFUSALS as error:
            failure = error
            if not error.retryable or not isinstance(error, UpstreamRefused):
                said = self._said(call, None, refused=True)
        except JunctorError as error:
            failure = error
        self.usd += sum(spent.usd for spent in self._spent[call.request.id])
        if said is not None:
            self._log.add(said)
        self._tell(said)
        self._count(call.model, failure)

    async def _ask(self, call: Call) -> Said:
        for pauses_left in reversed(range(PAUSES + 1)):
            try:
                answer = await self._ask_at_some_temperature(call)
                self.replies[call.model, key_of(call.question)] = answer.text
                return self._said(call, answer_of(answer, parse_prompt(call.request).text))
            except UpstreamRateLimited as error:
                if not pauses_left:
                    raise
                await self._sleep(min(_LONGEST_PAUSE_S, error.retry_after_s or _PAUSE_S))
        raise AssertionError

    async def _ask_at_some_temperature(self, call: Call) -> Answer:
        """At 0, unless the model has refused to be asked at any."""
        request = call.request
        if call.model not in self._warm:
            try:
                return await collect(self._models[call.model].answer(request))
            except UpstreamRefused as error:
                if "temperature" not in f"{error.param} {error.message}":
                    raise
                self._warm.add(call.model)
        request = msgspec.structs.replace(request, passthrough={})
        return await collect(self._models[call.model].answer(request))

    def _said(self, call: Call, answer: str | None, *, refused: bool = False) -> Said:
        spent = self._spent[call.request.id]
        return Said(
            model=call.model,
            identity=identity_of(self._cards[call.model]),
            question=key_of(call.question),
            answer=answer,
            usd=sum(each.usd for each in spent),
            tokens=spent[-1].output_tokens if spent else 0,
            seconds=round(sum(each.total_ms for each in spent) / 1e3, 3),
            refused=refused,
        )

    def _count(self, name: str, failure: JunctorError | None) -> None:
        """Give up on a model that is silent."""
        self._silent[name] = 0 if failure is None else self._silent[name] + 1
        if failure is None or name in self.dropped:
            return
        if self._silent[name] < PATIENCE + self._terms.concurrency and not isinstance(
            failure, UpstreamUnauthorised
        ):
            return
        self.dropped[name] = failure.message
        if not self._terms.keep_going:
            raise CannotCalibrate(
                f"{name} does not answer: {failure.message}. Mend it, choose others with --models, or go on "
                "without it (--keep-going); what was answered so far is kept"
            )

    def _report(self, request_id: str, spent: Spent) -> None:
        self._spent[request_id].append(spent)
