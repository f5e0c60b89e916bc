"""What the store says when it cannot do its work."""

from __future__ import annotations

import sqlite3

from junctor.chat import InternalError

_ADVICE = {
    sqlite3.SQLITE_FULL: "free space on the disk",
    sqlite3.SQLITE_READONLY: "let this user write to the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "let this user read and write the file and its folder",
    sqlite3.SQLITE_BUSY: "another process holds the database: end it, or wait",
    sqlite3.SQLITE_LOCKED: "another process holds the database: end it, or wait",
    sqlite3.SQLITE_IOERR: "the disk fails: see the system's log",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore a backup",
    sqlite3.SQLITE_NOTADB: "name another file: this one is no SQLite database",
}


class StoreFailed(InternalError):
    """A row could not be written or read. The message says what to change where that is known."""

    code = "store_failed"

    def __init__(self, message: str, *, unavailable: bool = False) -> None:
        super().__init__(message)
        self.unavailable = unavailable
        "Whether it is the database that cannot work, for now: not this statement's fault."


def explain(error: Exception) -> StoreFailed:
    """SQLite's error in words, with what to do about it."""
    if isinstance(error, StoreFailed):
        return error
    advice = _ADVICE.get(_primary_code(error))
    return StoreFailed(f"{error}: {advice}", unavailable=True) if advice else StoreFailed(f"{error}")


def is_locked(error: Exception) -> bool:
    """Whether another connection is in the way, so that a later try may succeed."""
    return _primary_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _primary_code(error: Exception) -> int:
    """SQLite's primary result code, the low byte of the extended one; 0 for other errors."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
