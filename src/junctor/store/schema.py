"""Make a database file ready: create it, check it, or have it upgraded.

A fresh file is made from `schema.sql`, the picture of all migrations, in a few milliseconds. Alembic, which
owns the migrations, would cost a second and 26 MB, so it runs in a child process, and only for files that are
older.
"""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from junctor.store.failure import StoreFailed, is_locked

HEAD = "0004"
"The newest migration: what `schema.sql` pictures. Revisions are numbered, so that newer and older compare."

_SCHEMA = Path(__file__).with_name("schema.sql")
_BUSY_MS = 30_000
"Another process may be creating or upgrading the same file."


def prepare(path: Path) -> None:
    """Bring the file to the newest revision, creating it (for this user's eyes only) if need be.

    Raises `StoreFailed` when it is no database of ours, or of a newer Junctor, or cannot be upgraded, and
    `OSError` or `sqlite3.Error` when it cannot be opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        revision = _create_or_read_revision(connection, path)
        _switch_to_wal(connection)
    finally:
        connection.close()
    if revision != HEAD:
        _upgrade(path, revision)


def _create_or_read_revision(connection: sqlite3.Connection, path: Path) -> str:
    """The file's revision; empty when Alembic has prepared the file but not run a migration."""
    connection.execute("BEGIN IMMEDIATE")
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        for statement in statements(_SCHEMA.read_text(encoding="utf-8")):
            connection.execute(statement)
        connection.execute("INSERT INTO alembic_version (version_num) VALUES (:head)", {"head": HEAD})
    elif "alembic_version" not in tables:
        raise StoreFailed(f"{path} holds tables, but not Junctor's: name another file")
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    connection.execute("COMMIT")
    return str(row[0]) if row else ""


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """The mode stays with the file. SQLite does not wait for others by itself when it changes it."""
    deadline = time.monotonic() + _BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if not is_locked(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def statements(script: str) -> list[str]:
    """The statements of an SQL script whose semicolons stand at line ends alone."""
    return [part for part in (piece.strip() for piece in re.split(r";[ \t]*(?:\n|$)", script)) if part]


def _upgrade(path: Path, revision: str) -> None:
    if revision and (not re.fullmatch(r"\d{4}", revision) or revision > HEAD):
        raise StoreFailed(
            f"{path} is at revision `{revision}`, this Junctor knows them up to {HEAD}: upgrade Junctor, or "
            "name another file"
        )
    # -P: whatever lies in the current folder must not be imported.
    command = [sys.executable, "-P", "-m", "junctor.store.migrate", str(path)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if child.returncode:
        raise StoreFailed(f"{path} could not be upgraded to revision {HEAD}: {child.stderr.strip()[-2000:]}")
