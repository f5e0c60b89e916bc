"""A file is made ready: fresh, current, older, newer, or not ours."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory

from junctor.store.failure import StoreFailed
from junctor.store.migrate import make_config
from junctor.store.schema import HEAD, prepare, statements


def picture(path: Path) -> dict[str, str]:
    """Every table and index: its name -> its SQL without comments and spacing."""
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    connection.close()
    return {name: "".join(line.split("--")[0] for line in sql.splitlines()).replace(" ", "").replace("\t", "")
            for name, sql in rows}  # fmt: skip


def revision(path: Path) -> str:
    connection = sqlite3.connect(path)
    (found,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    connection.close()
    return str(found)


def revisions() -> list[str]:
    """All revisions, oldest first."""
    scripts = ScriptDirectory.from_config(make_config(Path("unused")))
    return [script.revision for script in scripts.walk_revisions()][::-1]


def test_the_picture_is_what_the_migrations_make(tmp_path: Path) -> None:
    """`schema.sql` and `alembic upgrade head` make the same file, and are at the same revision."""
    fresh, migrated = tmp_path / "fresh.db", tmp_path / "migrated.db"
    prepare(fresh)
    command.upgrade(make_config(migrated), "head")
    assert picture(fresh) == picture(migrated)
    assert {"ledger", "decisions", "alembic_version", "ledger_by_time", "decisions_by_request"} <= set(
        picture(fresh)
    )
    assert revision(fresh) == revision(migrated) == HEAD == revisions()[-1]


def test_revisions_are_numbered() -> None:
    """Older and newer are told apart by comparing them."""
    assert revisions() == [f"{number:04}" for number in range(1, len(revisions()) + 1)]


@pytest.mark.parametrize("start", ["base", *revisions()])
def test_an_older_file_is_upgraded_and_keeps_its_rows(tmp_path: Path, start: str) -> None:
    """From each revision there ever was, by the child process."""
    path = tmp_path / "old.db"
    config = make_config(path)
    command.upgrade(config, "0001")
    if start == "base":
        connection = sqlite3.connect(path, isolation_level=None)
        for statement in ("DROP TABLE ledger", "DROP TABLE decisions", "DELETE FROM alembic_version"):
            connection.execute(statement)
        connection.execute("CREATE TABLE kept (id INTEGER)")
        connection.close()
    else:
        command.upgrade(config, start)
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("INSERT INTO decisions VALUES ('dec_1', 'req_1', 'then', 'a', 'balanced', '{}')")
        connection.close()
    prepare(path)
    assert revision(path) == HEAD
    connection = sqlite3.connect(path)
    kept = "SELECT count(*) FROM " + ("kept" if start == "base" else "decisions")
    assert connection.execute(kept).fetchone() == (0 if start == "base" else 1,)
    connection.close()


def test_preparing_twice_changes_nothing(tmp_path: Path) -> None:
    """A second start finds the file current."""
    path = tmp_path / "x.db"
    prepare(path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("INSERT INTO decisions VALUES ('dec_1', 'req_1', 'then', 'a', 'balanced', '{}')")
    connection.close()
    prepare(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM decisions").fetchone() == (1,)
    connection.close()


def test_two_processes_may_create_the_same_file(tmp_path: Path) -> None:
    """They meet at the lock; one creates, the other finds it done."""
    for turn in range(10):
        path = tmp_path / f"{turn}.db"
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(prepare, [path] * 8))
        assert revision(path) == HEAD


@pytest.mark.parametrize("found", ["9999", "0002x", "a3f1"])
def test_a_newer_or_unknown_revision_is_refused_untouched(tmp_path: Path, found: str) -> None:
    """An older Junctor must not write into a newer file."""
    path = tmp_path / "x.db"
    prepare(path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE alembic_version SET version_num = :found", {"found": found})
    connection.close()
    with pytest.raises(StoreFailed, match="upgrade Junctor"):
        prepare(path)
    assert revision(path) == found


def test_a_revision_that_never_was_is_refused_with_alembics_reason(tmp_path: Path) -> None:
    """The child's failure reaches the user."""
    path = tmp_path / "x.db"
    prepare(path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE alembic_version SET version_num = '0000'")
    connection.close()
    with pytest.raises(StoreFailed, match="0000"):
        prepare(path)


def test_somebody_elses_database_is_refused_untouched(tmp_path: Path) -> None:
    """Tables, but no trace of Alembic: not ours."""
    path = tmp_path / "x.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE ledger (id INTEGER)")
    connection.commit()
    connection.close()
    with pytest.raises(StoreFailed, match="not Junctor's"):
        prepare(path)
    assert picture(path) == {"ledger": "CREATETABLEledger(idINTEGER)"}


def test_a_half_made_file_is_never_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a statement of the picture fails, the file is as empty as before, and a later start succeeds."""
    path, broken = tmp_path / "x.db", tmp_path / "broken.sql"
    broken.write_text("CREATE TABLE a (x INTEGER);\nCREATE TABLE a (x INTEGER);\n", encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr("junctor.store.schema._SCHEMA", broken)
        with pytest.raises(sqlite3.OperationalError):
            prepare(path)
    assert picture(path) == {}
    prepare(path)
    assert revision(path) == HEAD


def test_only_its_owner_can_read_a_new_file(tmp_path: Path) -> None:
    """The ledger says who asked what when."""
    path = tmp_path / "deep" / "x.db"
    before = os.umask(0)
    try:
        prepare(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_script_is_split_at_its_line_ends() -> None:
    """A comment belongs to the statement after it; a semicolon inside a line does not end one."""
    assert statements("-- why\nA 'x;y';\n\nB;\n") == ["-- why\nA 'x;y'", "B"]


def test_the_serving_path_carries_no_heavy_library() -> None:
    """SQLAlchemy, Alembic, pydantic and genai-prices live in child processes (docs/adr/0001)."""
    code = (
        "import sys, junctor.store.database, junctor.pool.ledger, junctor.pool.metered, junctor.pool.catalog;"
        "print(sorted({'sqlalchemy', 'alembic', 'pydantic', 'genai_prices'} & set(sys.modules)))"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert child.stdout.strip() == "[]"
