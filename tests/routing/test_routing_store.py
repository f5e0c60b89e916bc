"""Decisions in a real database file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from junctor.chat import Candidate, Decision
from junctor.routing.store import DecisionStore
from junctor.store.database import Database


def decision_of(id: str = "dec_1", request_id: str = "req_1", chosen: str = "naïve 模型") -> Decision:  # noqa: A002
    """A decision with every kind of field."""
    return Decision(
        id=id,
        request_id=request_id,
        candidates=(
            Candidate(name=chosen, p_good=0.8, p_source="artefact", usd=0.001),
            Candidate(name="b", p_good=0.9, p_source="artefact", usd=0.1, refused_because="'; DROP TABLE x"),
        ),
        chosen=chosen,
        rule="cheapest",
        mode="balanced",
        floor=None,
        features={"tokens": 12.0},
        path="prompt",
        took_us=321.5,
        saved_usd=0.099,
        artefact="router-1",
    )


@pytest.mark.anyio
async def test_a_saved_decision_is_found_by_its_id_and_by_its_request(tmp_path: Path) -> None:
    """Equal to the last field, before and after a restart."""
    decision = decision_of()
    async with Database(tmp_path / "junctor.db") as database:
        DecisionStore(database).save(decision)
    async with Database(tmp_path / "junctor.db") as database:
        store = DecisionStore(database)
        assert await store.find("dec_1") == decision
        assert await store.find("req_1") == decision


@pytest.mark.anyio
async def test_an_unknown_id_finds_nothing(tmp_path: Path) -> None:
    """Whatever it holds."""
    async with Database(tmp_path / "junctor.db") as database:
        for unknown in ("", "dec_2", "' OR 1=1 --", "x" * 10_000, "\x00"):
            assert await DecisionStore(database).find(unknown) is None


@pytest.mark.anyio
async def test_of_several_decisions_of_a_request_the_last_is_shown(tmp_path: Path) -> None:
    """Each stays reachable by its own id."""
    clock = iter(datetime(2026, 11, 21, 12, 0, second, tzinfo=UTC) for second in range(9))
    async with Database(tmp_path / "junctor.db") as database:
        store = DecisionStore(database, now=lambda: next(clock))
        store.save(decision_of("dec_z"))
        store.save(decision_of("dec_a"))
        await database.write("SELECT 1")
        assert getattr(await store.find("req_1"), "id", None) == "dec_a"
        assert getattr(await store.find("dec_z"), "id", None) == "dec_z"


@pytest.mark.anyio
async def test_a_row_written_after_a_decision_never_stands_without_it(tmp_path: Path) -> None:
    """Saving is not awaited: the queue's order is what makes that safe."""
    async with Database(tmp_path / "junctor.db") as database:
        store = DecisionStore(database)
        for at in range(200):
            store.save(decision_of(f"dec_{at}", f"req_{at}"))
            if at % 50 == 0:
                await database.write("SELECT 1")
                assert await store.find(f"req_{at}") is not None
