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
from queue import SimpleQueue
from typing import Any, NamedTuple

from junctor.store.failure import StoreFailed, explain, is_locked
from junctor.store.spool import Leftover, Spool

log = logging.getLogger(__name__)

FAULTS = (sqlite3.Error, sqlite3.Warning, OverflowError, ValueError, TypeError, MemoryError)
"What one statement can fail with: SQLite's errors, and values that it cannot hold."

_BUSY_MS = 250
"SQLite itself waits this long for another process's lock; we ask again until patience is over."
_PAUSE_S = 0.02
_CLOSING_PATIENCE_S = 5.0
_LINGER_S = 0.02
"How long statements in the spool may pile up: each wake-up of the thread takes the interpreter."
_LOG_EVERY = 1000


class Job(NamedTuple):
    """One statement to write."""

    sql: str
    parameters: Mapping[str, Any]
    future: asyncio.Future[None] | None
    "Whoever waits for it; None: nobody does, it is in the spool."
    segment: int = 0
    "The spool's file that holds it."


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
        self.refused = 0
        "Statements that found the queue full or closed."
        self._connection = connection
        self._loop = loop
        self._spool = spool
        self._hurry = threading.Event()
        "Set when somebody waits for a statement."
        self._taken = 0
        self._queue_limit = queue_limit
        self._patience_s = patience_s
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="junctor-writer", daemon=True)

    @property
    def waiting(self) -> int:
        """Statements that were taken and are not settled yet."""
        return self._taken - self.written - self.failed

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

    def put(self, sql: str, parameters: Mapping[str, Any]) -> asyncio.Future[None]:
        """Queue one statement."""
        future = self._loop.create_future()
        if self._closing:
            self._refuse(future, "the database is closed: nothing more can be written")
        elif self.waiting >= self._queue_limit:
            self._refuse(
                future, f"{self._queue_limit} rows wait to be written: the disk is too slow or stuck"
            )
        else:
            self._taken += 1
            self._queue.put(Job(sql, parameters, future))
            self._hurry.set()
        return future

    def append(self, sql: str, parameters: Mapping[str, Any]) -> None:
        """Queue one statement that survives our death when this returns.

        Raises `OSError` when the spool cannot take it, or the queue is full: it is not queued then.
        """
        if self._closing or self.waiting >= self._queue_limit:
            raise OSError("the database takes no more")
        segment = self._spool.append(sql, parameters)
        self._taken += 1
        self._queue.put(Job(sql, parameters, None, segment))

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
        finally:
            # After an orderly end nothing is left. After a fault of our own, nobody may wait for ever.
            self._closing = True
            self._connection.close()
            left = [*batch, *self._drain()]
            self._settle(left, [StoreFailed("the writer has ended") for _ in left])
            self._spool.close()

    def _next_batch(self) -> list[Job]:
        """What is queued, in order; waits for the first. Empty once the queue was closed."""
        first = self._queue.get()
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
        failures = [fault for fault in faults if fault]
        self.failed += len(failures)
        self.written += len(faults) - len(failures)
        if failures:
            log.error("%d of %d rows could not be written: %s", len(failures), len(batch), failures[0])
        for job, fault in zip(batch, faults, strict=True):
            if fault and job.segment:
                self._spool.keep(job.segment)
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
                return _transact(self._connection, batch)
            except FAULTS as error:
                _roll_back(self._connection)
                locked = is_locked(error)
                if locked and time.monotonic() - started < self._patience():
                    time.sleep(_PAUSE_S)
                elif locked or len(batch) == 1:
                    return [explain(error) for _ in batch]
                else:
                    return [self._commit([job])[0] for job in batch]

    def _patience(self) -> float:
        return min(self._patience_s, _CLOSING_PATIENCE_S) if self._closing else self._patience_s


def _transact(connection: sqlite3.Connection, batch: Sequence[Job]) -> list[StoreFailed | None]:
    connection.execute("BEGIN IMMEDIATE")
    faults = [_execute(connection, job) for job in batch]
    connection.execute("COMMIT")
    return faults


def _execute(connection: sqlite3.Connection, job: Job) -> StoreFailed | None:
    """Run one statement of a transaction. SQLite takes back a failed one alone and keeps the others."""
    try:
        connection.execute(job.sql, job.parameters)
    except FAULTS as error:
        if not connection.in_transaction:  # a full disk or an I/O error took back the whole transaction
            raise
        return explain(error)
    return None


def replay(connection: sqlite3.Connection, leftover: Leftover) -> None:
    """Run the statements of a process that died, then delete its file. What SQLite has already is skipped.

    Raises what SQLite raises; the file stays then.
    """
    rows = 0
    connection.execute("BEGIN IMMEDIATE")
    try:
        for sql, parameters in leftover.statements():
            with suppress(sqlite3.IntegrityError):
                rows += connection.execute(sql, parameters).rowcount
        connection.execute("COMMIT")
    except BaseException:
        _roll_back(connection)
        raise
    leftover.delete()
    log.info("%d rows were brought in from %s", rows, leftover.path.name)


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        with suppress(sqlite3.Error):  # SQLite rolls back by itself when it cannot be told to
            connection.execute("ROLLBACK")


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
