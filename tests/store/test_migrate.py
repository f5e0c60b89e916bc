"""`python -m junctor.store.migrate`."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from junctor.store import migrate
from junctor.store.schema import HEAD


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "junctor.store.migrate", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def test_it_upgrades_an_empty_file(tmp_path: Path) -> None:
    """Also one whose path needs quoting."""
    path = tmp_path / "100% ours.db"
    migrate.main([str(path)])
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (HEAD,)
    connection.close()


def test_it_asks_for_its_argument() -> None:
    """A slip on the command line is told, not guessed at."""
    with pytest.raises(SystemExit, match="usage"):
        migrate.main([])


def test_a_package_in_the_current_folder_is_not_imported(tmp_path: Path) -> None:
    """Started in a hostile folder, the child still runs our code."""
    (tmp_path / "alembic").mkdir()
    (tmp_path / "alembic" / "__init__.py").write_text("raise SystemExit('hijacked')", encoding="utf-8")
    assert run(str(tmp_path / "x.db"), cwd=tmp_path).returncode == 0


def test_a_failed_migration_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Schema changes run in one transaction."""
    versions = tmp_path / "migrations"
    versions.mkdir()
    for name in ("env.py", "script.py.mako"):
        (versions / name).write_text((migrate.MIGRATIONS / name).read_text("utf-8"), "utf-8")
    (versions / "versions").mkdir()
    (versions / "versions" / "0001_broken.py").write_text(
        "from alembic import op\nrevision = '0001'\ndown_revision = None\n"
        "def upgrade():\n"
        "    op.execute('CREATE TABLE half (id INTEGER)')\n"
        "    op.execute('CREATE TABLE half (id INTEGER)')\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(migrate, "MIGRATIONS", versions)
    with pytest.raises(Exception, match="already exists"):
        migrate.main([str(tmp_path / "x.db")])
    connection = sqlite3.connect(tmp_path / "x.db")
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()
