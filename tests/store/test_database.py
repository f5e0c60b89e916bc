"""The database as the rooms see it: what is acknowledged stays, whatever happens to the process."""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from junctor.store.database import Database, Synchronous
from junctor.store.failure import StoreFailed

INSERT = """
    INSERT INTO decisions (id, request_id, created_at, chosen, mode, document)
    VALUES (:id, 'req_1', '2026-11-21T00:00:00.000Z', 'a', 'balanced', :document)
"""
COUNT = "SELECT count(*) AS rows FROM decisions"

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
async def test_what_is_written_is_read(tmp_path: Path, synchronous: Synchronous) -> None:
    """Rows come back as column -> value, at once and after a restart."""
    database = Database(tmp_path / "deep" / "x.db", synchronous)
    for _ in range(2):
        async with database:
            await database.write("DELETE FROM decisions")
            await database.write(INSERT, {"id": "dec_1", "document": "{}"})
            rows = await database.read("SELECT id, document FROM decisions WHERE id = :id", {"id": "dec_1"})
            assert rows == [{"id": "dec_1", "document": "{}"}]
            assert (database.written, database.failed, database.waiting) == (2, 0, 0)


async def test_the_connections_are_set_up_as_documented(tmp_path: Path) -> None:
    """WAL, the asked durability, foreign keys."""
    async with Database(tmp_path / "x.db", "FULL") as database:
        assert await database.read("PRAGMA journal_mode") == [{"journal_mode": "wal"}]
        assert await database.read("PRAGMA synchronous") == [{"synchronous": 2}]
        assert await database.read("PRAGMA foreign_keys") == [{"foreign_keys": 1}]


async def test_closing_writes_what_nobody_waits_for(tmp_path: Path) -> None:
    """Fire and forget, then close: all is there."""
    database = Database(tmp_path / "x.db")
    await database.open()
    for number in range(1000):
        database.write(INSERT, {"id": f"dec_{number}", "document": "{}"})
    await database.close()
    await database.close()
    async with database:
        assert await database.read(COUNT) == [{"rows": 1000}]


async def test_a_closed_database_says_so(tmp_path: Path) -> None:
    """Late writers and readers get an error, not a hang."""
    database = Database(tmp_path / "x.db")
    await database.open()
    await database.close()
    with pytest.raises(StoreFailed, match="closed"):
        await database.write(INSERT, {"id": "dec_1", "document": "{}"})
    with pytest.raises(StoreFailed, match="not open"):
        await database.read(COUNT)


async def test_opening_twice_is_a_slip(tmp_path: Path) -> None:
    """Threads must not be doubled."""
    async with Database(tmp_path / "x.db") as database:
        with pytest.raises(StoreFailed, match="open already"):
            await database.open()


async def test_reading_cannot_write(tmp_path: Path) -> None:
    """All writes go through the one writer."""
    async with Database(tmp_path / "x.db") as database:
        with pytest.raises(StoreFailed):
            await database.read("DELETE FROM decisions")


async def test_a_bad_query_is_an_error_and_no_more(tmp_path: Path) -> None:
    """The reader goes on."""
    async with Database(tmp_path / "x.db") as database:
        for sql in ("SELECT * FROM nowhere", "not SQL", "SELECT :missing"):
            with pytest.raises(StoreFailed):
                await database.read(sql)
        assert await database.read(COUNT) == [{"rows": 0}]


async def test_a_long_query_does_not_hold_up_the_loop(tmp_path: Path) -> None:
    """It runs on a thread of its own: the loop turns, and writes are committed, until it has ended."""
    async with Database(tmp_path / "x.db") as database:
        gate = threading.Event()
        assert database._reader is not None
        database._reader.create_function("wait", 0, lambda: gate.wait(30))
        reading = asyncio.ensure_future(database.read("SELECT wait() AS passed"))
        await database.write(INSERT, {"id": "dec_1", "document": "{}"})
        assert not reading.done()
        gate.set()
        assert await reading == [{"passed": 1}]


async def test_many_requests_at_once_each_get_their_row(tmp_path: Path) -> None:
    """Concurrent writers are all served, and the reader sees each after its own await."""
    async with Database(tmp_path / "x.db") as database:

        async def write_and_look(number: int) -> int:
            await database.write(INSERT, {"id": f"dec_{number}", "document": str(number)})
            rows = await database.read(
                "SELECT document FROM decisions WHERE id = :id", {"id": f"dec_{number}"}
            )
            return int(rows[0]["document"])

        assert await asyncio.gather(*map(write_and_look, range(300))) == list(range(300))


@pytest.mark.parametrize(
    ("content", "reason"), [(b"this is no database" * 99, "name another file"), (None, "cannot be opened")]
)
async def test_a_path_that_cannot_be_used_is_refused(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    """A file of another kind, or a folder: the error names it, and nothing is left running."""
    path = tmp_path / "x.db"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    before = threading.active_count()
    with pytest.raises(StoreFailed, match=reason) as caught:
        await Database(path).open()
    assert str(path) in str(caught.value)
    assert threading.active_count() == before
    if content is not None:
        assert path.read_bytes() == content


async def test_a_refused_database_can_be_opened_later(tmp_path: Path) -> None:
    """An open that failed leaves the object usable."""
    path = tmp_path / "x.db"
    path.write_bytes(b"garbage" * 99)
    database = Database(path)
    with pytest.raises(StoreFailed):
        await database.open()
    path.unlink()
    async with database:
        assert await database.read(COUNT) == [{"rows": 0}]


WRITE_UNTIL_KILLED = f"""
import asyncio, sys
from pathlib import Path
from junctor.store.database import Database

async def main(path, begin):
    database = Database(Path(path))
    await database.open()
    async def write(number):
        while True:
            await database.write({INSERT!r}, dict(id="dec_%09d" % number, document="x" * 300))
            sys.stdout.write("%d\\n" % number)
            sys.stdout.flush()
            number += 8
    await asyncio.gather(*(write(begin + offset) for offset in range(8)))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.timeout(240)
def test_kill_9_loses_no_acknowledged_row(tmp_path: Path) -> None:
    """A child writes and acknowledges, 30 times over, and is killed at a random moment each time.

    Every row it acknowledged is there, and the file is sound. Eight writers at a time make real batches.
    """
    path, rng, acknowledged = tmp_path / "x.db", random.Random(2), set[int]()
    for turn in range(30):
        command = [sys.executable, "-c", WRITE_UNTIL_KILLED, str(path), str(turn * 1_000_000)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert child.stdout is not None
        lines = [child.stdout.readline()]  # it has begun
        time.sleep(rng.uniform(0, 0.05))
        child.send_signal(signal.SIGKILL)
        lines += child.communicate()[0].splitlines(keepends=True)
        acknowledged |= {int(line) for line in lines if line.endswith(b"\n")}
    connection = sqlite3.connect(path)
    stored = {int(name[4:]) for (name,) in connection.execute("SELECT id FROM decisions")}
    assert acknowledged - stored == set()
    assert len(acknowledged) >= 30
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
