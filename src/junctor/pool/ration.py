"""How much of the strongest model a key may have: a share of what the router answers it.

    await rations.open(key_id, share)      # before the router is asked: what the ledger says, read once
    ration = rations.of(key_id)            # None: the key may have it all
    ration.wait(strongest)                 # None: there is room; else when there is again
    ration.take(call, strongest)           # before the strongest model is asked: False when there is none
    ration.count(events, call)             # around the answer: what it was, once it ends

Of any 100 routed answers in a row, of a day at most, the share is the strongest model's. Whoever asks it
holds a place until the answer ends, so that a burst does not exceed the share either. An answer for which it
was asked and began to answer counts as its own, whoever's was taken in the end.

`call` stands for one call of the router. One request may make several: a fusion that has `auto` as a member
twice has two answers of it, and each needs a place.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Sequence
from contextlib import aclosing

import msgspec

from junctor.chat import Event, Started

WINDOW = 100
"Answers that a share is of."
LASTS_S = 86_400.0
"An answer counts for so long: whoever needs the strongest model for everything gets it again in time."
_ROUNDING = 1e-9


class Past(msgspec.Struct, frozen=True, gc=False):
    """One routed answer."""

    at: float
    "Seconds of Unix time."
    models: tuple[str, ...]
    "Who was asked for it and began to answer."


class Wait(msgspec.Struct, frozen=True):
    """When a key may have the strongest model again: whichever comes first."""

    answers: int
    "After so many answers of others."
    seconds: float


Load = Callable[[str, float, int], Awaitable[Sequence[Past]]]
"""Takes a key's id, a time (seconds of Unix time) and a count: the newest answers since then, newest last.
Raises `StoreFailed`."""


async def _load_nothing(key_id: str, since: float, count: int) -> Sequence[Past]:
    return ()


class Ration:
    """One key's."""

    def __init__(self, share: float, past: Sequence[Past], clock: Callable[[], float] = time.time) -> None:
        """`share`: 0..1; `past`: answers so far, newest last; `clock`: seconds of Unix time."""
        self.share = share
        self._past = deque(past, maxlen=WINDOW - 1)
        self._clock = clock
        self._held = dict[Hashable, str]()
        "Calls for which a model is asked that is held short: its name."

    @property
    def places(self) -> int:
        """Of the strongest model, among `WINDOW` answers."""
        return int(self.share * WINDOW + _ROUNDING)

    def wait(self, strongest: str) -> Wait | None:
        """Until there is room; None: there is."""
        now = self._clock()
        used = [
            (WINDOW - 1 - len(self._past) + at, it.at + LASTS_S - now)
            for at, it in enumerate(self._past)
            if strongest in it.models and it.at + LASTS_S > now
        ]
        over = len(used) + len(self._held) + 1 - self.places
        if over <= 0:
            return None
        if self.places == 0:
            return Wait(WINDOW, LASTS_S)
        if over > len(used):
            return Wait(0, 1.0)  # held by answers in progress
        gone, seconds = used[over - 1]
        return Wait(gone + 1, max(1.0, seconds))

    def take(self, call: Hashable, strongest: str) -> bool:
        """Hold a place for a call; one that holds it may ask again. False: there is none."""
        if call not in self._held:
            if self.wait(strongest) is not None:
                return False
            self._held[call] = strongest
        return True

    def give_back(self, call: Hashable) -> None:
        """The strongest model did not begin to answer."""
        self._held.pop(call, None)

    def close(self, call: Hashable, model: str | None) -> None:
        """The call is over, answered by this model, or by none."""
        held = self._held.pop(call, None)
        models = dict.fromkeys(name for name in (held, model) if name is not None)
        if models:
            self._past.append(Past(self._clock(), (*models,)))

    async def count(self, events: AsyncGenerator[Event, None], call: Hashable) -> AsyncGenerator[Event, None]:
        """The same events; the call is over when they are."""
        model: str | None = None
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Started):
                        model = event.model
                    yield event
        finally:
            self.close(call, model)


class Rations:
    """Of all keys that have one. One for the process; lives in its event loop."""

    def __init__(self, load: Load = _load_nothing, clock: Callable[[], float] = time.time) -> None:
        """`clock`: seconds of Unix time."""
        self._load = load
        self._clock = clock
        self._by_key = dict[str, Ration]()

    def of(self, key_id: str) -> Ration | None:
        """The ration of a key; None: it may have the strongest model always."""
        return self._by_key.get(key_id)

    async def open(self, key_id: str, share: float) -> None:
        """Hold a key to this share from now on. Raises `StoreFailed`: nothing is given blindly."""
        ration = self._by_key.get(key_id)
        if ration is None:
            past = await self._load(key_id, self._clock() - LASTS_S, WINDOW - 1)
            ration = self._by_key.setdefault(key_id, Ration(share, past, self._clock))
        ration.share = share

    def lift(self, key_id: str) -> None:
        """It may have the strongest model always."""
        self._by_key.pop(key_id, None)
