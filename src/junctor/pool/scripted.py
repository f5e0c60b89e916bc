"""`ScriptedModel`: a model that says what its script says. The fake that the product ships.

For tests, for trying a configuration without a provider, and as a stand-in in a pool:

    [[models]]
    name = "fake"
    provider = "scripted"
    script = [
      { when = "weather", tool_call = { name = "get_weather", arguments = '{"city": "Rome"}' } },
      { turn = true, text = "Hello" },
      { delay_s = 0.1 },
      { text = " there." },
    ]

A script is a list of steps. `when` or `turn` begins a turn, which goes on to the next of these. A turn with
`when` answers the prompts whose last message holds those words; the others answer all else, one after the
other, and then from the start again. Like every model it keeps to the time that a request may take.
"""

from __future__ import annotations

import asyncio
import difflib
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from math import inf
from typing import Any

import msgspec

from junctor.chat import (
    BadRequest,
    ChatRequest,
    EngineDown,
    Event,
    Finished,
    FinishReason,
    ModelCard,
    Started,
    Text,
    Thought,
    ToolCall,
    UpstreamBroken,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnauthorised,
    UpstreamUnavailable,
    UpstreamUnreachable,
    Usage,
    WindowExceeded,
)
from junctor.pool.transport import LEFT

REMEMBERED = 100
"Requests that a scripted model keeps, the newest ones."

_FAILURES: dict[str, type[UpstreamError]] = {
    error.code: error
    for error in (
        EngineDown,
        UpstreamBroken,
        UpstreamRateLimited,
        UpstreamTimeout,
        UpstreamUnauthorised,
        UpstreamUnavailable,
        UpstreamUnreachable,
    )
}


class ScriptedCall(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole tool call."""

    name: str
    arguments: str = "{}"
    "JSON text."


class ScriptedUsage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tokens to report."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    cache_written_tokens: int = 0


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do next. Of one step: first the delay, then what it says, then the failure."""

    when: str | None = None
    "Begins a turn for prompts whose last message holds these words."
    turn: bool = False
    "Begins a turn."
    delay_s: float = 0.0
    text: str | None = None
    thought: str | None = None
    tool_call: ScriptedCall | None = None
    usage: ScriptedUsage | None = None
    "Left out of a whole turn: counted at four characters a token."
    finish: FinishReason | None = None
    "Left out of a whole turn: `tool_calls` after a tool call, else `stop`."
    fail: str | None = None
    "Code of the error to fail with; `upstream_refused` and `context_length_exceeded` are the caller's fault."
    retry_after_s: float | None = None
    "For `fail`."


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One answer."""

    when: str | None = None
    steps: tuple[Step, ...]


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """All that a scripted model says."""

    turns: tuple[Turn, ...]


def parse_script(steps: Sequence[Mapping[str, Any]]) -> Script:
    """Read the steps of a configuration. Raises `BadRequest`, which names the step and its mistake."""
    turns: list[tuple[str | None, list[Step]]] = []
    for index, raw in enumerate(steps):
        step = _parse_step(raw, f"script[{index}]")
        if not turns or step.turn or step.when is not None:
            turns.append((step.when, []))
        turns[-1][1].append(step)
    if not turns:
        raise BadRequest("a script needs at least one step, for example { text = 'Hello' }", param="script")
    return Script(turns=tuple(Turn(when=when, steps=tuple(steps)) for when, steps in turns))


def _parse_step(raw: Mapping[str, Any], at: str) -> Step:
    known = Step.__struct_fields__
    for key in raw:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean `{near[0]}`?" if near else f"; a step has {', '.join(known)}"
            raise BadRequest(f"{at}: unknown key `{key}`{hint}", param=at)
    try:
        step = msgspec.convert(raw, Step)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{at}: {error}", param=at) from error
    if step.fail is not None and step.fail not in {*_FAILURES, UpstreamRefused.code, WindowExceeded.code}:
        known_codes = ", ".join(sorted({*_FAILURES, UpstreamRefused.code, WindowExceeded.code}))
        raise BadRequest(f"{at}: `{step.fail}` is no failure of a model; known: {known_codes}", param=at)
    return step


class ScriptedModel:
    """Says what its script says. Deterministic: the same requests in the same order get the same answers."""

    def __init__(
        self,
        card: ModelCard,
        script: Script,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives seconds from any origin."""
        self.card = card
        self.requests: deque[ChatRequest] = deque(maxlen=REMEMBERED)
        "What it was asked, newest last."
        self._keyed = [turn for turn in script.turns if turn.when is not None]
        self._others = [turn for turn in script.turns if turn.when is None]
        self._next = 0
        self._sleep = sleep
        self._clock = clock

    async def answer(self, request: ChatRequest) -> AsyncGenerator[Event, None]:
        """Say the lines of one turn. Raises `UpstreamTimeout` after `request.within_s`."""
        self.requests.append(request)
        ends_at = inf if request.within_s is None else self._clock() + request.within_s
        turn = self._choose(request)
        said_chars, called, finish, usage = 0, 0, None, None
        started = False
        for step in turn.steps:
            await self._wait(step.delay_s, request, ends_at)
            for event in _events_of(step, called):
                if not started:
                    yield Started(self.card.name)
                    started = True
                said_chars += _size(event)
                called += isinstance(event, ToolCall)
                yield event
            if step.fail is not None:
                raise self._failure(step)
            usage, finish = step.usage or usage, step.finish or finish
        if not started:
            yield Started(self.card.name)
        yield _usage_of(usage, request, said_chars)
        yield Finished(finish or ("tool_calls" if called else "stop"))

    async def _wait(self, delay_s: float, request: ChatRequest, ends_at: float) -> None:
        left_s = ends_at - self._clock()
        if delay_s >= left_s:
            await self._sleep(max(0.0, left_s))
            message = (
                f"the model `{self.card.name}` did not finish within {round(request.within_s or 0, 2):g} s"
            )
            raise UpstreamTimeout(f"{message} ({LEFT})", model=self.card.name)
        if delay_s:
            await self._sleep(delay_s)

    def _choose(self, request: ChatRequest) -> Turn:
        prompt = _last_message(request)
        for turn in self._keyed:
            if turn.when is not None and turn.when in prompt:
                return turn
        if not self._others:
            raise UpstreamRefused("the script has no turn for this prompt", status=400, model=self.card.name)
        turn = self._others[self._next % len(self._others)]
        self._next += 1
        return turn

    def _failure(self, step: Step) -> Exception:
        message = f"the script of {self.card.name} says: {step.fail}"
        if step.fail == UpstreamRefused.code:
            return UpstreamRefused(message, status=400, model=self.card.name)
        if step.fail == WindowExceeded.code:
            return WindowExceeded(message)
        assert step.fail is not None
        return _FAILURES[step.fail](message, model=self.card.name, retry_after_s=step.retry_after_s)


def _events_of(step: Step, called: int) -> list[Event]:
    events: list[Event] = []
    if step.thought is not None:
        events.append(Thought(step.thought))
    if step.text is not None:
        events.append(Text(step.text))
    if step.tool_call is not None:
        name, arguments = step.tool_call.name, step.tool_call.arguments
        events.append(ToolCall(called, id=f"call_{called}", name=name, arguments=arguments))
    return events


def _size(event: Event) -> int:
    match event:
        case Text() | Thought():
            return len(event.text)
        case ToolCall():
            return len(event.name) + len(event.arguments)
        case _:
            return 0


def _usage_of(usage: ScriptedUsage | None, request: ChatRequest, said_chars: int) -> Usage:
    if usage is not None:
        return Usage(
            usage.input_tokens,
            usage.output_tokens,
            usage.cached_tokens,
            cache_written_tokens=usage.cache_written_tokens,
        )
    return Usage(max(1, len(bytes(request.messages)) // 4), -(-said_chars // 4))


def _last_message(request: ChatRequest) -> str:
    """The JSON text of the last message: `when` looks into it, whatever form its content has."""
    messages = msgspec.json.decode(request.messages, type=list[msgspec.Raw])
    return bytes(messages[-1]).decode("utf-8", "replace") if messages else ""
