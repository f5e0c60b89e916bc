"""The database, as every room sees it: `write` and `read`.

    database = Database(Path("junctor.db"))
    await database.open()
    await database.write("INSERT INTO ...", {...})     # durable when this returns
    rows = await database.read("SELECT ...", {...})
    await database.close()

SQLite in WAL mode through the standard library; docs/adr/0001 says why nothing else stands on this path.
Rooms write portable SQL with `:named` parameters, so that another engine can stand behind the same two
methods.

Durability: a row whose `write` is done survives the death of this process (kill -9 included). With
`synchronous="FULL"` it also survives a power failure, for one flush of the disk a batch. `append` is the way
of rows that come with every request: through the spool, see there.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from junctor.store.failure import StoreFailed, explain
from junctor.store.schema import prepare
from junctor.store.spool import Spool, find_leftovers
from junctor.store.transaction import FAULTS, replay
from junctor.store.writer import Writer

log = logging.getLogger(__name__)

Synchronous = Literal["NORMAL", "FULL"]
"What a committed row survives: the death of the process, or a power failure too."

_READER_BUSY_MS = 5000
_BARRIER_S = 2.0
"A database that takes nothing for so long is read as it is."
_NOTHING: Mapping[str, Any] = {}
_ANOTHER = "set `[store] path` in junctor.toml to another file, or JUNCTOR_DATA_DIR to another folder"
"What to change where a file cannot be used."


class Database:
    """One file, one writer thread, one reader thread. Belongs to the event loop that opened it."""

    def __init__(
        self,
        path: Path,
        synchronous: Synchronous = "NORMAL",
        *,
        queue_limit: int = 10_000,
        patience_s: float = 30.0,
    ) -> None:
        """`queue_limit`: rows that may wait. `patience_s`: how long a batch waits for another's lock."""
        self._path = path
        self._synchronous = synchronous
        self._queue_limit = queue_limit
        self._patience_s = patience_s
        self._threads: ThreadPoolExecutor | None = None
        self._writer: Writer | None = None
        self._reader: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Create the file, or bring its schema up to date, and start the threads.

        Raises `StoreFailed` when the file cannot be used, or was written by a newer Junctor.
        """
        if self._threads is not None:
            raise StoreFailed("the database is open already")
        loop = asyncio.get_running_loop()
        threads = ThreadPoolExecutor(1, thread_name_prefix="junctor-reader")
        try:
            self._reader, connection = await loop.run_in_executor(threads, self._prepare)
        except (OSError, *FAULTS) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else explain(error)
            raise StoreFailed(f"{self._path} cannot be opened: {why}; {_ANOTHER}") from error
        finally:
            if self._reader is None:
                threads.shutdown()
        self._threads = threads
        self._writer = Writer(
            connection,
            loop,
            Spool(self._path),
            queue_limit=self._queue_limit,
            patience_s=self._patience_s,
        )
        self._writer.start()

    async def close(self) -> None:
        """Write what is queued, then let go of the file. A second call does nothing."""
        if self._writer is None or self._threads is None or self._reader is None:
            return
        writer, threads, reader = self._writer, self._threads, self._reader
        self._threads = self._reader = None
        writer.close()
        await asyncio.get_running_loop().run_in_executor(threads, writer.join)
        await asyncio.get_running_loop().run_in_executor(threads, reader.close)
        threads.shutdown()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def write(self, sql: str, parameters: Mapping[str, Any] = _NOTHING) -> asyncio.Future[None]:
        """Queue one statement; the future is done once it is committed. Statements run in the order asked.

        Call it on the event loop's thread. Nobody has to await the future: a failure is logged and counted.
        Whoever does await it gets `StoreFailed`: the statement failed, the disk is full or read-only, another
        process held the database for longer than `patience_s`, or `queue_limit` rows wait already. Cancelling
        the wait does not take the row back.
        """
        assert self._writer is not None, "the database is not open: await open() first"
        return self._writer.put(sql, parameters)

    def append(
        self, sql: str, parameters: Mapping[str, Any] = _NOTHING, *, with_next: bool = False
    ) -> asyncio.Future[None] | None:
        """As `write`, for an INSERT that may be run twice: None when it is safe at once, in the spool.

        Of two rows with the same primary key the first counts. `with_next`: it need not be safe before the
        next one is. Never raises.
        """
        assert self._writer is not None, "the database is not open: await open() first"
        if self._synchronous == "NORMAL":
            try:
                self._writer.append(sql, parameters, with_next=with_next)
            except (OSError, ValueError, TypeError, OverflowError) as error:  # or nothing that it can encode
                log.warning("the spool beside %s takes nothing: %s", self._path, error)
            else:
                return None
        return self._writer.put(sql, parameters, lasting=True)

    async def read(self, sql: str, parameters: Mapping[str, Any] = _NOTHING) -> list[dict[str, Any]]:
        """The rows of one query, each as column -> value. What was written or appended before is there.

        Raises `StoreFailed`.
        """
        if self._threads is None or self._writer is None:
            raise StoreFailed("the database is not open")
        if self._writer.waiting and not self._writer.failing:
            await asyncio.wait((self._writer.caught_up(),), timeout=_BARRIER_S)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._read, sql, parameters)

    @property
    def written(self) -> int:
        """Statements committed since `open`."""
        return self._writer.written if self._writer else 0

    @property
    def failed(self) -> int:
        """Statements that failed or were refused since `open`: rows that are lost."""
        return self._writer.failed + self._writer.refused if self._writer else 0

    @property
    def deferred(self) -> int:
        """Rows since `open` that only the spool has, or had: SQLite did not take them when it should."""
        return self._writer.deferred if self._writer else 0

    @property
    def failing(self) -> bool:
        """Whether it takes nothing for now: full, read-only, locked for long, damaged."""
        return self._writer.failing if self._writer else False

    @property
    def waiting(self) -> int:
        """Statements in the queue."""
        return self._writer.waiting if self._writer else 0

    def _prepare(self) -> tuple[sqlite3.Connection, sqlite3.Connection]:
        """The reader's and the writer's connection."""
        prepare(self._path)
        self._replay()
        reader = self._connect()
        reader.execute("PRAGMA query_only = ON")
        return reader, self._connect()

    def _replay(self) -> None:
        """Give SQLite what a process that died had left in its spool."""
        for leftover in find_leftovers(self._path):
            connection = self._connect()
            try:
                replay(connection, leftover)
            finally:
                connection.close()
                leftover.close()

    def _connect(self) -> sqlite3.Connection:
        # Each connection is used by one thread, but opened or closed by another.
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.execute(f"PRAGMA busy_timeout = {_READER_BUSY_MS}")
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def _read(self, sql: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        if self._reader is None:
            raise StoreFailed("the database is closed")
        try:
            cursor = self._reader.execute(sql, parameters)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except FAULTS as error:
            raise explain(error) from error
