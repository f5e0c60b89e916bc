"""What counts as a database that does not work, and as one that works again."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from junctor.store.condition import ALARM_S, LOG_S, Condition
from junctor.store.failure import StoreFailed

DOWN = StoreFailed("disk full", unavailable=True)
SLIP = StoreFailed("no such column")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    connection.execute("CREATE TABLE rows (id INTEGER)")
    yield connection
    connection.close()


def test_a_statement_that_is_wrong_says_nothing_of_the_database(connection: sqlite3.Connection) -> None:
    condition = Condition(connection)
    condition.note([SLIP], 3, held=0)
    assert not condition.is_down
    condition.note([SLIP, DOWN], 3, held=0)
    assert condition.is_down


def test_only_what_was_really_written_shows_that_it_works_again(connection: sqlite3.Connection) -> None:
    condition = Condition(connection)
    condition.note([DOWN], 1, held=0)
    connection.execute("SELECT 1")
    connection.execute("DELETE FROM rows")
    condition.note([], 2, held=0)
    assert condition.is_down
    connection.execute("INSERT INTO rows VALUES (1)")
    condition.note([], 1, held=0)
    assert not condition.is_down


def test_a_short_lock_is_no_fault(connection: sqlite3.Connection) -> None:
    condition = Condition(connection)
    condition.locked_for(ALARM_S)
    assert not condition.is_down
    condition.locked_for(ALARM_S + 0.1)
    assert condition.is_down


def test_a_probe_writes_something_that_changes_nothing(
    connection: sqlite3.Connection, tmp_path: Path
) -> None:
    connection.execute("PRAGMA user_version = 7")
    condition = Condition(connection)
    condition.note([DOWN], 1, held=0)
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    connection.execute("PRAGMA busy_timeout = 1")
    condition.probe()
    assert condition.is_down, "somebody else holds it"
    other.execute("ROLLBACK")
    condition.probe()
    assert not condition.is_down
    assert other.execute("PRAGMA user_version").fetchone() == (7,)
    other.close()


def test_the_log_has_the_beginning_the_end_and_a_reminder_now_and_then(
    connection: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    condition = Condition(connection, clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            condition.note([DOWN], 1, held=5)
            clock.now += LOG_S / 40
        connection.execute("INSERT INTO rows VALUES (1)")
        condition.note([], 1, held=0)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 + 2 + 1
    assert "5 wait in memory" in said[0]
    assert "takes rows again" in said[-1]
