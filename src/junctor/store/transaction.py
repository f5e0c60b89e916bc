"""One transaction: as many statements as have queued up, and what becomes of each."""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from junctor.store.failure import StoreFailed, explain, is_locked
from junctor.store.spool import Leftover, read_statements

log = logging.getLogger(__name__)

FAULTS = (sqlite3.Error, sqlite3.Warning, OverflowError, ValueError, TypeError, MemoryError)
"What one statement can fail with: SQLite's errors, and values that it cannot hold."

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
    lasting: bool = False
    "While the database cannot work, it is held in memory, not given up."
    is_row: bool = True
    "Whether anything is lost with it."


def transact(connection: sqlite3.Connection, batch: Sequence[Job]) -> list[StoreFailed | None]:
    """Commit a batch in one transaction; for each statement its fault, or None. Raises `FAULTS`."""
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
    """Bring in a file that nobody appends to any more, then delete it.

    Raises what SQLite raises; the file stays then.
    """
    bring_in(connection, leftover.path)
    leftover.delete()


def bring_in(connection: sqlite3.Connection, path: Path) -> None:
    """Run the statements of a file of the spool. What SQLite has already is skipped. Raises `FAULTS`."""
    rows = 0
    connection.execute("BEGIN IMMEDIATE")
    try:
        for sql, parameters in read_statements(path):
            with suppress(sqlite3.IntegrityError):
                rows += connection.execute(sql, parameters).rowcount
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise
    log.info("%d rows were brought in from %s", rows, path.name)


def roll_back(connection: sqlite3.Connection) -> None:
    """End a transaction that failed."""
    if connection.in_transaction:
        with suppress(sqlite3.Error):  # SQLite rolls back by itself when it cannot be told to
            connection.execute("ROLLBACK")
