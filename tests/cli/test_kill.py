"""`junctor serve` killed again and again: lab/soak_kill.py, short, and whether its oracle would notice."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent.parent / "lab"))

from junctor.store.schema import prepare
from soak_kill import Read, differences, run

ANSWERED = Read("req_1", "ann", "/v1/responses", "auto", "small", "dec_1", 200, 1_022_000, "resp_1")
NAMED = Read("req_2", "ben", "/v1/messages", "small", "small", None, 200, 2_049_000, None)


def test_what_clients_have_read_survives_five_kills(tmp_path: Path) -> None:
    """Each reply read to its end has its row, cost and decision; nothing is left in the spool."""
    found = asyncio.run(run(kills=5, seed=5, at_once=8, folder=tmp_path))
    assert found["differences"] == []
    assert found["replies read to their end"] > 20


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A ledger of `ANSWERED` and `NAMED`."""
    path = tmp_path / "junctor.db"
    prepare(path)
    with sqlite3.connect(path) as rows:
        for one in (ANSWERED, NAMED):
            rows.execute(
                "INSERT INTO ledger VALUES "
                "(?, '', ?, ?, ?, ?, ?, 0, 1, 1, 0, 0, ?, '', NULL, 0, 0, NULL, 1, 1, 'ok', ?, '', 0)",
                (*one[:6], one.usd_nano, one.status),
            )
        rows.execute("INSERT INTO decisions VALUES ('dec_1', 'req_1', '', 'small', 'balanced', '{}')")
        rows.execute("INSERT INTO responses VALUES ('resp_1', '', '', '{}')")
    return path


def test_a_ledger_that_has_all_differs_in_nothing(database: Path) -> None:
    assert differences(database, [ANSWERED, NAMED]) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DELETE FROM ledger WHERE request_id = 'req_2'", "the ledger has []"),
        ("UPDATE ledger SET usd_nano = usd_nano + 1 WHERE request_id = 'req_1'", "rows cost 3071001"),
        ("UPDATE ledger SET caller = 'ann'", "read Read(request_id='req_2'"),
        ("DELETE FROM decisions", "has no decision dec_1"),
        ("INSERT INTO decisions SELECT 'dec_2', request_id, '', '', '', '' FROM decisions", "more than once"),
        ("DELETE FROM responses", "stored no resp_1"),
    ],
)
def test_the_oracle_notices(database: Path, damage: str, said: str) -> None:
    with sqlite3.connect(database) as rows:
        rows.execute(damage)
    assert said in "\n".join(differences(database, [ANSWERED, NAMED]))
