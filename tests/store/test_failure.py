"""Errors of the store say what to change."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from junctor.chat import InternalError
from junctor.store.failure import StoreFailed, explain, is_locked


def test_a_known_fault_comes_with_advice(tmp_path: Path) -> None:
    """A file that is no database tells so, and what to do."""
    path = tmp_path / "x.db"
    path.write_bytes(b"not a database " * 100)
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        connection.execute("SELECT * FROM sqlite_master")
    connection.close()
    assert "name another file" in str(explain(caught.value))


def test_an_unknown_fault_keeps_its_words() -> None:
    """Nothing is hidden."""
    assert str(explain(OverflowError("too large"))) == "too large"


def test_a_store_fault_is_one_that_callers_can_be_told() -> None:
    """It stands in the tree of errors as our own fault."""
    error = StoreFailed("x")
    assert isinstance(error, InternalError)
    assert (error.status, error.code) == (500, "store_failed")
    assert explain(error) is error


def test_only_a_lock_is_worth_another_try(tmp_path: Path) -> None:
    """`database is locked` may pass; a slip in the SQL will not."""
    one = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    two = sqlite3.connect(tmp_path / "x.db", isolation_level=None, timeout=0)
    one.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError) as locked:
        two.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError) as slip:
        two.execute("not SQL")
    one.close()
    two.close()
    assert [is_locked(locked.value), is_locked(slip.value), is_locked(ValueError())] == [True, False, False]
