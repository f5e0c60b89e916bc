"""One transaction: each statement has its own fate, but those that a fault of the database takes together."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from junctor.store.failure import explain
from junctor.store.transaction import Job, roll_back, transact

INSERT = "INSERT INTO rows (id, text) VALUES (:id, :text)"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT)")
    yield connection
    connection.close()


def job(number: int, sql: str = INSERT) -> Job:
    return Job(sql, {"id": number, "text": "x" * 10}, None)


def ids(connection: sqlite3.Connection) -> list[int]:
    return [number for (number,) in connection.execute("SELECT id FROM rows ORDER BY id")]


def test_a_bad_statement_fails_alone(connection: sqlite3.Connection) -> None:
    faults = transact(connection, [job(1), job(1), job(2), job(3, "not SQL")])
    assert [fault is None for fault in faults] == [True, False, True, False]
    assert [fault.unavailable for fault in faults if fault] == [False, False]
    assert ids(connection) == [1, 2]


def test_a_database_that_cannot_work_fails_the_whole(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(sqlite3.OperationalError, match="readonly") as caught:
        transact(connection, [job(1), job(2)])
    connection.execute("PRAGMA query_only = OFF")
    assert explain(caught.value).unavailable
    assert ids(connection) == []


def test_what_failed_is_rolled_back(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")
    connection.execute(INSERT, {"id": 1, "text": ""})
    roll_back(connection)
    roll_back(connection)
    assert ids(connection) == []
