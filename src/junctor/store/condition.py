"""Whether the database works, as what is written to it shows: full, read-only, locked for long, or well."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence

from junctor.store.failure import StoreFailed
from junctor.store.transaction import FAULTS

log = logging.getLogger(__name__)

ALARM_S = 2.0
"A database that another process has locked for so long counts as one that does not work."
LOG_S = 10.0
"How often one that does not work is mentioned."


class Condition:
    """Belongs to the thread that writes; `is_down` may be read by any."""

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds, never backwards."""
        self.is_down = False
        "Whether it takes nothing for now."
        self._connection = connection
        self._changes = connection.total_changes
        self._clock = clock
        self._logged_at = 0.0

    def note(self, failures: Sequence[StoreFailed], tried: int, *, held: int) -> None:
        """A batch has been tried. Statements that changed nothing do not show that the database works."""
        was_down = self.is_down
        if any(fault.unavailable for fault in failures):
            self.is_down = True
        elif (changes := self._connection.total_changes) != self._changes:
            self._changes, self.is_down = changes, False
        news = not (was_down and self.is_down) or self._clock() - self._logged_at > LOG_S
        if failures and news:
            self._logged_at = self._clock()
            log.error(
                "%d of %d rows could not be written (%d wait in memory): %s",
                *(len(failures), tried, held, failures[0]),
            )
        elif was_down and not self.is_down:
            log.warning("the database takes rows again")

    def locked_for(self, seconds: float) -> None:
        """Another process keeps us out, for so long by now."""
        self.is_down = self.is_down or seconds > ALARM_S

    def probe(self) -> None:
        """Where it is down, write something: a number in the file's head, as it is."""
        if not self.is_down:
            return
        try:
            (number,) = self._connection.execute("PRAGMA user_version").fetchone()
            self._connection.execute(f"PRAGMA user_version = {number:d}")
        except FAULTS as error:
            log.debug("the database still takes nothing: %s", error)
            return
        self.is_down = False
        log.warning("the database takes rows again")
