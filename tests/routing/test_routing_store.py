"""Decisions in a real database file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from junctor.chat import Candidate, Decision, Draft, Escalation, Step
from junctor.pool.ledger_store import LedgerRow, LedgerStore
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
async def test_of_a_fusion_and_its_members_decisions_the_fusions_is_shown(tmp_path: Path) -> None:
    """Whatever was saved last: the ledger says whose answer it was."""
    async with Database(tmp_path / "junctor.db") as database:
        fused = msgspec.structs.replace(decision_of("dec_a"), path="fusion")
        await keep(database, "2026-11-20T09:00:00Z", "m", fused)
        DecisionStore(database).save(decision_of("dec_z"))
        await database.write("SELECT 1")
        assert await DecisionStore(database).find("req_1") == fused


@pytest.mark.anyio
async def test_what_a_fusion_answered_is_none_of_the_answers_of_auto(tmp_path: Path) -> None:
    """A key that may have the strongest model for a share of them is not held to it for others."""
    async with Database(tmp_path / "junctor.db") as database:
        await keep(database, "2026-11-20T09:00:00Z", "small", decision_of("dec_1", "req_1"))
        fused = msgspec.structs.replace(decision_of("dec_2", "req_2"), path="fusion")
        await keep(database, "2026-11-20T09:00:01Z", "large", fused)
        past = await DecisionStore(database).load_past("k", 0.0, 100)
        assert [it.models for it in past] == [("small",)]


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


async def keep(database: Database, at: str, model: str, decision: Decision, key_id: str = "k") -> None:
    """A routed request, as the router and the ledger write it."""
    DecisionStore(database).save(decision)
    row = LedgerRow(
        request_id=decision.request_id,
        created_at=datetime.fromisoformat(at),
        caller="ann",
        key_id=key_id,
        route="/v1/chat/completions",
        asked_model="auto",
        model=model,
        decision_id=decision.id,
        stream=False,
        attempts=1,
        outcome="ok",
        http_status=200,
    )
    if (written := LedgerStore(database).add(row)) is not None:
        await written


@pytest.mark.anyio
async def test_what_a_key_was_answered_is_read_newest_last(tmp_path: Path) -> None:
    """With all that were asked for it: a cascade may take another's answer than the strongest model's."""
    climbed = Escalation(
        ladder="l",
        floor=0.98,
        confidence=0.95,
        prompts=100,
        steps=(
            Step(drafts=(Draft(model="a", answer="4"), Draft(model="b", failed="timeout"))),
            Step(drafts=(Draft(model="strong", answer="5"),)),
        ),
    )
    replace = msgspec.structs.replace
    async with Database(tmp_path / "junctor.db") as database:
        store = DecisionStore(database)
        await keep(database, "2026-11-20T09:00:00Z", "old", decision_of("dec_0", "req_0"))
        await keep(database, "2026-11-21T09:00:00Z", "strong", decision_of("dec_1", "req_1"))
        await keep(
            database, "2026-11-21T10:00:00Z", "a", replace(decision_of("dec_2", "req_2"), escalation=climbed)
        )
        await keep(database, "2026-11-21T11:00:00Z", "x", decision_of("dec_3", "req_3"), key_id="other")
        since = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
        past = await store.load_past("k", since, 10)
        assert [it.models for it in past] == [("strong",), ("a", "strong")]
        assert [it.at - since for it in past] == [9 * 3600, 10 * 3600]
        assert [it.models for it in await store.load_past("k", since, 1)] == [("a", "strong")]
