"""The writer thread: batches, and whatever can go wrong under it."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from junctor.store.failure import StoreFailed
from junctor.store.spool import Spool
from junctor.store.transaction import Job, group_by_insert
from junctor.store.writer import Writer

INSERT = "INSERT INTO rows (id, text) VALUES (:id, :text)"

pytestmark = pytest.mark.anyio


class Bench:
    """A writer on a real file, and a second connection to look and to meddle."""

    def __init__(self, path: Path, queue_limit: int = 1000, patience_s: float = 5.0) -> None:
        self.other = sqlite3.connect(path, isolation_level=None, timeout=0)
        self.other.execute("PRAGMA journal_mode = WAL")
        self.other.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, text TEXT)")
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        loop = asyncio.get_running_loop()
        self.writer = Writer(
            self.connection, loop, Spool(path), queue_limit=queue_limit, patience_s=patience_s
        )

    def put(self, number: int, text: str = "") -> asyncio.Future[None]:
        return self.writer.put(INSERT, {"id": number, "text": text})

    def ids(self) -> list[int]:
        return [number for (number,) in self.other.execute("SELECT id FROM rows ORDER BY id")]

    async def end(self) -> None:
        self.writer.close()
        await asyncio.to_thread(self.writer.join)
        await asyncio.sleep(0)
        self.other.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path / "x.db")
    yield bench
    await bench.end()


async def test_what_is_queued_is_committed_together(bench: Bench) -> None:
    """Rows that wait share one transaction: that is the speed of the thing."""
    commits = list[str]()
    bench.connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    futures = [bench.put(number) for number in range(500)]
    bench.writer.start()
    await asyncio.gather(*futures)
    assert bench.ids() == list(range(500))
    assert len(commits) == 1
    assert bench.writer.written == 500


async def test_a_future_is_done_only_after_the_commit(bench: Bench) -> None:
    """Another connection sees each row the moment its writer is told."""
    bench.writer.start()
    for number in range(50):
        await bench.put(number)
        assert bench.ids()[-1] == number


async def test_statements_run_in_the_order_asked(bench: Bench) -> None:
    """First in, first out, across batches."""
    bench.writer.start()
    await bench.put(1, "")
    for number in range(200):
        last = bench.writer.put("UPDATE rows SET text = text || :next WHERE id = 1", {"next": f"{number},"})
    await last
    (text,) = bench.other.execute("SELECT text FROM rows").fetchone()
    assert text == "".join(f"{number}," for number in range(200))


@pytest.mark.parametrize(
    ("sql", "parameters"),
    [
        (INSERT, {"id": 1, "text": "a second one of that id"}),
        ("INSERT INTO nowhere VALUES (1)", {}),
        ("not SQL", {}),
        (INSERT, {"id": 7}),
        (INSERT, {"id": 2**70, "text": ""}),
        (INSERT, {"id": 7, "text": object()}),
        (INSERT, {"id": 7, "text": "\ud800"}),
        ("SELECT 1; SELECT 2", {}),
    ],
    ids=["constraint", "table", "syntax", "missing", "overflow", "type", "surrogate", "two statements"],
)
async def test_one_bad_statement_does_not_cost_the_others(
    bench: Bench, sql: str, parameters: dict[str, object]
) -> None:
    """Its own future fails with a reason; the rest of the batch is committed, and the thread lives on."""
    commits = list[str]()
    bench.connection.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    before, bad, after = bench.put(1), bench.writer.put(sql, parameters), bench.put(2)
    bench.writer.start()
    await asyncio.gather(before, after)
    assert len(commits) == 1, "a slip of one must not make the others slow"
    with pytest.raises(StoreFailed):
        await bad
    await bench.put(3)
    assert bench.ids() == [1, 2, 3]
    assert (bench.writer.written, bench.writer.failed) == (3, 1)


async def test_a_failure_that_nobody_awaits_makes_no_noise(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Fire and forget: counted and logged once, no `exception was never retrieved`."""
    complaints = list[dict[str, object]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    bench.writer.start()
    bench.writer.put("not SQL", {})
    await bench.put(1)
    await asyncio.sleep(0)
    gc.collect()
    assert not complaints
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert bench.writer.failed == 1


async def test_a_cancelled_wait_does_not_take_the_row_back(bench: Bench) -> None:
    """A caller that leaves has its row all the same."""
    left = bench.put(1)
    left.cancel()
    bench.writer.start()
    await bench.put(2)
    assert bench.ids() == [1, 2]


async def test_a_full_queue_refuses_at_once(tmp_path: Path) -> None:
    """Rows do not pile up in memory for ever behind a disk that is stuck."""
    bench = Bench(tmp_path / "x.db", queue_limit=10)
    futures = [bench.put(number) for number in range(12)]
    assert [future.done() for future in futures] == [False] * 10 + [True] * 2
    with pytest.raises(StoreFailed, match="10 rows wait"):
        await futures[-1]
    bench.writer.start()
    await asyncio.gather(*futures[:10])
    await bench.put(99)
    assert bench.ids() == [*range(10), 99]
    assert bench.writer.refused == 2
    await bench.end()


async def test_a_lock_is_waited_for(bench: Bench) -> None:
    """Another process may hold the database for a while: nothing is lost."""
    bench.other.execute("BEGIN IMMEDIATE")
    bench.writer.start()
    futures = [bench.put(number) for number in range(5)]
    await asyncio.sleep(0.4)
    assert not any(future.done() for future in futures)
    bench.other.execute("COMMIT")
    await asyncio.gather(*futures)
    assert bench.ids() == [0, 1, 2, 3, 4]


async def test_a_lock_that_stays_fails_the_rows_and_no_more(tmp_path: Path) -> None:
    """After its patience the writer gives up on the batch, says why, and goes on when the lock is gone."""
    bench = Bench(tmp_path / "x.db", patience_s=0.1)
    bench.other.execute("BEGIN IMMEDIATE")
    bench.writer.start()
    failed = [bench.put(number) for number in range(3)]
    for future in failed:
        with pytest.raises(StoreFailed, match="another process holds the database"):
            await future
    bench.other.execute("COMMIT")
    await bench.put(7)
    assert bench.ids() == [7]
    await bench.end()


async def test_a_full_disk_fails_what_does_not_fit(bench: Bench) -> None:
    """The small rows of the batch that fit are kept; with room again, all goes on."""
    pages = bench.other.execute("PRAGMA page_count").fetchone()[0]
    bench.connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    small, big = bench.put(1, "x"), bench.put(2, "x" * 1_000_000)
    bench.writer.start()
    with pytest.raises(StoreFailed, match="free space"):
        await big
    await small
    assert bench.ids() == [1]
    bench.connection.execute("PRAGMA max_page_count = 1000000")
    await bench.put(3, "x" * 1_000_000)
    assert bench.ids() == [1, 3]


async def test_a_read_only_database_fails_each_row_with_advice(bench: Bench) -> None:
    """The thread outlives it."""
    bench.connection.execute("PRAGMA query_only = ON")
    bench.writer.start()
    for number in range(3):
        with pytest.raises(StoreFailed, match="let this user write"):
            await bench.put(number)
    bench.connection.execute("PRAGMA query_only = OFF")
    await bench.put(9)
    assert bench.ids() == [9]


async def test_closing_writes_what_is_queued(tmp_path: Path) -> None:
    """And refuses what comes after."""
    bench = Bench(tmp_path / "x.db")
    futures = [bench.put(number) for number in range(100)]
    bench.writer.close()
    late = bench.put(100)
    bench.writer.start()
    await asyncio.gather(*futures)
    with pytest.raises(StoreFailed, match="closed"):
        await late
    assert bench.ids() == list(range(100))
    await bench.end()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_fault_of_our_own_leaves_nobody_waiting(tmp_path: Path) -> None:
    """Should the thread ever end by itself, every row that waits fails, and so does every later one."""
    bench = Bench(tmp_path / "x.db")

    class Bug(dict[str, object]):
        def __missing__(self, key: str) -> object:
            raise KeyboardInterrupt

    futures = [bench.put(1), bench.writer.put(INSERT, Bug()), bench.put(2)]
    bench.writer.start()
    for future in futures:
        with pytest.raises(StoreFailed, match="ended"):
            await future
    with pytest.raises(StoreFailed, match="closed"):
        await bench.put(3)
    await bench.end()


async def test_inserts_of_one_kind_are_done_by_one_statement() -> None:
    """They keep to their side of whatever somebody waits for; 64 at most."""
    other = asyncio.get_running_loop().create_future()
    batch = [Job(sql, {}, None) for sql in "ABAB"] + [Job("A", {}, other)] + [Job("A", {}, None)] * 65
    groups = list(group_by_insert(batch))
    assert groups == [[0, 2], [1, 3], [4], list(range(5, 69)), [69]]


async def test_many_rows_go_in_together_and_a_bad_one_alone_is_refused(bench: Bench) -> None:
    """The row that is there already does not keep the others out."""
    statements = list[str]()
    bench.connection.set_trace_callback(statements.append)
    bench.other.execute("INSERT INTO rows VALUES (5, 'was here')")
    for number in range(8):
        bench.writer.append(INSERT, {"id": number, "text": "new"})
    for number in range(100, 108):
        bench.writer.append(INSERT.replace("INSERT", " INSERT"), {"id": number, "text": "new"})
    bench.writer.start()
    await bench.put(200)
    assert bench.ids() == [*range(8), *range(100, 108), 200]
    assert bench.other.execute("SELECT text FROM rows WHERE id = 5").fetchone() == ("was here",)
    assert sum("INSERT" in statement for statement in statements) == 1 + 8 + 1 + 1, (
        "one, eight alone, one, one"
    )
    assert bench.writer.deferred == 1


async def test_a_lasting_row_waits_in_memory_until_the_database_works_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its future fails at once, so that no reply waits; others are given up."""
    monkeypatch.setattr("junctor.store.writer._CATCH_UP_S", 0.05)
    bench.connection.execute("PRAGMA query_only = ON")
    bench.writer.start()
    lasting = [bench.writer.put(INSERT, {"id": n, "text": ""}, lasting=True) for n in range(300)]
    passing = bench.put(1000)
    for future in (*lasting, passing):
        with pytest.raises(StoreFailed):
            await future
    assert (bench.writer.waiting, bench.writer.failed, bench.writer.failing) == (300, 1, True)
    await asyncio.sleep(0.2)
    assert bench.writer.waiting == 300
    bench.connection.execute("PRAGMA query_only = OFF")
    while bench.writer.failing or bench.writer.waiting:
        await asyncio.sleep(0.01)
    assert bench.ids() == list(range(300))
    assert (bench.writer.waiting, bench.writer.failed, bench.writer.written) == (0, 1, 300)


async def test_lasting_rows_are_bounded_too(tmp_path: Path) -> None:
    """Beyond the limit rows are refused, and counted as lost."""
    bench = Bench(tmp_path / "x.db", queue_limit=10)
    bench.connection.execute("PRAGMA query_only = ON")
    bench.writer.start()
    for number in range(15):
        with pytest.raises(StoreFailed):
            await bench.writer.put(INSERT, {"id": number, "text": ""}, lasting=True)
    assert (bench.writer.waiting, bench.writer.refused) == (10, 5)
    bench.connection.execute("PRAGMA query_only = OFF")
    await bench.end()
    assert bench.writer.written == 10, "closing brings in what is held"


async def test_a_lasting_row_that_is_wrong_is_given_up(bench: Bench) -> None:
    """It would not be right later either."""
    bench.writer.start()
    with pytest.raises(StoreFailed):
        await bench.writer.put("not SQL", {}, lasting=True)
    assert (bench.writer.failed, bench.writer.waiting, bench.writer.failing) == (1, 0, False)


async def test_a_lock_that_stays_is_noticed_before_patience_is_over_and_so_is_its_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("junctor.store.condition.ALARM_S", 0.1)
    bench.other.execute("BEGIN IMMEDIATE")
    bench.writer.start()
    future = bench.put(1)
    while not bench.writer.failing:
        await asyncio.sleep(0.01)
    assert not future.done()
    bench.other.execute("ROLLBACK")
    await future
    assert not bench.writer.failing


async def test_a_database_that_works_again_is_noticed_without_a_row(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("junctor.store.writer._CATCH_UP_S", 0.05)
    bench.connection.execute("PRAGMA query_only = ON")
    bench.writer.start()
    with pytest.raises(StoreFailed):
        await bench.put(1)
    assert bench.writer.failing
    bench.connection.execute("PRAGMA query_only = OFF")
    while bench.writer.failing:
        await asyncio.sleep(0.01)
