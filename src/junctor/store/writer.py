"""The one thread that writes: whatever has queued up is committed in one transaction (group commit).

What nobody waits for (`append`) is safe in the spool, so the thread lets it pile up for a moment.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from junctor.store.condition import Condition
from junctor.store.failure import StoreFailed, explain, is_locked
from junctor.store.spool import Leftover, Spool
from junctor.store.transaction import FAULTS, Job, bring_in, replay, roll_back, transact

log = logging.getLogger(__name__)

_BUSY_MS = 250
"SQLite itself waits this long for another process's lock; we ask again until patience is over."
_PAUSE_S = 0.02
_CLOSING_PATIENCE_S = 5.0
_LINGER_S = 0.02
"How long statements in the spool may pile up: each wake-up of the thread takes the interpreter."
_LOG_EVERY = 1000
_CATCH_UP_S = 5.0
"How long nothing new must come before what was put off is tried again; also after each batch."
_HELD_AT_ONCE = 256
_BARRIER = "SELECT 1"
"Done when all that was queued before it is."


class Writer:
    """Writes in the order asked, from one thread on a connection of its own.

    `put` belongs to the event loop's thread. A future is resolved on that loop once its statement is
    committed, with one wake-up of the loop a batch. Nothing that a statement does ends the thread.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        loop: asyncio.AbstractEventLoop,
        spool: Spool,
        *,
        queue_limit: int,
        patience_s: float,
    ) -> None:
        """`connection`: in autocommit, open to any thread; from `start` on it is the writer's alone."""
        self.written = 0
        "Statements committed."
        self.failed = 0
        "Statements that SQLite did not take."
        self._not_taken = 0
        self._overflowed = 0
        "The one is counted by the thread, the other by the loop: neither waits for a lock."
        self.refused = 0
        "Statements that found the queue full or closed."
        self._connection = connection
        self._condition = Condition(connection)
        self._loop = loop
        self._spool = spool
        self._hurry = threading.Event()
        "Set when somebody waits for a statement."
        self._taken = 0
        self._queue_limit = queue_limit
        self._patience_s = patience_s
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._closing = False
        self._held: list[Job] = []
        self._brought_in = set[Path]()
        self._thread = threading.Thread(target=self._run, name="junctor-writer", daemon=True)

    @property
    def waiting(self) -> int:
        """Statements that were taken and are not settled yet."""
        return self._taken - self.written - self.failed - self.deferred

    @property
    def deferred(self) -> int:
        """Statements that SQLite did not take when it should; the spool has them, for another try."""
        return self._not_taken + self._overflowed

    @property
    def failing(self) -> bool:
        """Whether the database takes nothing for now: full, read-only, locked for long, damaged."""
        return self._condition.is_down or bool(self._held)

    @property
    def is_full(self) -> bool:
        """Whether as many statements wait as may."""
        return self.waiting >= self._queue_limit

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Take no more statements. What is queued will be written, then the thread ends."""
        if not self._closing:
            self._closing = True
            self._queue.put(None)
            self._hurry.set()

    def join(self) -> None:
        """Wait for the thread to end. Blocks: not for the event loop's thread."""
        self._thread.join()

    def put(self, sql: str, parameters: Mapping[str, Any], *, lasting: bool = False) -> asyncio.Future[None]:
        """Queue one statement.

        `lasting`: one that finds a database that cannot work is held, and written when it can; its future
        fails all the same, so that nobody waits for that.
        """
        future = self._loop.create_future()
        if self._closing:
            self._refuse(future, "the database is closed: nothing more can be written")
        elif self.is_full:
            self._refuse(
                future, f"{self._queue_limit} rows wait to be written: the disk is too slow or stuck"
            )
        else:
            self._taken += 1
            self._queue.put(Job(sql, parameters, future, lasting=lasting))
            self._hurry.set()
        return future

    def caught_up(self) -> asyncio.Future[None]:
        """Done once all that was queued so far is settled, or the database cannot work."""
        future = self._loop.create_future()
        self._queue.put(Job(_BARRIER, {}, future, is_row=False))
        self._hurry.set()
        return future

    def append(self, sql: str, parameters: Mapping[str, Any], *, with_next: bool = False) -> None:
        """Queue one INSERT that survives our death when this returns; `with_next`: when the next one does.

        When the queue is full, the spool alone has it, and SQLite gets it when there is time. Raises
        `OSError` when the spool cannot take it: it is not queued then.
        """
        if self._closing:
            raise OSError("the database is closed")
        is_full = self.waiting >= self._queue_limit
        segment = self._spool.append(sql, parameters, with_next=with_next and not is_full)
        self._taken += 1
        if is_full:
            self._spool.keep(segment)
            self._overflowed += 1
        else:  # what is perhaps in no file yet must not be looked for there
            self._queue.put(Job(sql, parameters, None, 0 if with_next else segment, lasting=with_next))

    def _refuse(self, future: asyncio.Future[None], reason: str) -> None:
        if self.refused % _LOG_EVERY == 0:
            log.error("a row is refused (%d were before it): %s", self.refused, reason)
        self.refused += 1
        _fail(future, StoreFailed(reason))

    def _run(self) -> None:
        batch = list[Job]()
        try:
            self._connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            while batch := self._next_batch():
                self._settle(batch, self._commit(batch))
                batch = []  # let go of it before the wait for the next
                if self._queue.empty():
                    self._catch_up()
            held, self._held = self._held, []
            self._settle(held, self._commit(held) if held else [])
        finally:
            # After an orderly end nothing is left. After a fault of our own, nobody may wait for ever.
            self._closing = True
            left = [*batch, *self._drain()]
            self._settle(left, [StoreFailed("the writer has ended") for _ in left])
            self._connection.close()
            self._spool.close()

    def _next_batch(self) -> list[Job]:
        """What is queued, in order; waits for the first. Empty once the queue was closed."""
        while True:
            try:
                behind = self.failing or self._spool.put_off() or self._spool.behind() - self._brought_in
                first = self._queue.get(timeout=_CATCH_UP_S if behind else None)
                break
            except Empty:
                self._catch_up()
                self._bring_in_newest()
        if first is None:
            return []
        self._hurry.wait(_LINGER_S)
        self._hurry.clear()
        return [first, *self._drain()]

    def _drain(self) -> list[Job]:
        jobs = list[Job]()
        for _ in range(self._queue.qsize()):
            job = self._queue.get()
            if job is None:
                self._queue.put(None)
                break
            jobs.append(job)
        return jobs

    def _settle(self, batch: Sequence[Job], faults: Sequence[StoreFailed | None]) -> None:
        rows = [(job, fault) for job, fault in zip(batch, faults, strict=True) if job.is_row]
        failures = [fault for _, fault in rows if fault]
        kept = [job.segment for job, fault in rows if fault and job.segment]
        held = [
            job._replace(future=None)
            for job, fault in rows
            if fault and fault.unavailable and job.lasting and not self._closing
        ]
        self._held += held
        self._not_taken += len(kept)
        self.failed += len(failures) - len(kept) - len(held)
        self.written += len(rows) - len(failures)
        self._condition.note(failures, len(rows), held=len(self._held))
        for segment in kept:
            self._spool.keep(segment)
        if batch:
            self._spool.release(max(job.segment for job in batch))
        waiting = [(job.future, fault) for job, fault in zip(batch, faults, strict=True) if job.future]
        if waiting:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(_resolve, waiting)

    def _commit(self, batch: Sequence[Job]) -> list[StoreFailed | None]:
        """Commit a batch in one transaction; if that cannot be, each statement in its own."""
        started = time.monotonic()
        while True:
            try:
                return transact(self._connection, batch)
            except FAULTS as error:
                roll_back(self._connection)
                locked, waited_s = is_locked(error), time.monotonic() - started
                if locked and waited_s < self._patience():
                    self._condition.locked_for(waited_s)
                    time.sleep(_PAUSE_S)
                elif locked or len(batch) == 1:
                    return [explain(error) for _ in batch]
                else:
                    return [self._commit([job])[0] for job in batch]

    def _catch_up(self) -> None:
        """Bring in what was put off, as long as nothing new waits. A file that SQLite does not take stays."""
        while self._held and self._queue.empty():
            # The first alone shows whether there is any point.
            most = 1 if self._condition.is_down else _HELD_AT_ONCE
            batch, self._held = self._held[:most], self._held[most:]
            self._settle(batch, self._commit(batch))
            if self._condition.is_down:
                return
        self._condition.probe()
        for path in list(self._spool.put_off()):
            if not self._queue.empty():
                return
            try:
                leftover = Leftover(path)
            except OSError as error:
                log.warning("%s cannot be read yet: %s", path.name, error)
                return
            try:
                replay(self._connection, leftover)
                self._spool.put_off().remove(path)
            except (OSError, *FAULTS) as error:
                log.warning("%s is brought in later: %s", path.name, explain(error))
                return
            finally:
                leftover.close()

    def _bring_in_newest(self) -> None:
        """What was put off last: its file gives way to a new one with the next row, which may be far off."""
        behind = self._spool.behind()
        for path in behind - self._brought_in:
            try:
                bring_in(self._connection, path)
            except (OSError, *FAULTS) as error:
                behind.remove(path)
                log.warning("%s is brought in later: %s", path.name, explain(error))
        self._brought_in = behind

    def _patience(self) -> float:
        return min(self._patience_s, _CLOSING_PATIENCE_S) if self._closing else self._patience_s


def _resolve(waiting: Sequence[tuple[asyncio.Future[None], StoreFailed | None]]) -> None:
    for future, fault in waiting:
        if fault is not None:
            _fail(future, fault)
        elif not future.done():
            future.set_result(None)


def _fail(future: asyncio.Future[None], fault: StoreFailed) -> None:
    if not future.done():
        future.set_exception(fault)
        future.exception()  # counted and logged already: nobody has to look at this future
