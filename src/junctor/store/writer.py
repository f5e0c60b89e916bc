"""The one thread that writes: whatever has queued up is committed in one transaction (group commit).

What nobody waits for (`append`) is safe in the spool, so the thread lets it pile up for a moment.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
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
_CATCH_UP_S = 5.0
"How long nothing new must come before what was put off is tried again; also after each batch."
_ROWS = 64
"Rows of one statement: SQLite takes 32,766 parameters, a row of the ledger has two dozen."
_INSERT = re.compile(
    r"\s*(?P<into>INSERT INTO \w+ \([^()]*\)\s*VALUES)\s*\((?P<names>\s*:\w+(?:\s*,\s*:\w+)*)\s*\)\s*"
)


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
        self._not_taken = 0
        self._overflowed = 0
        "The one is counted by the thread, the other by the loop: neither waits for a lock."
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
        return self._taken - self.written - self.failed - self.deferred

    @property
    def deferred(self) -> int:
        """Statements that SQLite did not take when it should; the spool has them, for another try."""
        return self._not_taken + self._overflowed

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
        """Queue one INSERT that survives our death when this returns.

        When the queue is full, the spool alone has it, and SQLite gets it when there is time. Raises
        `OSError` when the spool cannot take it: it is not queued then.
        """
        if self._closing:
            raise OSError("the database is closed")
        segment = self._spool.append(sql, parameters)
        self._taken += 1
        if self.waiting > self._queue_limit:
            self._spool.keep(segment)
            self._overflowed += 1
        else:
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
                if self._queue.empty():
                    self._catch_up()
        finally:
            # After an orderly end nothing is left. After a fault of our own, nobody may wait for ever.
            self._closing = True
            self._connection.close()
            left = [*batch, *self._drain()]
            self._settle(left, [StoreFailed("the writer has ended") for _ in left])
            self._spool.close()

    def _next_batch(self) -> list[Job]:
        """What is queued, in order; waits for the first. Empty once the queue was closed."""
        while True:
            try:
                first = self._queue.get(timeout=_CATCH_UP_S if self._spool.put_off() else None)
                break
            except Empty:
                self._catch_up()
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
        kept = [job.segment for job, fault in zip(batch, faults, strict=True) if fault and job.segment]
        self._not_taken += len(kept)
        self.failed += len(failures) - len(kept)
        self.written += len(faults) - len(failures)
        if failures:
            log.error("%d of %d rows could not be written: %s", len(failures), len(batch), failures[0])
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

    def _catch_up(self) -> None:
        """Bring in what was put off, as long as nothing new waits. A file that SQLite does not take stays."""
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
            except FAULTS as error:
                log.warning("%s is brought in later: %s", path.name, explain(error))
                return
            finally:
                leftover.close()

    def _patience(self) -> float:
        return min(self._patience_s, _CLOSING_PATIENCE_S) if self._closing else self._patience_s


def _transact(connection: sqlite3.Connection, batch: Sequence[Job]) -> list[StoreFailed | None]:
    faults: list[StoreFailed | None] = [None] * len(batch)
    connection.execute("BEGIN IMMEDIATE")
    for places in group_by_insert(batch):
        rows = [batch[place].parameters for place in places]
        if len(places) == 1 or not _insert(connection, batch[places[0]].sql, rows):
            for place in places:
                faults[place] = _execute(connection, batch[place])
    connection.execute("COMMIT")
    return faults


def group_by_insert(batch: Sequence[Job]) -> Iterator[list[int]]:
    """Places of a batch that one statement can do: up to `_ROWS` INSERTs of one kind that nobody waits for.

    Their order among each other does not count, but they stay on their side of any other statement.
    """
    groups: dict[str, list[int]] = {}
    for place, job in enumerate(batch):
        if job.future is not None:
            yield from groups.values()
            groups = {}
            yield [place]
            continue
        group = groups.setdefault(job.sql, [])
        group.append(place)
        if len(group) == _ROWS:
            yield groups.pop(job.sql)
    yield from groups.values()


def _insert(connection: sqlite3.Connection, sql: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Insert many rows by one statement. False: it is no plain INSERT, or one of them does not go in.

    The interpreter's lock is given back and won again once a statement; under load each time takes its 5 ms.
    """
    plain = _INSERT.fullmatch(sql)
    if plain is None:
        return False
    names = [name.strip().removeprefix(":") for name in plain["names"].split(",")]
    row = f"({', '.join('?' * len(names))})"
    statement = f"{plain['into']} {', '.join([row] * len(rows))}"
    try:
        connection.execute(statement, [row[name] for row in rows for name in names])
    except FAULTS as error:
        if not connection.in_transaction or is_locked(error):
            raise
        return False
    return True


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
