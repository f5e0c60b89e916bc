"""Calibrations in a real database: one of a kind in force, the older ones to go back to."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from junctor.chat import ModelCard
from junctor.pool.vote import Vote
from junctor.routing.abilities import Abilities, Ability
from junctor.routing.calibration.judges import Judges, JudgeSkill
from junctor.routing.calibration.store import NOT_CALIBRATED, Calibrated, CalibrationStore, ladder_of
from junctor.routing.calibration.votes import PoolVote, Votes
from junctor.routing.errors import CannotCalibrate
from junctor.routing.ladder import FORMAT, Ladder, Rung
from junctor.store.database import Database

pytestmark = pytest.mark.anyio

VOTE = Vote((0.1,), 0.2, 0.3, 0.4)
NAMES = {"a": "x/a", "b": "x/b", "top": "x/top"}


def ladder_named(version: str) -> Ladder:
    return Ladder(
        format=FORMAT,
        version=version,
        strongest="top",
        rungs=(Rung(("a", "b"), VOTE, {"balanced": (0.0,) * 8}),),
        last=VOTE,
        caution=0.2,
        floor=0.98,
        confidence=0.95,
        prompts=300,
        promises={},
    )


def abilities_of(artefact: str = "router-1") -> Abilities:
    ability = Ability(
        model="a", identity="x/a", logits=0.5, error=0.1, p=0.6, p_error=0.02, score=0.7, prompts=300
    )
    return Abilities(artefact=artefact, models=(ability,))


def cards(**identities: str) -> list[ModelCard]:
    return [
        ModelCard(name=name, provider=identity.split("/")[0], upstream=identity.split("/")[1])
        for name, identity in {**NAMES, **identities}.items()
    ]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "junctor.db") as database:
        yield database


@pytest.fixture
def store(database: Database) -> CalibrationStore:
    return CalibrationStore(database)


async def test_nothing_is_in_force_at_first(store: CalibrationStore) -> None:
    assert await store.current() == NOT_CALIBRATED == Calibrated()
    assert await store.list() == []
    assert await store.count("outcomes") == 0


async def test_what_is_saved_is_in_force_after_a_restart(store: CalibrationStore, tmp_path: Path) -> None:
    await store.save_ladder(ladder_named("one"), NAMES, use=True)
    await store.save_abilities(abilities_of(), use=True)
    async with Database(tmp_path / "junctor.db") as again:
        current = await CalibrationStore(again).current()
    assert (current.ladder, current.abilities) == (ladder_named("one"), abilities_of())
    assert await store.current_ladder() == ladder_named("one")
    assert await store.current_abilities() == abilities_of()


async def test_the_newest_in_use_counts_and_the_old_one_can_be_used_again(store: CalibrationStore) -> None:
    first = await store.save_ladder(ladder_named("one"), NAMES, use=True)
    await store.save_ladder(ladder_named("two"), NAMES, use=True)
    await store.save_ladder(ladder_named("three"), NAMES, use=False)
    await store.save_abilities(abilities_of(), use=True)
    assert (await store.current()).ladder == ladder_named("two")
    listed = await store.list()
    assert [each.is_current for each in listed] == [False, True, False, True]
    found = ladder_of(listed[0])
    assert found is not None
    assert found.version == "one"
    chosen = await store.use(first)
    assert (chosen.id, chosen.kind, chosen.is_current) == (first, "ladder", True)
    current = await store.current()
    assert current.ladder == ladder_named("one")
    assert current.abilities == abilities_of(), "the other kind stays as it is"


async def test_outcomes_are_kept_and_not_offered(store: CalibrationStore) -> None:
    outcomes = await store.save_outcomes(b"{}")
    assert await store.count("outcomes") == 1
    assert await store.list() == []
    with pytest.raises(CannotCalibrate, match="--list"):
        await store.use(outcomes)


@pytest.mark.parametrize("unknown", ["", "cal_0", "' OR 1=1 --"])
async def test_an_unknown_id_changes_nothing(store: CalibrationStore, unknown: str) -> None:
    await store.save_ladder(ladder_named("one"), NAMES, use=True)
    with pytest.raises(CannotCalibrate, match="there is no calibration"):
        await store.use(unknown)
    assert (await store.current()).ladder == ladder_named("one")


async def test_a_ladder_is_used_while_its_models_are_what_they_were(
    store: CalibrationStore, caplog: pytest.LogCaptureFixture
) -> None:
    await store.save_ladder(ladder_named("one"), NAMES, use=True)
    current = await store.current()
    assert current.ladder_for([*cards(), ModelCard(name="new")]) == ladder_named("one")
    assert current.ladder_for(cards(b="x/b-v2")) is None
    assert "b changed or left the pool" in caplog.text
    assert current.ladder_for(cards()[:2]) is None
    assert NOT_CALIBRATED.ladder_for(cards()) is None


async def test_abilities_fit_a_pool_whose_models_were_all_measured(store: CalibrationStore) -> None:
    await store.save_abilities(abilities_of(), use=True)
    current = await store.current()
    assert current.abilities_for(cards()[:1]) == abilities_of()
    assert current.abilities_for(cards()) is None
    assert current.abilities_for(cards(a="x/a-v2")[:1]) is None


@pytest.mark.parametrize("document", ["{", "[]", '{"ladder": 3, "identities": {}}', '{"format": 1}'])
async def test_a_damaged_document_is_not_used_and_stops_nobody(
    store: CalibrationStore, tmp_path: Path, document: str, caplog: pytest.LogCaptureFixture
) -> None:
    await store.save_ladder(ladder_named("one"), NAMES, use=True)
    with sqlite3.connect(tmp_path / "junctor.db") as rows:
        rows.execute("UPDATE calibrations SET document = ?", (document,))
    assert (await store.current()).ladder is None
    assert "cannot be read" in caplog.text


async def test_a_ladder_of_a_newer_layout_is_not_used(store: CalibrationStore) -> None:
    newer = msgspec.structs.replace(ladder_named("one"), format=FORMAT + 1)
    await store.save_ladder(newer, NAMES, use=True)
    assert (await store.current()).ladder is None


VOTES = Votes(
    pools=(
        PoolVote(
            members=("a", "b"),
            vote=Vote((1.0, 2.0), 0.2, 0.3, 0.4),
            best="b",
            prompts=200,
            score=0.9,
            best_score=0.8,
            majority_score=0.7,
        ),
    ),
    identities={"a": "x/a", "b": "x/b"},
)
JUDGES = Judges(judges=(JudgeSkill(model="top", identity="x/top", accuracy=0.7, pairs=60, failed=1),))


async def test_votes_and_judges_are_kept_like_the_others(store: CalibrationStore) -> None:
    first = await store.save_votes(VOTES, use=True)
    await store.save_votes(msgspec.structs.replace(VOTES, pools=()), use=False)
    await store.save_judges(JUDGES)
    current = await store.current()
    assert (current.votes, current.judges) == (VOTES, JUDGES)
    assert [each.kind for each in await store.list()] == ["votes", "votes", "judges"]
    assert (await store.use(first)).kind == "votes"


async def test_fusions_get_them_for_models_that_are_what_they_were(store: CalibrationStore) -> None:
    await store.save_votes(VOTES, use=True)
    await store.save_judges(JUDGES)
    current = await store.current()
    assert current.votes_for(cards()) == {("a", "b"): VOTES.pools[0].vote}
    assert current.judges_for(cards()) == {"top": 0.7}
    changed = cards(a="x/a-v2", top="x/top-v2")
    assert (current.votes_for(changed), current.judges_for(changed)) == ({}, {})
    assert (NOT_CALIBRATED.votes_for(cards()), NOT_CALIBRATED.judges_for(cards())) == ({}, {})
