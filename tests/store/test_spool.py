"""The spool: what was appended survives, whatever happens to the process or the disk."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junctor.store.database import Database
from junctor.store.spool import Spool, find_leftovers

SQL = "INSERT INTO rows VALUES (:id)"
INSERT = """
INSERT INTO decisions (id, request_id, created_at, chosen, mode, document)
VALUES (:id, 'req', 'now', 'small', 'cost', :document)
"""


def read(database: Path) -> list[tuple[str, dict[str, Any]]]:
    found = list[tuple[str, dict[str, Any]]]()
    for leftover in find_leftovers(database):
        found += leftover.statements()
        leftover.close()
    return found


def orphan(spool: Spool) -> None:
    """As if the process had died: the locks are gone, the files are not."""
    for segment in spool._segments:
        os.close(segment.file)
    spool._segments.clear()


@contextmanager
def full_disk(after: int) -> Iterator[None]:
    """No file of this process can be longer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


values = st.dictionaries(
    st.text(max_size=5),
    st.none() | st.text() | st.binary() | st.floats(allow_nan=False) | st.integers(-(2**63), 2**63 - 1),
    max_size=4,
)


@given(
    statements=st.lists(st.tuples(st.sampled_from([SQL, "other", "third"]), values)), size=st.integers(1, 200)
)
def test_what_was_appended_comes_back_in_order(
    statements: list[tuple[str, dict[str, Any]]], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also over several files."""
    database = tmp_path_factory.mktemp("spool") / "x.db"
    spool = Spool(database, segment_bytes=size)
    for sql, parameters in statements:
        spool.append(sql, parameters)
    orphan(spool)
    assert sorted(map(repr, read(database))) == sorted(map(repr, statements))


@given(
    statements=st.lists(st.tuples(st.sampled_from([SQL, "other", "third"]), values, st.booleans())),
    size=st.integers(1, 200),
)
def test_what_may_wait_for_the_next_is_there_once_that_is(
    statements: list[tuple[str, dict[str, Any], bool]], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In the order appended: of what no other append has followed yet, nothing need be there."""
    database = tmp_path_factory.mktemp("spool") / "x.db"
    spool = Spool(database, segment_bytes=size)
    safe = 0
    for at, (sql, parameters, may_wait) in enumerate(statements):
        spool.append(sql, parameters, with_next=may_wait)
        safe = safe if may_wait else at + 1
    orphan(spool)
    found, given = read(database), [statement[:2] for statement in statements]
    assert len(found) >= safe
    assert sorted(map(repr, found)) == sorted(map(repr, given[: len(found)]))


def test_what_waits_for_the_next_is_written_without_one_when_sqlite_could_not_take_it(tmp_path: Path) -> None:
    """With the end of its file: that is what the next start reads."""
    spool = Spool(tmp_path / "x.db")
    for number in (1, 2):
        spool.append(SQL, {"id": 2 * number})
        spool.keep(spool.append(SQL, {"id": 2 * number + 1}, with_next=True))
    spool.close()
    assert read(tmp_path / "x.db") == [(SQL, {"id": number}) for number in (2, 3, 4, 5)]


def test_what_waits_for_the_next_outlives_an_append_that_fails(tmp_path: Path) -> None:
    """Its own append was promised; that of the other row was not."""
    spool = Spool(tmp_path / "x.db")
    spool.append(SQL, {"id": 1})
    spool.append(SQL, {"id": 2}, with_next=True)
    with full_disk(spool._size + 10), pytest.raises(OSError, match=r"large|full"):
        spool.append(SQL, {"id": 3, "text": "x" * 1000})
    spool.append(SQL, {"id": 4})
    orphan(spool)
    assert read(tmp_path / "x.db") == [(SQL, {"id": number}) for number in (1, 2, 4)]


@given(cut=st.integers(0, 400), flip=st.integers(0, 400))
def test_a_torn_or_damaged_end_hides_nothing_before_it(
    cut: int, flip: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    database = tmp_path_factory.mktemp("spool") / "x.db"
    spool = Spool(database)
    ends = list[int]()
    for number in range(10):
        spool.append(SQL, {"id": number})
        ends.append(spool._size)
    (path,) = [segment.path for segment in spool._segments]
    orphan(spool)
    data = bytearray(path.read_bytes()[: max(0, spool._size - cut)])
    harmed = min(flip, len(data) - 1)
    if data:
        data[harmed] ^= 0xFF
    path.write_bytes(data)
    whole = len([end for end in ends if end <= harmed])
    assert read(database)[:whole] == [(SQL, {"id": number}) for number in range(whole)]


def test_files_are_deleted_as_sqlite_gets_them(tmp_path: Path) -> None:
    """But not one that holds a statement that SQLite could not take."""
    spool = Spool(tmp_path / "x.db", segment_bytes=1)
    numbers = [spool.append(SQL, {"id": number}) for number in range(5)]
    assert numbers == [1, 2, 3, 4, 5]
    spool.keep(2)
    spool.release(4)
    assert sorted(path.name[-1] for path in tmp_path.iterdir()) == ["2", "4", "5"]
    spool.close()
    assert read(tmp_path / "x.db") == [(SQL, {"id": 1})]


def test_nobody_touches_a_file_whose_owner_lives(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "x.db")
    spool.append(SQL, {"id": 1})
    assert list(find_leftovers(tmp_path / "x.db")) == []
    another = Spool(tmp_path / "x.db")
    another.append(SQL, {"id": 2})
    orphan(spool)
    assert read(tmp_path / "x.db") == [(SQL, {"id": 1})]
    another.close()


def test_a_full_disk_leaves_no_half_record(tmp_path: Path) -> None:
    """The next append, once there is room, is found again."""
    spool = Spool(tmp_path / "x.db")
    spool.append(SQL, {"id": 1})
    with full_disk(spool._size + 10), pytest.raises(OSError, match=r"large|full"):
        spool.append(SQL, {"id": 2, "text": "x" * 1000})
    spool.append(SQL, {"id": 3})
    orphan(spool)
    assert read(tmp_path / "x.db") == [(SQL, {"id": 1}), (SQL, {"id": 3})]


CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from junctor.store.database import Database
async def main():
    async with Database(Path(sys.argv[1])) as database:
        for number in range(int(sys.argv[2])):
            assert database.append(sys.argv[3], {"id": f"dec_{number}", "document": "x" * 50}) is None
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""


@pytest.mark.anyio
@pytest.mark.parametrize("count", [1, 7, 300])
async def test_a_killed_process_loses_no_row_that_was_appended(tmp_path: Path, count: int) -> None:
    """Whatever SQLite had of them already: each is there once, and the spool is gone."""
    path = tmp_path / "x.db"
    child = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", CHILD, str(path), str(count), INSERT], check=False
    )
    assert child.returncode == -signal.SIGKILL
    async with Database(path) as database:
        rows = await database.read("SELECT id FROM decisions")
    assert {row["id"] for row in rows} == {f"dec_{number}" for number in range(count)}
    assert not list(tmp_path.glob("*-spool-*"))


@pytest.mark.anyio
async def test_rows_are_read_as_soon_as_they_are_appended(tmp_path: Path) -> None:
    async with Database(tmp_path / "x.db") as database:
        for number in range(3):
            assert database.append(INSERT, {"id": f"dec_{number}", "document": ""}) is None
            assert len(await database.read("SELECT id FROM decisions")) == number + 1
    assert not list(tmp_path.glob("*-spool-*"))


@pytest.mark.anyio
async def test_where_a_power_cut_counts_a_row_is_awaited(tmp_path: Path) -> None:
    """With FULL the spool is not enough: it is not flushed."""
    async with Database(tmp_path / "x.db", "FULL") as database:
        pending = database.append(INSERT, {"id": "dec_1", "document": ""})
        assert pending is not None
        await pending


@pytest.mark.anyio
async def test_what_a_locked_database_did_not_take_is_there_after_the_next_start(tmp_path: Path) -> None:
    """The other process held it for longer than our patience."""
    path = tmp_path / "x.db"
    async with Database(path, patience_s=0.1) as database:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        assert database.append(INSERT, {"id": "dec_1", "document": ""}) is None
        while not database.deferred:
            await asyncio.sleep(0.01)
        assert (database.failed, database.waiting) == (0, 0), "nothing is lost"
        other.execute("COMMIT")
        other.close()
    async with Database(path) as database:
        assert len(await database.read("SELECT id FROM decisions")) == 1


@pytest.mark.anyio
async def test_what_a_locked_database_did_not_take_is_brought_in_with_the_next_rows(tmp_path: Path) -> None:
    """The server goes on; nobody has to start it again."""
    async with Database(tmp_path / "x.db", patience_s=0.1) as database:
        other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        database.append(INSERT, {"id": "dec_1", "document": ""})
        while not database.deferred:
            await asyncio.sleep(0.01)
        other.execute("COMMIT")
        other.close()
        database.append(INSERT, {"id": "dec_2", "document": ""})
        while len(await database.read("SELECT id FROM decisions")) < 2:
            await asyncio.sleep(0.01)
    assert not list(tmp_path.glob("*-spool-*"))


@pytest.mark.anyio
async def test_a_writer_that_cannot_keep_up_loses_nothing(tmp_path: Path) -> None:
    """Beyond the queue's limit the spool alone has the rows; SQLite gets them when there is time."""
    async with Database(tmp_path / "x.db", queue_limit=10) as database:
        for number in range(500):
            assert database.append(INSERT, {"id": f"dec_{number}", "document": ""}) is None
        assert database.deferred > 0
        await asyncio.sleep(0.1)
        database.append(INSERT, {"id": "dec_500", "document": ""})
        while len(await database.read("SELECT id FROM decisions")) < 501:
            await asyncio.sleep(0.01)
    assert not list(tmp_path.glob("*-spool-*"))
